//! Kafka goes away and comes back: what is answered is true, and nothing has to be restarted.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ktests::{Cluster, OwnCluster, eventually, own_cluster};

use super::world::{Answer, PATIENCE, Proxy, topic};

/// Ten times the promised time until brokers that are gone, or silent for `stall_timeout_ms`, are known to be away.
const AWAY: Duration = Duration::from_secs(10);
/// The same until records are stored again after their return.
const BACK: Duration = Duration::from_secs(20);

#[tokio::test]
async fn without_a_broker_it_starts_says_so_and_recovers() {
    let mut own = own_cluster().await;
    let topic = topic(&own.cluster, "late", 1).await;
    own.stop_broker().await.unwrap();
    let proxy = Proxy::spawn_with(&own.cluster, &[]);
    eventually("it says why it is not ready", PATIENCE, async || {
        proxy.daemon.readiness().await.contains("no Kafka broker")
    })
    .await;
    let query = format!("topic={topic}&key=a");
    proxy.post(&query, "x").await.refused(503, "brokers_away");
    own.start_broker().await.unwrap();
    eventually("records are taken", BACK, async || {
        proxy.post(&query, "x").await.status == 200
    })
    .await;
    proxy.stop().await;
}

/// What clients were told of each of their records.
type Told = Vec<(String, Answer)>;

/// Clients that post one record after the other until `over`, each to a key of its own.
async fn clients(proxy: &Proxy, topic: &str, count: usize, over: &AtomicBool) -> Told {
    let clients = (0..count).map(|client| async move {
        let mut told = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let body = format!("{client}-{}", told.len());
            let query = format!("topic={topic}&key=k{client}&acks=-1");
            let answer = proxy.post(&query, &body).await;
            told.push((body, answer));
        }
        told
    });
    futures_util::future::join_all(clients).await.concat()
}

/// Holds every answer against what is in the topic.
async fn assert_true(cluster: &Cluster, topic: &str, told: &Told) {
    let records = cluster.read_topic(topic).await.unwrap();
    let found: HashSet<Vec<u8>> = records.iter().map(|record| record.value.clone()).collect();
    assert_eq!(
        found.len(),
        records.len(),
        "the idempotent producer doubles nothing"
    );
    for (body, answer) in told {
        let found = found.contains(body.as_bytes());
        match answer.status {
            200 => assert!(found, "{body} was told to be stored"),
            503 => assert!(!found, "{body} was told not to be stored: {answer:?}"),
            504 => {}
            _ => panic!("{answer:?}"),
        }
    }
}

impl Proxy {
    async fn requests(&self, result: &str) -> f64 {
        let label = format!("result=\"{result}\"");
        self.metric("kproxy_requests_total", &[&label]).await
    }

    async fn stores_more(&self, count: f64) {
        let before = self.requests("stored").await;
        eventually("records are stored", BACK, async || {
            self.requests("stored").await > before + count
        })
        .await;
    }

    async fn refuses(&self) {
        eventually("requests are refused", AWAY, async || {
            self.requests("brokers_away").await > 100.0
        })
        .await;
        assert!(self.daemon.readiness().await.contains("no Kafka broker"));
    }
}

/// Eight clients post before, while and after the brokers are away; what they were told is true, and kproxy is ready again.
async fn brokers_go_and_return(
    own: &mut OwnCluster,
    keys: &[(&'static str, &str)],
    go: impl AsyncFnOnce(&mut OwnCluster),
    back: impl AsyncFnOnce(&mut OwnCluster),
) -> (Proxy, Told) {
    let topic = topic(&own.cluster, "faults", 4).await;
    let mut proxy = Proxy::start_with(&own.cluster, keys).await;
    let over = AtomicBool::new(false);
    let faults = async {
        proxy.stores_more(100.0).await;
        go(own).await;
        proxy.refuses().await;
        back(own).await;
        proxy.stores_more(100.0).await;
        over.store(true, Ordering::Relaxed);
    };
    let (told, ()) = tokio::join!(clients(&proxy, &topic, 8, &over), faults);
    assert_true(&own.cluster, &topic, &told).await;
    proxy.daemon.wait_ready().await;
    (proxy, told)
}

#[tokio::test]
async fn a_killed_broker_is_told_truly_and_recovered_from() {
    let mut own = own_cluster().await;
    let (proxy, _told) = brokers_go_and_return(
        &mut own,
        &[("produce_timeout_ms", "2000")],
        async |own| own.kill_broker().await.unwrap(),
        async |own| own.start_broker().await.unwrap(),
    )
    .await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_broker_that_takes_records_and_answers_nothing_is_away_until_it_does() {
    let mut own = own_cluster().await;
    let (proxy, told) = brokers_go_and_return(
        &mut own,
        // Whoever waited is answered long before produce_timeout_ms, or it would be the 8 requests of the 8 clients that hang.
        &[("produce_timeout_ms", "30000"), ("stall_timeout_ms", "1000")],
        async |own| own.freeze_broker().await.unwrap(),
        async |own| own.thaw_broker().await.unwrap(),
    )
    .await;
    assert!(proxy.metric("kproxy_stalls_total", &[]).await >= 1.0);
    let unsure = told.iter().filter(|(_, answer)| answer.status == 504).count();
    assert!((1..=8).contains(&unsure), "{unsure} of 8 clients were told 504");
    proxy.stop().await;
}

//! Kafka goes away and comes back: what is answered is true, and nothing has to be restarted.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use ktests::{eventually, own_cluster};

use super::world::{PATIENCE, Proxy, topic};

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
    eventually("records are taken", PATIENCE, async || {
        proxy.post(&query, "x").await.status == 200
    })
    .await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_killed_broker_is_told_truly_and_recovered_from() {
    let mut own = own_cluster().await;
    let topic = topic(&own.cluster, "killed", 4).await;
    let mut proxy = Proxy::start_with(&own.cluster, &[("produce_timeout_ms", "2000")]).await;
    let over = AtomicBool::new(false);
    let clients = futures_util::future::join_all((0..8).map(|client| {
        let (proxy, topic, over) = (&proxy, &topic, &over);
        async move {
            let mut told = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let body = format!("{client}-{}", told.len());
                let query = format!("topic={topic}&key=k{client}&acks=-1");
                let answer = proxy.post(&query, &body).await;
                told.push((body, answer));
            }
            told
        }
    }));
    let faults = async {
        let stored = async || {
            proxy
                .metric("kproxy_requests_total", &["result=\"stored\""])
                .await
        };
        let refused = async || {
            proxy
                .metric("kproxy_requests_total", &["result=\"brokers_away\""])
                .await
        };
        eventually("records are stored", PATIENCE, async || stored().await > 100.0).await;
        own.kill_broker().await.unwrap();
        eventually("requests are refused", PATIENCE, async || refused().await > 100.0).await;
        assert!(proxy.daemon.readiness().await.contains("no Kafka broker"));
        own.start_broker().await.unwrap();
        let before = stored().await;
        eventually("records are stored again", PATIENCE, async || {
            stored().await > before + 100.0
        })
        .await;
        over.store(true, Ordering::Relaxed);
    };
    let (told, ()) = tokio::join!(clients, faults);
    let records = own.cluster.read_topic(&topic).await.unwrap();
    let found: HashSet<Vec<u8>> = records.iter().map(|record| record.value.clone()).collect();
    assert_eq!(
        found.len(),
        records.len(),
        "the idempotent producer doubles nothing"
    );
    for (body, answer) in told.iter().flatten() {
        let found = found.contains(body.as_bytes());
        match answer.status {
            200 => assert!(found, "{body} was told to be stored"),
            503 => assert!(!found, "{body} was told not to be stored: {answer:?}"),
            504 => {}
            _ => panic!("{answer:?}"),
        }
    }
    proxy.daemon.wait_ready().await;
    proxy.stop().await;
}

//! SIGTERM: what is in flight gets its true answer, what comes later is refused, and the exit status tells.

use std::collections::HashSet;

use ktests::{cluster, eventually, own_cluster};

use super::world::{PATIENCE, Proxy, request, topic};

#[tokio::test]
async fn a_stop_under_load_keeps_every_promise() {
    let cluster = cluster();
    let topic = topic(&cluster, "stop", 4).await;
    let mut proxy = Proxy::start(&cluster).await;
    let clients = (0..32).map(|client| {
        let (topic, port) = (topic.clone(), proxy.port);
        tokio::spawn(async move {
            let mut told = Vec::new();
            // Until nobody listens any more.
            while let Some(mut connection) = super::world::Client::try_connect(port).await {
                for number in 0..50 {
                    let body = format!("{client}-{}-{number}", told.len());
                    connection.send(request(&topic, &body)).await;
                    let Some(answer) = connection.try_answer().await else {
                        break;
                    };
                    let goes_on = answer.header("connection") != Some("close");
                    told.push((body, answer));
                    if !goes_on {
                        break;
                    }
                }
            }
            told
        })
    });
    let clients: Vec<_> = clients.collect();
    eventually("records are stored", PATIENCE, async || {
        proxy
            .metric("kproxy_requests_total", &["result=\"stored\""])
            .await
            > 1000.0
    })
    .await;
    let status = proxy.daemon.terminate().await;
    assert!(status.success(), "{status}: {}", proxy.daemon.output());
    let mut told = Vec::new();
    for client in clients {
        told.extend(client.await.unwrap());
    }
    let records = cluster.read_topic(&topic).await.unwrap();
    let found: HashSet<Vec<u8>> = records.into_iter().map(|record| record.value).collect();
    for (body, answer) in &told {
        match answer.status {
            200 => assert!(found.contains(body.as_bytes()), "{body} is lost"),
            503 => {
                answer.refused(503, "stopping");
                assert!(!found.contains(body.as_bytes()), "{body} was refused and stored");
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert!(told.iter().filter(|(_, answer)| answer.status == 200).count() > 1000);
}

#[tokio::test]
async fn a_request_in_flight_is_answered_and_a_later_one_refused() {
    let cluster = cluster();
    let topic = topic(&cluster, "in-flight", 1).await;
    let mut proxy = Proxy::start(&cluster).await;
    let mut early = proxy.connect().await;
    early
        .send(format!(
            "POST /commit?topic={topic} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx"
        ))
        .await;
    let mut idle = proxy.connect().await;
    eventually("the request is in flight", PATIENCE, async || {
        proxy.metric("kproxy_in_flight_requests", &[]).await == 1.0
    })
    .await;
    proxy.daemon.signal(rustix::process::Signal::TERM);
    eventually("it says that it stops", PATIENCE, async || {
        proxy.daemon.readiness().await.contains("stopping")
    })
    .await;
    idle.send(request(&topic, "late")).await;
    assert_eq!(
        idle.answer().await.refused(503, "stopping").header("connection"),
        Some("close")
    );
    early.send("y").await;
    let answer = early.answer().await;
    assert_eq!(answer.stored()["offset"], 0);
    assert_eq!(answer.header("connection"), Some("close"));
    let status = proxy.daemon.wait().await;
    assert!(status.success(), "{status}");
    assert_eq!(cluster.read_topic(&topic).await.unwrap().len(), 1);
}

#[tokio::test]
async fn records_that_stay_unconfirmed_make_the_exit_status_1() {
    let mut own = own_cluster().await;
    let topic = topic(&own.cluster, "unconfirmed", 1).await;
    // The record waits a second for company, so that it is still here when the broker goes.
    let keys = [("linger_ms", "1000"), ("drain_timeout_ms", "200")];
    let mut proxy = Proxy::start_with(&own.cluster, &keys).await;
    let mut client = proxy.connect().await;
    client.send(request(&topic, "x")).await;
    own.kill_broker().await.unwrap();
    let status = proxy.daemon.terminate().await;
    assert_eq!(status.code(), Some(1), "{}", proxy.daemon.output());
    assert!(
        proxy.daemon.output().contains("1 records had no confirmation"),
        "{}",
        proxy.daemon.output()
    );
}

//! Slow clients are cut, each by a time-out of its own; the wait for Kafka is nobody's fault.

use std::time::Duration;

use ktests::{cluster, eventually};

use super::world::{PATIENCE, Proxy, request, topic};

fn head(topic: &str) -> String {
    format!("POST /commit?topic={topic} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
}

#[tokio::test]
async fn a_body_that_falls_silent_is_told_so() {
    let cluster = cluster();
    let topic = topic(&cluster, "silent", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("read_timeout_ms", "300")]).await;
    let mut client = proxy.connect().await;
    client.send(head(&topic)).await;
    client.send("abc").await;
    let answer = client.answer().await;
    assert!(
        answer
            .refused(408, "slow_request")
            .body
            .contains("read_timeout_ms")
    );
    assert_eq!(answer.header("connection"), Some("close"));
    client.closed().await;
    assert_eq!(cluster.read_topic(&topic).await.unwrap(), []);
    proxy.stop().await;
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_told_so_although_it_never_falls_silent() {
    let cluster = cluster();
    let topic = topic(&cluster, "trickle", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("request_timeout_ms", "1000")]).await;
    let mut client = proxy.connect().await;
    client.send(head(&topic)).await;
    let answer = trickle(&mut client).await;
    assert!(
        answer.contains("408") && answer.contains("request_timeout_ms"),
        "{answer}"
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_body_below_the_least_rate_is_told_so_after_five_seconds() {
    let cluster = cluster();
    let topic = topic(&cluster, "rate", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let mut client = proxy.connect().await;
    client.send(head(&topic)).await;
    let answer = trickle(&mut client).await;
    assert!(
        answer.contains("408") && answer.contains("min_body_rate_bytes"),
        "{answer}"
    );
    proxy.stop().await;
}

/// Sends a byte now and then until kproxy closes; gives what it said.
async fn trickle(client: &mut super::world::Client) -> String {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let mut said = Vec::new();
    loop {
        tick.tick().await;
        client.send("x").await;
        match client.stream.try_read_buf(&mut said) {
            Ok(0) => break,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
            Ok(_) | Err(_) => {}
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut() {
    let cluster = cluster();
    let proxy = Proxy::start_with(&cluster, &[("header_timeout_ms", "1000")]).await;
    let mut client = proxy.connect().await;
    client.send("POST /commit?topic=").await;
    assert_eq!(trickle(&mut client).await, "");
    assert_eq!(
        proxy
            .metric("kproxy_connections_cut_total", &["reason=\"head\""])
            .await,
        1.0
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_head_that_falls_silent_is_cut() {
    let cluster = cluster();
    let proxy = Proxy::start_with(&cluster, &[("read_timeout_ms", "300")]).await;
    let mut client = proxy.connect().await;
    client.send("POST /commit?top").await;
    assert_eq!(client.closed().await, "");
    assert_eq!(
        proxy
            .metric("kproxy_connections_cut_total", &["reason=\"head\""])
            .await,
        1.0
    );
    proxy.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_cut_before_and_after_a_request() {
    let cluster = cluster();
    let topic = topic(&cluster, "idle", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("idle_timeout_ms", "1000")]).await;
    let mut fresh = proxy.connect().await;
    let mut used = proxy.connect().await;
    used.send(request(&topic, "x")).await;
    used.answer().await.stored();
    assert_eq!(
        (fresh.closed().await, used.closed().await),
        (String::new(), String::new())
    );
    assert_eq!(
        proxy
            .metric("kproxy_connections_cut_total", &["reason=\"idle\""])
            .await,
        2.0
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_cut() {
    let cluster = cluster();
    let topic = topic(&cluster, "deaf", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("write_timeout_ms", "300")]).await;
    let client = proxy.connect().await;
    // Refusals are quick and longer than requests; nobody reads them.
    let requests = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    eventually("it is cut", PATIENCE, async || {
        while client.stream.try_write(requests.as_bytes()).is_ok() {}
        proxy
            .metric("kproxy_connections_cut_total", &["reason=\"write\""])
            .await
            == 1.0
    })
    .await;
    proxy.post(&format!("topic={topic}"), "x").await.stored();
    proxy.stop().await;
}

#[tokio::test]
async fn no_patience_with_clients_covers_the_wait_for_kafka() {
    let cluster = cluster();
    let topic = topic(&cluster, "wait", 1).await;
    let keys = [
        ("read_timeout_ms", "100"),
        ("write_timeout_ms", "100"),
        ("header_timeout_ms", "100"),
        ("request_timeout_ms", "100"),
        ("idle_timeout_ms", "100"),
        // Kafka hears of the record only after a second.
        ("linger_ms", "1000"),
    ];
    let proxy = Proxy::start_with(&cluster, &keys).await;
    let mut client = proxy.connect().await;
    client.send(request(&topic, "x")).await;
    client.answer().await.stored();
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_its_body_unfinished_stores_nothing() {
    let cluster = cluster();
    let topic = topic(&cluster, "half", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let mut client = proxy.connect().await;
    client.send(head(&topic)).await;
    client.send("abc").await;
    client.finish().await;
    let answer = client.closed().await;
    assert!(answer.is_empty() || answer.contains("broken_body"), "{answer}");
    let mut chunked = proxy.connect().await;
    chunked
        .send(format!(
            "POST /commit?topic={topic} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        ))
        .await;
    chunked.finish().await;
    let answer = chunked.closed().await;
    assert!(answer.is_empty() || answer.contains("broken_body"), "{answer}");
    proxy.post(&format!("topic={topic}"), "x").await.stored();
    assert_eq!(cluster.read_topic(&topic).await.unwrap().len(), 1);
    proxy.stop().await;
}

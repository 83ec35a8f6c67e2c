//! What does not fit is refused at once, and the rest goes on.

use ktests::{cluster, eventually};

use super::world::{Client, PATIENCE, Proxy, request, topic};

fn head(topic: &str, length: usize) -> String {
    format!("POST /commit?topic={topic} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")
}

/// A request that holds its place because its body does not end.
async fn unfinished(proxy: &Proxy, topic: &str, length: usize, places: f64) -> Client {
    let mut client = proxy.connect().await;
    client.send(head(topic, length)).await;
    client.send("x").await;
    eventually("the request holds its place", PATIENCE, async || {
        proxy.metric("kproxy_in_flight_requests", &[]).await >= places
    })
    .await;
    client
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_before_it_is_sent() {
    let cluster = cluster();
    let topic = topic(&cluster, "announced", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("max_request_size_bytes", "1000")]).await;
    for length in ["1001", "10000000000", "9223372036854775807"] {
        let mut client = proxy.connect().await;
        let head =
            format!("POST /commit?topic={topic} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        client.send(head).await;
        client.answer().await.refused(413, "body_too_large");
    }
    proxy
        .post(&format!("topic={topic}"), vec![b'x'; 1000])
        .await
        .stored();
    assert_eq!(cluster.read_topic(&topic).await.unwrap().len(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_too_much_still_reads_why() {
    let cluster = cluster();
    let topic = topic(&cluster, "sent", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("max_request_size_bytes", "1000")]).await;
    let query = format!("topic={topic}");
    for length in [1001, 100_000, 2_000_000] {
        proxy
            .post(&query, vec![b'x'; length])
            .await
            .refused(413, "body_too_large");
    }
    let mut client = proxy.connect().await;
    let head = format!("POST /commit?{query} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(head).await;
    for _ in 0..10 {
        client.send(format!("c8\r\n{}\r\n", "x".repeat(200))).await;
    }
    client.answer().await.refused(413, "body_too_large");
    assert_eq!(cluster.read_topic(&topic).await.unwrap(), []);
    proxy.stop().await;
}

#[tokio::test]
async fn a_record_above_the_topics_limit_is_too_large() {
    let cluster = cluster();
    // Kafka's own default is about 1 MiB.
    let topic = topic(&cluster, "kafkas-limit", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("max_request_size_bytes", "5000000")]).await;
    let query = format!("topic={topic}&key=a");
    proxy
        .post(&query, vec![b'x'; 1_500_000])
        .await
        .refused(413, "record_too_large");
    proxy.post(&query, vec![b'x'; 900_000]).await.stored();
    proxy.stop().await;
}

#[tokio::test]
async fn requests_beyond_the_pool_are_refused_until_one_ends() {
    let cluster = cluster();
    let topic = topic(&cluster, "pool", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("req_pool_size", "2")]).await;
    let query = format!("topic={topic}");
    let mut first = unfinished(&proxy, &topic, 2, 1.0).await;
    let second = unfinished(&proxy, &topic, 2, 2.0).await;
    proxy
        .post(&query, "x")
        .await
        .refused(503, "too_many_requests_in_flight");
    first.send("y").await;
    first.answer().await.stored();
    proxy.post(&query, "x").await.stored();
    drop(second);
    eventually(
        "a client that has gone gives its place back",
        PATIENCE,
        async || proxy.metric("kproxy_in_flight_requests", &[]).await == 0.0,
    )
    .await;
    proxy.stop().await;
}

#[tokio::test]
async fn bytes_beyond_the_budget_are_refused_and_small_bodies_go_on() {
    let cluster = cluster();
    let topic = topic(&cluster, "budget", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("max_inflight_bytes", "1048576")]).await;
    let mut first = unfinished(&proxy, &topic, 900_000, 1.0).await;
    let mut large = proxy.connect().await;
    large.send(head(&topic, 900_000)).await;
    large.answer().await.refused(503, "too_many_bytes_in_flight");
    proxy.post(&format!("topic={topic}"), "small").await.stored();
    first.send(vec![b'y'; 899_999]).await;
    first.answer().await.stored();
    proxy
        .post(&format!("topic={topic}"), vec![b'z'; 900_000])
        .await
        .stored();
    proxy.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused_until_one_ends() {
    let cluster = cluster();
    let topic = topic(&cluster, "connections", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("max_connections", "1")]).await;
    let mut first = proxy.connect().await;
    first.send(request(&topic, "x")).await;
    first.answer().await.stored();
    let mut second = proxy.connect().await;
    second.answer().await.refused(503, "too_many_connections");
    drop(first);
    eventually("the place is free again", PATIENCE, async || {
        proxy.metric("kproxy_connections", &[]).await == 0.0
    })
    .await;
    proxy.post(&format!("topic={topic}"), "x").await.stored();
    proxy.stop().await;
}

//! What a record has besides its value, as it stands in Kafka.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use ktests::{Stored, cluster};

use super::world::{Proxy, topic};

/// The records of a topic that kproxy has got from `posts`, each a query after the topic, headers and a body.
async fn stored(what: &str, partitions: i32, posts: &[(&str, &str, &[u8])]) -> Vec<Stored> {
    let cluster = cluster();
    let topic = topic(&cluster, what, partitions).await;
    let proxy = Proxy::start(&cluster).await;
    for (query, headers, body) in posts {
        let query = format!("topic={topic}&{query}");
        proxy.post_with(&query, headers, body).await.stored();
    }
    proxy.stop().await;
    cluster.read_topic(&topic).await.unwrap()
}

fn header(name: &str, value: &str) -> (String, Vec<u8>) {
    (name.to_owned(), value.as_bytes().to_vec())
}

#[tokio::test]
async fn headers_of_the_request_become_headers_of_the_record() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = format!("X-Kafka-Header-Tenant: 7\r\nX-Other: no\r\ntraceparent: {parent}\r\n");
    let records = stored("headers", 1, &[("", &headers, b"x"), ("", "", b"y")]).await;
    assert_eq!(
        records[0].headers,
        [header("tenant", "7"), header("traceparent", parent)]
    );
    assert_eq!(records[1].headers, []);
}

#[tokio::test]
async fn a_cloud_event_in_binary_mode_stays_one() {
    let headers = "ce-specversion: 1.0\r\nce-type: order\r\nce-source: /shop%20a\r\nce-id: 1\r\n\
                   content-type: application/json\r\n";
    let records = stored("event", 1, &[("", headers, b"{}")]).await;
    assert_eq!(
        records[0].headers,
        [
            header("ce_specversion", "1.0"),
            header("ce_type", "order"),
            header("ce_source", "/shop a"),
            header("ce_id", "1"),
            header("content-type", "application/json"),
        ]
    );
    assert_eq!(records[0].value, b"{}");
}

#[tokio::test]
async fn the_client_may_choose_partition_and_timestamp() {
    // Not in the past: retention would remove the records.
    let posts: &[(&str, &str, &[u8])] = &[
        ("partition=2&key=k&timestamp=4102444800123", "", b"x"),
        ("partition=1&timestamp=2100-01-01T00:00:00.5Z&acks=-1", "", b"y"),
    ];
    let records = stored("chosen", 3, posts).await;
    let seen: Vec<_> = records
        .iter()
        .map(|record| (record.partition, record.timestamp, &record.value[..]))
        .collect();
    assert_eq!(
        seen,
        [
            (1, Some(4_102_444_800_500), &b"y"[..]),
            (2, Some(4_102_444_800_123), &b"x"[..])
        ]
    );
}

#[tokio::test]
async fn a_partition_that_does_not_exist_is_refused() {
    let cluster = cluster();
    let topic = topic(&cluster, "beyond", 2).await;
    let proxy = Proxy::start(&cluster).await;
    let query = format!("topic={topic}&partition=2");
    proxy.post(&query, "x").await.refused(404, "unknown_partition");
    proxy.stop().await;
    assert_eq!(cluster.read_topic(&topic).await.unwrap(), []);
}

#[tokio::test]
async fn a_tombstone_is_stored_without_a_value() {
    let records = stored(
        "tombstone",
        1,
        &[("key=k&tombstone=1", "", b""), ("key=k", "", b"v")],
    )
    .await;
    assert!(records[0].is_tombstone && records[0].key.as_deref() == Some(b"k"));
    assert!(!records[1].is_tombstone);
}

#[tokio::test]
async fn an_encoded_body_is_stored_decoded() {
    let body = "record ".repeat(20_000).into_bytes();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&body).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&body[..], 3).unwrap();
    let posts: &[(&str, &str, &[u8])] = &[
        ("", "Content-Encoding: gzip\r\n", &gzip),
        ("", "Content-Encoding: zstd\r\n", &zstd),
        ("", "Content-Encoding: identity\r\n", &body),
    ];
    let records = stored("encoded", 1, posts).await;
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|record| record.value == body));
}

#[tokio::test]
async fn a_body_that_grows_beyond_its_limit_or_is_broken_is_refused() {
    let cluster = cluster();
    let topic = topic(&cluster, "bomb", 1).await;
    let proxy = Proxy::start(&cluster).await;
    // The scenarios' limit is 1,000,000 bytes.
    let bomb = zstd::encode_all(&vec![0; 50_000_000][..], 3).unwrap();
    let query = format!("topic={topic}");
    let zstd = "Content-Encoding: zstd\r\n";
    let answer = proxy.post_with(&query, zstd, &bomb).await;
    answer.refused(413, "body_too_large");
    let answer = proxy.post_with(&query, zstd, "plain").await;
    answer.refused(400, "broken_encoding");
    let answer = proxy.post_with(&query, "Content-Encoding: br\r\n", "x").await;
    answer.refused(415, "encoding_unknown");
    let query = format!("topic={topic}&key=k&tombstone=1");
    proxy.post(&query, "x").await.refused(400, "tombstone_with_body");
    assert_eq!(proxy.metric("kproxy_in_flight_bytes", &[]).await, 0.0);
    proxy.stop().await;
    assert_eq!(cluster.read_topic(&topic).await.unwrap(), []);
}

//! Many records in one request: what becomes of each, and of what breaks off.

use bytes::BufMut as _;
use ktests::{cluster, eventually};
use serde_json::{Value, json};

use super::world::{Answer, PATIENCE, Proxy, topic};

const LINES: &str = "application/x-ndjson";
const PREFIXED: &str = "application/vnd.kproxy.records";

async fn post(proxy: &Proxy, query: &str, content_type: &str, body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref();
    let head = format!(
        "POST /commit/batch?{query} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut client = proxy.connect().await;
    client.send(head).await;
    client.send(body).await;
    client.answer().await
}

fn results(answer: &Answer) -> Vec<Value> {
    answer.json()["results"].as_array().unwrap().clone()
}

#[tokio::test]
async fn each_line_is_a_record_and_its_outcome_has_its_place() {
    const COUNT: usize = 5_000;
    let cluster = cluster();
    let topic = topic(&cluster, "lines", 3).await;
    let proxy = Proxy::start(&cluster).await;
    let lines =
        (0..COUNT).map(|n| json!({"key": format!("k{}", n % 50), "value": {"n": n}}).to_string() + "\n");
    let body: String = lines.collect();
    let answer = post(&proxy, &format!("topic={topic}&acks=-1"), LINES, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let records = cluster.read_topic(&topic).await.unwrap();
    assert_eq!(records.len(), COUNT);
    for (n, result) in results(&answer).iter().enumerate() {
        let place = (result["partition"].as_i64(), result["offset"].as_i64());
        let record = records
            .iter()
            .find(|record| (Some(record.partition.into()), Some(record.offset)) == place);
        assert_eq!(record.unwrap().value, json!({"n": n}).to_string().into_bytes());
    }
    // One batch keeps the order of each key.
    for key in 0..50 {
        let of_key = records
            .iter()
            .filter(|record| record.key.as_deref() == Some(format!("k{key}").as_bytes()));
        let numbers: Vec<u64> = of_key
            .map(|record| {
                serde_json::from_slice::<Value>(&record.value).unwrap()["n"]
                    .as_u64()
                    .unwrap()
            })
            .collect();
        assert!(numbers.is_sorted(), "k{key}: {numbers:?}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_record_that_is_refused_concerns_no_other() {
    let cluster = cluster();
    let topic = topic(&cluster, "mixed", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let large = "x".repeat(1_000_001);
    let body = format!(
        "{{\"text\":\"a\"}}\nnonsense\n{{\"text\":\"{large}\"}}\n{{\"text\":\"b\",\"partition\":7}}\n{{\"text\":\"c\"}}"
    );
    let answer = post(&proxy, &format!("topic={topic}"), LINES, body).await;
    assert_eq!(answer.status, 207, "{answer:?}");
    let codes: Vec<_> = results(&answer)
        .iter()
        .map(|result| result["error"]["code"].as_str().map(str::to_owned))
        .collect();
    let refused = |code: &str| Some(code.to_owned());
    assert_eq!(
        codes,
        [
            None,
            refused("bad_record"),
            refused("body_too_large"),
            refused("unknown_partition"),
            None
        ]
    );
    assert_eq!(cluster.read_values(&topic).await.unwrap(), [b"a", b"c"]);
    proxy.stop().await;
}

#[tokio::test]
async fn prefixed_records_are_taken_byte_for_byte_and_a_cut_one_is_told() {
    let cluster = cluster();
    let topic = topic(&cluster, "prefixed", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut body = Vec::new();
    body.put_u32(1);
    body.put_slice(b"k");
    body.put_u32(256);
    body.put_slice(&every_byte);
    body.put_u32(u32::MAX);
    body.put_u32(9);
    body.put_slice(b"cut");
    let answer = post(&proxy, &format!("topic={topic}"), PREFIXED, body).await;
    assert_eq!(answer.status, 207);
    let results = results(&answer);
    assert_eq!(
        (results.len(), results[1]["error"]["outcome"].as_str()),
        (2, Some("not_persisted"))
    );
    let records = cluster.read_topic(&topic).await.unwrap();
    assert_eq!((records.len(), &records[0].value), (1, &every_byte));
    proxy.stop().await;
}

#[tokio::test]
async fn a_batch_of_nothing_or_of_another_form_is_refused_as_a_whole() {
    let cluster = cluster();
    let topic = topic(&cluster, "nothing", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let query = format!("topic={topic}");
    post(&proxy, &query, LINES, "\n\n")
        .await
        .refused(400, "empty_body");
    post(&proxy, &query, "text/plain", "{}")
        .await
        .refused(415, "batch_type");
    let gzip = format!("{LINES}\r\nContent-Encoding: gzip");
    let answer = post(&proxy, &query, &gzip, "{}").await;
    let told = &answer.refused(415, "encoding_unknown").body;
    assert!(told.contains("plain") && !told.contains("gzip"), "{told}");
    post(&proxy, &format!("{query}&key=k"), LINES, "{}")
        .await
        .refused(400, "bad_request");
    post(&proxy, "topic=no-such-topic", LINES, "{}")
        .await
        .refused(404, "unknown_topic");
    let answer = post(&proxy, &query, LINES, "{}").await;
    assert_eq!((answer.status, results(&answer).len()), (400, 1));
    proxy.stop().await;
    assert_eq!(cluster.read_topic(&topic).await.unwrap(), []);
}

#[tokio::test]
async fn a_batch_far_larger_than_the_places_of_the_process_slows_down_and_is_stored() {
    let cluster = cluster();
    let topic = topic(&cluster, "narrow", 2).await;
    let keys = [
        ("req_pool_size", "8"),
        ("max_inflight_bytes", "1048576"),
        ("max_request_size_bytes", "200000"),
    ];
    let proxy = Proxy::start_with(&cluster, &keys).await;
    let body: String = (0..300)
        .map(|n| json!({"text": format!("{n:0>20000}")}).to_string() + "\n")
        .collect();
    let answer = post(&proxy, &format!("topic={topic}"), LINES, body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(results(&answer).len(), 300);
    assert_eq!(cluster.read_topic(&topic).await.unwrap().len(), 300);
    proxy.stop().await;
}

#[tokio::test]
async fn a_batch_needs_one_place_of_the_process_and_no_more() {
    let cluster = cluster();
    let topic = topic(&cluster, "place", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("req_pool_size", "1")]).await;
    let body: String = (0..5).map(|n| format!("{{\"text\":\"{n}\"}}\n")).collect();
    let answer = post(&proxy, &format!("topic={topic}"), LINES, body).await;
    assert_eq!(
        (answer.status, results(&answer).len()),
        (200, 5),
        "{}",
        answer.body
    );
    proxy.stop().await;
}

#[tokio::test]
async fn the_time_for_a_body_stands_still_while_kafka_is_awaited() {
    let cluster = cluster();
    let topic = topic(&cluster, "patient", 1).await;
    // Each record waits a second for company, and the next one for its place.
    let keys = [
        ("linger_ms", "1000"),
        ("req_pool_size", "1"),
        ("request_timeout_ms", "4000"),
    ];
    let proxy = Proxy::start_with(&cluster, &keys).await;
    let mut client = proxy.connect().await;
    let head = format!(
        "POST /commit/batch?topic={topic} HTTP/1.1\r\nHost: x\r\nContent-Type: {LINES}\r\nContent-Length: 90\r\n\r\n"
    );
    client.send(head).await;
    client.send("{\"text\":\"1\"}\n".repeat(6).as_bytes()).await;
    eventually("five records took five seconds", PATIENCE, async || {
        proxy
            .metric("kproxy_requests_total", &["result=\"stored\""])
            .await
            == 5.0
    })
    .await;
    // The sixth is on its way, so the seventh would come too late if the wait counted.
    client.send("{\"text\":\"2\"}").await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, results(&answer).len()),
        (200, 7),
        "{}",
        answer.body
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_body_that_becomes_too_large_is_told_beside_what_was_stored() {
    let cluster = cluster();
    let topic = topic(&cluster, "endless", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("max_batch_bytes", "100000")]).await;
    let body: String = (0..20_000).map(|n| format!("{{\"text\":\"{n}\"}}\n")).collect();
    let answer = post(&proxy, &format!("topic={topic}"), LINES, body).await;
    assert_eq!(answer.status, 207, "{}", answer.body);
    assert_eq!(answer.json()["error"]["code"], "body_too_large");
    let stored = results(&answer).len();
    assert!(stored > 0 && stored < 20_000);
    assert_eq!(cluster.read_topic(&topic).await.unwrap().len(), stored);
    proxy.stop().await;
}

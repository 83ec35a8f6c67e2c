//! ktransfer on a real cluster as a process: what a push looks like, byte for byte, and what becomes of it.

#[cfg(test)]
mod content;
#[cfg(test)]
mod eviction;
mod form;
#[cfg(test)]
mod gaps;
mod limits;
#[cfg(test)]
mod methods;
#[cfg(test)]
mod order;
mod pace;
#[cfg(test)]
mod php;
#[cfg(test)]
mod raw;
mod retries;
mod secure;
mod servers;
#[cfg(test)]
mod share;
#[cfg(test)]
mod stuck;
#[cfg(test)]
mod undelivered;
#[cfg(test)]
pub(crate) mod world;

use ktests::{Backend, NewRecord};
use serde_json::json;

use world::{Scene, daemon, delivers, keyed, noise, produce_any, unkeyed};

fn encoded(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
        other => format!("%{other:02X}"),
    };
    bytes.iter().map(one).collect()
}

#[tokio::test]
async fn the_uri_holds_all_five_placeholders_percent_encoded_byte_for_byte() {
    let (scene, backend) = (Scene::new("uri", 2).await, Backend::start().await);
    let mut module = scene.module(&backend.addresses());
    module["methods"] = json!(["Do it/é"]);
    module["protocol"]["uri"] =
        json!("/{#METHOD}/{#TOPIC}/{#PARTITION}/{#TRANSID}/%2F?key={#KEY}&again={#KEY}{#KEY}&end=1");
    let body = rmp_serde::to_vec_named(&json!({"id": 7, "method": "Do it/é"})).unwrap();
    let every_byte: Vec<u8> = (0..=255).collect();
    let keys: [Option<&[u8]>; 9] = [
        Some(b"plain"),
        Some(b"#?&% /"),
        Some(b"a=b+c%41"),
        Some("schlüssel".as_bytes()),
        Some(&every_byte),
        Some(b"\r\nHost: evil\r\n\r\n"),
        Some(b"{#TOPIC}"),
        Some(b""),
        None,
    ];
    let records = keys.map(|key| NewRecord {
        partition: Some(1),
        key: key.map(|key| key.to_vec().into()),
        value: body.clone().into(),
        ..NewRecord::default()
    });
    scene.produce(records).await;
    let _daemon = scene.start(&module).await;
    delivers(&backend, keys.len()).await;
    let requests = backend.requests();
    for (offset, key) in keys.iter().enumerate() {
        let key = encoded(key.unwrap_or_default());
        let uri = format!(
            "/Do%20it%2F%C3%A9/{}/1/{offset}/%2F?key={key}&again={key}{key}&end=1",
            scene.name
        );
        let found = requests.iter().filter(|seen| seen.uri == uri.as_bytes()).count();
        assert_eq!(found, 1, "{uri} in {requests:?}");
    }
    assert_eq!(encoded(b"#?&% /"), "%23%3F%26%25%20%2F");
    assert_eq!(requests.len(), keys.len());
}

#[tokio::test]
async fn a_key_that_makes_no_uri_is_passed_over_and_told() {
    let (scene, backend) = (Scene::new("toolong", 1).await, Backend::start().await);
    let long = "ü".repeat(12_000);
    scene
        .produce(["before", &long, "after"].map(|key| keyed(key.to_owned(), "body")))
        .await;
    let daemon = scene.start(&scene.module(&backend.addresses())).await;
    scene.stores(3).await;
    assert_eq!(backend.count(), 2);
    let passed = daemon
        .metric("ktransfer_records_passed_over_total", &["reason=\"unpushable\""])
        .await;
    assert_eq!(passed, Some(1.0));
    let log = daemon.log();
    assert!(
        log.contains("no request can be made of it") && !log.contains(&long),
        "{log}"
    );
}

#[tokio::test]
async fn headers_are_those_of_the_file_and_the_host_is_the_servers_own_unless_set() {
    let (with, without) = (Scene::new("headers", 1).await, Scene::new("host", 1).await);
    let (with_backend, without_backend) = (Backend::start().await, Backend::start().await);
    let mut module = with.module(&with_backend.addresses());
    module["protocol"]["headers"] = json!([
        {"Host": "www.example.com"},
        {"X-Token": "a b; c=\"d\""},
        {"Content-Type": "application/x-msgpack"}
    ]);
    let plain = without.module(&without_backend.addresses());
    with.produce([keyed("k", "body")]).await;
    without.produce([keyed("k", "body")]).await;
    let modules = [(with.name.as_str(), &module), (without.name.as_str(), &plain)];
    let _daemon = daemon(&with.cluster, &modules).start().await;
    delivers(&with_backend, 1).await;
    delivers(&without_backend, 1).await;
    let lines = |backend: &Backend| {
        let text = backend.requests()[0].headers.to_string();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(
        lines(&with_backend),
        [
            "content-length: 4",
            "content-type: application/x-msgpack",
            "host: www.example.com",
            "x-token: a b; c=\"d\"",
        ]
    );
    let host = format!("host: {}", without_backend.address());
    assert_eq!(lines(&without_backend), ["content-length: 4", host.as_str()]);
}

#[tokio::test]
async fn bodies_arrive_byte_for_byte_the_empty_the_absent_and_the_large() {
    let (scene, backend) = (Scene::new("bodies", 1).await, Backend::start().await);
    let large = noise(1_000_000);
    let every_byte: Vec<u8> = (0..=255).collect();
    let bodies: [Option<&[u8]>; 6] = [
        Some(b"text"),
        Some(b""),
        None,
        Some(&every_byte),
        Some(b"0\r\n\r\nPOST / HTTP/1.1\r\n\r\n"),
        Some(&large),
    ];
    for body in bodies {
        produce_any(&scene, "k", body).await;
    }
    scene.produce([unkeyed("last")]).await;
    let _daemon = scene.start(&scene.module(&backend.addresses())).await;
    delivers(&backend, bodies.len() + 1).await;
    let requests = backend.requests();
    for (offset, body) in (0..).zip(bodies) {
        let seen = world::of_offset(&requests, offset);
        assert_eq!(seen.len(), 1);
        let body = body.unwrap_or_default();
        assert!(seen[0].body == body, "the body at offset {offset} is another");
        assert_eq!(
            seen[0].header("content-length"),
            Some(body.len().to_string().as_str())
        );
        assert_eq!(seen[0].header("transfer-encoding"), None);
    }
    scene.stores(7).await;
}

//! kproxy on a real Kafka: what it stores, what it refuses, whom it cuts, and how it ends.

#[cfg(test)]
mod access;
#[cfg(test)]
mod api;
#[cfg(test)]
mod batch;
mod clients;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod examples;
mod faults;
mod limits;
#[cfg(test)]
mod listen;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod metadata;
#[cfg(test)]
mod ordeal;
mod process;
mod refusals;
#[cfg(test)]
mod rest;
#[cfg(test)]
mod siege;
mod stop;
#[cfg(test)]
mod systemd;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod world;

use ktests::{cluster, eventually};

use world::{PATIENCE, Proxy, topic};

#[tokio::test]
async fn a_record_reads_back_byte_for_byte() {
    let cluster = cluster();
    let topic = topic(&cluster, "bytes", 3).await;
    let proxy = Proxy::start(&cluster).await;
    let every_byte: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for (key, acks) in [
        ("plain", ""),
        ("a%26b%3D%25%00%FF", "&acks=1"),
        ("%E4%BD%A0%E5%A5%BD+x", "&acks=-1"),
    ] {
        let query = format!("topic={topic}&key={key}{acks}");
        let answer = proxy.post(&query, every_byte.clone()).await;
        let place = answer.stored();
        assert_eq!(place["topic"], topic.as_str());
        assert!(
            place["timestamp"].as_i64().unwrap() > 1_500_000_000_000,
            "{place}"
        );
    }
    let records = cluster.read_topic(&topic).await.unwrap();
    let mut keys: Vec<_> = records.iter().map(|record| record.key.clone().unwrap()).collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            b"a&b=%\0\xff".to_vec(),
            b"plain".to_vec(),
            "你好 x".as_bytes().to_vec()
        ]
    );
    assert!(records.iter().all(|record| record.value == every_byte));
    proxy.stop().await;
}

#[tokio::test]
async fn the_answer_says_where_the_record_is() {
    let cluster = cluster();
    let topic = topic(&cluster, "place", 4).await;
    let proxy = Proxy::start(&cluster).await;
    let mut told = Vec::new();
    for number in 0..20 {
        let query = format!(
            "topic={topic}&key=k{}&acks={}",
            number % 5,
            ["1", "-1"][number % 2]
        );
        let place = proxy.post(&query, format!("{number}")).await.stored();
        told.push((
            place["partition"].as_i64().unwrap(),
            place["offset"].as_i64().unwrap(),
            format!("{number}").into_bytes(),
        ));
    }
    let mut found: Vec<_> = cluster
        .read_topic(&topic)
        .await
        .unwrap()
        .into_iter()
        .map(|record| (i64::from(record.partition), record.offset, record.value))
        .collect();
    told.sort();
    found.sort();
    assert_eq!(told, found);
    proxy.stop().await;
}

#[tokio::test]
async fn without_acks_the_offset_is_null_and_the_record_arrives() {
    let cluster = cluster();
    let topic = topic(&cluster, "acks0", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let place = proxy
        .post(&format!("topic={topic}&key=a&acks=0"), "x")
        .await
        .stored();
    assert!(place["offset"].is_null(), "{place}");
    eventually("the record is there", PATIENCE, async || {
        cluster.read_topic(&topic).await.unwrap().len() == 1
    })
    .await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_key_goes_to_the_partition_the_original_chose() {
    let cluster = cluster();
    let topic = topic(&cluster, "vectors", 12).await;
    let proxy = Proxy::start(&cluster).await;
    for (key, partition) in [
        ("a", 0),
        ("b", 3),
        ("key", 4),
        ("user-1", 0),
        ("user-2", 3),
        ("42", 5),
        ("%E4%BD%A0%E5%A5%BD", 1),
        ("x%20y", 0),
        ("a%26b", 0),
        ("order:7", 4),
        ("zzzzzzzzzz", 11),
        ("k9999", 10),
    ] {
        for acks in ["1", "-1"] {
            let place = proxy
                .post(&format!("topic={topic}&key={key}&acks={acks}"), "x")
                .await
                .stored();
            assert_eq!(place["partition"], partition, "{key} with acks={acks}");
        }
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_record_without_key_has_none_and_goes_anywhere() {
    let cluster = cluster();
    let topic = topic(&cluster, "keyless", 8).await;
    let proxy = Proxy::start(&cluster).await;
    for number in 0..40 {
        let key = ["", "&key", "&key="][number % 3];
        proxy.post(&format!("topic={topic}{key}"), "x").await.stored();
    }
    let records = cluster.read_topic(&topic).await.unwrap();
    assert_eq!(records.len(), 40);
    assert!(records.iter().all(|record| record.key.is_none()));
    // All in one of eight by chance: once in 10^35 runs.
    assert!(
        records
            .iter()
            .any(|record| record.partition != records[0].partition)
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_waits_keeps_the_order_of_its_key() {
    let cluster = cluster();
    let topic = topic(&cluster, "order", 4).await;
    let proxy = Proxy::start(&cluster).await;
    let clients = (0..8).map(|client| {
        let (proxy, topic) = (&proxy, &topic);
        async move {
            for number in 0..50 {
                let query = format!("topic={topic}&key=k{client}");
                proxy.post(&query, format!("{number:04}")).await.stored();
            }
        }
    });
    futures_util::future::join_all(clients).await;
    let records = cluster.read_topic(&topic).await.unwrap();
    assert_eq!(records.len(), 400);
    for client in 0..8 {
        let key = format!("k{client}").into_bytes();
        let values: Vec<_> = records
            .iter()
            .filter(|record| record.key.as_ref() == Some(&key))
            .map(|record| &record.value)
            .collect();
        assert!(values.is_sorted() && values.len() == 50);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn chunked_bodies_are_taken() {
    let cluster = cluster();
    let topic = topic(&cluster, "chunked", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let mut client = proxy.connect().await;
    let head =
        format!("POST /commit?topic={topic} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(&head).await;
    client.send("5\r\nhello\r\n").await;
    client
        .send("1\r\n \r\n5;name=value\r\nworld\r\n0\r\nTrailer: x\r\n\r\n")
        .await;
    client.answer().await.stored();
    assert_eq!(cluster.read_topic(&topic).await.unwrap()[0].value, b"hello world");
    proxy.stop().await;
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let cluster = cluster();
    let topic = topic(&cluster, "connection", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let mut client = proxy.connect().await;
    // Three at once, in one packet; the answers come in their order.
    let requests: String = (0..3)
        .map(|number| world::request(&topic, &format!("body {number}")))
        .collect();
    client.send(&requests).await;
    for offset in 0..3 {
        assert_eq!(client.answer().await.stored()["offset"], offset);
    }
    // Asked for permission to send.
    let head = format!(
        "POST /commit?topic={topic} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    );
    client.send(&head).await;
    client.read_until("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send("last").await;
    assert_eq!(client.answer().await.stored()["offset"], 3);
    // A client that has said everything still gets its answer.
    client.send(&world::request(&topic, "closed")).await;
    client.finish().await;
    assert_eq!(client.answer().await.stored()["offset"], 4);
    proxy.stop().await;
}

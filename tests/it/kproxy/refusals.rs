//! What is refused, with which status, code and rule, and that nothing of it reaches Kafka.

use ktests::{cluster, eventually};

use super::world::{PATIENCE, Proxy, request, topic};

#[expect(clippy::too_many_lines, reason = "a table of requests and what each is told")]
#[tokio::test]
async fn every_wrong_request_is_told_its_fault_and_stores_nothing() {
    let cluster = cluster();
    let topic = topic(&cluster, "wrong", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let long = "x".repeat(250);
    for (query, status, code, rule) in [
        ("", 400, "bad_request", "topic is missing"),
        ("key=a", 400, "bad_request", "topic is missing"),
        ("topic=", 400, "bad_request", "empty"),
        ("topic=..", 400, "bad_request", "\\\"..\\\""),
        ("topic=a%00b", 400, "bad_request", "illegal character at byte 1"),
        (
            "topic=%E4%BD%A0",
            400,
            "bad_request",
            "illegal character at byte 0",
        ),
        ("topic=a/b", 400, "bad_request", "illegal character at byte 1"),
        (&format!("topic={long}"), 400, "bad_request", "250 bytes"),
        (
            &format!("topic={topic}&topic={topic}"),
            400,
            "bad_request",
            "topic occurs more than once",
        ),
        (
            &format!("topic={topic}&key=a&key=b"),
            400,
            "bad_request",
            "key occurs more than once",
        ),
        (
            &format!("topic={topic}&acks=1&acks=1"),
            400,
            "bad_request",
            "acks occurs more than once",
        ),
        (&format!("topic={topic}&acks=2"), 400, "bad_request", "0, 1 or -1"),
        (
            &format!("topic={topic}&acks=all"),
            400,
            "bad_request",
            "0, 1 or -1",
        ),
        (
            &format!("topic={topic}&key=%4"),
            400,
            "bad_request",
            "hexadecimal",
        ),
        (
            "topic=no-such-topic-anywhere",
            404,
            "unknown_topic",
            "does not exist",
        ),
    ] {
        let answer = proxy.post(query, "x").await;
        answer.refused(status, code);
        assert!(answer.body.contains(rule), "{query}: {}", answer.body);
    }
    proxy
        .post(&format!("topic={topic}"), "")
        .await
        .refused(400, "empty_body");
    assert_eq!(cluster.read_topic(&topic).await.unwrap(), []);
    proxy.stop().await;
}

#[tokio::test]
async fn an_empty_body_is_refused_in_every_form() {
    let cluster = cluster();
    let topic = topic(&cluster, "empty", 1).await;
    let proxy = Proxy::start(&cluster).await;
    for rest in [
        "\r\n",
        "Content-Length: 0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let mut client = proxy.connect().await;
        client
            .send(format!(
                "POST /commit?topic={topic} HTTP/1.1\r\nHost: x\r\n{rest}"
            ))
            .await;
        client.answer().await.refused(400, "empty_body");
        // The connection is as good as before.
        client.send(request(&topic, "x")).await;
        client.answer().await.stored();
    }
    proxy.stop().await;
}

#[tokio::test]
async fn only_post_commit_is_served() {
    let cluster = cluster();
    let topic = topic(&cluster, "paths", 1).await;
    let proxy = Proxy::start(&cluster).await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        let mut client = proxy.connect().await;
        client
            .send(format!(
                "{method} /commit?topic={topic} HTTP/1.1\r\nHost: x\r\n\r\n"
            ))
            .await;
        if method == "HEAD" {
            let head = String::from_utf8(client.read_until("\r\n\r\n").await).unwrap();
            assert!(
                head.starts_with("HTTP/1.1 405 ") && head.contains("allow: POST\r\n"),
                "{head}"
            );
            continue;
        }
        let answer = client.answer().await;
        assert_eq!(
            answer.refused(405, "method_not_allowed").header("allow"),
            Some("POST")
        );
    }
    for path in [
        "/",
        "/commit/",
        "/Commit",
        "/commits",
        "/commit/x",
        "/metrics",
        "//commit",
    ] {
        let mut client = proxy.connect().await;
        client
            .send(format!(
                "POST {path}?topic={topic} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
            ))
            .await;
        client.answer().await.refused(404, "not_found");
    }
    assert_eq!(cluster.read_topic(&topic).await.unwrap(), []);
    proxy.stop().await;
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_ends_nothing() {
    let cluster = cluster();
    let topic = topic(&cluster, "garbage", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let header_flood = format!("POST /commit HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let long_head = format!("POST /commit?key={} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let two_lengths =
        format!("POST /commit?topic={topic} HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy");
    let bad_chunk = format!(
        "POST /commit?topic={topic} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n"
    );
    let negative = format!("POST /commit?topic={topic} HTTP/1.1\r\nContent-Length: -1\r\n\r\nx");
    for garbage in [
        "\0\u{1}\u{2}\r\n\r\n",
        "GARBAGE\r\n\r\n",
        &header_flood,
        &long_head,
        &two_lengths,
        &bad_chunk,
        &negative,
    ] {
        let mut client = proxy.connect().await;
        client.send(garbage).await;
        client.finish().await;
        let answer = client.closed().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    proxy.post(&format!("topic={topic}"), "x").await.stored();
    assert_eq!(cluster.read_topic(&topic).await.unwrap().len(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn legacy_acks_takes_anything_as_one() {
    let cluster = cluster();
    let topic = topic(&cluster, "legacy", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("legacy_acks", "true")]).await;
    let place = proxy.post(&format!("topic={topic}&acks=7"), "x").await.stored();
    assert_eq!(place["offset"], 0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_topic_counts_as_soon_as_it_exists_and_until_it_is_gone() {
    let cluster = cluster();
    let name = ktests::unique("kproxy-later");
    let proxy = Proxy::start(&cluster).await;
    let query = format!("topic={name}&key=a");
    proxy.post(&query, "x").await.refused(404, "unknown_topic");
    cluster.create_topic(&name, 1).await.unwrap();
    eventually("the new topic is taken", PATIENCE, async || {
        let answer = proxy.post(&query, "x").await;
        assert!(matches!(answer.status, 200 | 404), "{answer:?}");
        answer.status == 200
    })
    .await;
    cluster.delete_topic(&name).await.unwrap();
    eventually("the topic is gone", PATIENCE, async || {
        proxy.post(&query, "x").await.status == 404
    })
    .await;
    proxy.stop().await;
}

#[tokio::test]
async fn made_up_names_ask_kafka_once_a_second_at_most() {
    let cluster = cluster();
    let proxy = Proxy::start(&cluster).await;
    let began = std::time::Instant::now();
    for number in 0..500 {
        proxy
            .post(&format!("topic=made-up-{number}"), "x")
            .await
            .refused(404, "unknown_topic");
    }
    let lists = proxy.metric("kproxy_topic_lists_total", &[]).await;
    let allowed = began.elapsed().as_secs_f64() + 2.0;
    assert!(
        (1.0..=allowed).contains(&lists),
        "{lists} lists in {:?}",
        began.elapsed()
    );
    proxy.stop().await;
}

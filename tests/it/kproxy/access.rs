//! Who may do what: topics that records are taken for, and what kproxy shows of its own secrets.

use ktests::{Setup, cluster, eventually, ports::free_port};

use super::world::{Client, PATIENCE, Proxy, config, topic, yaml};

pub(super) const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";
pub(super) const REST: &str = "Content-Type: application/vnd.kafka.json.v2+json\r\n";

#[tokio::test]
async fn topics_that_are_not_allowed_are_refused_on_every_way_and_not_listed() {
    let cluster = cluster();
    let open = topic(&cluster, "rules-open", 1).await;
    let shut = topic(&cluster, "rules-open-shut", 1).await;
    let other = topic(&cluster, "other", 1).await;
    let allowed = "[\"*rules-open*\"]";
    let denied = "[\"*-shut-*\"]";
    let proxy = Proxy::start_with(
        &cluster,
        &[("topics_allowed", allowed), ("topics_denied", denied)],
    )
    .await;
    for (topic, status) in [(&open, 200), (&shut, 403), (&other, 403)] {
        let rest = "{\"records\":[{\"value\":1}]}";
        for (method, path, headers, body) in [
            ("POST", format!("/commit?topic={topic}"), "", "x"),
            (
                "POST",
                format!("/commit/batch?topic={topic}"),
                NDJSON,
                "{\"text\":\"x\"}",
            ),
            ("POST", format!("/topics/{topic}"), REST, rest),
            ("POST", format!("/topics/{topic}/partitions/0"), REST, rest),
            ("GET", format!("/topics/{topic}"), "", ""),
        ] {
            let answer = proxy.ask(&format!("{method} {path}"), headers, body).await;
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
            if status == 403 {
                assert!(answer.body.contains("topics_allowed"), "{answer:?}");
            }
        }
    }
    let listed = proxy.ask("GET /topics", "", "").await.body;
    assert!(listed.contains(&open), "{listed}");
    assert!(!listed.contains(&shut) && !listed.contains(&other), "{listed}");
    assert_eq!(cluster.read_topic(&open).await.unwrap().len(), 4);
    assert_eq!(cluster.read_topic(&shut).await.unwrap(), []);
    assert_eq!(cluster.read_topic(&other).await.unwrap(), []);
    proxy.stop().await;
}

#[tokio::test]
async fn options_of_librdkafka_reach_its_clients() {
    let cluster = cluster();
    let topic = topic(&cluster, "options", 1).await;
    let proxy = Proxy::start_with(
        &cluster,
        &[("librdkafka", "{compression.type: zstd, client.id: named}")],
    )
    .await;
    proxy
        .post(&format!("topic={topic}"), "x".repeat(1000))
        .await
        .stored();
    proxy.stop().await;
    // A broker that speaks no TLS answers nobody who asks for it.
    let proxy = Proxy::spawn_with(&cluster, &[("librdkafka", "{security.protocol: ssl}")]);
    eventually("kproxy listens", PATIENCE, async || {
        Client::try_connect(proxy.port).await.is_some()
    })
    .await;
    proxy
        .post(&format!("topic={topic}"), "x")
        .await
        .refused(503, "brokers_away");
    proxy.stop().await;
}

#[tokio::test]
async fn wrong_options_of_librdkafka_end_with_78_and_no_value() {
    for (options, word) in [
        ("{no.such.password: s3cret}", "librdkafka.no.such.password"),
        ("{bootstrap.servers: s3cret}", "broker_hosts"),
        (
            "{security.protocol: ssl, ssl.key.password: s3cret, ssl.key.location: /no/such/file}",
            "ssl.key.location",
        ),
    ] {
        let mut wrong = config("127.0.0.1:1", free_port());
        wrong.insert("librdkafka", options.to_owned());
        for arguments in [
            &["-f", "conf/kproxy.yaml"][..],
            &["-f", "conf/kproxy.yaml", "--check"],
        ] {
            let (status, output) = Setup::new("kproxy", yaml(&wrong))
                .arguments(arguments)
                .run()
                .await;
            assert_eq!(status.code(), Some(78), "{output}");
            assert!(output.contains(word) && !output.contains("s3cret"), "{output}");
        }
    }
}

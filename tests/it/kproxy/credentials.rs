//! Callers that show who they are: what each may do, how much of it, and what is never shown of their secrets.

use kproxy::access::{password, token};
use ktests::{Cluster, Setup, cluster, eventually, http, ports::free_port};

use super::access::{NDJSON, REST};
use super::world::{PATIENCE, Proxy, config, topic, yaml};

/// Two principals, and what they send.
struct Callers {
    file: String,
    bearer: String,
    basic: String,
    secrets: Vec<String>,
}

/// `shop` has a token for topics that begin with its name, `bank` a password for everything, and both have more `keys`.
fn callers(topic: &str, keys: &str) -> Callers {
    let token = token::fresh().unwrap();
    let hash = password::hash(b"hunter22").unwrap();
    let (_, secret) = token.token.split_once('.').unwrap();
    let (_, digest) = token.kept.split_once(':').unwrap();
    Callers {
        file: format!(
            "principals:\n  shop:\n    tokens: ['{}']\n    topics: ['{topic}*']\n    acks: [1]\n{keys}  bank:\n    password: '{hash}'\n    \
             topics: ['*']\n{keys}",
            token.kept
        ),
        bearer: format!("Authorization: Bearer {}\r\n", token.token),
        // bank:hunter22
        basic: "Authorization: Basic YmFuazpodW50ZXIyMg==\r\n".to_owned(),
        secrets: vec![
            secret.to_owned(),
            digest.to_owned(),
            "hunter22".to_owned(),
            "YmFuazpodW50ZXIyMg".to_owned(),
            hash.rsplit('$').next().unwrap().to_owned(),
        ],
    }
}

async fn start(cluster: &Cluster, credentials: &str) -> Proxy {
    let port = free_port();
    let mut config = config(&cluster.brokers, port);
    config.insert("credentials_file", "conf/credentials.yaml".to_owned());
    let setup = Setup::new("kproxy", yaml(&config)).file("conf/credentials.yaml", credentials);
    Proxy {
        daemon: setup.start().await,
        port,
    }
}

#[tokio::test]
async fn every_way_in_asks_who_it_is_and_grants_what_was_granted() {
    let cluster = cluster();
    let own = topic(&cluster, "granted", 1).await;
    let other = topic(&cluster, "foreign", 1).await;
    let callers = callers(&own, "");
    let proxy = start(&cluster, &callers.file).await;
    let (bearer, basic) = (&*callers.bearer, &*callers.basic);
    let wrong = "Authorization: Bearer 0123456789abcdef.x\r\n";
    let ndjson = "{\"text\":\"x\"}";
    for (shown, topic, acks, status, code) in [
        (bearer, &own, 1, 200, ""),
        (basic, &own, -1, 200, ""),
        (basic, &other, 0, 200, ""),
        (bearer, &own, -1, 403, "acks_not_granted"),
        (bearer, &other, 1, 403, "topic_not_granted"),
        ("", &own, 1, 401, "no_credentials"),
        (wrong, &own, 1, 401, "bad_credentials"),
    ] {
        for (path, headers, body) in [("/commit", "", "x"), ("/commit/batch", NDJSON, ndjson)] {
            let line = format!("POST {path}?topic={topic}&acks={acks}");
            let answer = proxy.ask(&line, &format!("{shown}{headers}"), body).await;
            assert_eq!(answer.status, status, "{line} {shown}: {answer:?}");
            if status != 200 {
                answer.refused(status, code);
            }
            assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
        }
    }
    eventually("exactly what was granted is there", PATIENCE, async || {
        let count = async |topic: &str| cluster.read_topic(topic).await.unwrap().len();
        (count(&own).await, count(&other).await) == (4, 2)
    })
    .await;
    for (metric, label, count) in [
        ("kproxy_logins_refused_total", "code=\"no_credentials\"", 2.0),
        ("kproxy_logins_refused_total", "code=\"bad_credentials\"", 2.0),
        ("kproxy_principal_refused_total", "principal=\"shop\"", 4.0),
        ("kproxy_principal_requests_total", "principal=\"bank\"", 4.0),
    ] {
        assert_eq!(proxy.metric(metric, &[label]).await, count, "{metric} {label}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn the_shared_api_grants_the_same_with_its_own_error_codes() {
    let cluster = cluster();
    let own = topic(&cluster, "granted-rest", 1).await;
    let other = topic(&cluster, "foreign-rest", 1).await;
    let callers = callers(&own, "");
    let with_all = callers.file.replace("acks: [1]", "acks: [0, -1]");
    let rest = "{\"records\":[{\"value\":1}]}";
    let (bearer, basic) = (&*callers.bearer, &*callers.basic);
    // Its records are stored with the acknowledgement of all.
    for (file, own_status) in [(&callers.file, 403), (&with_all, 200)] {
        let proxy = start(&cluster, file).await;
        for (shown, topic, status, code) in [
            (basic, &own, 200, "offset"),
            (bearer, &own, own_status, ""),
            (bearer, &other, 403, "40301"),
            ("", &own, 401, "40101"),
            ("Authorization: Bearer a.b\r\n", &own, 401, "40101"),
        ] {
            for path in [
                format!("/topics/{topic}"),
                format!("/topics/{topic}/partitions/0"),
            ] {
                let headers = format!("{shown}{REST}");
                let answer = proxy.ask(&format!("POST {path}"), &headers, rest).await;
                assert_eq!(answer.status, status, "{path} {shown}: {answer:?}");
                assert!(answer.body.contains(code), "{path} {shown}: {answer:?}");
            }
        }
        let listed = proxy.ask("GET /topics", bearer, "").await.body;
        assert!(listed.contains(&own) && !listed.contains(&other), "{listed}");
        for (topic, status) in [(&own, 200), (&other, 403)] {
            let described = proxy.ask(&format!("GET /topics/{topic}"), bearer, "").await;
            assert_eq!(described.status, status, "{described:?}");
        }
        assert_eq!(proxy.ask("GET /topics", "", "").await.status, 401);
        proxy.stop().await;
    }
    assert_eq!(cluster.read_topic(&own).await.unwrap().len(), 6);
    assert_eq!(cluster.read_topic(&other).await.unwrap(), []);
}

#[tokio::test]
async fn a_caller_that_has_spent_its_quota_waits_and_no_other_does() {
    let cluster = cluster();
    let topic = topic(&cluster, "quota", 1).await;
    let callers = callers(&topic, "    requests_per_second: 3\n    bytes_per_second: 2048\n");
    let proxy = start(&cluster, &callers.file).await;
    let line = format!("POST /commit?topic={topic}");
    let large = "x".repeat(20_000);
    proxy.ask(&line, &callers.bearer, &large).await.stored();
    let refused = proxy.ask(&line, &callers.bearer, "x").await;
    let wait: u64 = refused
        .refused(429, "quota_exceeded")
        .header("retry-after")
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        (5..=9).contains(&wait) && refused.body.contains("bytes"),
        "{refused:?}"
    );
    // Records count one by one: this batch is paid in three seconds.
    let batch = "{\"text\":\"x\"}\n".repeat(11);
    let batch_line = format!("POST /commit/batch?topic={topic}");
    let both = format!("{}{NDJSON}", callers.basic);
    assert_eq!(proxy.ask(&batch_line, &both, &batch).await.status, 200);
    let refused = proxy.ask(&line, &callers.basic, "x").await;
    assert!(
        refused.refused(429, "quota_exceeded").body.contains("requests"),
        "{refused:?}"
    );
    eventually("the debt is paid", PATIENCE, async || {
        proxy.ask(&line, &callers.basic, "x").await.status == 200
    })
    .await;
    assert_eq!(cluster.read_topic(&topic).await.unwrap().len(), 13);
    proxy.stop().await;
}

#[tokio::test]
async fn wrong_passwords_are_soon_not_even_looked_at() {
    let cluster = cluster();
    let topic = topic(&cluster, "attempts", 1).await;
    let callers = callers(&topic, "");
    let proxy = start(&cluster, &callers.file).await;
    let line = format!("POST /commit?topic={topic}");
    proxy.ask(&line, &callers.basic, "x").await.stored();
    // bank:hunter2
    let wrong = "Authorization: Basic YmFuazpodW50ZXIy\r\n";
    let mut looked_at = 0;
    loop {
        let answer = proxy.ask(&line, wrong, "x").await;
        if answer.status == 429 {
            answer.refused(429, "too_many_attempts");
            break;
        }
        answer.refused(401, "bad_credentials");
        looked_at += 1;
    }
    // One more every six seconds.
    assert!((10..20).contains(&looked_at), "{looked_at}");
    // Whom kproxy knows is not concerned.
    proxy.ask(&line, &callers.basic, "x").await.stored();
    proxy.ask(&line, &callers.bearer, "x").await.stored();
    proxy.stop().await;
}

#[tokio::test]
async fn a_changed_file_holds_without_a_restart_and_a_wrong_one_is_told() {
    let cluster = cluster();
    let topic = topic(&cluster, "reload", 1).await;
    let (before, after) = (callers(&topic, ""), callers(&topic, ""));
    let proxy = start(&cluster, &before.file).await;
    let line = format!("POST /commit?topic={topic}");
    let status = async |callers: &Callers| proxy.ask(&line, &callers.bearer, "x").await.status;
    assert_eq!((status(&before).await, status(&after).await), (200, 401));
    proxy
        .daemon
        .write("conf/credentials.yaml", "principals: {shop: {topics: [x]}}\n");
    eventually("the wrong file is told of", PATIENCE, async || {
        proxy
            .metric("kproxy_file_refused", &["file=\"credentials\""])
            .await
            == 1.0
    })
    .await;
    assert!(proxy.daemon.log().contains("principals.shop: has no password"));
    assert_eq!((status(&before).await, status(&after).await), (200, 401));
    proxy.daemon.write("conf/credentials.yaml", &after.file);
    eventually("the new file holds", PATIENCE, async || {
        status(&after).await == 200
    })
    .await;
    assert_eq!(status(&before).await, 401);
    assert_eq!(proxy.metric("kproxy_file_refused", &[]).await, 0.0);
    proxy.stop().await;
}

#[tokio::test]
async fn no_secret_is_in_a_log_an_output_or_a_metric() {
    let cluster = cluster();
    let topic = topic(&cluster, "secrets", 1).await;
    let callers = callers(&topic, "");
    let port = free_port();
    let mut config = config(&cluster.brokers, port);
    config.insert("credentials_file", "conf/credentials.yaml".to_owned());
    config.insert(
        "librdkafka",
        "{sasl.username: s3cret-name, sasl.password: s3cret-word, debug: all}".to_owned(),
    );
    let setup = Setup::new("kproxy", yaml(&config)).file("conf/credentials.yaml", &*callers.file);
    let mut shown = setup
        .clone()
        .arguments(&["-f", "conf/kproxy.yaml", "--check"])
        .run()
        .await
        .1;
    let broken = callers.file.replace("topics", "topic");
    let broken = setup.clone().file("conf/credentials.yaml", broken);
    shown += &broken
        .arguments(&["-f", "conf/kproxy.yaml", "--check"])
        .run()
        .await
        .1;
    let proxy = Proxy {
        daemon: setup.start().await,
        port,
    };
    let line = format!("POST /commit?topic={topic}");
    for headers in [&callers.bearer, &callers.basic] {
        proxy.ask(&line, headers, "x").await.stored();
        let wrong = headers.replace("\r\n", "x\r\n");
        shown += &proxy.ask(&line, &wrong, "x").await.body;
    }
    proxy
        .daemon
        .write("conf/credentials.yaml", &callers.file.replace("acks", "ack"));
    eventually("the wrong file is told of", PATIENCE, async || {
        proxy.metric("kproxy_file_refused", &[]).await == 1.0
    })
    .await;
    shown += &http::get(&proxy.daemon.admin("/metrics")).await.unwrap().text();
    shown += &proxy.daemon.readiness().await;
    shown += &proxy.daemon.log();
    shown += &proxy.daemon.output();
    assert!(shown.contains("sasl.password"), "librdkafka told of its options");
    for secret in callers
        .secrets
        .iter()
        .map(String::as_str)
        .chain(["s3cret-name", "s3cret-word"])
    {
        let at = shown.find(secret);
        let around = at.map(|at| shown[at.saturating_sub(200)..at].to_owned());
        assert_eq!(around, None, "{secret}");
    }
    proxy.stop().await;
}

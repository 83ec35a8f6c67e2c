//! `/api/v1` on a real Kafka and a real ZooKeeper: states with their reasons, time lags, owners, and the stream of events.

use std::time::Duration;

use ktests::cluster;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::world::{Monitor, SOON, Znodes, produce, topic};

/// The module `m` of the cluster `c`.
async fn module(monitor: &Monitor) -> Value {
    let answer = monitor.get("/api/v1/modules/c/m").await;
    serde_json::from_str(&answer.body).unwrap_or_default()
}

/// Waits until the module is as it should be.
async fn shows(monitor: &Monitor, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let deadline = tokio::time::Instant::now() + SOON;
    while tokio::time::Instant::now() < deadline {
        last = module(monitor).await;
        if is(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not {what}: {last:#}");
}

fn is(module: &Value, state: &str) -> bool {
    module["state"] == state
}

#[tokio::test]
async fn a_module_that_is_killed_is_stopped_and_says_what_waits() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "killed").await;
    let topic = topic(&cluster, "killed", &[10, 10]).await;
    let owner = |partition: i32| format!("/consumers/m/owners/{topic}/{partition}");
    znodes.register("m", "host1:uuid", &topic).await;
    for partition in 0..2 {
        znodes.commit("m", &topic, partition, 10).await;
        znodes.make(&owner(partition), b"host1:uuid").await;
    }
    let monitor = Monitor::of(&cluster, &znodes).await;
    let well = shows(&monitor, "ok", |module| is(module, "ok")).await;
    assert_eq!(well["lag"], 0);
    assert_eq!(well["lag_seconds"], 0.0);
    assert_eq!(well["owned"], 2);
    let instances = r#"[{"host":"host1","id":"host1:uuid","partitions":2}]"#;
    assert_eq!(well["instances"].to_string(), instances);
    assert_eq!(well["partitions"][1]["owner"], "host1:uuid");
    assert_eq!(well["partitions"][1]["committed"], 10);

    for partition in 0..2 {
        znodes.delete(&owner(partition)).await;
    }
    znodes.delete("/consumers/m/ids/host1:uuid").await;
    produce(&cluster, &topic, 1, 7).await;
    let dead = shows(&monitor, "stopped", |module| {
        is(module, "stopped") && module["lag"] == 7
    })
    .await;
    assert_eq!(dead["code"], 5);
    assert_eq!(dead["owned"], 0);
    assert_eq!(dead["states"].to_string(), r#"{"stopped":2}"#);
    let waits = &dead["partitions"][1];
    assert_eq!(waits["reason"], "no instance owns it; 7 records wait");
    assert!(waits["lag_seconds"].as_f64().unwrap() > 0.0, "{waits}");
    assert_eq!(waits["lag_seconds_certainty"], "measured");

    let listed: Value = serde_json::from_str(&monitor.get("/api/v1/modules?cluster=c").await.body).unwrap();
    assert_eq!(listed["modules"][0]["state"], "stopped");
    let clusters: Value = serde_json::from_str(&monitor.get("/api/v1/clusters").await.body).unwrap();
    assert_eq!(clusters["clusters"][0]["state"], "stopped");
    assert_eq!(clusters["clusters"][0]["sources"]["kafka"]["up"], true);
    monitor.stop().await;
}

#[tokio::test]
async fn records_from_before_the_watch_have_the_age_of_their_timestamps() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "age").await;
    let topic = topic(&cluster, "age", &[5]).await;
    let written = tokio::time::Instant::now();
    znodes.commit("m", &topic, 0, 2).await;
    // The age has to be large against what a search leaves open.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let monitor = Monitor::of(&cluster, &znodes).await;
    let known = shows(&monitor, "measured", |module| {
        module["partitions"][0]["lag_seconds_certainty"] == "measured"
    })
    .await;
    let age = known["partitions"][0]["lag_seconds"].as_f64().unwrap();
    let most = written.elapsed().as_secs_f64() + 4.0;
    assert!((2.5..most).contains(&age), "{age} of {most}");
    monitor.stop().await;
}

#[tokio::test]
async fn commits_that_go_back_and_records_that_are_gone_are_told() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "told").await;
    let topic = topic(&cluster, "told", &[50]).await;
    znodes.register("m", "host1:uuid", &topic).await;
    znodes
        .make(&format!("/consumers/m/owners/{topic}/0"), b"host1:uuid")
        .await;
    znodes.commit("m", &topic, 0, 40).await;
    let monitor = Monitor::of(&cluster, &znodes).await;
    shows(&monitor, "ok", |module| is(module, "ok")).await;
    znodes.commit("m", &topic, 0, 10).await;
    let rewound = shows(&monitor, "rewound", |module| is(module, "rewound")).await;
    assert_eq!(
        rewound["partitions"][0]["reason"],
        "the commit went back to 10 from 40; 30 records come again"
    );
    znodes.commit("m", &topic, 0, 60).await;
    shows(&monitor, "ahead", |module| {
        is(module, "ahead") && module["lag"].is_null()
    })
    .await;
    znodes.commit("m", &topic, 0, 50).await;
    shows(&monitor, "ok", |module| is(module, "ok")).await;
    monitor.stop().await;
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "nothing").await;
    let monitor = Monitor::of(&cluster, &znodes).await;
    for (path, code) in [
        ("/api/v1/modules/c/m", "unknown_module"),
        ("/api/v1/modules/d/m", "unknown_cluster"),
        ("/api/v1/modules?cluster=d", "unknown_cluster"),
    ] {
        let answer = monitor.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["error"]["code"], code, "{path}");
    }
    monitor.stop().await;
}

#[tokio::test]
async fn a_listener_is_told_of_each_round_and_of_every_change() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "listen").await;
    let topic = topic(&cluster, "listen", &[3]).await;
    let monitor = Monitor::of(&cluster, &znodes).await;
    let mut connection = monitor.connect().await;
    let request = "GET /api/v1/events HTTP/1.1\r\nHost: k\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(connection).lines();
    let mut events = 0;
    let listening = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let Some(data) = line.strip_prefix("data: ") else {
                continue;
            };
            let event: Value = serde_json::from_str(data).unwrap();
            assert_eq!(event["cluster"], "c");
            events += 1;
            if events == 3 {
                znodes.commit("m", &topic, 0, 1).await;
            }
            let changes = event["changes"].as_array().unwrap();
            let new = |change: &&Value| change["module"] == "m" && change["from"].is_null();
            if events > 3 && changes.iter().any(|change| new(&change)) {
                break;
            }
        }
    };
    tokio::time::timeout(SOON, listening).await.unwrap();
    assert!(events > 3);
    monitor.stop().await;
}

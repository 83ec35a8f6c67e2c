//! What other monitoring asks of kmonitor, or is told by it: Burrow's interface, Zabbix, Falcon; and the files in
//! `docs/monitoring` that are for them.

use std::collections::BTreeSet;

use ktests::cluster;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::world::{Monitor, SOON, Znodes, section, topic};

async fn get(monitor: &Monitor, path: &str) -> (u16, Value) {
    let answer = monitor.get(path).await;
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

#[tokio::test]
async fn tools_for_burrow_and_zabbix_find_modules_with_their_lags() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "tools").await;
    let topic = topic(&cluster, "tools", &[10]).await;
    znodes.commit("m", &topic, 0, 4).await;
    let monitor = Monitor::of(&cluster, &znodes).await;
    monitor.shows(r#"{"c":{"m":{"0":6}}}"#).await;

    assert_eq!(get(&monitor, "/v3/kafka").await.1["clusters"], json!(["c"]));
    assert_eq!(
        get(&monitor, "/v3/kafka/c/consumer").await.1["consumers"],
        json!(["m"])
    );
    let (status, lag) = get(&monitor, "/v3/kafka/c/consumer/m/lag").await;
    assert_eq!((status, &lag["error"]), (200, &json!(false)));
    assert_eq!(lag["status"]["totallag"], 6);
    assert_eq!(lag["status"]["partitions"][0]["end"]["offset"], 4);
    assert_eq!(lag["request"]["url"], "/v3/kafka/c/consumer/m/lag");
    let (status, missing) = get(&monitor, "/v3/kafka/c/consumer/other/status").await;
    assert_eq!((status, &missing["status"]["status"]), (404, &json!("NOTFOUND")));
    let ends = get(&monitor, &format!("/v3/kafka/c/topic/{topic}")).await.1;
    assert_eq!(ends["offsets"], json!([10]));

    let found = get(&monitor, "/api/v1/zabbix/partitions").await.1;
    let macros = json!([{"{#CLUSTER}": "c", "{#MODULE}": "m", "{#TOPIC}": topic, "{#PARTITION}": "0"}]);
    assert_eq!(found, macros);
    assert_eq!(
        get(&monitor, "/api/v1/zabbix/clusters").await.1,
        json!([{"{#CLUSTER}": "c"}])
    );
    assert_eq!(get(&monitor, "/api/v1/zabbix/numbers").await.1[0]["lag"], 6);
    monitor.stop().await;
}

/// Takes one push and answers it: its path and its items.
async fn take_push(agent: &TcpListener) -> (String, Vec<Value>) {
    let (mut stream, _) = agent.accept().await.unwrap();
    let mut request = Vec::new();
    loop {
        assert!(
            stream.read_buf(&mut request).await.unwrap() > 0,
            "the push was cut"
        );
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if let Ok(items) = serde_json::from_str(body) {
            answer(&mut stream).await;
            return (head.lines().next().unwrap().to_owned(), items);
        }
    }
}

async fn answer(stream: &mut TcpStream) {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsuccess";
    stream.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn numbers_are_pushed_to_falcon_and_a_failed_push_does_not_end_it() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "falcon").await;
    let topic = topic(&cluster, "falcon", &[10]).await;
    znodes.commit("m", &topic, 0, 4).await;
    let agent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let watched = section("c", &cluster.zookeeper, &znodes.chroot, Some(&cluster.brokers));
    let falcon = format!(
        "falcon:\n url: http://{}/v1/push\n endpoint: here\n interval_ms: 1000\n",
        agent.local_addr().unwrap()
    );
    let monitor = Monitor::start(&[("c", watched + &falcon)]).await;
    // The first one is cut off.
    drop(agent.accept().await.unwrap());
    let pushed = async {
        loop {
            let (line, items) = take_push(&agent).await;
            assert_eq!(line, "POST /v1/push HTTP/1.1");
            let lag = items.into_iter().find(|item| item["metric"] == "kmonitor.lag");
            if let Some(lag) = lag {
                return lag;
            }
        }
    };
    let lag = tokio::time::timeout(SOON, pushed).await.unwrap();
    assert_eq!((&lag["value"], &lag["endpoint"]), (&json!(6.0), &json!("here")));
    assert_eq!((&lag["step"], &lag["counterType"]), (&json!(1), &json!("GAUGE")));
    assert_eq!(
        lag["tags"],
        format!("cluster=c,module=m,partition=0,topic={topic}")
    );
    monitor.stop().await;
}

/// The metrics of ours that an expression names.
fn metrics(expression: &str) -> BTreeSet<String> {
    let word = |character: char| !(character.is_ascii_alphanumeric() || character == '_');
    let ours = expression
        .split(word)
        .filter(|name| name.starts_with("kmonitor_"));
    let plain = ours.map(|name| name.trim_end_matches("_bucket").to_owned());
    plain.collect()
}

fn assert_documented(expression: &str) {
    let documented = include_str!("../../../docs/operations.md");
    for name in metrics(expression) {
        assert!(
            documented.contains(&format!("`{name}`")),
            "{name} in {expression} is no metric of ours"
        );
    }
    let (open, closed) = (expression.matches('(').count(), expression.matches(')').count());
    assert_eq!(open, closed, "{expression}");
}

#[test]
fn the_alert_rules_are_rules_and_ask_for_metrics_that_exist() {
    let text = include_str!("../../../docs/monitoring/kmonitor-rules.yml");
    let rules: Value = serde_yaml::from_str(text).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() >= 8);
    for rule in rules {
        assert!(
            rule["alert"].is_string() && rule["annotations"]["summary"].is_string(),
            "{rule}"
        );
        assert_documented(rule["expr"].as_str().unwrap());
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_exist() {
    let text = include_str!("../../../docs/monitoring/kmonitor-grafana.json");
    let dashboard: Value = serde_json::from_str(text).unwrap();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            assert_documented(target["expr"].as_str().unwrap());
            asked += 1;
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        assert_documented(variable["definition"].as_str().unwrap_or_default());
    }
    assert!(asked >= 10);
}

#[test]
fn the_zabbix_template_refers_only_to_what_it_has_and_to_what_is_answered() {
    let text = include_str!("../../../docs/monitoring/kmonitor-zabbix.yaml");
    let file: Value = serde_yaml::from_str(text).unwrap();
    let template = &file["zabbix_export"]["templates"][0];
    let masters: BTreeSet<&str> = template["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["key"].as_str().unwrap())
        .collect();
    for rule in template["discovery_rules"].as_array().unwrap() {
        let path = rule["url"]
            .as_str()
            .unwrap()
            .strip_prefix("{$KMONITOR.URL}")
            .unwrap();
        let known = ["clusters", "modules", "partitions"].map(|kind| format!("/api/v1/zabbix/{kind}"));
        assert!(known.iter().any(|known| known == path), "{path}");
        for item in rule["item_prototypes"].as_array().unwrap() {
            assert!(
                masters.contains(item["master_item"]["key"].as_str().unwrap()),
                "{item}"
            );
            for trigger in item["trigger_prototypes"].as_array().into_iter().flatten() {
                let key = item["key"].as_str().unwrap();
                assert!(trigger["expression"].as_str().unwrap().contains(key), "{trigger}");
            }
        }
    }
    let uuids: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once("uuid: "))
        .map(|(_, id)| id)
        .collect();
    let distinct: BTreeSet<&&str> = uuids.iter().collect();
    assert_eq!(distinct.len(), uuids.len());
}

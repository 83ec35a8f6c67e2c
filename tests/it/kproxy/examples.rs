//! The examples of docs/http-api.md, run as they stand there against a real kproxy; and there is one for each row of its tables.

use std::fmt::Write as _;

use ktests::{own_cluster, paths};
use serde_json::Value;
use tokio::process::Command;

use super::world::Proxy;

/// What no client alone brings about, so that no command can show it; other scenarios hold each of them.
const NEED_A_FAULT_OR_A_SETTING: [&str; 26] = [
    "broken_body",
    "topic_refused",
    "topic_forbidden",
    "topic_not_allowed",
    "no_credentials",
    "bad_credentials",
    "topic_not_granted",
    "acks_not_granted",
    "login_busy",
    "too_many_attempts",
    "quota_exceeded",
    "record_too_large",
    "record_refused",
    "too_many_requests_in_flight",
    "too_many_bytes_in_flight",
    "too_many_connections",
    "kafka_overloaded",
    "queue_full",
    "not_taken",
    "expired",
    "topic_away",
    "brokers_away",
    "not_enough_replicas",
    "stopping",
    "unconfirmed",
    "kafka_failed",
];

/// A command and what it prints.
struct Example {
    command: String,
    printed: String,
}

/// What the document says of kproxy.
fn document() -> String {
    let text = std::fs::read_to_string(paths::workspace().join("docs/http-api.md")).unwrap();
    let (_, kproxy) = text.split_once("## kproxy\n").unwrap();
    let (kproxy, _) = kproxy.split_once("\n## ").unwrap();
    kproxy.to_owned()
}

fn examples(document: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for block in document.split("```").skip(1).step_by(2) {
        let mut goes_on = false;
        for line in block.lines().filter(|line| !line.starts_with('#')) {
            if let Some(command) = line.strip_prefix("$ ") {
                examples.push(Example {
                    command: command.to_owned(),
                    printed: String::new(),
                });
            } else if let Some(last) = examples.last_mut().filter(|_| !line.is_empty()) {
                let text = if goes_on {
                    &mut last.command
                } else {
                    &mut last.printed
                };
                let _always = writeln!(text, "\n{line}");
            }
            goes_on = line.ends_with('\\');
        }
    }
    examples
}

/// Whether both are the same but for numbers, which differ from run to run.
fn is_alike(told: &Value, printed: &Value) -> bool {
    match (told, printed) {
        (Value::Number(_), Value::Number(_)) => true,
        (Value::Array(told), Value::Array(printed)) => {
            told.len() == printed.len()
                && told
                    .iter()
                    .zip(printed)
                    .all(|(told, printed)| is_alike(told, printed))
        }
        (Value::Object(told), Value::Object(printed)) => {
            told.len() == printed.len()
                && told
                    .iter()
                    .all(|(key, told)| printed.get(key).is_some_and(|printed| is_alike(told, printed)))
        }
        _ => told == printed,
    }
}

#[tokio::test]
async fn every_example_of_the_document_prints_what_stands_below_it() {
    let own = own_cluster().await;
    own.cluster.create_topic("orders", 4).await.unwrap();
    // But for the first as in conf/kproxy.yaml.
    let keys = [
        ("read_timeout_ms", "1000"),
        ("max_request_size_bytes", "10485760"),
        ("unix_socket", "kproxy.sock"),
    ];
    let proxy = Proxy::start_with(&own.cluster, &keys).await;
    let mut wrong = String::new();
    let shown = examples(&document());
    // Where nothing stands below a command, it needs settings that are not there.
    for example in shown.iter().filter(|example| !example.printed.is_empty()) {
        let command = example
            .command
            .replace("127.0.0.1:5030", &format!("127.0.0.1:{}", proxy.port));
        let command = command
            .replace("curl ", "curl -sS ")
            .replace("/run/kproxy/kproxy.sock", "kproxy.sock");
        let output = Command::new("bash")
            .args(["-c", &command])
            .current_dir(proxy.daemon.dir())
            .output()
            .await
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let values = [&example.printed, &printed].map(|text| serde_json::from_str::<Value>(text.trim()));
        let fits = match values {
            [Ok(told), Ok(printed)] => is_alike(&told, &printed),
            _ => example.printed.trim() == printed.trim(),
        };
        if !fits {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            let _always = writeln!(wrong, "$ {}\n{printed}{errors}", example.command);
        }
    }
    assert!(wrong.is_empty(), "these print something else:\n{wrong}");
    proxy.stop().await;
}

#[test]
fn each_row_of_the_tables_has_an_example() {
    let document = document();
    let examples = examples(&document);
    let is_sent = |text: &str| examples.iter().any(|example| example.command.contains(text));
    let is_told = |code: &str| {
        let code = format!("\"code\":\"{code}\"");
        examples.iter().any(|example| example.printed.contains(&code))
    };
    let mut table = "";
    let mut without = Vec::new();
    for line in document.lines() {
        let Some(cells) = line.strip_prefix("| ") else {
            if !line.starts_with('|') {
                table = "";
            }
            continue;
        };
        let cells: Vec<&str> = cells.split(" | ").collect();
        if table.is_empty() {
            table = cells[0];
            continue;
        }
        let named = if table == "status" { cells[1] } else { cells[0] };
        let mut names = named.split('`').skip(1).step_by(2);
        let shown = match table {
            "status" => names.all(|name| is_told(name) || NEED_A_FAULT_OR_A_SETTING.contains(&name)),
            "parameter" => names.all(|name| is_sent(&format!("{name}="))),
            // The name of a header, or what it begins with.
            _ => names.any(|name| is_sent(name.split(['<', '*']).next().unwrap_or(name))),
        };
        if !shown {
            without.push(named.to_owned());
        }
    }
    assert!(without.is_empty(), "without an example: {without:?}");
}

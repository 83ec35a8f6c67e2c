//! What receivers read, with the default templates, and with names that try to break out of them.

use kcommon::config::Need;
use serde_json::Value;

use super::*;
use crate::notify::keys::RECEIVER_KEYS;
use crate::notify::looks::{Condition, Facts, Key};
use crate::state::State;

/// The default of a key, without the quotes that YAML wants.
fn default(path: &str) -> &'static str {
    let key = RECEIVER_KEYS.iter().find(|key| key.path == path).unwrap();
    match key.need {
        Need::Default(text) => text.trim_matches('\''),
        _ => panic!("{path} has no default"),
    }
}

fn event(step: Step, module: Option<&str>) -> Event {
    Event {
        step,
        id: "c/m/stopped/1".to_owned(),
        cluster: "c".to_owned(),
        key: Key {
            module: module.map(str::to_owned),
            condition: module.map_or(Condition::ZooKeeper, |_| Condition::State(State::Stopped)),
        },
        facts: Facts {
            state: State::Stopped,
            topic: module.map(|_| "t".to_owned()),
            partition: module.map(|_| 3),
            reason: "no instance owns it; 7 records wait".to_owned(),
            lag: module.map(|_| 7),
            lag_seconds: module.map(|_| 1.5),
            since_ms: 1_700_000_000_000,
        },
        receivers: vec![0],
    }
}

fn message(events: Vec<Event>) -> Message {
    Message {
        id: "1-2-3".to_owned(),
        cluster: "c".to_owned(),
        at_ms: 1_700_000_060_000,
        events,
    }
}

fn json(message: &Message) -> Value {
    let templates = (default("webhooks.*.body"), default("webhooks.*.event"));
    let form = Form::parse(Escape::Json, templates, "http://k:1/").unwrap();
    serde_json::from_str(&form.body(message)).unwrap()
}

#[test]
fn the_default_of_a_webhook_is_json_with_every_field() {
    let told = json(&message(vec![
        event(Step::Open, Some("m")),
        event(Step::Close, None),
    ]));
    assert_eq!(told["id"], "1-2-3");
    assert_eq!(told["at"], "2023-11-14T22:14:20Z");
    assert_eq!(told["title"], "c: 1 open, 1 close");
    assert_eq!(told["page"], "http://k:1/?cluster=c");
    let expected = serde_json::json!({
        "event": "open", "id": "c/m/stopped/1", "cluster": "c", "module": "m", "condition": "stopped", "topic": "t",
        "partition": 3, "state": "stopped", "reason": "no instance owns it; 7 records wait", "lag": 7,
        "lag_seconds": 1.5, "since": "2023-11-14T22:13:20Z", "page": "http://k:1/?cluster=c&module=m",
    });
    assert_eq!(told["events"][0], expected);
    let source = &told["events"][1];
    assert_eq!(
        (&source["event"], &source["module"]),
        (&Value::from("close"), &Value::from(""))
    );
    assert_eq!(
        (&source["partition"], &source["lag"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn names_and_reasons_stay_inside_their_strings_whatever_is_in_them() {
    let hostile = "a\",\"x\":\"\\\n{{id}}\u{7}";
    let mut one = event(Step::Open, Some(hostile));
    one.facts.reason = hostile.to_owned();
    let told = json(&message(vec![one]));
    assert_eq!(told["events"][0]["module"], hostile);
    assert_eq!(told["events"][0]["reason"], hostile);
    assert_eq!(told["events"][0]["x"], Value::Null);
    assert_eq!(
        told["events"][0]["page"],
        "http://k:1/?cluster=c&module=a%22%2C%22x%22%3A%22%5C%0A%7B%7Bid%7D%7D%07"
    );
}

#[test]
fn a_mail_has_a_line_for_each_event_and_one_about_all() {
    let subject = Subject::parse(default("mails.*.subject"), "").unwrap();
    let form = Form::parse(
        Escape::Plain,
        ("{{text}}\n{{page}}", default("mails.*.event")),
        "",
    )
    .unwrap();
    let single = message(vec![event(Step::Open, Some("m"))]);
    assert_eq!(subject.line(&single), "[kmonitor] open: c/m: stopped");
    assert_eq!(
        form.body(&single),
        "open: c/m: stopped since 2023-11-14T22:13:20Z: no instance owns it; 7 records wait (state stopped, lag 7, time \
         lag 1.5 s)\n"
    );
    let mut over = event(Step::Close, Some("m\r\nBcc: x"));
    over.facts.reason.clear();
    let several = message(vec![over, event(Step::Remind, None)]);
    assert_eq!(subject.line(&several), "[kmonitor] c: 1 reminder, 1 close");
    let body = form.body(&several);
    let lines: Vec<&str> = body.lines().collect();
    assert!(lines[0].starts_with("close: c/m "), "{body}");
    assert!(body.contains(": over (state"), "{body}");
    assert!(body.contains("reminder: c: zookeeper_away since"), "{body}");
    let broken = message(vec![event(Step::Open, Some("m\r\nBcc: x"))]);
    assert!(
        !subject.line(&broken).contains(['\r', '\n']),
        "a name adds no header"
    );
}

#[test]
fn templates_that_cannot_work_are_refused_where_they_stand() {
    let parse = |templates| Form::parse(Escape::Json, templates, "").unwrap_err();
    let (place, why) = parse(("{{events}}", "{{evnt}}"));
    assert_eq!(place, Place::Event);
    assert!(why.contains("unknown name {{evnt}}; known: event, id"), "{why}");
    let (place, why) = parse((r#"{"a":{{title}}}"#, "{}"));
    assert_eq!(place, Place::Body);
    assert!(why.contains("is no JSON"), "{why}");
    let (place, _) = parse(("[{{events}}]", r#"{"lag":{{lag}}"#));
    assert_eq!(place, Place::Event);
    let (place, why) = parse(("{{reason}}", "{}"));
    assert_eq!(place, Place::Body, "names of an event: {why}");
}

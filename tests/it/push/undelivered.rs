//! What becomes of records whose last attempt has failed, or that the backend rejects: each policy, what holds it up, and
//! processes that are killed in between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ktests::{Backend, Behaviour, Stored, When, cluster, eventually, unique};
use rdkafka::admin::{AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

use super::world::{SOON, Scene, admin, client, delivers, keyed, module_path, of_key, of_offset};
use crate::fleet::World;

/// A header of a stored record as text.
fn header<'a>(stored: &'a Stored, name: &str) -> &'a str {
    let found = stored.headers.iter().find(|(key, _)| key == name);
    let (_, value) = found.unwrap_or_else(|| panic!("no {name} in {stored:?}"));
    std::str::from_utf8(value).unwrap()
}

/// The partition and offset that a dead letter comes from.
fn origin(letter: &Stored) -> (i32, i64) {
    let number = |name| header(letter, name).parse::<i64>().unwrap();
    (
        i32::try_from(number("ktransfer-partition")).unwrap(),
        number("ktransfer-offset"),
    )
}

/// A module whose records go to this topic after their second attempt.
fn to_topic(scene: &Scene, backend: &Backend, topic: &str) -> Value {
    let mut module = scene.module(&backend.addresses());
    module["max_retry_times"] = json!(1);
    module["exhausted"] = json!("dead_letter");
    module["dead_letter"] = json!({"topic": topic});
    module["protocol"]["rejected_status"] = json!([422]);
    module
}

#[tokio::test]
async fn a_dead_letter_has_every_byte_of_its_record_and_says_why_it_is_there() {
    let (scene, backend) = (Scene::new("dead", 1).await, Backend::start().await);
    let dead = unique("dead-letters");
    scene.cluster.create_topic(&dead, 2).await.unwrap();
    backend.on(When::key("bad"), Behaviour::status(500));
    backend.on(When::key("never"), Behaviour::status(422));
    let producer: FutureProducer = client(&scene.cluster).create().unwrap();
    let headers = OwnedHeaders::new().insert(Header {
        key: "trace",
        value: Some("\u{e9}"),
    });
    let record = FutureRecord::to(&scene.name)
        .partition(0)
        .key("bad")
        .payload(b"\xff\x00body")
        .headers(headers);
    producer.send(record, SOON).await.unwrap();
    scene
        .produce([keyed("bad", "next"), keyed("never", "refused"), keyed("good", "")])
        .await;
    let daemon = scene.start(&to_topic(&scene, &backend, &dead)).await;
    scene.stores(4).await;
    let letters = scene.cluster.read_topic(&dead).await.unwrap();
    let letters: BTreeMap<i64, Stored> = letters
        .into_iter()
        .map(|letter| (origin(&letter).1, letter))
        .collect();
    assert_eq!(letters.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    let first = &letters[&0];
    assert_eq!(first.key.as_deref(), Some(&b"bad"[..]));
    assert_eq!(first.value, b"\xff\x00body");
    assert_eq!(header(first, "trace"), "\u{e9}");
    for (name, value) in [
        ("module", scene.name.as_str()),
        ("topic", scene.name.as_str()),
        ("partition", "0"),
        ("reason", "exhausted"),
        ("attempts", "2"),
        ("last-status", "500"),
    ] {
        assert_eq!(header(first, &format!("ktransfer-{name}")), value);
    }
    let time = |name| header(first, name).parse::<u64>().unwrap();
    assert!(time("ktransfer-first-time") <= time("ktransfer-last-time"));
    assert_eq!(letters[&1].partition, first.partition, "one key, one partition");
    assert_eq!(header(&letters[&2], "ktransfer-reason"), "rejected");
    assert_eq!(header(&letters[&2], "ktransfer-attempts"), "1");
    let counted = daemon
        .metric("ktransfer_records_undelivered_total", &["policy=\"dead_letter\""])
        .await;
    assert_eq!(counted, Some(3.0));
    let requests = backend.requests();
    let counts = [0, 1, 2, 3].map(|offset| of_offset(&requests, offset).len());
    assert_eq!(counts, [2, 2, 1, 1]);
}

#[tokio::test]
async fn while_kafka_does_not_take_a_dead_letter_its_record_waits_and_the_module_says_so() {
    let (scene, backend) = (Scene::new("refused", 1).await, Backend::start().await);
    let dead = unique("small-letters");
    let topic = NewTopic::new(&dead, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "500");
    let operator = admin(&scene.cluster);
    let created = operator.create_topics([&topic], &AdminOptions::new()).await;
    created.unwrap()[0].as_ref().unwrap();
    scene.cluster.create_topic(&dead, 1).await.unwrap();
    backend.on(When::key("bad"), Behaviour::status(422));
    let body = super::world::noise(2000);
    scene.produce([keyed("bad", body)]).await;
    scene.produce(of_key("bad", 1).chain(of_key("good", 3))).await;
    let mut daemon = scene.start(&to_topic(&scene, &backend, &dead)).await;
    delivers(&backend, 3).await;
    eventually("the module says what waits", SOON, async || {
        let reasons = daemon.readiness().await;
        reasons.contains("its undelivered record at offset 0 waits because the dead letter topic")
    })
    .await;
    scene.stores(0).await;
    assert_eq!(of_offset(&backend.requests(), 1).len(), 0, "its key waits");
    let waiting = daemon.metric("ktransfer_letters_waiting", &[]).await;
    assert_eq!(waiting, Some(1.0));
    let larger = AlterConfig::new(ResourceSpecifier::Topic(&dead)).set("max.message.bytes", "100000");
    let altered = operator.alter_configs([&larger], &AdminOptions::new()).await;
    altered.unwrap()[0].as_ref().unwrap();
    scene.stores(5).await;
    daemon.wait_ready().await;
    let log = daemon.log();
    for line in [
        "undelivered records cannot be stored; they wait",
        "undelivered records are stored again",
    ] {
        let told = log.lines().filter(|told| told.contains(line)).count();
        assert_eq!(told, 1, "{line}: {log}");
    }
    let letters = scene.cluster.read_topic(&dead).await.unwrap();
    assert_eq!(letters.iter().map(|letter| origin(letter).1).max(), Some(1));
}

#[tokio::test]
async fn undelivered_records_are_in_their_file_before_their_offset_passes() {
    let (scene, backend) = (Scene::new("logged-away", 1).await, Backend::start().await);
    backend.on(When::key("bad"), Behaviour::status(422));
    let mut module = scene.module(&backend.addresses());
    module["exhausted"] = json!("log");
    module["exhausted_log"] = json!({"path": "./undelivered/m.jsonl"});
    module["protocol"]["rejected_status"] = json!([422]);
    scene.produce(of_key("bad", 5).chain(of_key("good", 5))).await;
    let mut daemon = scene.start(&module).await;
    scene.stores(10).await;
    let file = daemon.dir().join("undelivered/m.jsonl");
    let read = || {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        lines
    };
    let lines = read();
    let offsets: Vec<_> = lines
        .iter()
        .map(|line| line["offset"].as_i64().unwrap())
        .collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    assert_eq!(
        (&lines[0]["key"], &lines[3]["value"]),
        (&json!("bad"), &json!("bad-3"))
    );
    assert_eq!(
        (
            &lines[0]["last_status"],
            &lines[0]["reason"],
            &lines[0]["attempts"]
        ),
        (&json!(422), &json!("rejected"), &json!(1))
    );
    daemon.kill().await;
    scene.produce(of_key("bad", 1)).await;
    daemon.restart().await;
    scene.stores(11).await;
    let lines = read();
    assert_eq!((lines.len(), &lines[5]["offset"]), (6, &json!(10)));
}

#[tokio::test]
async fn a_blocked_key_waits_until_the_module_is_changed_and_a_stopped_partition_too() {
    for policy in ["block", "stop"] {
        let (scene, backend) = (Scene::new(policy, 2).await, Backend::start().await);
        backend.on(When::key("bad"), Behaviour::status(500));
        let mut module = scene.module(&backend.addresses());
        module["max_retry_times"] = json!(1);
        module["exhausted"] = json!(policy);
        let other = (0..5).map(|n| ktests::NewRecord::keyed("k", format!("{n}")).in_partition(1));
        scene.produce(of_key("bad", 2).chain(other)).await;
        let mut daemon = scene.start(&module).await;
        let reason = if policy == "block" {
            "keys are blocked, the first in partition 0 at offset 0"
        } else {
            "partition 0 is stopped: its record at offset 0 was not delivered"
        };
        eventually(reason, SOON, async || daemon.readiness().await.contains(reason)).await;
        scene.produce(of_key("good", 3)).await;
        let delivered = if policy == "block" { 8 } else { 5 };
        delivers(&backend, delivered).await;
        scene.stores_all([(0, 0), (1, 5)]).await;
        assert_eq!(backend.delivered(), delivered);
        let counted = daemon
            .metric(
                "ktransfer_records_undelivered_total",
                &[&format!("policy=\"{policy}\"")],
            )
            .await;
        assert_eq!(counted, Some(1.0));
        let gauge = if policy == "block" {
            "ktransfer_keys_blocked"
        } else {
            "ktransfer_partitions_blocked"
        };
        eventually(gauge, SOON, async || daemon.metric(gauge, &[]).await == Some(1.0)).await;
        // An operator has seen to it.
        backend.off(When::key("bad"));
        module["max_retry_times"] = json!(2);
        daemon.write(&module_path(&scene.name), &module.to_string());
        scene.stores_all([(0, 5), (1, 5)]).await;
        daemon.wait_ready().await;
        let requests = backend.requests();
        assert_eq!([0, 1].map(|n| of_offset(&requests, n).len()), [3, 1], "{policy}");
    }
}

#[tokio::test]
async fn a_check_warns_of_a_policy_that_is_never_reached_and_finds_the_files_right() {
    let scene = Scene::without_topic("never").await;
    let mut module = scene.module(&["127.0.0.1:1".to_owned()]);
    module["exhausted"] = json!("block");
    let setup = super::world::daemon(&scene.cluster, &[(&scene.name, &module)]);
    let (status, output) = setup.arguments(&["--check"]).run().await;
    assert_eq!(status.code(), Some(0), "{output}");
    let warning = format!(
        "warning: ./conf/modules/{}.yaml: exhausted: block is never reached",
        scene.name
    );
    assert!(output.contains(&warning), "{output}");
}

#[tokio::test]
async fn a_push_that_is_slow_and_a_key_that_is_stalled_are_told() {
    let (scene, backend) = (Scene::new("told", 1).await, Backend::start().await);
    backend.on(When::key("bad"), Behaviour::status(500));
    backend.on(
        When::key("slow"),
        Behaviour::status(200).after(Duration::from_millis(300)),
    );
    let mut module = scene.module(&backend.addresses());
    module["slow_time_ms"] = json!(200);
    module["stalled_key"] = json!({"attempts": 5});
    scene.produce([keyed("bad", ""), keyed("slow", "")]).await;
    let mut daemon = scene.start(&module).await;
    eventually("the stalled key is told", SOON, async || {
        let reasons = daemon.readiness().await;
        reasons.contains("1 keys are stalled, the oldest in partition 0 at offset 0")
    })
    .await;
    assert_eq!(daemon.metric("ktransfer_keys_stalled", &[]).await, Some(1.0));
    assert_eq!(daemon.metric("ktransfer_pushes_slow_total", &[]).await, Some(1.0));
    backend.off(When::key("bad"));
    scene.stores(2).await;
    daemon.wait_ready().await;
    let log = daemon.log();
    for line in ["slow push", "keys stalled", "no key is stalled any more"] {
        let told = log.lines().filter(|told| told.contains(line)).count();
        assert_eq!(told, 1, "{line}: {log}");
    }
}

#[tokio::test]
async fn killed_instances_lose_no_record_that_the_backend_rejects_and_none_that_it_takes() {
    let mut world = World::new(cluster(), "killed-letters", 4).await;
    let dead = unique("killed-dead");
    world.cluster.create_topic(&dead, 2).await.unwrap();
    for key in (0..100).step_by(10) {
        world
            .backend
            .on(When::key(format!("k{key}")), Behaviour::status(422));
    }
    world.file["exhausted"] = json!("dead_letter");
    world.file["dead_letter"] = json!({"topic": dead});
    world.file["protocol"]["rejected_status"] = json!([422]);
    let load = world.trickle(6_000);
    let mut instance = world.instance().await;
    for delivered in [500, 1500, 3000] {
        world.wait_delivered(delivered).await;
        instance.kill().await;
        instance.restart().await;
    }
    let produced = load.await.unwrap();
    world.wait_committed(6_000).await;
    let refused = |key: &Option<bytes::Bytes>| {
        let text = std::str::from_utf8(key.as_deref().unwrap()).unwrap();
        text.trim_start_matches('k')
            .parse::<usize>()
            .unwrap()
            .is_multiple_of(10)
    };
    let (bad, good): (Vec<_>, Vec<_>) = produced.into_iter().partition(|record| refused(&record.key));
    assert!(
        bad.len() > 100 && good.len() > 100,
        "{} {}",
        bad.len(),
        good.len()
    );
    let mut requests = world.backend.requests();
    requests.retain(|seen| seen.status != Some(422));
    ktests::check(&good, &requests).assert_at_least_once();
    let letters = world.cluster.read_topic(&dead).await.unwrap();
    let stored: BTreeSet<_> = letters.iter().map(origin).collect();
    let wanted: BTreeSet<_> = bad
        .iter()
        .map(|record| (record.partition, record.offset))
        .collect();
    assert_eq!(stored, wanted, "every rejected record is there, and nothing else");
    // The first letters of the records of a key come in its order.
    let mut newest = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for letter in letters.iter().filter(|letter| seen.insert(origin(letter))) {
        let (partition, offset) = origin(letter);
        let before = newest.insert((partition, letter.key.clone()), offset);
        assert!(before.is_none_or(|before| before < offset), "{letter:?}");
    }
    eprintln!(
        "{} letters for {} records after three kills",
        letters.len(),
        wanted.len()
    );
}

//! Records that do not move when memory is short: their bodies go and come back, and the others do not notice.

use bytes::Bytes;
use ktests::{Backend, Behaviour, Daemon, NewRecord, When, check, eventually};
use serde_json::{Value, json};

use super::gaps::{compacted_topic, is_compacted};
use super::world::{self, SOON, Scene, delivers, module_path, of_offset};

/// The least that `body_budget_bytes` may be.
const BUDGET: u32 = 1 << 20;

/// A daemon with one module and the smallest budget.
fn short_of_memory(scene: &Scene, module: &Value) -> Daemon {
    let mut main = world::main_file(&scene.cluster, &[&scene.name]);
    main["body_budget_bytes"] = json!(BUDGET);
    world::setup(&main)
        .file(module_path(&scene.name), module.to_string())
        .spawn()
}

/// A record of 4 KiB.
fn large(key: &str, number: usize) -> NewRecord {
    let body = format!("{key}-{number}-{:4000}", 0);
    NewRecord::keyed(key.to_owned(), Bytes::from(body)).in_partition(0)
}

/// Waits until a metric is as wanted; meanwhile the memory held by records stays within the budget.
async fn within_the_budget(daemon: &Daemon, what: &str, metric: &str, wanted: impl Fn(f64) -> bool) {
    eventually(what, SOON, async || {
        let held = daemon.metric("ktransfer_body_budget_held_bytes", &[]).await;
        assert!(
            held.unwrap_or_default() <= f64::from(BUDGET),
            "{held:?} bytes are held"
        );
        daemon.metric(metric, &[]).await.is_some_and(&wanted)
    })
    .await;
}

#[tokio::test]
async fn a_key_that_fails_with_half_of_the_traffic_leaves_memory_to_the_others_and_loses_nothing() {
    let (scene, backend) = (Scene::new("evicted", 1).await, Backend::start().await);
    backend.on(When::key("stuck"), Behaviour::status(503));
    let mut module = scene.module(&backend.addresses());
    module["worker_num"] = json!(8);
    module["fail_retry_interval_ms"] = json!(200);
    // Eight times the budget.
    let records = (0..2000).flat_map(|n| [large("stuck", n), large(&format!("k{}", n % 20), n)]);
    let produced = scene.cluster.produce_checked(&scene.name, records).await.unwrap();
    let daemon = short_of_memory(&scene, &module);
    within_the_budget(
        &daemon,
        "the other keys are delivered",
        "ktransfer_pushes_total",
        |_| backend.delivered() >= 2000,
    )
    .await;
    assert_eq!(backend.delivered(), 2000);
    within_the_budget(
        &daemon,
        "what the stuck key has is out of memory, but for its first record",
        "ktransfer_records_evicted",
        |evicted| evicted >= 1700.0,
    )
    .await;
    let reread = daemon.metric("ktransfer_bodies_reread_total", &[]).await;
    assert_eq!(
        reread,
        Some(0.0),
        "nothing is read again for a key that does not move"
    );

    backend.off(When::key("stuck"));
    within_the_budget(&daemon, "all is delivered", "ktransfer_pushes_total", |_| {
        backend.delivered() >= 4000
    })
    .await;
    scene.stores(4000).await;
    check(&produced, &backend.requests()).assert_exactly_once();
    let reread = daemon.metric("ktransfer_bodies_reread_total", &[]).await;
    assert!(reread.is_some_and(|reread| reread >= 1700.0), "{reread:?}");
    within_the_budget(&daemon, "none waits", "ktransfer_records_evicted", |evicted| {
        evicted == 0.0
    })
    .await;
}

#[tokio::test]
async fn bodies_of_several_keys_and_partitions_come_back_in_their_order_while_new_records_arrive() {
    let (scene, backend) = (Scene::new("returns", 3).await, Backend::start().await);
    backend.on(When::always(), Behaviour::status(503));
    let mut module = scene.module(&backend.addresses());
    module["worker_num"] = json!(8);
    module["fail_retry_interval_ms"] = json!(100);
    let record = |n: usize| {
        let partition = i32::try_from(n % 3).unwrap();
        large(&format!("k{}", n % 17), n).in_partition(partition)
    };
    let mut produced = scene
        .cluster
        .produce_checked(&scene.name, (0..3000).map(record))
        .await
        .unwrap();
    let daemon = short_of_memory(&scene, &module);
    within_the_budget(
        &daemon,
        "everything is taken in",
        "ktransfer_records_uncommitted",
        |uncommitted| uncommitted >= 3000.0,
    )
    .await;
    backend.off(When::always());
    let later = scene
        .cluster
        .produce_checked(&scene.name, (3000..4000).map(record));
    produced.extend(later.await.unwrap());
    delivers(&backend, 4000).await;
    check(&produced, &backend.requests()).assert_exactly_once();
    let ends = scene.cluster.watermarks(&scene.name).await.unwrap();
    scene
        .stores_all((0..).zip(ends.iter().map(|(_, end)| *end)))
        .await;
}

/// A module whose key `stuck` fails, with most of that key's records out of memory.
async fn evicted(scene: &Scene, backend: &Backend) -> (Daemon, f64) {
    backend.on(When::key("stuck"), Behaviour::status(503));
    let mut module = scene.module(&backend.addresses());
    module["fail_retry_interval_ms"] = json!(100);
    let records = (0..800).map(|n| large("stuck", n));
    scene.produce(records.chain([large("other", 0)])).await;
    let daemon = short_of_memory(scene, &module);
    // The last record is of another key.
    delivers(backend, 1).await;
    within_the_budget(
        &daemon,
        "bodies are evicted",
        "ktransfer_records_evicted",
        |now| now >= 500.0,
    )
    .await;
    let evicted = daemon.metric("ktransfer_records_evicted", &[]).await.unwrap();
    (daemon, evicted)
}

#[tokio::test]
async fn records_that_compaction_removes_while_they_wait_are_passed_over() {
    let (scene, backend) = (Scene::without_topic("vanishing").await, Backend::start().await);
    compacted_topic(&scene).await;
    let (daemon, evicted) = evicted(&scene, &backend).await;
    is_compacted(&scene, "stuck", 1).await;
    backend.off(When::key("stuck"));
    let end = scene.cluster.watermarks(&scene.name).await.unwrap()[0].1;
    scene.stores(end).await;
    let passed = daemon
        .metric("ktransfer_records_passed_over_total", &["reason=\"compacted\""])
        .await;
    assert_eq!(
        passed,
        Some(evicted - 1.0),
        "all of them but the newest of the key"
    );
    assert!(daemon.log().contains("compaction removed it"));
    let requests = backend.requests();
    let newest = of_offset(&requests, 799);
    assert_eq!(newest.len(), 1);
}

#[tokio::test]
async fn records_that_retention_removes_while_they_wait_are_counted_as_lost() {
    let (scene, backend) = (Scene::new("expired", 1).await, Backend::start().await);
    let (daemon, evicted) = evicted(&scene, &backend).await;
    scene.delete_below(790).await;
    backend.off(When::key("stuck"));
    scene.stores(801).await;
    let lost = daemon.metric("ktransfer_records_lost_total", &[]).await;
    assert_eq!(lost, Some(evicted - 10.0));
    assert!(daemon.log().contains("record lost"));
    let requests = backend.requests();
    for offset in 790..800 {
        assert_eq!(of_offset(&requests, offset).len(), 1, "offset {offset}");
    }
}

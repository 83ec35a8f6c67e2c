//! The pace of a module: on all its instances together, by its counters and by the backend's.

use std::time::{Duration, Instant};

use ktests::{Backend, Daemon, NewRecord, eventually, numbered};
use serde_json::{Value, json};

use super::world::{SOON, Scene, daemon, delivers, module, module_path};

const RECORDS: usize = 8000;

/// Pushes and bytes of a module since its start, on all instances.
async fn paced(instances: &[Daemon], module: &str) -> (f64, f64) {
    let (mut records, mut bytes) = (0.0, 0.0);
    for instance in instances {
        let label = format!("module=\"{module}\"");
        let count = async |name: &str| instance.metric(name, &[&label]).await.unwrap_or(0.0);
        records += count("ktransfer_paced_records_total").await;
        bytes += count("ktransfer_paced_bytes_total").await;
    }
    (records, bytes)
}

/// Records of 1,000 bytes over four partitions.
async fn produce(scene: &Scene) {
    let padding = "x".repeat(990);
    let records = numbered(0..RECORDS, 500).enumerate();
    let records = records.map(|(nth, record)| NewRecord {
        partition: Some(i32::try_from(nth % 4).unwrap()),
        value: format!("{nth:010}{padding}").into(),
        ..record
    });
    scene.produce(records).await;
}

fn limited(scene: &Scene, backend: &Backend, key: &str, limit: u64) -> Value {
    let mut module = module(&scene.name, &backend.addresses());
    module["worker_num"] = json!(20);
    module[key] = json!(limit);
    module
}

fn within(what: &str, rate: f64, promised: f64) {
    let off = (rate / promised - 1.0).abs();
    assert!(off < 0.05, "{what}: {rate} a second instead of {promised}");
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// Waits until each instance pushes for each module: then both have their partitions.
async fn both_push(instances: &[Daemon], names: &[String]) {
    for (name, instance) in names
        .iter()
        .flat_map(|name| instances.iter().map(move |it| (name, it)))
    {
        eventually("each instance pushes", SOON, async || {
            paced(std::slice::from_ref(instance), name).await.0 > 10.0
        })
        .await;
    }
}

#[tokio::test]
async fn two_instances_keep_to_the_pace_of_a_module_together_and_follow_its_file() {
    let scene = Scene::new("pace", 4).await;
    let (by_records, by_bytes) = (Backend::start().await, Backend::start().await);
    produce(&scene).await;
    let names = ["records", "bytes"].map(|what| format!("{}-{what}", scene.name));
    let files = [
        limited(&scene, &by_records, "max_records_per_second", 200),
        limited(&scene, &by_bytes, "max_bytes_per_second", 100_000),
    ];
    let modules = [(names[0].as_str(), &files[0]), (names[1].as_str(), &files[1])];
    let mut instances = [(); 2].map(|()| daemon(&scene.cluster, &modules).spawn());
    for instance in &mut instances {
        instance.wait_ready().await;
    }
    both_push(&instances, &names).await;
    let look = async || {
        let at = Instant::now();
        let seen = (number(by_records.count()), number(by_bytes.count()));
        let counted = (
            paced(&instances, &names[0]).await.0,
            paced(&instances, &names[1]).await.1,
        );
        (at, seen, counted)
    };
    let before = look().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let after = look().await;
    let seconds = (after.0 - before.0).as_secs_f64();
    within(
        "records by the backend",
        (after.1.0 - before.1.0) / seconds,
        200.0,
    );
    within(
        "records by the counter",
        (after.2.0 - before.2.0) / seconds,
        200.0,
    );
    within(
        "bytes by the backend",
        (after.1.1 - before.1.1) * 1000.0 / seconds,
        100_000.0,
    );
    within(
        "bytes by the counter",
        (after.2.1 - before.2.1) / seconds,
        100_000.0,
    );

    // The limit is lifted by the file.
    for instance in &instances {
        let free = limited(&scene, &by_records, "max_records_per_second", 0);
        instance.write(&module_path(&names[0]), &free.to_string());
    }
    delivers(&by_records, RECORDS).await;
    assert_eq!(by_records.count(), RECORDS, "nothing is repeated");
}

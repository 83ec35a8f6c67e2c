//! The list of modules while ktransfer runs: modules are added, removed and come back, under load and between two instances.

use std::fs;

use ktests::{Backend, Behaviour, Daemon, When, check, eventually, http, numbered};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{counts, logged, reasons, reports};
use crate::push::world::{self, SOON, Scene, delivers, module_path};

/// Writes the main file's list of modules.
fn enable(daemon: &Daemon, modules: &Value) {
    let path = "conf/ktransfer.yaml";
    let text = fs::read_to_string(daemon.dir().join(path)).unwrap();
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            if line.starts_with("module_enabled:") {
                format!("module_enabled: {modules}")
            } else {
                line.to_owned()
            }
        })
        .collect();
    daemon.write(path, &lines.join("\n"));
}

/// What `POST /reload` says.
async fn reload(daemon: &Daemon) -> Value {
    let answer = http::post(&daemon.admin("/reload"), "").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().unwrap()
}

/// Waits until no partition of the scene has an owner.
async fn nobody_owns(scene: &Scene) {
    eventually("nobody owns it", SOON, async || {
        let owners = scene.znodes.owners(&scene.name, &scene.name).await;
        owners.unwrap().is_empty()
    })
    .await;
}

#[tokio::test]
async fn modules_that_are_added_changed_and_removed_under_load_lose_and_repeat_nothing() {
    let (one, two) = (Scene::new("listed", 4).await, Scene::new("added", 4).await);
    let backends = [Backend::start().await, Backend::start().await];
    for backend in &backends {
        let slowly = Behaviour::status(200).after(std::time::Duration::from_millis(2));
        backend.on(When::always(), slowly);
    }
    let mut module = one.module(&backends[0].addresses());
    module["worker_num"] = json!(8);
    let (first, second) = (one.start(&module).await, one.start(&module).await);
    let load = async |scene: &Scene| {
        let records = numbered(0..6000, 50);
        scene.cluster.produce_checked(&scene.name, records).await.unwrap()
    };
    let (produced, others) = tokio::join!(load(&one), load(&two));
    delivers(&backends[0], 500).await;

    // Another module, and a change of the first one, seen by themselves.
    let added = two.module(&backends[1].addresses());
    first.write(&module_path(&two.name), &added.to_string());
    enable(&first, &json!([one.name, two.name]));
    module["worker_num"] = json!(6);
    second.write(&module_path(&one.name), &module.to_string());
    delivers(&backends[1], 500).await;
    assert!(logged(&first, &["configuration read again", "changed files", &two.name]) > 0);

    // The first module leaves one of its two instances, and comes back.
    enable(&first, &json!([two.name]));
    assert_eq!(reload(&first).await["removed"], json!([one.name]));
    let owners = async || {
        let owners = one.znodes.owners(&one.name, &one.name).await.unwrap();
        let mut ids: Vec<String> = owners.into_values().collect();
        ids.sort();
        ids.dedup();
        ids.len()
    };
    eventually("one instance owns it", SOON, async || owners().await == 1).await;
    enable(&first, &json!([one.name, two.name]));
    first.signal(Signal::HUP);
    eventually("both own it again", SOON, async || owners().await == 2).await;
    assert!(logged(&first, &["configuration read again", "SIGHUP", &one.name]) > 0);

    // The added one leaves its only instance, and comes back: nobody delivers in between.
    enable(&first, &json!([one.name]));
    assert_eq!(reload(&first).await["removed"], json!([two.name]));
    nobody_owns(&two).await;
    let label = format!("module=\"{}\"", two.name);
    eventually(
        "a module that is removed has no series any more",
        SOON,
        async || {
            first
                .metric("ktransfer_module_running", &[&label])
                .await
                .is_none()
        },
    )
    .await;
    enable(&first, &json!([one.name, two.name]));
    assert_eq!(reload(&first).await["added"], json!([two.name]));

    delivers(&backends[0], 6000).await;
    delivers(&backends[1], 6000).await;
    check(&produced, &backends[0].requests()).assert_exactly_once();
    check(&others, &backends[1].requests()).assert_exactly_once();
}

#[tokio::test]
async fn all_modules_of_the_directory_run_as_they_come_and_go() {
    let (one, two) = (Scene::new("all", 1).await, Scene::new("more", 1).await);
    let backend = Backend::start().await;
    let mut main = world::main_file(&one.cluster, &[]);
    main["module_enabled"] = json!("all");
    let mut daemon = world::setup(&main)
        .file(
            module_path(&one.name),
            one.module(&backend.addresses()).to_string(),
        )
        .spawn();
    daemon.wait_ready().await;
    daemon.write(
        &module_path(&two.name),
        &two.module(&backend.addresses()).to_string(),
    );
    for scene in [&one, &two] {
        scene.produce(numbered(0..5, 2)).await;
        scene.stores(5).await;
    }
    fs::remove_file(daemon.dir().join(module_path(&one.name))).unwrap();
    nobody_owns(&one).await;
    two.produce(numbered(5..10, 2)).await;
    two.stores(10).await;
    assert_eq!(backend.count(), 15);
}

#[tokio::test]
async fn a_main_file_that_is_spoilt_is_refused_visibly_and_the_modules_go_on() {
    let (scene, backend) = (Scene::new("mainfile", 1).await, Backend::start().await);
    let mut daemon = scene.start(&scene.module(&backend.addresses())).await;
    let path = "conf/ktransfer.yaml";
    let text = fs::read_to_string(daemon.dir().join(path)).unwrap();
    daemon.write(path, &text.replace("zk_hosts", "zk_hsots"));
    reports(&daemon, &["main file", "the changed file is refused", "zk_hsots"]).await;
    let refused = daemon.metric("ktransfer_main_file_refused", &[]).await;
    assert_eq!(refused, Some(1.0));
    assert!(logged(&daemon, &["ERROR", "changed main file refused", "zk_hsots"]) > 0);
    let said = reload(&daemon).await;
    assert!(said["main_refused"].to_string().contains("zk_hsots"), "{said}");
    scene.produce(numbered(0..5, 2)).await;
    scene.stores(5).await;
    // A module file is followed all the same.
    let mut module = scene.module(&backend.addresses());
    module["worker_num"] = json!("many");
    daemon.write(&module_path(&scene.name), &module.to_string());
    counts(&daemon, "ktransfer_module_file_refused", &scene.name, 1.0).await;
    module["worker_num"] = json!(3);
    daemon.write(&module_path(&scene.name), &module.to_string());
    counts(&daemon, "ktransfer_module_file_refused", &scene.name, 0.0).await;
    // What needs a restart is said, and changes nothing.
    daemon.write(path, &text.replace("zk_timeout_ms: 4000", "zk_timeout_ms: 5000"));
    assert_eq!(reload(&daemon).await["needs_restart"], json!(["zk_timeout_ms"]));
    daemon.write(path, &text);
    daemon.wait_ready().await;
    assert!(reasons(&daemon).await.is_empty());
    scene.produce(numbered(5..10, 2)).await;
    scene.stores(10).await;
    assert_eq!(backend.count(), 10);
}

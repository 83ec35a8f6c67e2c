//! Modules of ktransfer beside each other, on a real cluster: each lives and fails by itself, and follows its file, its
//! topic and its offsets.

#[cfg(test)]
mod admin;
#[cfg(test)]
mod clusters;
#[cfg(test)]
mod files;
#[cfg(test)]
mod list;
#[cfg(test)]
mod offsets;
#[cfg(test)]
mod topics;

use ktests::{Backend, Daemon, NewRecord, Znodes, eventually, ports};
use serde_json::{Value, json};

use crate::push::world::{self, SOON, Scene, delivers, keyed, module_path};

/// The reasons that `/readyz` gives, as `name: reason`.
async fn reasons(daemon: &Daemon) -> Vec<String> {
    let page: Value = serde_json::from_str(&daemon.readiness().await).unwrap_or_default();
    let reasons = page["reasons"].as_array().cloned().unwrap_or_default();
    reasons
        .iter()
        .map(|reason| {
            let text = |key| reason[key].as_str().unwrap_or_default();
            format!("{}: {}", text("name"), text("reason"))
        })
        .collect()
}

/// Waits until `/readyz` gives a reason with all these words.
async fn reports(daemon: &Daemon, words: &[&str]) {
    let mut seen = Vec::new();
    let found = tokio::time::timeout(SOON, async {
        loop {
            seen = reasons(daemon).await;
            if seen
                .iter()
                .any(|reason| words.iter().all(|word| reason.contains(word)))
            {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    assert!(found.await.is_ok(), "no reason with {words:?}: {seen:#?}");
}

/// Waits until a metric of a module has this value.
pub(crate) async fn counts(daemon: &Daemon, metric: &str, module: &str, value: f64) {
    let label = format!("module=\"{module}\"");
    eventually(&format!("{metric} of {module} is {value}"), SOON, async || {
        daemon.metric(metric, &[&label]).await == Some(value)
    })
    .await;
}

/// Log lines with all these words.
pub(crate) fn logged(daemon: &Daemon, words: &[&str]) -> usize {
    let log = daemon.log();
    log.lines()
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .count()
}

#[expect(
    clippy::too_many_lines,
    reason = "a list of modules, each broken in its own way"
)]
#[tokio::test]
async fn one_broken_module_of_each_kind_leaves_another_working_and_is_reported() {
    let (good, dead) = (Scene::new("good", 1).await, Scene::new("dead", 1).await);
    let (offset, ids) = (Scene::new("offset", 2).await, Scene::new("ids", 1).await);
    let backend = Backend::start().await;
    let servers = backend.addresses();
    for scene in [&good, &dead, &ids] {
        scene.produce([keyed(scene.name.clone(), "body")]).await;
    }
    let in_both =
        [0, 1].map(|partition| NewRecord::keyed(offset.name.clone(), "body").in_partition(partition));
    offset.produce(in_both).await;
    offset.znodes.set(&offset.offset_path(0), "seven").await.unwrap();
    garbage_member(&ids).await;
    let misspelt = good.name.replacen("good", "godo", 1);
    let nobody = format!("127.0.0.1:{}", ports::free_port());
    let main = world::main_file(
        &good.cluster,
        &[
            "wrong",
            &good.name,
            &misspelt,
            &good.name,
            "notopic",
            &dead.name,
            &offset.name,
            &ids.name,
        ],
    );
    let mut wrong = world::module("any", &servers);
    wrong["worker_num"] = json!("many");
    wrong["windowsize"] = json!(1);
    let mut setup = world::setup(&main)
        .file(module_path("wrong"), wrong.to_string())
        .file(
            module_path("notopic"),
            world::module("no-such-topic", &servers).to_string(),
        )
        .file(module_path(&dead.name), dead.module(&[nobody]).to_string());
    for scene in [&good, &offset, &ids] {
        setup = setup.file(module_path(&scene.name), scene.module(&servers).to_string());
    }
    let daemon = setup.spawn();

    // The good one, the one with strange members, and the healthy partition of the one with a bad offset.
    delivers(&backend, 3).await;
    good.stores(1).await;
    ids.stores(1).await;
    offset.stores_all([(1, 1)]).await;
    assert_eq!(backend.count(), 3);

    let reported: [&[&str]; 7] = [
        &["module wrong", "worker_num", "windowsize"],
        &[&misspelt, "cannot be read", &format!("{}.yaml", good.name)],
        &[&good.name, "listed twice"],
        &["module notopic", "know no topic no-such-topic"],
        &[&dead.name, "backend", "cannot connect"],
        &[&offset.name, "partition 0", &offset.offset_path(0)],
        &["module wrong", "wrong.yaml:"],
    ];
    for words in reported {
        reports(&daemon, words).await;
    }
    let seen = reasons(&daemon).await;
    assert!(!seen.iter().any(|reason| reason.contains(&ids.name)), "{seen:#?}");

    for name in ["wrong", &misspelt] {
        counts(&daemon, "ktransfer_module_running", name, 0.0).await;
        assert!(logged(&daemon, &["ERROR", "module not started", name]) > 0);
    }
    // Listed twice, it runs all the same.
    let invalid = daemon.metric("ktransfer_modules_invalid", &[]).await;
    assert_eq!(invalid, Some(3.0), "the wrong, the missing and the double one");
    counts(&daemon, "ktransfer_module_running", &good.name, 1.0).await;
    counts(&daemon, "ktransfer_backend_down", &dead.name, 1.0).await;
    counts(&daemon, "ktransfer_backend_down", &good.name, 0.0).await;
    counts(&daemon, "ktransfer_partitions_stopped", &offset.name, 1.0).await;
    assert!(logged(&daemon, &["ERROR", "listed twice"]) > 0);
    assert!(logged(&daemon, &["does not run as it should", "no-such-topic"]) > 0);
    assert!(logged(&daemon, &["ERROR", "backend", &dead.name]) > 0);
    assert!(logged(&daemon, &["does not run as it should", &offset.offset_path(0)]) > 0);

    // All that can be repaired while it runs.
    daemon.write(
        &module_path("wrong"),
        &world::module("no-such-topic", &servers).to_string(),
    );
    counts(&daemon, "ktransfer_module_running", "wrong", 1.0).await;
    daemon.write(&module_path(&dead.name), &dead.module(&servers).to_string());
    offset.znodes.set(&offset.offset_path(0), "0").await.unwrap();
    delivers(&backend, 5).await;
    dead.stores(1).await;
    offset.stores_all([(0, 1), (1, 1)]).await;
    assert_eq!(backend.count(), 5);
}

/// Members that no program of ours wrote: they take part in nothing, or take their share of the quota away.
async fn garbage_member(scene: &Scene) {
    let znodes: &Znodes = &scene.znodes;
    for (id, data) in [("half", "{\"subscription\":"), ("empty", ""), ("number", "7")] {
        let path = format!("/consumers/{}/ids/{id}", scene.name);
        znodes.set(&path, data).await.expect("ZooKeeper is there");
    }
}

#[tokio::test]
async fn a_dead_backends_large_records_leave_room_for_the_others() {
    let (dead, good) = (Scene::new("hoards", 2).await, Scene::new("roomy", 2).await);
    let backend = Backend::start().await;
    let nobody = format!("127.0.0.1:{}", ports::free_port());
    let body = world::noise(500_000);
    for scene in [&dead, &good] {
        let records = (0..12_u8).map(|n| {
            let body = [&body[..], &[n]].concat();
            NewRecord::keyed(vec![b'k', n], body).in_partition(i32::from(n % 2))
        });
        scene.produce(records).await;
    }
    let mut main = world::main_file(&good.cluster, &[&dead.name, &good.name]);
    // Two records of all 24.
    main["body_budget_bytes"] = json!(1_048_576);
    let _daemon = world::setup(&main)
        .file(module_path(&dead.name), dead.module(&[nobody]).to_string())
        .file(
            module_path(&good.name),
            good.module(&backend.addresses()).to_string(),
        )
        .spawn();
    delivers(&backend, 12).await;
    good.stores_all([(0, 6), (1, 6)]).await;
    assert_eq!(dead.stored().await, [(0, 0), (1, 0)].into());
}

#[tokio::test]
async fn a_backend_that_comes_back_is_pushed_to_and_no_longer_reported() {
    let (scene, backend) = (Scene::new("comeback", 1).await, Backend::start().await);
    backend.stop_server(0).await;
    let produced = scene
        .cluster
        .produce_checked(&scene.name, ktests::numbered(0..50, 5))
        .await
        .unwrap();
    let mut daemon = scene.spawn(&scene.module(&backend.addresses()));
    reports(&daemon, &[&scene.name, "backend", "cannot connect"]).await;
    backend.start_server(0).await;
    daemon.wait_ready().await;
    delivers(&backend, 50).await;
    counts(&daemon, "ktransfer_backend_down", &scene.name, 0.0).await;
    ktests::check(&produced, &backend.requests()).assert_exactly_once();
}

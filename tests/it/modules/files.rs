//! Module files: changed, spoilt, repaired, and checked without a run.

use ktests::{Backend, Behaviour, Setup, When, check, cluster, eventually, numbered};
use serde_json::{Value, json};

use super::{counts, logged, reasons, reports};
use crate::push::world::{self, SOON, Scene, delivers, module_path};

#[tokio::test]
async fn a_changed_file_restarts_its_module_alone_and_loses_and_repeats_nothing() {
    let (one, other) = (Scene::new("changed", 4).await, Scene::new("untouched", 4).await);
    let backends = [Backend::start().await, Backend::start().await];
    let (mut before, other_module) = (
        one.module(&backends[0].addresses()),
        other.module(&backends[1].addresses()),
    );
    before["worker_num"] = json!(8);
    let modules = [(one.name.as_str(), &before), (other.name.as_str(), &other_module)];
    let daemon = world::daemon(&one.cluster, &modules).start().await;
    for backend in &backends {
        backend.on(
            When::always(),
            Behaviour::status(200).after(std::time::Duration::from_millis(2)),
        );
    }
    let load = async |scene: &Scene| {
        let records = numbered(0..3000, 50);
        scene.cluster.produce_checked(&scene.name, records).await.unwrap()
    };
    let (produced, others) = tokio::join!(load(&one), load(&other));
    delivers(&backends[0], 500).await;
    let mut after = before.clone();
    after["worker_num"] = json!(4);
    after["protocol"]["headers"] = json!([{"X-Version": "2"}]);
    daemon.write(&module_path(&one.name), &after.to_string());
    delivers(&backends[0], 3000).await;
    delivers(&backends[1], 3000).await;
    eventually("the module runs from its new file", SOON, async || {
        logged(&daemon, &["module file changed", &one.name]) == 1
            && logged(&daemon, &["partition assigned", &one.name]) == 8
    })
    .await;
    check(&produced, &backends[0].requests()).assert_exactly_once();
    check(&others, &backends[1].requests()).assert_exactly_once();
    assert_eq!(logged(&daemon, &["partition assigned", &other.name]), 4);
    one.produce(numbered(3000..3001, 50)).await;
    delivers(&backends[0], 3001).await;
    let last = backends[0].requests().pop().unwrap();
    assert_eq!(last.header("x-version"), Some("2"));
}

#[tokio::test]
async fn a_module_whose_topic_is_changed_leaves_the_old_one_and_begins_the_new_one() {
    let (old, new) = (Scene::new("oldtopic", 2).await, Scene::new("newtopic", 2).await);
    let backend = Backend::start().await;
    let (before, after) = (old.module(&backend.addresses()), new.module(&backend.addresses()));
    old.produce(numbered(0..10, 4)).await;
    new.produce(numbered(10..20, 4)).await;
    let daemon = old.start(&before).await;
    delivers(&backend, 10).await;
    daemon.write(&module_path(&old.name), &after.to_string());
    delivers(&backend, 20).await;
    let owners = async |topic: &Scene| old.znodes.owners(&old.name, &topic.name).await.unwrap().len();
    eventually("only the new topic is owned", SOON, async || {
        (owners(&old).await, owners(&new).await) == (0, 2)
    })
    .await;
    // What was delivered of the old one stays stored.
    let ends = old.cluster.watermarks(&old.name).await.unwrap();
    old.stores_all((0..).zip(ends.iter().map(|(_, end)| *end))).await;
    assert_eq!(backend.count(), 20);
}

#[tokio::test]
async fn a_file_that_is_spoilt_while_it_runs_changes_nothing_until_it_is_right_again() {
    let (scene, backend) = (Scene::new("spoilt", 1).await, Backend::start().await);
    let module = scene.module(&backend.addresses());
    let mut daemon = scene.start(&module).await;
    let path = module_path(&scene.name);
    daemon.write(&path, "topic: [");
    reports(&daemon, &[&scene.name, "the changed file is refused"]).await;
    assert!(logged(&daemon, &["ERROR", "changed module file refused"]) > 0);
    scene.produce(numbered(0..10, 3)).await;
    delivers(&backend, 10).await;
    // The same content in another form is no change.
    daemon.write(&path, &format!("# repaired\n{module}"));
    daemon.wait_ready().await;
    std::fs::remove_file(daemon.dir().join(&path)).unwrap();
    reports(
        &daemon,
        &[&scene.name, "the changed file is refused", "cannot be read"],
    )
    .await;
    scene.produce(numbered(10..20, 3)).await;
    delivers(&backend, 20).await;
    daemon.write(&path, &module.to_string());
    daemon.wait_ready().await;
    assert_eq!(logged(&daemon, &["partition assigned"]), 1);
    assert_eq!(backend.count(), 20);
}

#[tokio::test]
async fn a_file_that_is_missing_or_wrong_at_the_start_starts_its_module_when_it_is_right() {
    let (first, second) = (Scene::new("first", 1).await, Scene::new("second", 1).await);
    let missing = Scene::new("missing", 1).await;
    let backend = Backend::start().await;
    let servers = backend.addresses();
    let names = [first.name.as_str(), &second.name, &missing.name];
    let daemon = world::setup(&world::main_file(&first.cluster, &names))
        .file(module_path(&first.name), first.module(&servers).to_string())
        .file(module_path(&second.name), "topic: 7\n")
        .spawn();
    reports(&daemon, &[&second.name, "protocol"]).await;
    reports(&daemon, &[&missing.name, "cannot be read"]).await;
    for scene in [&first, &second, &missing] {
        scene.produce(numbered(0..5, 2)).await;
        daemon.write(&module_path(&scene.name), &scene.module(&servers).to_string());
        scene.stores(5).await;
        counts(&daemon, "ktransfer_module_running", &scene.name, 1.0).await;
    }
    assert_eq!(backend.count(), 15);
    eventually("nothing is reported any more", SOON, async || {
        reasons(&daemon).await.is_empty()
    })
    .await;
}

/// Three modules that cannot run, and their main file.
fn broken() -> (Value, [(&'static str, String); 2]) {
    let mut main = world::main_file(&cluster(), &["wrong", "mdoule", "wrong", "a/b"]);
    main["zk_timeout_ms"] = json!(5000);
    let mut wrong = world::module("t t", &["127.0.0.1".to_owned()]);
    wrong["window_sise"] = json!(1);
    wrong.as_object_mut().unwrap().remove("window_size");
    let files = [
        ("wrong", wrong.to_string()),
        ("module", world::module("t", &[]).to_string()),
    ];
    (main, files)
}

fn with_files(main: &Value, files: &[(&str, String)]) -> Setup {
    let setup = world::setup(main);
    files
        .iter()
        .fold(setup, |setup, (name, text)| setup.file(module_path(name), text))
}

#[tokio::test]
async fn without_a_valid_module_it_ends_with_78_and_check_says_the_same() {
    let (main, files) = broken();
    let (status, output) = with_files(&main, &files).run().await;
    let check = ["--check", "-f", "conf/ktransfer.yaml"];
    let (checked, problems) = with_files(&main, &files).arguments(&check).run().await;
    assert_eq!((status.code(), checked.code()), (Some(78), Some(78)));
    assert_eq!(output, problems);
    for words in [
        &["wrong.yaml:", "window_sise", "window_size"][..],
        &["wrong.yaml:", "backend_servers", "127.0.0.1"],
        &["mdoule.yaml", "cannot be read", "module.yaml"],
        &["ktransfer.yaml:", "listed twice"],
        &["ktransfer.yaml:", "no module name"],
    ] {
        let line = problems
            .lines()
            .find(|line| words.iter().all(|word| line.contains(word)));
        assert!(line.is_some(), "{words:?} in {problems}");
    }
}

#[tokio::test]
async fn check_ends_with_78_for_any_problem_and_with_0_without_one() {
    let (mut main, files) = broken();
    let check = ["--check", "-f", "conf/ktransfer.yaml"];
    let right = (
        "right",
        world::module("t", &["127.0.0.1:1".to_owned()]).to_string(),
    );
    main["module_enabled"] = json!(["right"]);
    let run = async |main: &Value| {
        let setup = with_files(main, &files).file(module_path(right.0), right.1.clone());
        let (status, output) = setup.arguments(&check).run().await;
        (status.code(), output)
    };
    assert_eq!(
        run(&main).await,
        (Some(0), "conf/ktransfer.yaml: ok\n".to_owned())
    );
    // A module that the daemon could do without.
    main["module_enabled"] = json!(["right", "wrong", "mdoule"]);
    let (status, output) = run(&main).await;
    assert_eq!(status, Some(78));
    assert!(
        output.contains("window_sise") && output.contains("mdoule.yaml"),
        "{output}"
    );
    // A wrong main file, all of its problems at once.
    main["zk_timeout_ms"] = json!("soon");
    main["zkhosts"] = json!(1);
    let (status, output) = run(&main).await;
    assert_eq!(status, Some(78));
    assert!(
        output.contains("zk_timeout_ms") && output.contains("zkhosts"),
        "{output}"
    );
}

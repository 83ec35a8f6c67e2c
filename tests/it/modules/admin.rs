//! What operators see of modules and do to them, over the admin server and `ktransfer ctl`.

use std::process::Stdio;

use ktests::daemon::binary;
use ktests::{Backend, Behaviour, Daemon, When, eventually, http, numbered};
use serde_json::{Value, json};
use tokio::process::Command;

use super::logged;
use crate::push::world::{self, SOON, Scene, delivers, keyed, module_path};

const TOKEN: &str = "0123456789abcdef-token";

/// A daemon with one module and a token.
async fn with_token(scene: &Scene, module: &Value) -> Daemon {
    let port = ktests::ports::free_port();
    let mut main = world::main_file(&scene.cluster, &[&scene.name]);
    main["admin"] = json!({ "listen": format!("127.0.0.1:{port}"), "token_file": "conf/token" });
    world::setup(&main)
        .admin_at(port)
        .file("conf/token", format!("{TOKEN}\n"))
        .file(module_path(&scene.name), module.to_string())
        .start()
        .await
}

/// What `ktransfer ctl` prints, or complains about.
async fn ctl(daemon: &Daemon, words: &[&str]) -> Result<String, String> {
    let admin = daemon.admin("").replace("http://", "");
    let output = Command::new(binary("ktransfer"))
        .arg("ctl")
        .args(["--admin", admin.trim_end_matches('/')])
        .args(words)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

async fn detail(daemon: &Daemon, module: &str) -> Value {
    let answer = http::get(&daemon.admin(&format!("/modules/{module}")))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().unwrap()
}

#[tokio::test]
async fn a_module_is_shown_with_its_partitions_and_the_record_that_is_stuck() {
    let (scene, backend) = (Scene::new("shown", 1).await, Backend::start().await);
    backend.on(When::key("stuck"), Behaviour::status(503));
    let mut module = scene.module(&backend.addresses());
    module["fail_retry_interval_ms"] = json!(50);
    let daemon = with_token(&scene, &module).await;
    scene
        .produce([keyed("fine", "a"), keyed("stuck", "b"), keyed("fine", "c")])
        .await;
    let stuck = eventually("the stuck record is shown", SOON, async || {
        let shown = detail(&daemon, &scene.name).await;
        let standing = &shown["partitions"][0]["standing"];
        let oldest = &standing["oldest"];
        (oldest["failed_attempts"].as_u64() > Some(1) && standing["uncommitted"] == 2)
            .then_some(shown.clone())
    })
    .await;
    let partition = &stuck["partitions"][0];
    assert_eq!(partition["standing"]["oldest"]["offset"], 1);
    assert_eq!(partition["standing"]["oldest"]["last_status"], 503);
    assert_eq!(partition["standing"]["phase"], "running");
    assert_eq!(partition["log_end"], 3);
    assert_eq!(partition["owner"], stuck["members"][0]);
    let listed = ctl(&daemon, &["list"]).await.unwrap();
    assert!(listed.contains(&scene.name) && listed.contains("yes"), "{listed}");
    let shown = ctl(&daemon, &["show", &scene.name]).await.unwrap();
    assert!(shown.contains("running") && shown.contains("503"), "{shown}");
    let unknown = ctl(&daemon, &["show", "nobody"]).await.unwrap_err();
    assert!(unknown.contains("no module nobody is enabled"), "{unknown}");
    let document = http::get(&daemon.admin("/openapi.json")).await.unwrap();
    assert!(document.json().unwrap()["paths"]["/modules/{module}/seek"].is_object());
}

#[tokio::test]
async fn a_seek_moves_partitions_of_whichever_instance_owns_them_and_is_audited() {
    let (scene, backend) = (Scene::new("seek", 2).await, Backend::start().await);
    let module = scene.module(&backend.addresses());
    let asked = with_token(&scene, &module).await;
    let _other = scene.start(&module).await;
    eventually("both own a partition", SOON, async || {
        let owners = scene.znodes.owners(&scene.name, &scene.name).await.unwrap();
        let mut ids: Vec<String> = owners.into_values().collect();
        ids.dedup();
        ids.len() == 2
    })
    .await;
    scene.produce(numbered(0..100, 10)).await;
    delivers(&backend, 100).await;
    let ends = scene.cluster.watermarks(&scene.name).await.unwrap();
    scene
        .stores_all((0..).zip(ends.iter().map(|(_, end)| *end)))
        .await;

    // Without the token nothing is done.
    let everything = ["seek", &scene.name, "--all", "--to", "earliest"];
    let refused = ctl(&asked, &everything).await.unwrap_err();
    assert!(
        refused.contains("--token-file") && refused.contains("401"),
        "{refused}"
    );
    let token = asked.dir().join("conf/token");
    let with_token = [&["--token-file", token.to_str().unwrap()][..], &everything].concat();
    let moved = ctl(&asked, &with_token).await.unwrap();
    assert_eq!(moved.lines().count(), 3, "{moved}");
    delivers(&backend, 200).await;
    assert_eq!(logged(&asked, &["operator command", "seek", &scene.name]), 2);

    // An offset that the log does not have.
    let beyond = ["seek", &scene.name, "--partition", "0", "--to", "1000000"];
    let with_token = [&["--token-file", token.to_str().unwrap()][..], &beyond].concat();
    let refused = ctl(&asked, &with_token).await.unwrap_err();
    assert!(
        refused.contains("is not in the log of partition 0; allowed: 0 to"),
        "{refused}"
    );
    // A time that nothing is as late as is the end of the log.
    let late = [
        "seek",
        &scene.name,
        "--partition",
        "0",
        "--to",
        "time:99999999999999",
    ];
    let with_token = [&["--token-file", token.to_str().unwrap()][..], &late].concat();
    let moved = ctl(&asked, &with_token).await.unwrap();
    assert!(moved.contains(&ends[0].1.to_string()), "{moved}");
    assert_eq!(backend.count(), 200);
}

#[tokio::test]
async fn without_a_token_file_nothing_can_be_changed() {
    let (scene, backend) = (Scene::new("notoken", 1).await, Backend::start().await);
    let daemon = scene.start(&scene.module(&backend.addresses())).await;
    let path = daemon.admin(&format!("/modules/{}/seek", scene.name));
    let refused = http::post(&path, r#"{"to":"earliest"}"#).await.unwrap();
    assert_eq!(refused.status, 403);
    assert!(
        refused.text().contains("set admin.token_file"),
        "{}",
        refused.text()
    );
    let text = ctl(&daemon, &["reload"]).await.unwrap();
    assert_eq!(text, "unchanged: 1\n");
}

//! What pushes look like when their module says more than "the value as it is", and secrets that change under it.

use ktests::{Backend, Behaviour, Seen, When, eventually};
use serde_json::json;

use super::world::{SOON, Scene, daemon, delivers, keyed};

#[tokio::test]
async fn a_push_wears_what_its_module_says_and_a_changed_secret_holds_without_a_restart() {
    let (scene, backend) = (Scene::new("form", 1).await, Backend::start().await);
    let mut module = scene.module(&backend.addresses());
    let protocol = &mut module["protocol"];
    protocol["method"] = json!("PUT");
    protocol["form"] = json!("form");
    protocol["id_header"] = json!("Idempotency-Key");
    protocol["attempt_header"] = json!("X-Attempt");
    protocol["age_header"] = json!("X-Age");
    protocol["auth"] = json!({
        "bearer": {"file": "conf/token"}, "signature": {"key": {"file": "conf/key"}},
    });
    backend.on(When::key("twice").attempt(1), Behaviour::status(500));
    let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let daemon = daemon(&scene.cluster, &[(&scene.name, &module)])
        .file("conf/token", "sesame-1\n")
        .file("conf/key", key)
        .start()
        .await;
    scene.produce([keyed("twice", "a b")]).await;
    delivers(&backend, 1).await;
    let requests = backend.requests();
    assert_eq!(requests.len(), 2);
    for (nth, seen) in requests.iter().enumerate() {
        assert_eq!(seen.body, "m=a+b&p=0&o=0");
        let id = format!("{}/0/0", scene.name);
        let attempt = (nth + 1).to_string();
        for (name, value) in [
            ("content-type", "application/x-www-form-urlencoded"),
            ("idempotency-key", &*id),
            ("webhook-id", &*id),
            ("x-attempt", &*attempt),
            ("authorization", "Bearer sesame-1"),
        ] {
            assert_eq!(seen.header(name), Some(value), "{name}");
        }
        assert!(seen.header("webhook-signature").unwrap().starts_with("v1,"));
        let age: u64 = seen.header("x-age").unwrap().parse().unwrap();
        assert!(age < 600_000, "{age}");
    }
    daemon.write("conf/token", "sesame-2\n");
    let last = |seen: &[Seen]| seen.last()?.header("authorization").map(str::to_owned);
    eventually("the new token holds", SOON, async || {
        scene.produce([keyed("k", "v")]).await;
        last(&backend.requests()).as_deref() == Some("Bearer sesame-2")
    })
    .await;
    // An empty file changes nothing and is told.
    daemon.write("conf/token", "");
    eventually("the empty file is refused", SOON, async || {
        let refused = daemon.metric("ktransfer_module_files_refused", &[]).await;
        refused.is_some_and(|refused| refused > 0.5)
    })
    .await;
    let before = backend.count();
    scene.produce([keyed("k", "last")]).await;
    eventually("it is pushed", SOON, async || backend.count() > before).await;
    assert_eq!(last(&backend.requests()).as_deref(), Some("Bearer sesame-2"));
    let log = daemon.log();
    assert!(!log.contains("sesame") && !log.contains("whsec"), "{log}");
}

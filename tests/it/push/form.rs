//! What pushes look like when their module says more than "the value as it is", and secrets that change under it.

use ktests::{Backend, Behaviour, Seen, When, eventually};
use serde_json::json;

use super::world::{SOON, Scene, daemon, delivers, keyed, main_file, module_path, setup};

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

#[tokio::test]
async fn a_records_headers_are_forwarded_also_when_its_body_was_dropped_and_read_again() {
    let (scene, backend) = (Scene::new("headers", 1).await, Backend::start().await);
    let mut module = scene.module(&backend.addresses());
    module["protocol"]["header_prefix"] = json!("X-Kafka-");
    module["protocol"]["traceparent"] = json!(true);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let records = (0..20).map(|number| {
        let record = keyed("stuck", format!("{number}-{}", "x".repeat(100_000)));
        let record = record.header("number", number.to_string());
        record.header("traceparent", parent).header("line", "a\r\nb: c")
    });
    backend.on(When::key("stuck"), Behaviour::status(500));
    let mut main = main_file(&scene.cluster, &[&scene.name]);
    main["body_budget_bytes"] = json!(1 << 20);
    let setup = setup(&main).file(module_path(&scene.name), module.to_string());
    let daemon = setup.start().await;
    scene.produce(records).await;
    eventually("bodies are dropped", SOON, async || {
        let evicted = daemon.metric("ktransfer_bodies_evicted_total", &[]).await;
        evicted.unwrap_or_default() > 0.5
    })
    .await;
    backend.off(When::key("stuck"));
    delivers(&backend, 20).await;
    let delivered: Vec<Seen> = backend
        .requests()
        .into_iter()
        .filter(Seen::is_delivered)
        .collect();
    for (number, seen) in delivered.iter().enumerate() {
        assert_eq!(seen.header("x-kafka-number"), Some(&*number.to_string()));
        assert_eq!(seen.header("traceparent"), Some(parent));
        assert_eq!((seen.header("x-kafka-line"), seen.header("b")), (None, None));
    }
    let left_out = daemon
        .metric("ktransfer_record_headers_left_out_total", &[])
        .await;
    assert!(left_out.unwrap() >= 20.0);
}

//! What an answer means for the record, how often it is tried, and what waits for it meanwhile.

use std::time::Duration;

use ktests::{Backend, Behaviour, When, check, eventually};
use serde_json::json;

use super::world::{SOON, Scene, delivers, keyed, most_open, of_key, of_offset, unkeyed};

#[tokio::test]
async fn every_2xx_is_delivered_and_everything_else_is_repeated() {
    let (scene, backend) = (Scene::new("status", 1).await, Backend::start().await);
    let delivered = [200, 201, 202, 204, 206, 299];
    let repeated = [
        300, 301, 302, 303, 304, 307, 308, 400, 401, 404, 409, 429, 500, 501, 503, 599,
    ];
    for status in delivered {
        backend.on(When::key(status.to_string()), Behaviour::status(status));
    }
    for status in repeated {
        backend.on(
            When::key(status.to_string()).attempt(1),
            Behaviour::status(status),
        );
    }
    let keys = delivered.iter().chain(&repeated).map(ToString::to_string);
    scene.produce(keys.map(|key| keyed(key, "body"))).await;
    let _daemon = scene.start(&scene.module(&backend.addresses())).await;
    delivers(&backend, delivered.len() + repeated.len()).await;
    let requests = backend.requests();
    for (offset, status) in (0..).zip(delivered.iter().chain(&repeated)) {
        let seen = of_offset(&requests, offset);
        let expected = if delivered.contains(status) { 1 } else { 2 };
        assert_eq!(seen.len(), expected, "{status}");
        assert_eq!(seen[0].status, Some(*status));
    }
    // Nothing was asked for but the records: no redirect was followed.
    assert_eq!(requests.len(), delivered.len() + 2 * repeated.len());
    scene.stores(22).await;
}

#[tokio::test]
async fn a_list_of_statuses_narrows_what_is_delivered() {
    let (scene, backend) = (Scene::new("narrow", 1).await, Backend::start().await);
    backend.on(When::key("201").attempt(1), Behaviour::status(201));
    backend.on(When::key("409"), Behaviour::status(409));
    let mut module = scene.module(&backend.addresses());
    module["protocol"]["success_status"] = json!([200, "409-410"]);
    scene
        .produce(["200", "201", "409"].map(|key| keyed(key, "body")))
        .await;
    let _daemon = scene.start(&module).await;
    scene.stores(3).await;
    let requests = backend.requests();
    let counts = [0, 1, 2].map(|offset| of_offset(&requests, offset).len());
    assert_eq!(counts, [1, 2, 1]);
}

#[tokio::test]
async fn an_answers_body_decides_where_the_module_has_a_rule_for_it() {
    let (scene, backend) = (Scene::new("errno", 1).await, Backend::start().await);
    let says = |body: &str| Behaviour::status(200).with_body(body.to_owned());
    let denied = [r#"{"errno":1}"#, "<html>a login page</html>", ""];
    for (key, body) in ["refuses", "strange", "empty"].iter().zip(denied) {
        backend.on(When::key(key), says(r#"{"errno":0}"#));
        backend.on(When::key(key).attempt(1), says(body));
    }
    backend.on(When::key("takes"), says(r#"{"errno":"0","data":{"id":7}}"#));
    backend.on(When::key("never"), Behaviour::status(422));
    let mut module = scene.module(&backend.addresses());
    module["protocol"]["success_json"] = json!({"field": "errno", "falsy": true});
    module["protocol"]["rejected_status"] = json!([422]);
    let keys = ["refuses", "strange", "empty", "takes", "never"];
    scene.produce(keys.map(|key| keyed(key, "body"))).await;
    let daemon = scene.start(&module).await;
    scene.stores(5).await;
    let requests = backend.requests();
    let counts = [0, 1, 2, 3, 4].map(|offset| of_offset(&requests, offset).len());
    assert_eq!(counts, [2, 2, 2, 1, 1]);
    let rejected = daemon
        .metric("ktransfer_pushes_total", &["outcome=\"rejected\""])
        .await;
    assert_eq!(rejected, Some(1.0));
    let log = daemon.log();
    assert!(log.contains("the backend answered 200 OK, but "), "{log}");
    assert!(log.contains("record dropped: the backend rejected it"), "{log}");
}

#[tokio::test]
async fn a_backend_that_is_overloaded_is_asked_less_by_the_whole_module_until_it_has_recovered() {
    let (scene, backend) = (Scene::new("overload", 1).await, Backend::start().await);
    backend.on(When::always(), Behaviour::status(503).and_retry_after(2));
    let mut module = scene.module(&backend.addresses());
    module["worker_num"] = json!(20);
    module["window_size"] = json!(20);
    module["retry"] = json!({"backoff": "exponential", "max_interval_ms": 1000});
    let produced = scene
        .cluster
        .produce_checked(&scene.name, ktests::numbered(0..400, 200))
        .await
        .unwrap();
    let daemon = scene.start(&module).await;
    eventually("the first are refused", SOON, async || backend.count() > 0).await;
    // 200 keys are ready, and none of them may come for two seconds: what is looked at is the length of the pause.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(backend.count() <= 20, "{}", backend.count());
    eventually("it is asked again", SOON, async || backend.count() > 20).await;
    let limit = daemon.metric("ktransfer_pushes_limit", &[]).await.unwrap();
    assert!(limit <= 10.0, "{limit}");
    backend.on(
        When::always(),
        Behaviour::status(200).after(Duration::from_millis(10)),
    );
    backend.forget();
    delivers(&backend, 400).await;
    let requests = backend.requests();
    let first: Vec<_> = requests.iter().filter(|seen| seen.status == Some(200)).collect();
    let early = &first[..10];
    let open = early
        .iter()
        .filter(|seen| seen.start < early[0].end.unwrap())
        .count();
    assert!(open <= 5, "{open} at a time when it is back");
    scene.stores(400).await;
    check(&produced, &backend.requests()).assert_at_least_once();
    eventually("all workers push again", SOON, async || {
        let limit = daemon.metric("ktransfer_pushes_limit", &[]).await;
        limit.is_some_and(|limit| limit > 10.0)
    })
    .await;
    assert!(daemon.log().contains("module slowed down"), "{}", daemon.log());
}

#[tokio::test]
async fn a_record_is_dropped_after_its_last_retry_and_counted() {
    let (scene, backend) = (Scene::new("dropped", 1).await, Backend::start().await);
    backend.on(When::key("bad"), Behaviour::status(500));
    let mut module = scene.module(&backend.addresses());
    module["max_retry_times"] = json!(2);
    scene.produce(of_key("bad", 2).chain(of_key("good", 2))).await;
    let daemon = scene.start(&module).await;
    scene.stores(4).await;
    let requests = backend.requests();
    let counts = [0, 1, 2, 3].map(|offset| of_offset(&requests, offset).len());
    assert_eq!(counts, [3, 3, 1, 1]);
    // One record after the other, although the first was given up.
    let last = of_offset(&requests, 0).pop().unwrap();
    assert!(last.end.unwrap() <= of_offset(&requests, 1)[0].start);
    for (outcome, count) in [("delivered", 2.0), ("retried", 4.0), ("exhausted", 2.0)] {
        let label = format!("outcome=\"{outcome}\"");
        assert_eq!(
            daemon.metric("ktransfer_pushes_total", &[&label]).await,
            Some(count),
            "{outcome}"
        );
    }
    assert!(
        daemon.log().contains("push failed; it will be repeated"),
        "{}",
        daemon.log()
    );
}

#[tokio::test]
async fn the_loss_of_a_record_is_logged_as_such() {
    let (scene, backend) = (Scene::new("logged", 1).await, Backend::start().await);
    backend.on(When::always(), Behaviour::status(404));
    let mut module = scene.module(&backend.addresses());
    module["max_retry_times"] = json!(3);
    scene.produce([keyed("k", "body")]).await;
    let daemon = scene.start(&module).await;
    scene.stores(1).await;
    let log = daemon.log();
    assert!(log.contains("record dropped: its last attempt failed"), "{log}");
    assert!(log.contains("404"), "{log}");
}

#[tokio::test]
async fn without_a_limit_a_failing_key_is_repeated_in_its_order_while_others_go_on() {
    let (scene, backend) = (Scene::new("stuck", 2).await, Backend::start().await);
    for key in ["stuck", "reset"] {
        let fails = if key == "stuck" {
            Behaviour::status(500)
        } else {
            Behaviour::reset()
        };
        backend.on(When::key(key), fails);
    }
    let keys = ["stuck", "reset", "a", "b", "c", "d"];
    let records = (0..20).flat_map(|n| keys.map(|key| ktests::NewRecord::keyed(key, format!("{key}-{n}"))));
    let produced = scene.cluster.produce_checked(&scene.name, records).await.unwrap();
    let daemon = scene.start(&scene.module(&backend.addresses())).await;
    delivers(&backend, 4 * 20).await;
    eventually("the failing keys are tried for the 50th time", SOON, async || {
        let requests = backend.requests();
        ["stuck", "reset"].iter().all(|key| {
            let of_key = requests
                .iter()
                .filter(|seen| seen.key.as_deref() == Some(key.as_bytes()));
            of_key.count() >= 50
        })
    })
    .await;
    assert_eq!(backend.delivered(), 4 * 20);
    let stored = scene.stored().await;
    backend.off(When::key("stuck"));
    backend.off(When::key("reset"));
    delivers(&backend, 6 * 20).await;
    check(&produced, &backend.requests()).assert_exactly_once();
    // The offsets never passed what was not delivered.
    for record in produced
        .iter()
        .filter(|record| record.body.ends_with(b"-0") && record.body.len() > 3)
    {
        assert!(stored[&record.partition] <= record.offset, "{stored:?}");
    }
    let ends = scene.cluster.watermarks(&scene.name).await.unwrap();
    scene
        .stores_all((0..).zip(ends.iter().map(|(_, end)| *end)))
        .await;
    assert_eq!(
        daemon
            .metric("ktransfer_pushes_total", &["outcome=\"exhausted\""])
            .await,
        Some(0.0)
    );
}

#[tokio::test]
async fn records_without_key_and_a_module_without_order_run_side_by_side() {
    let (unkeyed_scene, unordered, ordered) = (
        Scene::new("unkeyed", 1).await,
        Scene::new("unordered", 1).await,
        Scene::new("ordered", 1).await,
    );
    let slow = || async {
        let backend = Backend::start().await;
        backend.on(
            When::always(),
            Behaviour::status(200).after(Duration::from_millis(300)),
        );
        backend
    };
    let backends = [slow().await, slow().await, slow().await];
    let mut modules =
        [&unkeyed_scene, &unordered, &ordered].map(|scene| (scene.name.clone(), scene.module(&[])));
    for ((_, module), backend) in modules.iter_mut().zip(&backends) {
        module["worker_num"] = json!(4);
        module["backend_servers"] = json!(backend.addresses());
    }
    modules[1].1["serialize_by_key"] = json!(false);
    // An empty key orders nothing either.
    let bodies = (0..6).map(|n| {
        if n % 2 == 0 {
            unkeyed(format!("{n}"))
        } else {
            keyed("", format!("{n}"))
        }
    });
    unkeyed_scene.produce(bodies).await;
    unordered.produce(of_key("k", 6)).await;
    ordered.produce(of_key("k", 6)).await;
    let named: Vec<_> = modules
        .iter()
        .map(|(name, module)| (name.as_str(), module))
        .collect();
    let _daemon = super::world::daemon(&ordered.cluster, &named).start().await;
    for backend in &backends {
        delivers(backend, 6).await;
    }
    let open = [0, 1, 2].map(|n: usize| most_open(&backends[n].requests()));
    assert_eq!(open, [4, 4, 1]);
}

#[tokio::test]
async fn a_stuck_key_stops_its_partition_alone_when_too_many_records_have_passed_it() {
    let (scene, backend) = (Scene::new("passed", 2).await, Backend::start().await);
    backend.on(When::key("stuck"), Behaviour::status(500));
    let mut module = scene.module(&backend.addresses());
    module["max_uncommitted"] = json!(20);
    let in_partition = |partition, key: &str, n: usize| {
        ktests::NewRecord::keyed(key.to_owned(), format!("{partition}-{n}")).in_partition(partition)
    };
    let stuck = std::iter::once(in_partition(0, "stuck", 0));
    let behind = (1..100).map(|n| in_partition(0, &format!("k{}", n % 7), n));
    let other = (0..100).map(|n| in_partition(1, &format!("k{}", n % 7), n));
    let produced = scene
        .cluster
        .produce_checked(&scene.name, stuck.chain(behind).chain(other))
        .await
        .unwrap();
    let mut daemon = scene.start(&module).await;
    delivers(&backend, 100 + 19).await;
    scene.stores_all([(0, 0), (1, 100)]).await;
    assert_eq!(backend.delivered(), 100 + 19);
    eventually("the full partition is reported", SOON, async || {
        let reasons = daemon.readiness().await;
        reasons.contains("partition 0 takes no further record behind offset 0")
    })
    .await;
    let full = daemon.metric("ktransfer_partitions_full", &[]).await;
    assert_eq!(full, Some(1.0));
    let log = daemon.log();
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains("partition full"))
        .collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    for word in ["partition=0", "oldest_offset=0", "max_uncommitted"] {
        assert!(told[0].contains(word), "{told:?} without {word}");
    }
    backend.off(When::key("stuck"));
    delivers(&backend, 200).await;
    scene.stores_all([(0, 100), (1, 100)]).await;
    check(&produced, &backend.requests()).assert_exactly_once();
    daemon.wait_ready().await;
    assert!(daemon.log().contains("partition no longer full"));
}

#[tokio::test]
async fn the_smaller_of_window_and_workers_bounds_the_pushes_in_flight() {
    let (windowed, working) = (Scene::new("window", 2).await, Scene::new("workers", 2).await);
    let backends = [Backend::start().await, Backend::start().await];
    let mut modules = [&windowed, &working].map(|scene| (scene.name.clone(), scene.module(&[])));
    for ((_, module), backend) in modules.iter_mut().zip(&backends) {
        backend.on(
            When::always(),
            Behaviour::status(200).after(Duration::from_millis(100)),
        );
        module["backend_servers"] = json!(backend.addresses());
    }
    modules[0].1["worker_num"] = json!(10);
    modules[0].1["window_size"] = json!(3);
    modules[1].1["worker_num"] = json!(5);
    modules[1].1["window_size"] = json!(200);
    for scene in [&windowed, &working] {
        scene.produce(ktests::numbered(0..60, 60)).await;
    }
    let named: Vec<_> = modules
        .iter()
        .map(|(name, module)| (name.as_str(), module))
        .collect();
    let _daemon = super::world::daemon(&working.cluster, &named).start().await;
    for backend in &backends {
        delivers(backend, 60).await;
    }
    let open = [0, 1].map(|n: usize| most_open(&backends[n].requests()));
    assert_eq!(open, [3, 5]);
}

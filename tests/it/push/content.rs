//! The filter by a field and the projection: what reaches the backend, what is passed over, and that both are committed.

use bytes::Bytes;
use ktests::{Backend, Behaviour, Daemon, NewRecord, When, eventually};
use serde_json::{Value, json};

use super::world::{SOON, Scene, delivers, keyed};

fn order(id: usize, kind: &str) -> Value {
    json!({"id": id, "type": kind, "user": {"name": format!("u{id}"), "address": {"city": "Riga"}}, "noise": [1, {"x": null}]})
}

fn written(body: &Value) -> Bytes {
    serde_json::to_vec(body).unwrap().into()
}

fn packed(body: &Value) -> Bytes {
    rmp_serde::to_vec_named(body).unwrap().into()
}

/// What the projection of [`order`] is, as it is written.
fn projected(id: usize) -> Bytes {
    format!(r#"{{"city":"Riga","order_id":{id},"who":"u{id}"}}"#).into()
}

fn unreadable() -> [Bytes; 4] {
    [
        Bytes::new(),
        Bytes::from_static(b"{\"type\":\"order\""),
        Bytes::from_static(b"[\"type\"]"),
        packed(&order(1, "order")).slice(..20),
    ]
}

async fn errors(daemon: &Daemon, stage: &str) -> Option<f64> {
    let label = format!("stage=\"{stage}\"");
    daemon.metric("ktransfer_content_errors_total", &[&label]).await
}

fn with_content(scene: &Scene, backend: &Backend) -> Value {
    let mut module = scene.module(&backend.addresses());
    module["filter"] = json!({"field": "type", "in": ["order", "refund"]});
    module["project"] =
        json!({"city": "user.address.city", "order_id": "id", "who": "user.name", "phone": "user.phone"});
    module
}

#[tokio::test]
async fn wanted_records_are_pushed_as_flat_maps_and_everything_is_committed_once() {
    let (scene, backend) = (Scene::new("content", 2).await, Backend::start().await);
    let module = with_content(&scene, &backend);
    // Every first push fails: what is pushed again is made of the record again.
    backend.on(When::always().attempt(1), Behaviour::status(500));
    let in_partition = |partition, body| NewRecord::keyed("k", body).in_partition(partition);
    let mixed = (0..10).flat_map(|id| [order(id, "order"), order(id, "other")]);
    scene
        .produce(mixed.map(|body| in_partition(0, written(&body))))
        .await;
    scene
        .produce(unreadable().map(|body| in_partition(0, body)))
        .await;
    scene
        .produce(
            (0..5)
                .flat_map(|id| [order(id, "other"), order(id, "refund")])
                .map(|body| in_partition(1, packed(&body))),
        )
        .await;
    let mut daemon = scene.start(&module).await;
    scene.stores_all([(0, 24), (1, 10)]).await;
    let of_partition = |partition: &str| {
        let prefix = format!("/push/{partition}/");
        let requests = backend.requests().into_iter();
        let requests = requests.filter(move |seen| seen.uri.starts_with(prefix.as_bytes()));
        requests.map(|seen| seen.body).collect::<Vec<Bytes>>()
    };
    let twice = (0..10).flat_map(|id| [projected(id), projected(id)]);
    assert_eq!(of_partition("0"), twice.collect::<Vec<_>>());
    let values: Vec<Value> = of_partition("1")
        .iter()
        .map(|body| rmp_serde::from_slice(body).unwrap())
        .collect();
    let expected = (0..10)
        .map(|nth| nth / 2)
        .map(|id| json!({"city": "Riga", "order_id": id, "who": format!("u{id}")}));
    assert_eq!(values, expected.collect::<Vec<_>>());
    let passed = daemon
        .metric("ktransfer_records_passed_over_total", &["reason=\"filtered\""])
        .await;
    assert_eq!(passed, Some(15.0));
    assert_eq!(errors(&daemon, "filter").await, Some(4.0));
    assert_eq!(errors(&daemon, "transform").await, Some(0.0));
    let log = daemon.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("record whose body cannot be read"))
        .collect();
    assert_eq!(lines.len(), 1, "one for a partition and minute");
    assert!(!lines[0].contains("type"), "no word of the body: {}", lines[0]);

    // All of that is behind us after a restart.
    assert_eq!(daemon.terminate().await.code(), Some(0));
    daemon.restart().await;
    scene
        .produce([in_partition(0, written(&order(77, "order")))])
        .await;
    delivers(&backend, 16).await;
    assert_eq!(backend.count(), 32);
    assert_eq!(backend.requests().last().unwrap().body, projected(77));
}

#[tokio::test]
async fn what_cannot_be_read_is_pushed_as_it_is_when_that_is_wanted() {
    let (scene, backend) = (Scene::new("contentpush", 1).await, Backend::start().await);
    let mut module = with_content(&scene, &backend);
    module["on_error"] = json!("push");
    let strange = unreadable();
    let good = written(&order(3, "order"));
    scene
        .produce(strange.iter().cloned().chain([good]).map(|body| keyed("k", body)))
        .await;
    let daemon = scene.start(&module).await;
    delivers(&backend, strange.len() + 1).await;
    let bodies: Vec<Bytes> = backend.requests().into_iter().map(|seen| seen.body).collect();
    assert_eq!(
        bodies,
        strange.into_iter().chain([projected(3)]).collect::<Vec<_>>()
    );
    assert_eq!(errors(&daemon, "filter").await, Some(4.0));
    assert_eq!(errors(&daemon, "transform").await, Some(4.0));
}

#[tokio::test]
async fn a_body_that_cannot_be_projected_stops_its_partition_alone_when_that_is_wanted() {
    let (scene, backend) = (Scene::new("contentstop", 2).await, Backend::start().await);
    let mut module = with_content(&scene, &backend);
    module.as_object_mut().unwrap().remove("filter");
    module["on_error"] = json!("stop");
    let in_partition = |partition, body| NewRecord::keyed("k", body).in_partition(partition);
    let stuck = [
        written(&order(0, "a")),
        Bytes::from_static(b"what?"),
        written(&order(1, "a")),
    ];
    scene.produce(stuck.map(|body| in_partition(0, body))).await;
    scene
        .produce((0..5).map(|id| in_partition(1, written(&order(id, "b")))))
        .await;
    let mut daemon = scene.spawn(&module);
    scene.stores_all([(0, 1), (1, 5)]).await;
    eventually("it says so", SOON, async || {
        daemon.readiness().await.contains("partition 0 is stopped")
    })
    .await;
    assert!(daemon.readiness().await.contains("change on_error"));
    assert_eq!(backend.count(), 6);
    scene.znodes.set(&scene.offset_path(0), "2").await.unwrap();
    delivers(&backend, 7).await;
    daemon.wait_ready().await;
    scene.stores_all([(0, 3), (1, 5)]).await;
    assert_eq!(backend.count(), 7);
}

#[tokio::test]
async fn expressions_choose_records_and_make_their_bodies() {
    let (scene, backend) = (Scene::new("contentexpr", 1).await, Backend::start().await);
    let mut module = scene.module(&backend.addresses());
    module["filter_expr"] = json!("body.type == 'order' && body.id % 2 == 0 && key == 'k'");
    module["transform_expr"] = json!("{'id': body.id, 'at': topic + '/' + string(offset)}");
    let strange = [Bytes::from_static(b"what?"), written(&json!({"id": 2}))];
    let mixed = (0..10).flat_map(|id| [written(&order(id, "order")), packed(&order(id, "other"))]);
    scene
        .produce(mixed.chain(strange).map(|body| keyed("k", body)))
        .await;
    let daemon = scene.start(&module).await;
    scene.stores(22).await;
    let bodies: Vec<Value> = backend
        .requests()
        .iter()
        .map(|seen| serde_json::from_slice(&seen.body).unwrap())
        .collect();
    let expected = (0..10)
        .step_by(2)
        .map(|id| json!({"id": id, "at": format!("{}/{}", scene.name, 2 * id)}));
    assert_eq!(bodies, expected.collect::<Vec<_>>());
    assert_eq!(errors(&daemon, "filter").await, Some(2.0));
}

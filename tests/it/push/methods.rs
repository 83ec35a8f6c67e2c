//! The filter by method: what is pushed, what is passed over, and that both are committed.

use bytes::Bytes;
use ktests::{Backend, Daemon, NewRecord, eventually};
use serde_json::{Value, json};

use super::world::{SOON, Scene, delivers, keyed};

fn pack(body: &Value) -> Bytes {
    rmp_serde::to_vec_named(body).unwrap().into()
}

fn wanted(id: usize) -> Bytes {
    pack(&json!({"id": id, "method": "TestReply"}))
}

fn unwanted(id: usize) -> Bytes {
    pack(&json!({"method": "Other", "id": id}))
}

/// Bodies of which nobody can tell the method.
fn unreadable() -> Vec<Bytes> {
    vec![
        Bytes::from_static(b"no MessagePack"),
        Bytes::new(),
        pack(&json!(["method", "TestReply"])),
        pack(&json!("TestReply")),
        pack(&json!({"id": 1})),
        pack(&json!({"method": 7})),
        pack(&json!({"method": null})),
        pack(&json!({"method": ["TestReply"]})),
        // A map that ends in the middle, its method before the end.
        wanted(1).slice(..wanted(1).len() - 1),
        Bytes::from_static(b"\x82\xa6method\xa9TestReply\xa2id"),
        // Deeper than any stack.
        vec![0x91; 100_000].into(),
    ]
}

async fn passed_over(daemon: &Daemon, reason: &str) -> Option<f64> {
    let label = format!("reason=\"{reason}\"");
    daemon
        .metric("ktransfer_records_passed_over_total", &[&label])
        .await
}

fn lines(daemon: &Daemon, partition: i32) -> usize {
    let field = format!("partition={partition}");
    let log = daemon.log();
    let found = log
        .lines()
        .filter(|line| line.contains("record without a readable method") && line.contains(&field));
    found.count()
}

#[tokio::test]
async fn only_wanted_methods_are_pushed_and_everything_is_committed_once() {
    let (scene, backend) = (Scene::new("methods", 3).await, Backend::start().await);
    let mut module = scene.module(&backend.addresses());
    module["methods"] = json!(["TestUserName", "TestReply"]);
    let in_partition = |partition, body| NewRecord::keyed("k", body).in_partition(partition);
    // Partition 0 has everything, 1 only what is passed over, 2 only what cannot be read.
    let mixed = (0..10).flat_map(|id| [wanted(id), unwanted(id)]);
    scene
        .produce(mixed.chain(unreadable()).map(|body| in_partition(0, body)))
        .await;
    scene
        .produce((0..50).map(|id| in_partition(1, unwanted(id))))
        .await;
    scene
        .produce(unreadable().into_iter().map(|body| in_partition(2, body)))
        .await;
    let mut daemon = scene.start(&module).await;
    let strange = i64::try_from(unreadable().len()).unwrap();
    scene.stores_all([(0, 20 + strange), (1, 50), (2, strange)]).await;
    let bodies: Vec<Bytes> = backend.requests().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, (0..10).map(wanted).collect::<Vec<_>>());
    assert_eq!(passed_over(&daemon, "filtered").await, Some(60.0));
    assert_eq!(
        passed_over(&daemon, "undecodable").await,
        Some(2.0 * f64::from(u32::try_from(strange).unwrap()))
    );
    // Each line stands in the log of warnings, once for a partition and minute.
    assert_eq!([0, 1, 2].map(|partition| lines(&daemon, partition)), [1, 0, 1]);

    // All of that is behind us after a restart.
    assert_eq!(daemon.terminate().await.code(), Some(0));
    let stored = scene.stored().await;
    daemon.restart().await;
    scene.produce([in_partition(0, wanted(11))]).await;
    delivers(&backend, 11).await;
    assert_eq!(backend.count(), 11);
    assert_eq!(passed_over(&daemon, "filtered").await, Some(0.0));
    assert_eq!(passed_over(&daemon, "undecodable").await, Some(0.0));
    scene
        .stores_all(stored.into_iter().map(|(partition, offset)| {
            let more = i64::from(partition == 0);
            (partition, offset + more)
        }))
        .await;
}

#[tokio::test]
async fn unreadable_records_are_pushed_with_an_empty_method_when_that_is_wanted() {
    let (scene, backend) = (Scene::new("pushall", 1).await, Backend::start().await);
    let mut module = scene.module(&backend.addresses());
    module["methods"] = json!(["TestReply"]);
    module["on_undecodable"] = json!("push");
    module["protocol"]["uri"] = json!("/{#METHOD}/x");
    let bodies = unreadable();
    let records = bodies.iter().cloned().chain([unwanted(1), wanted(1)]);
    scene.produce(records.map(|body| keyed("k", body))).await;
    let _daemon = scene.start(&module).await;
    delivers(&backend, bodies.len() + 1).await;
    let requests = backend.requests();
    for (seen, body) in requests.iter().zip(&bodies) {
        assert_eq!(seen.uri, "//x");
        assert_eq!(seen.body, body);
    }
    assert_eq!(requests[bodies.len()].uri, "/TestReply/x");
    assert_eq!(requests.len(), bodies.len() + 1);
}

#[tokio::test]
async fn an_unreadable_record_stops_its_partition_alone_when_that_is_wanted() {
    let (scene, backend) = (Scene::new("stop", 2).await, Backend::start().await);
    let mut module = scene.module(&backend.addresses());
    module["methods"] = json!(["TestReply"]);
    module["on_undecodable"] = json!("stop");
    let in_partition = |partition, body| NewRecord::keyed("k", body).in_partition(partition);
    let stuck = [wanted(0), Bytes::from_static(b"what?"), wanted(1)];
    scene.produce(stuck.map(|body| in_partition(0, body))).await;
    scene
        .produce((0..5).map(|id| in_partition(1, wanted(10 + id))))
        .await;
    let mut daemon = scene.spawn(&module);
    scene.stores_all([(0, 1), (1, 5)]).await;
    eventually("it says so", SOON, async || {
        daemon.readiness().await.contains("partition 0 is stopped")
    })
    .await;
    assert!(daemon.readiness().await.contains("on_undecodable"));
    assert_eq!(backend.count(), 6);
    // An operator moves the offset past it.
    scene.znodes.set(&scene.offset_path(0), "2").await.unwrap();
    delivers(&backend, 7).await;
    daemon.wait_ready().await;
    scene.stores_all([(0, 3), (1, 5)]).await;
    assert_eq!(backend.count(), 7);
}

//! A module whose partitions are one queue each.

use bytes::Bytes;
use ktests::{Backend, Behaviour, NewRecord, Produced, When, check};
use serde_json::json;

use super::world::{Scene, delivers, most_open};

#[tokio::test]
async fn with_order_by_partition_its_records_are_pushed_one_after_another_keyed_or_not() {
    let (scene, backend) = (Scene::new("inorder", 2).await, Backend::start().await);
    let mut module = scene.module(&backend.addresses());
    module["order"] = json!("partition");
    module["worker_num"] = json!(8);
    // Some fail twice, and nothing behind them goes on meanwhile.
    for attempt in [1, 2] {
        backend.on(When::key("k1").attempt(attempt), Behaviour::status(500));
    }
    let records = (0..400_usize).map(|n| NewRecord {
        partition: Some(i32::try_from(n % 2).unwrap()),
        key: (n % 3 > 0).then(|| Bytes::from(format!("k{}", n % 7))),
        value: Bytes::from(format!("record {n}")),
        ..NewRecord::default()
    });
    let produced = scene.cluster.produce_checked(&scene.name, records).await.unwrap();
    let daemon = scene.start(&module).await;
    delivers(&backend, 400).await;
    scene.stores_all([(0, 200), (1, 200)]).await;
    let requests = backend.requests();
    assert!(most_open(&requests) <= 2, "one for each partition");
    // To the checker a partition is one key.
    let as_one: Vec<Produced> = produced
        .into_iter()
        .map(|record| Produced {
            key: Some(Bytes::from_static(b"all")),
            ..record
        })
        .collect();
    check(&as_one, &requests).assert_exactly_once();
    let retried = daemon
        .metric("ktransfer_pushes_total", &["outcome=\"retried\""])
        .await;
    assert!(retried > Some(0.0));
}

//! Logs with gaps: transaction markers, aborted records, records that compaction has removed.

use std::time::Duration;

use ktests::{Backend, NewRecord, eventually};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::world::{self, SOON, Scene, delivers, keyed, of_offset};

/// Writes `count` records to partition 0 in one transaction, and commits or aborts it.
async fn transaction(scene: &Scene, what: &'static str, count: usize, commit: bool) {
    let mut config = world::client(&scene.cluster);
    config.set("transactional.id", format!("{}-{what}", scene.name));
    let producer: FutureProducer = config.create().unwrap();
    let topic = scene.name.clone();
    let waiting = producer.clone();
    tokio::task::spawn_blocking(move || waiting.init_transactions(SOON).unwrap())
        .await
        .unwrap();
    producer.begin_transaction().unwrap();
    for number in 0..count {
        let (key, body) = (format!("k{}", number % 3), format!("{what}-{number}"));
        let record = FutureRecord::to(&topic).partition(0).key(&key).payload(&body);
        producer.send(record, SOON).await.unwrap();
    }
    tokio::task::spawn_blocking(move || match commit {
        true => producer.commit_transaction(SOON).unwrap(),
        false => producer.abort_transaction(SOON).unwrap(),
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn with_read_uncommitted_aborted_transactions_are_delivered_too() {
    let (scene, backend) = (Scene::new("uncommitted", 1).await, Backend::start().await);
    let mut module = scene.module(&backend.addresses());
    module["librdkafka"] = serde_json::json!({ "isolation.level": "read_uncommitted" });
    let _daemon = scene.start(&module).await;
    transaction(&scene, "thrown", 50, false).await;
    scene.produce([keyed("k", "last")]).await;
    delivers(&backend, 51).await;
    assert_eq!(backend.count(), 51);
}

#[tokio::test]
async fn committed_transactions_are_delivered_aborted_ones_are_not_and_the_offset_passes_both() {
    let (scene, backend) = (Scene::new("transactions", 1).await, Backend::start().await);
    let _daemon = scene.start(&scene.module(&backend.addresses())).await;
    transaction(&scene, "kept", 10, true).await;
    transaction(&scene, "thrown", 50, false).await;
    // Each transaction ends with a marker, which has an offset too. Nothing comes after the last one.
    scene.stores(62).await;
    assert_eq!(backend.count(), 10);
    scene.produce([keyed("k", "last")]).await;
    scene.stores(63).await;
    let bodies: Vec<_> = backend.requests().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies.len(), 11);
    assert!(!bodies.iter().any(|body| body.starts_with(b"thrown")));
}

/// A topic that is compacted as soon as Kafka comes to it.
pub(super) async fn compacted_topic(scene: &Scene) {
    let topic = NewTopic::new(&scene.name, 1, TopicReplication::Fixed(1))
        .set("cleanup.policy", "compact")
        .set("segment.ms", "100")
        .set("min.cleanable.dirty.ratio", "0.001")
        .set("max.compaction.lag.ms", "100");
    let created = world::admin(&scene.cluster)
        .create_topics([&topic], &AdminOptions::new())
        .await;
    assert!(created.unwrap()[0].is_ok());
    // It exists: this waits for its leader.
    scene.cluster.create_topic(&scene.name, 1).await.unwrap();
}

/// Waits until compaction has left at most `count` records of this key. Kafka looks every 15 s for what is to be compacted, and
/// never at the newest segment: so records are written meanwhile.
pub(super) async fn is_compacted(scene: &Scene, key: &str, count: usize) {
    let deadline = Duration::from_secs(300);
    let mut number = 0;
    eventually("the log is compacted", deadline, async || {
        scene.produce([keyed("roll", format!("roll-{number}"))]).await;
        number += 1;
        let stored = scene.cluster.read_topic(&scene.name).await.unwrap();
        let of_key = stored
            .iter()
            .filter(|record| record.key.as_deref() == Some(key.as_bytes()));
        of_key.count() <= count
    })
    .await;
}

#[tokio::test]
async fn a_compacted_topic_is_delivered_as_far_as_it_is_there() {
    let (scene, backend) = (Scene::without_topic("compacted").await, Backend::start().await);
    compacted_topic(&scene).await;
    let records = (0..60).map(|n| NewRecord::keyed(format!("k{}", n % 3), format!("{n}")).in_partition(0));
    scene.produce(records).await;
    is_compacted(&scene, "k0", 1).await;
    let stored = scene.cluster.read_topic(&scene.name).await.unwrap();
    let end = scene.cluster.watermarks(&scene.name).await.unwrap()[0].1;
    let _daemon = scene.start(&scene.module(&backend.addresses())).await;
    delivers(&backend, stored.len()).await;
    scene.stores(end).await;
    let requests = backend.requests();
    assert_eq!(requests.len(), stored.len());
    for record in &stored {
        let seen = of_offset(&requests, record.offset);
        assert_eq!(seen.len(), 1, "offset {}", record.offset);
        assert!(seen[0].body == record.value);
    }
}

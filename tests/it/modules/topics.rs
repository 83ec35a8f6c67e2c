//! Topics that come later than their module, and partitions that come later than their topic.

use std::time::Duration;

use ktests::{Backend, NewRecord, eventually, numbered};

use super::{counts, logged, reports};
use crate::push::world::{Scene, delivers};

#[tokio::test]
async fn a_topic_that_is_created_after_the_start_is_pushed_from_its_first_record() {
    let (scene, backend) = (Scene::without_topic("latetopic").await, Backend::start().await);
    let mut daemon = scene.spawn(&scene.module(&backend.addresses()));
    reports(
        &daemon,
        &[&scene.name, "know no topic", "waiting until it is created"],
    )
    .await;
    scene.cluster.create_topic(&scene.name, 3).await.unwrap();
    let produced = scene
        .cluster
        .produce_checked(&scene.name, numbered(0..60, 10))
        .await
        .unwrap();
    delivers(&backend, 60).await;
    daemon.wait_ready().await;
    ktests::check(&produced, &backend.requests()).assert_exactly_once();
    counts(&daemon, "ktransfer_module_running", &scene.name, 1.0).await;
}

#[tokio::test]
async fn partitions_that_are_added_are_pushed_from_their_first_record() {
    let (scene, backend) = (Scene::new("grows", 1).await, Backend::start().await);
    let mut module = scene.module(&backend.addresses());
    // This is about a module without any offset; a new partition begins at its start all the same.
    module["initial_offset"] = "latest".into();
    let daemon = scene.start(&module).await;
    let in_partition = |partition: i32| {
        (0..10).map(move |n| {
            NewRecord::keyed(format!("k{}", n % 3), format!("{partition}-{n}")).in_partition(partition)
        })
    };
    let mut produced = scene
        .cluster
        .produce_checked(&scene.name, in_partition(0))
        .await
        .unwrap();
    delivers(&backend, 10).await;
    scene.cluster.grow_topic(&scene.name, 3).await.unwrap();
    let later = (0..3).flat_map(|partition| in_partition(partition).map(later_body));
    produced.extend(scene.cluster.produce_checked(&scene.name, later).await.unwrap());
    delivers(&backend, 40).await;
    ktests::check(&produced, &backend.requests()).assert_exactly_once();
    scene.stores_all([(0, 20), (1, 10), (2, 10)]).await;
    counts(&daemon, "ktransfer_partitions_held", &scene.name, 3.0).await;
}

fn later_body(record: NewRecord) -> NewRecord {
    let body = [&record.value[..], b"-later"].concat();
    NewRecord {
        value: body.into(),
        ..record
    }
}

/// Ten times what it may take until a topic that was created anew is noticed.
const NOTICED: Duration = Duration::from_secs(300);

/// Deletes the topic and creates it anew with so many partitions.
async fn create_anew(scene: &Scene, partitions: i32) {
    scene.cluster.delete_topic(&scene.name).await.unwrap();
    let known = format!("/brokers/topics/{}", scene.name);
    eventually("the topic is gone", NOTICED, async || {
        scene.znodes.get(&known).await.unwrap().is_none()
    })
    .await;
    scene.cluster.create_topic(&scene.name, partitions).await.unwrap();
}

#[tokio::test]
async fn a_topic_created_anew_while_nobody_ran_is_pushed_from_its_first_record() {
    let (scene, backend) = (Scene::new("renewed", 2).await, Backend::start().await);
    let module = scene.module(&backend.addresses());
    scene.produce(numbered(0..40, 10)).await;
    let mut first = scene.start(&module).await;
    delivers(&backend, 40).await;
    assert!(first.terminate().await.success());
    let stored = scene.stored().await;
    assert_eq!(stored.values().sum::<i64>(), 40);
    create_anew(&scene, 2).await;
    // More than before in each partition, so that no stored offset is out of range.
    let produced = scene
        .cluster
        .produce_checked(&scene.name, numbered(1_000..1_200, 10))
        .await
        .unwrap();
    let second = scene.start(&module).await;
    delivers(&backend, 40 + 200).await;
    ktests::check(&produced, &of_these(&backend, 40)).assert_exactly_once();
    counts(&second, "ktransfer_partitions_restarted_total", &scene.name, 2.0).await;
    assert_eq!(
        logged(&second, &["ERROR", "deleted and created anew", "position=0"]),
        2
    );
}

/// The requests but the first.
fn of_these(backend: &Backend, but: usize) -> Vec<ktests::Seen> {
    backend.requests().split_off(but)
}

#[tokio::test]
async fn a_topic_created_anew_under_a_running_module_is_pushed_from_its_first_record() {
    let (scene, backend) = (Scene::new("renewing", 1).await, Backend::start().await);
    let daemon = scene.start(&scene.module(&backend.addresses())).await;
    scene.produce(numbered(0..40, 10)).await;
    delivers(&backend, 40).await;
    scene.stores(40).await;
    create_anew(&scene, 1).await;
    let produced = scene
        .cluster
        .produce_checked(&scene.name, numbered(1_000..1_100, 10))
        .await
        .unwrap();
    eventually("every record of the new topic is pushed", NOTICED, async || {
        let report = ktests::check(&produced, &of_these(&backend, 40));
        report.lost == 0
    })
    .await;
    counts(&daemon, "ktransfer_partitions_restarted_total", &scene.name, 1.0).await;
    scene.stores(100).await;
}

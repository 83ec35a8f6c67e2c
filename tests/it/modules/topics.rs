//! Topics that come later than their module, and partitions that come later than their topic.

use ktests::{Backend, NewRecord, numbered};

use super::{counts, reports};
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

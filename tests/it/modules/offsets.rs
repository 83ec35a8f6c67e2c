//! Where a module begins and goes on: offsets that another program stored, that lie outside the log, that are moved.

use ktests::{Backend, Cluster, NewRecord, eventually, numbered};
use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

use super::{counts, logged, reports};
use crate::push::world::{self, SOON, Scene, delivers};

/// Deletes the records of partition 0 below `offset`, as retention does.
async fn delete_below(cluster: &Cluster, topic: &str, offset: i64) {
    let mut below = TopicPartitionList::new();
    below
        .add_partition_offset(topic, 0, Offset::Offset(offset))
        .unwrap();
    let deleted = world::admin(cluster)
        .delete_records(&below, &AdminOptions::new())
        .await
        .unwrap();
    assert!(deleted.elements().iter().all(|element| element.error().is_ok()));
}

fn in_partition_0(numbers: std::ops::Range<usize>) -> impl Iterator<Item = NewRecord> {
    numbered(numbers, 5).map(|record| record.in_partition(0))
}

#[tokio::test]
async fn the_originals_offsets_are_taken_over() {
    let (scene, backend) = (Scene::new("original", 3).await, Backend::start().await);
    for partition in 0..3 {
        let records = numbered(partition * 100..partition * 100 + 10, 5);
        let partition = i32::try_from(partition).unwrap();
        scene
            .produce(records.map(|record| record.in_partition(partition)))
            .await;
    }
    // What the original leaves behind: decimal text of the next offset; empty parents of its members and claims.
    scene.znodes.set(&scene.offset_path(0), "7").await.unwrap();
    scene.znodes.set(&scene.offset_path(1), "10").await.unwrap();
    for parent in ["ids".to_owned(), format!("owners/{}", scene.name)] {
        let path = format!("/consumers/{}/{parent}", scene.name);
        scene.znodes.set(&path, "").await.unwrap();
    }
    let _daemon = scene.start(&scene.module(&backend.addresses())).await;
    // Partition 2 has none: it is new to the group.
    delivers(&backend, 3 + 10).await;
    scene.stores_all([(0, 10), (1, 10), (2, 10)]).await;
    let requests = backend.requests();
    let offsets = |partition: i32| {
        let prefix = format!("/push/{partition}/");
        let mut offsets: Vec<i64> = requests
            .iter()
            .filter_map(|seen| {
                let rest = seen.uri.strip_prefix(prefix.as_bytes())?;
                let text = std::str::from_utf8(rest).unwrap();
                text.split('?').next().unwrap().parse().ok()
            })
            .collect();
        offsets.sort_unstable();
        offsets
    };
    assert_eq!(offsets(0), [7, 8, 9]);
    assert_eq!(offsets(1), [0_i64; 0]);
    assert_eq!(offsets(2), (0..10).collect::<Vec<_>>());
    // An old tool reads the same text.
    let text = scene.znodes.get(&scene.offset_path(0)).await.unwrap();
    assert_eq!(text.as_deref(), Some("10"));
}

#[tokio::test]
async fn records_that_retention_deleted_are_counted_as_lost_and_the_rest_is_pushed() {
    let (scene, backend) = (Scene::new("deleted", 1).await, Backend::start().await);
    scene.produce(in_partition_0(0..100)).await;
    delete_below(&scene.cluster, &scene.name, 60).await;
    scene.znodes.set(&scene.offset_path(0), "10").await.unwrap();
    let mut daemon = scene.spawn(&scene.module(&backend.addresses()));
    delivers(&backend, 40).await;
    scene.stores(100).await;
    assert_eq!(backend.count(), 40);
    counts(&daemon, "ktransfer_records_lost_total", &scene.name, 50.0).await;
    assert_eq!(logged(&daemon, &["ERROR", "records lost", "lost=50"]), 1);
    daemon.wait_ready().await;
}

#[tokio::test]
async fn a_log_that_was_emptied_is_followed_to_its_end() {
    let (scene, backend) = (Scene::new("emptied", 1).await, Backend::start().await);
    scene.produce(in_partition_0(0..20)).await;
    delete_below(&scene.cluster, &scene.name, 20).await;
    scene.znodes.set(&scene.offset_path(0), "5").await.unwrap();
    let daemon = scene.spawn(&scene.module(&backend.addresses()));
    scene.stores(20).await;
    counts(&daemon, "ktransfer_records_lost_total", &scene.name, 15.0).await;
    scene.produce(in_partition_0(20..25)).await;
    delivers(&backend, 5).await;
    assert_eq!(backend.count(), 5);
}

#[tokio::test]
async fn an_offset_above_the_log_stops_its_partition_until_it_is_corrected() {
    let (scene, backend) = (Scene::new("above", 2).await, Backend::start().await);
    scene.produce(in_partition_0(0..100)).await;
    let others = numbered(100..110, 5).map(|record| record.in_partition(1));
    scene.produce(others).await;
    scene.znodes.set(&scene.offset_path(0), "1000").await.unwrap();
    let mut daemon = scene.spawn(&scene.module(&backend.addresses()));
    reports(
        &daemon,
        &[&scene.name, "partition 0 is stopped", "above the log end 100"],
    )
    .await;
    scene.stores_all([(0, 1000), (1, 10)]).await;
    assert_eq!(backend.count(), 10);
    assert!(logged(&daemon, &["ERROR", "partition stopped"]) > 0);
    scene.znodes.set(&scene.offset_path(0), "95").await.unwrap();
    delivers(&backend, 15).await;
    daemon.wait_ready().await;
    scene.stores_all([(0, 100), (1, 10)]).await;
    assert_eq!(backend.count(), 15);
    // The same when an operator moves it there while it runs.
    scene.znodes.set(&scene.offset_path(0), "500").await.unwrap();
    reports(
        &daemon,
        &[
            &scene.name,
            "partition 0 is stopped",
            "position 500 is above the log end 100",
        ],
    )
    .await;
    scene.znodes.set(&scene.offset_path(0), "98").await.unwrap();
    delivers(&backend, 15 + 2).await;
    daemon.wait_ready().await;
    scene.stores_all([(0, 100), (1, 10)]).await;
    counts(&daemon, "ktransfer_records_lost_total", &scene.name, 0.0).await;
}

#[tokio::test]
async fn below_the_log_a_module_goes_on_at_the_newest_record_or_stops_when_that_is_wanted() {
    let (latest, backend) = (Scene::new("belowlatest", 1).await, Backend::start().await);
    let (stop, other) = (Scene::new("belowstop", 1).await, Backend::start().await);
    for scene in [&latest, &stop] {
        scene.produce(in_partition_0(0..100)).await;
        delete_below(&scene.cluster, &scene.name, 60).await;
        scene.znodes.set(&scene.offset_path(0), "10").await.unwrap();
    }
    let mut module = latest.module(&backend.addresses());
    module["out_of_range"] = json!({"below": "latest"});
    let mut daemon = latest.spawn(&module);
    latest.stores(100).await;
    latest.produce(in_partition_0(100..105)).await;
    delivers(&backend, 5).await;
    assert_eq!(backend.count(), 5);
    counts(&daemon, "ktransfer_records_lost_total", &latest.name, 90.0).await;
    assert_eq!(
        logged(
            &daemon,
            &["ERROR", "records lost", "going on at the log end", "lost=90"]
        ),
        1
    );
    daemon.wait_ready().await;

    let mut module = stop.module(&other.addresses());
    module["out_of_range"] = json!({"below": "stop"});
    let mut daemon = stop.spawn(&module);
    reports(
        &daemon,
        &[&stop.name, "partition 0 is stopped", "below the log start 60"],
    )
    .await;
    assert_eq!(other.count(), 0);
    counts(&daemon, "ktransfer_records_lost_total", &stop.name, 0.0).await;
    stop.znodes.set(&stop.offset_path(0), "95").await.unwrap();
    delivers(&other, 5).await;
    daemon.wait_ready().await;
    stop.stores(100).await;
}

#[tokio::test]
async fn above_the_log_a_module_goes_on_at_either_end_of_it_when_that_is_wanted() {
    for (above, pushed) in [("earliest", 40), ("latest", 0)] {
        let (scene, backend) = (Scene::new("abovelog", 1).await, Backend::start().await);
        scene.produce(in_partition_0(0..100)).await;
        delete_below(&scene.cluster, &scene.name, 60).await;
        scene.znodes.set(&scene.offset_path(0), "1000").await.unwrap();
        let mut module = scene.module(&backend.addresses());
        module["out_of_range"] = json!({"above": above});
        let mut daemon = scene.spawn(&module);
        scene.stores(100).await;
        scene.produce(in_partition_0(100..105)).await;
        delivers(&backend, pushed + 5).await;
        assert_eq!(backend.count(), pushed + 5, "{above}");
        assert_eq!(
            logged(
                &daemon,
                &["ERROR", "going on as out_of_range.above says", "position=1000"]
            ),
            1
        );
        daemon.wait_ready().await;
        scene.stores(105).await;
    }
}

#[tokio::test]
async fn a_partition_waits_before_it_goes_elsewhere_and_goes_on_where_it_was_when_the_log_is_back() {
    let (scene, backend) = (Scene::new("outwait", 2).await, Backend::start().await);
    scene.produce(in_partition_0(0..100)).await;
    scene.znodes.set(&scene.offset_path(0), "105").await.unwrap();
    scene.znodes.set(&scene.offset_path(1), "50").await.unwrap();
    let mut module = scene.module(&backend.addresses());
    module["out_of_range"] = json!({"above": "earliest", "after_ms": 10_000});
    let mut daemon = scene.spawn(&module);
    eventually("both partitions say that they wait", SOON, async || {
        ["partition=0", "partition=1"].iter().all(|partition| {
            logged(
                &daemon,
                &[
                    "partition stopped",
                    partition,
                    "until out_of_range.after_ms is over",
                ],
            ) == 1
        })
    })
    .await;
    assert_eq!(backend.count(), 0);
    // The log of partition 0 has the record by the time that it is asked again; that of partition 1 never has.
    scene.produce(in_partition_0(100..110)).await;
    delivers(&backend, 5).await;
    scene.stores_all([(0, 110), (1, 0)]).await;
    daemon.wait_ready().await;
    assert_eq!(backend.count(), 5);
    assert_eq!(
        logged(&daemon, &["ERROR", "going on as out_of_range.above says"]),
        1
    );
}

#[tokio::test]
async fn an_offset_that_is_moved_back_or_forward_is_followed() {
    let (scene, backend) = (Scene::new("seek", 1).await, Backend::start().await);
    scene.produce(in_partition_0(0..30)).await;
    let daemon = scene.start(&scene.module(&backend.addresses())).await;
    scene.stores(30).await;
    scene.znodes.set(&scene.offset_path(0), "20").await.unwrap();
    delivers(&backend, 30 + 10).await;
    scene.stores(30).await;
    // Forward over what is stuck.
    let stuck = ktests::Behaviour::status(500);
    backend.on(ktests::When::always(), stuck);
    scene.produce(in_partition_0(30..50)).await;
    eventually("it is tried", SOON, async || backend.count() > 45).await;
    scene.znodes.set(&scene.offset_path(0), "48").await.unwrap();
    eventually("it goes on there", SOON, async || {
        logged(&daemon, &["partition assigned", "position=48"]) == 1
    })
    .await;
    backend.off(ktests::When::always());
    delivers(&backend, 40 + 2).await;
    scene.stores(50).await;
    assert_eq!(backend.delivered(), 42);
}

//! Kafka that loses a leader, gets partitions, or deletes what a slow module has not read yet.

use std::time::Duration;

use ktests::cluster::{Options, own_cluster_with};
use ktests::{Backend, Behaviour, NewRecord, When, check, eventually, numbered};
use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

use crate::fleet::World;
use crate::push::world::{self, SOON, Scene};

#[tokio::test]
async fn a_leader_that_is_killed_costs_nothing_but_the_time_until_the_next_one() {
    let mut own = own_cluster_with(Options {
        brokers: 3,
        heap_mb: 384,
        ..Options::default()
    })
    .await;
    let world = World::without_topic(own.cluster.clone(), "leader").await;
    let replicated = own.cluster.create_replicated_topic(&world.topic, 4, 3).await;
    replicated.unwrap();
    world.backend.on(
        When::always(),
        Behaviour::status(200).after(Duration::from_millis(2)),
    );
    let _instances = (world.instance().await, world.instance().await);
    world.wait_owned(4, 2).await;
    let load = world.trickle(4_000);
    world.wait_delivered(1_000).await;
    let leader = own.cluster.leader(&world.topic, 0).await.unwrap();
    own.kill_broker_of_id(leader).await.unwrap();
    eventually("another leads", SOON, async || {
        let now = own.cluster.leader(&world.topic, 0).await;
        now.is_ok_and(|now| now != leader)
    })
    .await;
    let produced = load.await.unwrap();
    world.wait_committed(4_000).await;
    let report = world.check(&produced);
    eprintln!("{report}");
    report.assert_exactly_once();
}

#[tokio::test]
async fn two_instances_push_added_partitions_from_their_start_also_with_latest() {
    let scene = Scene::new("added", 2).await;
    let backend = Backend::start().await;
    let mut module = scene.module(&backend.addresses());
    module["initial_offset"] = json!("latest");
    let history = numbered(0..20, 5).map(|record| NewRecord {
        partition: Some(0),
        ..record
    });
    scene.produce(history).await;
    let _instances = (scene.start(&module).await, scene.start(&module).await);
    eventually("both own a partition", SOON, async || {
        scene.znodes.owners(&scene.name, &scene.name).await.unwrap().len() == 2
    })
    .await;
    scene.cluster.grow_topic(&scene.name, 6).await.unwrap();
    // At once, long before anybody has seen the new partitions.
    let start = std::time::Instant::now();
    let records = (0..6).flat_map(|partition| {
        numbered(100 * (partition + 1)..100 * (partition + 1) + 10, 5).map(move |record| NewRecord {
            partition: Some(i32::try_from(partition).unwrap()),
            ..record
        })
    });
    let produced = scene.cluster.produce_checked(&scene.name, records).await.unwrap();
    eventually("everything new is pushed", SOON, async || {
        backend.delivered() >= 60
    })
    .await;
    eprintln!(
        "added partitions pushed after {:.1} s",
        start.elapsed().as_secs_f64()
    );
    scene
        .stores_all([(0, 30), (1, 10), (2, 10), (3, 10), (4, 10), (5, 10)])
        .await;
    // Nothing of what was there before the module: the checker would call it unknown.
    check(&produced, &backend.requests()).assert_exactly_once();
}

#[tokio::test]
async fn what_retention_deletes_under_a_slow_module_is_counted_as_lost_and_the_rest_is_pushed() {
    let (scene, backend) = (Scene::new("retention", 1).await, Backend::start().await);
    let mut module = scene.module(&backend.addresses());
    module["max_uncommitted"] = json!(50);
    let body = world::noise(2_000);
    let records = (0..6_000_u32).map(|number| {
        let body = [&number.to_be_bytes()[..], &body].concat();
        world::keyed(format!("k{}", number % 50), body)
    });
    scene.produce(records).await;
    backend.on(When::always(), Behaviour::hang());
    let daemon = scene.start(&module).await;
    eventually("it is stuck", SOON, async || backend.count() > 0).await;
    let mut below = TopicPartitionList::new();
    below
        .add_partition_offset(&scene.name, 0, Offset::Offset(5_500))
        .unwrap();
    let deleted = world::admin(&scene.cluster)
        .delete_records(&below, &AdminOptions::new())
        .await
        .unwrap();
    assert!(deleted.elements().iter().all(|element| element.error().is_ok()));
    backend.off(When::always());
    backend.cut_connections().await;
    scene.stores(6_000).await;
    let mut pushed: Vec<_> = backend
        .requests()
        .into_iter()
        .filter(ktests::Seen::is_delivered)
        .map(|seen| seen.uri)
        .collect();
    pushed.sort();
    pushed.dedup();
    let label = format!("module=\"{}\"", scene.name);
    let lost = daemon.metric("ktransfer_records_lost_total", &[&label]).await;
    let lost = lost.unwrap_or_default();
    eprintln!("{} pushed, {lost} lost to retention", pushed.len());
    assert!(lost > 0.0, "the deletion overtook it");
    #[expect(clippy::cast_precision_loss, reason = "six thousand")]
    let all = pushed.len() as f64 + lost;
    assert_eq!(all, 6_000.0, "each record is pushed or counted as lost");
    assert!(daemon.log().contains("records lost"));
}

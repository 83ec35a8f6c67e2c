//! A log that loses its newest records under a running module: the replica that had them is gone, and another leads that lacked
//! them.

use std::collections::BTreeMap;

use ktests::cluster::{Options, own_cluster_with};
use ktests::{Backend, Behaviour, Daemon, NewRecord, OwnCluster, Seen, When, eventually, unique};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use serde_json::json;

use crate::modules::{counts, logged};
use crate::push::world::{self, SOON, Scene, delivers, module_path};

/// A topic of two partitions on the brokers 0 and 1, where a replica that lacks records may lead.
async fn on_two_brokers(own: &OwnCluster) -> Scene {
    let scene = Scene {
        cluster: own.cluster.clone(),
        name: unique("truncated"),
        znodes: own.cluster.znodes().await.unwrap(),
    };
    let replicas = TopicReplication::Variable(&[&[0, 1], &[0, 1]]);
    let topic = NewTopic::new(&scene.name, 2, replicas)
        .set("unclean.leader.election.enable", "true")
        .set("min.insync.replicas", "1");
    let created = world::admin(&scene.cluster)
        .create_topics([&topic], &AdminOptions::new())
        .await;
    assert!(created.unwrap()[0].is_ok());
    // It exists: this waits for its leaders.
    let known = scene.cluster.create_replicated_topic(&scene.name, 2, 2).await;
    known.unwrap();
    scene
}

/// The daemon with the scene's module. Its session outlasts what the brokers' starts take from a busy machine.
async fn start(scene: &Scene, backend: &Backend) -> Daemon {
    let mut main = world::main_file(&scene.cluster, &[&scene.name]);
    main["zk_timeout_ms"] = json!(60_000);
    let module = scene.module(&backend.addresses());
    let setup = world::setup(&main).file(module_path(&scene.name), module.to_string());
    setup.start().await
}

/// Waits until this broker leads both partitions.
async fn leads(scene: &Scene, broker: usize) {
    eventually("the other broker leads", SOON, async || {
        for partition in 0..2 {
            if scene.cluster.leader(&scene.name, partition).await.ok() != Some(broker) {
                return false;
            }
        }
        true
    })
    .await;
}

/// 30 records for each partition, of ten keys, but for those at `stuck`.
fn thirty(what: &str, stuck: [Option<usize>; 2]) -> Vec<NewRecord> {
    let both = (0..2_i32).zip(stuck);
    let records = both.flat_map(|(partition, stuck)| {
        (0..30).map(move |number| {
            let key = match stuck == Some(number) {
                true => "stuck".to_owned(),
                false => format!("k{partition}-{}", number % 10),
            };
            NewRecord::keyed(key, format!("{what}-{partition}-{number}")).in_partition(partition)
        })
    });
    records.collect()
}

/// How often each record of a kind was delivered.
fn delivered(backend: &Backend, what: &str) -> BTreeMap<Vec<u8>, usize> {
    let mut bodies = BTreeMap::new();
    let requests = backend.requests();
    let of_kind = requests
        .iter()
        .filter(|seen| seen.is_delivered() && seen.body.starts_with(what.as_bytes()));
    for Seen { body, .. } in of_kind {
        *bodies.entry(body.to_vec()).or_default() += 1;
    }
    bodies
}

#[tokio::test]
async fn a_log_that_is_cut_off_under_a_running_module_is_pushed_on_from_where_it_ends() {
    let mut own = own_cluster_with(Options {
        // The third one answers while the two are away: a module without any broker leaves its group.
        brokers: 3,
        heap_mb: 384,
        ..Options::default()
    })
    .await;
    let (scene, backend) = (on_two_brokers(&own).await, Backend::start().await);
    backend.on(When::key("stuck"), Behaviour::status(503));
    let daemon = start(&scene, &backend).await;
    scene.produce(thirty("kept", [None, Some(10)])).await;
    delivers(&backend, 59).await;
    own.stop_broker_of_id(1).await.unwrap();
    leads(&scene, 0).await;
    scene.produce(thirty("lost", [Some(10), None])).await;
    delivers(&backend, 59 + 59).await;
    // Behind both stands what was delivered above them.
    scene.stores_all([(0, 40), (1, 10)]).await;
    counts(&daemon, "ktransfer_acks_stored", &scene.name, 19.0 + 49.0).await;

    // It stands still, so that it sees the log only when that has grown beyond what it had read.
    daemon.freeze();
    own.kill_broker_of_id(0).await.unwrap();
    own.start_broker_of_id(1).await.unwrap();
    leads(&scene, 1).await;
    // At the same offsets as what was lost, and beyond.
    scene.produce(thirty("new", [None, None])).await;
    scene.produce(thirty("newer", [None, None])).await;
    daemon.thaw();
    scene.stores_all([(0, 90), (1, 10)]).await;
    for (partition, lost) in [("partition=0", "lost=1"), ("partition=1", "lost=0")] {
        let told = logged(
            &daemon,
            &["ERROR", "log truncated", partition, "log_end=30", lost],
        );
        assert_eq!(told, 1, "{partition}: {}", daemon.log());
    }
    assert_eq!(
        logged(&daemon, &["partition assigned", "position=30", "done_above=0"]),
        1
    );
    assert_eq!(
        logged(&daemon, &["partition assigned", "position=10", "done_above=0"]),
        1
    );
    counts(&daemon, "ktransfer_truncations_total", &scene.name, 2.0).await;
    counts(&daemon, "ktransfer_records_lost_total", &scene.name, 1.0).await;

    backend.off(When::key("stuck"));
    scene.stores_all([(0, 90), (1, 90)]).await;
    for what in ["new-", "newer-"] {
        let pushed = delivered(&backend, what);
        assert_eq!(
            pushed.len(),
            60,
            "every record that came in place of others is pushed"
        );
        assert!(pushed.values().all(|times| *times == 1), "{pushed:?}");
    }
    assert_eq!(delivered(&backend, "kept-").len(), 60);
    assert_eq!(
        delivered(&backend, "lost-").len(),
        59,
        "the one that waited is gone"
    );
    assert!(scene.stored().await == BTreeMap::from([(0, 90), (1, 90)]));
}

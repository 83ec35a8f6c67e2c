//! Ownership on a real ZooKeeper: claims, quota, hand-over, moves, garbage, and what the znodes hold.

#[cfg(test)]
mod acks;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod instance;
#[cfg(test)]
mod scene;

use kcommon::zookeeper::Session;
use ktests::{cluster, eventually, unique};
use ktransfer::assignment::CommitOutcome;
use ktransfer::coordinator::{Ended, InitialOffset};

use instance::{SOON, Start};
use scene::{Scene, settings};

#[tokio::test]
async fn instances_share_by_quota_and_the_znodes_are_the_classic_ones() {
    let scene = Scene::new("share", 5).await;
    let one = scene.start("a:1");
    one.runs_partitions(5).await;
    let two = scene.start("b:2");
    two.runs_partitions(2).await;
    one.runs_partitions(3).await;
    let both: Vec<i32> = one.runs().into_keys().chain(two.runs().into_keys()).collect();
    assert_eq!(both.len(), 5);

    assert_eq!(scene.ids().await, ["a:1", "b:2"]);
    let id = scene.znodes.get(&scene.path("ids/a:1")).await.unwrap().unwrap();
    let json: serde_json::Value = serde_json::from_str(&id).unwrap();
    assert!(id.starts_with(&format!(
        r#"{{"pattern":"static","subscription":{{"{}":1}},"timestamp":"#,
        scene.name
    )));
    assert_eq!(json["version"], 1);
    assert!(json["timestamp"].is_u64());
    assert!(scene.znodes.is_ephemeral(&scene.path("ids/a:1")).await.unwrap());
    for partition in 0..5 {
        let owner = scene.owner(partition).await.unwrap();
        let expected = if one.runs().contains_key(&partition) {
            "a:1"
        } else {
            "b:2"
        };
        assert_eq!(owner, expected);
        assert!(
            scene
                .znodes
                .is_ephemeral(&scene.owner_path(partition))
                .await
                .unwrap()
        );
        assert_eq!(scene.offset(partition).await.unwrap(), "0");
        assert!(
            !scene
                .znodes
                .is_ephemeral(&scene.offset_path(partition))
                .await
                .unwrap()
        );
    }
    one.is_ready().await;
    two.is_ready().await;
}

#[tokio::test]
async fn an_instance_is_ready_only_when_it_is_a_member() {
    let scene = Scene::new("ready", 1).await;
    let one = scene.start("a:1");
    one.is_ready().await;
    assert_eq!(scene.ids().await, ["a:1"]);
    // Everything has an owner, so it waits before it joins.
    let two = scene.start("b:2");
    two.is_ready().await;
    assert_eq!(scene.ids().await, ["a:1", "b:2"]);
}

#[tokio::test]
async fn a_stopped_instance_hands_over_where_it_was() {
    let scene = Scene::new("handover", 2).await;
    let (one, two) = (scene.start("a:1"), scene.start("b:2"));
    one.runs_partitions(1).await;
    two.runs_partitions(1).await;
    let partition = *one.runs().keys().next().unwrap();
    assert!(matches!(one.commit(partition, 7).await, CommitOutcome::Committed(stored) if stored.get() == 7));
    assert_eq!(scene.offset(partition).await.unwrap(), "7");
    one.advance(partition, 9);
    assert_eq!(one.stop().await, Ended::Stopped);
    assert_eq!(scene.ids().await, ["b:2"]);
    two.runs_at(partition, 9).await;
    two.runs_partitions(2).await;
    assert_eq!(two.stop().await, Ended::Stopped);
    assert_eq!(scene.ids().await, [""; 0]);
    assert_eq!(scene.owner_count().await, 0);
}

#[tokio::test]
async fn a_hanging_request_delays_only_the_hand_over_of_its_partition() {
    let scene = Scene::new("hanging", 4).await;
    let (one, two) = (scene.start("a:1"), scene.start("b:2"));
    one.runs_partitions(2).await;
    two.runs_partitions(2).await;
    let hanging = *one.runs().keys().next().unwrap();
    one.hang(hanging);
    one.begin_stop();
    two.runs_partitions(3).await;
    assert_eq!(scene.ids().await, ["b:2"]);
    assert_eq!(scene.owner(hanging).await.unwrap(), "a:1");
    one.cut().await;
    assert_eq!(one.stop().await, Ended::Stopped);
    two.runs_partitions(4).await;
}

#[tokio::test]
async fn a_stopping_instance_leaves_the_group_before_it_releases() {
    let scene = Scene::new("leaves", 1).await;
    let settings = settings(&scene.cluster);
    let session = Session::connect(&settings).await.unwrap();
    let one = scene.start("a:1");
    one.runs_partitions(1).await;
    one.advance(0, 5);
    assert_eq!(one.stop().await, Ended::Stopped);
    let left = session.exists(&scene.path("ids")).await.unwrap().unwrap().pzxid;
    let released = session.get(&scene.offset_path(0)).await.unwrap().unwrap();
    assert_eq!(released.data, b"5");
    assert!(
        left < released.stat.mzxid,
        "the others' quotas must grow before the partitions are free"
    );
}

#[tokio::test]
async fn an_operators_move_is_adopted_with_the_next_commit_and_without_one() {
    let scene = Scene::new("moved", 2).await;
    let one = scene.start("a:1");
    one.runs_partitions(2).await;
    one.commit(0, 5).await;
    scene.znodes.set(&scene.offset_path(0), "500").await.unwrap();
    assert_eq!(one.commit(0, 9).await, CommitOutcome::Refused);
    one.runs_at(0, 500).await;
    assert!(matches!(one.commit(0, 501).await, CommitOutcome::Committed(_)));
    // Partition 1 is stuck: it has nothing to commit.
    scene.znodes.set(&scene.offset_path(1), "30").await.unwrap();
    one.runs_at(1, 30).await;
    assert_eq!(one.lost(), [0; 0]);
}

#[tokio::test]
async fn an_offset_znode_that_was_deleted_is_made_again_at_our_position() {
    let scene = Scene::new("deleted", 1).await;
    let one = scene.start("a:1");
    one.runs_partitions(1).await;
    one.commit(0, 5).await;
    scene.znodes.delete(&scene.offset_path(0)).await.unwrap();
    assert!(matches!(one.commit(0, 9).await, CommitOutcome::Committed(stored) if stored.get() == 9));
    assert!(matches!(one.commit(0, 10).await, CommitOutcome::Committed(stored) if stored.get() == 10));
    assert_eq!(scene.offset(0).await.unwrap(), "10");
}

#[tokio::test]
async fn garbage_stops_its_partition_alone_until_it_is_repaired() {
    let scene = Scene::new("garbage", 2).await;
    scene.znodes.set(&scene.offset_path(0), "3").await.unwrap();
    scene.znodes.set(&scene.offset_path(1), "seven").await.unwrap();
    let one = scene.start("a:1");
    one.runs_at(0, 3).await;
    eventually("it is reported", SOON, async || {
        one.reasons().contains(&scene.offset_path(1))
    })
    .await;
    assert_eq!(one.runs().len(), 1);
    assert_eq!(scene.owner(1).await.unwrap(), "a:1", "it stays claimed");
    assert_eq!(scene.offset(1).await.unwrap(), "seven");
    scene.znodes.set(&scene.offset_path(1), "7\n").await.unwrap();
    one.runs_at(1, 7).await;
    one.is_ready().await;
}

#[tokio::test]
async fn a_first_start_at_the_newest_record_is_decided_once_for_all_partitions() {
    let scene = Scene::new("latest", 3).await;
    scene.produce(0, 4).await;
    scene.produce(2, 6).await;
    let mut start = Start::new("a:1", &scene.name, &scene.name);
    start.initial_offset = InitialOffset::Latest;
    let one = start.on(&scene.cluster);
    one.runs_partitions(3).await;
    assert_eq!(
        one.runs().into_iter().collect::<Vec<_>>(),
        [(0, 4), (1, 0), (2, 6)]
    );
    // A partition that is added later is delivered from its first record.
    scene.cluster.grow_topic(&scene.name, 4).await.unwrap();
    scene.produce(3, 2).await;
    one.runs_at(3, 0).await;
    // Nor does a restart decide anew.
    scene.produce(0, 5).await;
    assert_eq!(one.stop().await, Ended::Stopped);
    let two = scene.start("b:2");
    two.runs_at(0, 4).await;
}

#[tokio::test]
async fn a_module_that_is_started_before_its_topic_waits_for_it() {
    let (cluster, name) = (cluster(), unique("notopic"));
    let one = Start::new("a:1", &name, &name).on(&cluster);
    eventually("it says what it waits for", SOON, async || {
        one.reasons().contains("know no topic")
    })
    .await;
    assert_eq!(one.runs().len(), 0);
    cluster.create_topic(&name, 2).await.unwrap();
    one.runs_partitions(2).await;
    one.is_ready().await;
}

#[tokio::test]
async fn a_module_that_ends_leaves_nothing_claimed_while_the_session_lives_on() {
    let scene = Scene::new("modend", 2).await;
    let mut one = scene.start("a:1");
    one.runs_partitions(2).await;
    one.commit(0, 5).await;
    one.commit(1, 6).await;
    assert_eq!(one.end_of_module().await, Ended::ModuleEnded);
    assert_eq!(scene.ids().await, [""; 0]);
    assert_eq!(scene.owner_count().await, 0);
    let two = scene.start("b:2");
    two.runs_at(0, 5).await;
    two.runs_at(1, 6).await;
}

#[tokio::test]
async fn coordination_that_panics_is_swept_up_while_the_session_lives_on() {
    let scene = Scene::new("swept", 2).await;
    let mut one = scene.start("a:1");
    one.runs_partitions(2).await;
    one.commit(0, 5).await;
    one.end_of_coordination().await;
    assert_eq!(scene.ids().await, [""; 0]);
    assert_eq!(scene.owner_count().await, 0);
    assert_eq!(scene.offset(0).await.unwrap(), "5");
}

#[tokio::test]
async fn a_module_that_no_broker_answers_has_no_share() {
    let scene = Scene::new("nobroker", 2).await;
    let mut start = Start::new("a:1", &scene.name, &scene.name);
    // Port 1 is nobody's.
    start.brokers = Some("127.0.0.1:1".to_owned());
    let one = start.on(&scene.cluster);
    let two = scene.start("b:2");
    two.runs_partitions(2).await;
    eventually("it says what it waits for", SOON, async || {
        one.reasons().contains(&scene.name)
    })
    .await;
    assert_eq!(scene.ids().await, ["b:2"]);
}

#[tokio::test]
async fn a_module_whose_topic_is_gone_leaves_the_group_until_it_is_back() {
    let scene = Scene::new("topicgone", 2).await;
    let one = scene.start("a:1");
    one.runs_partitions(2).await;
    scene.cluster.delete_topic(&scene.name).await.unwrap();
    eventually("it has left the group", 2 * SOON, async || {
        scene.ids().await.is_empty()
    })
    .await;
    one.runs_partitions(0).await;
    assert!(one.reasons().contains("know no topic"), "{}", one.reasons());
    scene.cluster.create_topic(&scene.name, 2).await.unwrap();
    one.runs_partitions(2).await;
    one.is_ready().await;
}

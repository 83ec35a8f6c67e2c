//! Stored acknowledgements on a real ZooKeeper: handed over beside the offset, void after anybody else's write, and never
//! in the way of a commit. And the topic that they belong to.

use kcommon::zookeeper::{Node, Session};
use ktests::eventually;
use ktransfer::acks::Map;
use ktransfer::assignment::CommitOutcome;
use ktransfer::coordinator::Ended;

use super::instance::{SESSION, SOON};
use super::scene::{Scene, settings};

/// An operator's session that sees bytes and transactions.
async fn session(scene: &Scene) -> Session {
    Session::connect(&settings(&scene.cluster)).await.unwrap()
}

/// What the acks znode of partition 0 says, and whether it holds.
async fn stored(scene: &Scene, session: &Session) -> (Map, bool) {
    let read = async |path: String| -> Node { session.get(&path).await.unwrap().unwrap() };
    let (offset, acks) = (read(scene.offset_path(0)).await, read(scene.acks_path(0)).await);
    let map = Map::decode(&acks.data).unwrap();
    (map, offset.stat.mzxid == acks.stat.mzxid)
}

fn committed(outcome: CommitOutcome, position: i64) {
    assert!(
        matches!(outcome, CommitOutcome::Committed(stored) if stored.get() == position),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn acknowledgements_are_handed_over_until_anybody_else_writes_the_offset() {
    let scene = Scene::new("acks", 1).await;
    let session = session(&scene).await;
    let mut one = scene.start("a:1");
    one.begins_with(0, 0, &[]).await;
    committed(one.commit_with(0, 5, &[7, 8, 11]).await, 5);
    assert!(stored(&scene, &session).await.1);
    // Its module ends without a word: what was stored stays as it is.
    assert_eq!(one.end_of_module().await, Ended::ModuleEnded);
    let mut two = scene.start("b:2");
    two.begins_with(0, 5, &[7, 8, 11]).await;
    // The position stands still, what is above it grows.
    committed(two.commit_with(0, 5, &[6, 7, 8, 11]).await, 5);
    assert_eq!(two.end_of_module().await, Ended::ModuleEnded);

    // An old tool writes the very same number again.
    scene.znodes.set(&scene.offset_path(0), "5").await.unwrap();
    assert!(!stored(&scene, &session).await.1);
    let mut three = scene.start("c:3");
    three.begins_with(0, 5, &[]).await;
    let (map, holds) = stored(&scene, &session).await;
    assert!(map.acks.is_empty() && holds, "the claim writes an empty one");

    // An operator moves the offset, and an old tool writes the number that the map belongs to.
    committed(three.commit_with(0, 1000, &[1001]).await, 1000);
    assert_eq!(three.end_of_module().await, Ended::ModuleEnded);
    scene.znodes.set(&scene.offset_path(0), "500").await.unwrap();
    scene.znodes.set(&scene.offset_path(0), "1000").await.unwrap();
    let four = scene.start("d:4");
    four.begins_with(0, 1000, &[]).await;
}

#[tokio::test]
async fn a_stopped_instance_hands_over_what_is_done_above_a_stuck_record() {
    let scene = Scene::new("acksstop", 1).await;
    let one = scene.start("a:1");
    one.begins_with(0, 0, &[]).await;
    committed(one.commit_with(0, 5, &[7]).await, 5);
    one.finish(0, &[7, 8, 9]);
    assert_eq!(one.stop().await, Ended::Stopped);
    let two = scene.start("b:2");
    two.begins_with(0, 5, &[7, 8, 9]).await;
}

#[tokio::test]
async fn a_map_is_emptied_once_and_left_alone_after_that() {
    let scene = Scene::new("acksempty", 1).await;
    let session = session(&scene).await;
    let mut one = scene.start("a:1");
    one.begins_with(0, 0, &[]).await;
    let (map, holds) = stored(&scene, &session).await;
    assert!(holds && map.acks.is_empty() && map.topic.is_some(), "{map:?}");
    committed(one.commit_with(0, 5, &[7]).await, 5);
    committed(one.commit(0, 8).await, 8);
    let (map, holds) = stored(&scene, &session).await;
    assert!(holds && map.acks.is_empty(), "{map:?}");
    committed(one.commit(0, 9).await, 9);
    assert!(!stored(&scene, &session).await.1, "a plain set is enough");
    assert_eq!(one.end_of_module().await, Ended::ModuleEnded);
    let two = scene.start("b:2");
    two.begins_with(0, 9, &[]).await;
}

#[tokio::test]
async fn a_missing_or_strange_acks_znode_costs_no_commit() {
    let scene = Scene::new("acksgone", 1).await;
    let session = session(&scene).await;
    let mut one = scene.start("a:1");
    one.begins_with(0, 0, &[]).await;
    committed(one.commit_with(0, 5, &[7]).await, 5);
    // Deleted with its parents.
    scene.znodes.delete(&scene.acks_path(0)).await.unwrap();
    let parents = [format!("acks/{}", scene.name), "acks".to_owned()];
    for parent in &parents {
        scene.znodes.delete(&scene.path(parent)).await.unwrap();
    }
    committed(one.commit_with(0, 6, &[8]).await, 6);
    assert!(stored(&scene, &session).await.1);
    // Written by somebody: the next commit writes it anew.
    scene.znodes.set(&scene.acks_path(0), "seven").await.unwrap();
    committed(one.commit_with(0, 6, &[8, 9]).await, 6);
    assert!(stored(&scene, &session).await.1);
    // Something below it, so that it cannot be deleted and created: it need not be.
    let below = format!("{}/lock", scene.acks_path(0));
    scene.znodes.set(&below, "").await.unwrap();
    committed(one.commit_with(0, 6, &[8, 9, 10]).await, 6);
    scene.znodes.set(&scene.acks_path(0), "seven").await.unwrap();
    assert_eq!(one.end_of_module().await, Ended::ModuleEnded);
    let mut two = scene.start("b:2");
    two.begins_with(0, 6, &[]).await;
    assert!(stored(&scene, &session).await.1, "the claim repairs it");
    assert_eq!(two.end_of_module().await, Ended::ModuleEnded);
    // Gone when the next owner comes.
    scene.znodes.delete(&below).await.unwrap();
    scene.znodes.delete(&scene.acks_path(0)).await.unwrap();
    for parent in &parents {
        scene.znodes.delete(&scene.path(parent)).await.unwrap();
    }
    let three = scene.start("c:3");
    three.begins_with(0, 6, &[]).await;
    assert!(stored(&scene, &session).await.1);
}

#[tokio::test]
async fn acknowledgements_whose_answer_is_lost_are_found_out() {
    let scene = Scene::new("ackslost", 1).await;
    let (proxy, mut one) = scene.start_behind("a:1", SESSION).await;
    one.begins_with(0, 0, &[]).await;
    committed(one.commit_with(0, 5, &[7]).await, 5);
    proxy.hold_answers();
    let (outcome, ()) = tokio::join!(one.commit_with(0, 9, &[11, 12]), async {
        eventually("the commit is stored", SOON, async || {
            scene.znodes.get(&scene.offset_path(0)).await.unwrap().as_deref() == Some("9")
        })
        .await;
        proxy.reset();
    });
    committed(outcome, 9);
    committed(one.commit_with(0, 9, &[10, 11, 12]).await, 9);
    assert_eq!(one.end_of_module().await, Ended::ModuleEnded);
    let two = scene.start("b:2");
    two.begins_with(0, 9, &[10, 11, 12]).await;
}

/// Deletes the topic and creates it anew, with so many records in partition 0.
async fn create_anew(scene: &Scene, partitions: i32, records: usize) {
    scene.cluster.delete_topic(&scene.name).await.unwrap();
    let known = format!("/brokers/topics/{}", scene.name);
    eventually("the topic is gone", SOON, async || {
        scene.znodes.get(&known).await.unwrap().is_none()
    })
    .await;
    scene.cluster.create_topic(&scene.name, partitions).await.unwrap();
    scene.produce(0, records).await;
}

#[tokio::test]
async fn a_topic_created_anew_while_nobody_ran_begins_at_its_start() {
    let scene = Scene::new("anew", 1).await;
    scene.produce(0, 5).await;
    let mut one = scene.start("a:1");
    one.begins_with(0, 0, &[]).await;
    // A plain commit: the acks znode is older than the offset, and still says which topic it was.
    committed(one.commit(0, 5).await, 5);
    assert_eq!(one.end_of_module().await, Ended::ModuleEnded);
    // Nothing is out of range afterwards.
    create_anew(&scene, 1, 8).await;
    let mut two = scene.start("b:2");
    two.begins_with(0, 0, &[]).await;
    committed(two.commit_with(0, 3, &[5]).await, 3);
    assert_eq!(two.end_of_module().await, Ended::ModuleEnded);
    let three = scene.start("c:3");
    three.begins_with(0, 3, &[5]).await;
}

#[tokio::test]
async fn a_topic_created_anew_under_a_running_instance_begins_at_its_start() {
    let scene = Scene::new("anewrun", 3).await;
    scene.produce(0, 5).await;
    let one = scene.start("a:1");
    one.runs_partitions(3).await;
    committed(one.commit_with(0, 3, &[4]).await, 3);
    create_anew(&scene, 2, 8).await;
    // It is looked at every 30 s.
    eventually("partition 0 is run from its start", SOON * 5, async || {
        one.runs().get(&0) == Some(&0)
    })
    .await;
    one.begins_with(0, 0, &[]).await;
    // The new topic has fewer partitions.
    eventually("two partitions are run", SOON, async || {
        one.runs().into_keys().eq([0, 1])
    })
    .await;
    assert_eq!(one.lost(), [0; 0]);
    committed(one.commit(0, 8).await, 8);
}

//! Ownership on a real ZooKeeper: claims, quota, hand-over, fencing, moves, garbage, and what the znodes hold.

#[cfg(test)]
mod acks;
#[cfg(test)]
mod instance;
#[cfg(test)]
mod scene;

use std::time::Duration;

use kcommon::zookeeper::{Error, Lifetime, Session, Settings};
use ktests::{Proxy, cluster, eventually, own_cluster, unique};
use ktransfer::assignment::CommitOutcome;
use ktransfer::coordinator::{Ended, InitialOffset};

use instance::{SESSION, SOON, Start};
use scene::Scene;

/// So long that a connection whose answers are held back is not given up while a scenario still looks at it.
const LONG_SESSION: Duration = Duration::from_secs(20);

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
        let owner = scene
            .znodes
            .get(&scene.owner_path(partition))
            .await
            .unwrap()
            .unwrap();
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
        assert_eq!(
            scene
                .znodes
                .get(&scene.offset_path(partition))
                .await
                .unwrap()
                .unwrap(),
            "0"
        );
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
async fn a_stopped_instance_hands_over_where_it_was() {
    let scene = Scene::new("handover", 2).await;
    let (one, two) = (scene.start("a:1"), scene.start("b:2"));
    one.runs_partitions(1).await;
    two.runs_partitions(1).await;
    let partition = *one.runs().keys().next().unwrap();
    assert!(matches!(one.commit(partition, 7).await, CommitOutcome::Committed(stored) if stored.get() == 7));
    assert_eq!(
        scene
            .znodes
            .get(&scene.offset_path(partition))
            .await
            .unwrap()
            .unwrap(),
        "7"
    );
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
    assert_eq!(
        scene
            .znodes
            .get(&scene.owner_path(hanging))
            .await
            .unwrap()
            .unwrap(),
        "a:1"
    );
    one.cut().await;
    assert_eq!(one.stop().await, Ended::Stopped);
    two.runs_partitions(4).await;
}

#[tokio::test]
async fn a_stopping_instance_leaves_the_group_before_it_releases() {
    let scene = Scene::new("leaves", 1).await;
    let settings = Settings {
        hosts: vec![scene.cluster.zookeeper.clone()],
        chroot: scene.cluster.chroot.clone(),
        session_timeout: SESSION,
    };
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
async fn an_answer_that_is_lost_is_found_out() {
    let scene = Scene::new("lostanswer", 2).await;
    let proxy = Proxy::start(&scene.cluster.zookeeper).await;
    let mut start = Start::new("a:1", &scene.name, &scene.name);
    start.zookeeper = Some(proxy.address());
    let one = start.on(&scene.cluster);
    one.runs_partitions(2).await;
    one.commit(0, 5).await;

    // The commit is stored, and its answer lost with the connection.
    proxy.hold_answers();
    let (outcome, ()) = tokio::join!(one.commit(0, 9), async {
        eventually("the commit is stored", SOON, async || {
            scene.znodes.get(&scene.offset_path(0)).await.unwrap().as_deref() == Some("9")
        })
        .await;
        proxy.reset();
    });
    assert!(
        matches!(outcome, CommitOutcome::Committed(stored) if stored.get() == 9),
        "{outcome:?}"
    );
    assert!(matches!(one.commit(0, 10).await, CommitOutcome::Committed(_)));

    // The same with a claim: another's member makes room, and the answer to our claim is lost.
    scene.znodes.delete(&scene.owner_path(1)).await.unwrap();
    eventually("the partition is lost", SOON, async || one.lost() == [1]).await;
    eventually("the claim is applied, or was answered before", SOON, async || {
        proxy.hold_answers();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let applied = scene.znodes.get(&scene.owner_path(1)).await.unwrap().is_some();
        if !applied {
            // The claim waits for the answer to a look: let it through.
            proxy.heal();
        }
        applied
    })
    .await;
    proxy.reset();
    one.runs_partitions(2).await;
    // If the claim was answered before, this commit may meet the reset, and has to be sent again.
    eventually("the claim is good for a commit", SOON, async || {
        matches!(one.commit(1, 3).await, CommitOutcome::Committed(_))
    })
    .await;
    assert_eq!(one.lost(), [1]);
}

#[tokio::test]
async fn an_instance_that_is_cut_off_stops_pushing_before_another_takes_over() {
    let scene = Scene::new("cutoff", 1).await;
    let proxy = Proxy::start(&scene.cluster.zookeeper).await;
    let mut start = Start::new("a:1", &scene.name, &scene.name);
    start.zookeeper = Some(proxy.address());
    let one = start.on(&scene.cluster);
    one.runs_partitions(1).await;
    let two = scene.start("b:2");
    eventually("both are members", SOON, async || scene.ids().await.len() == 2).await;
    assert!(one.may_push());
    one.commit(0, 5).await;

    proxy.cut();
    eventually("the other takes over", SOON, async || {
        let taken = !two.runs().is_empty();
        assert!(!(taken && one.may_push()), "two pushers");
        taken
    })
    .await;
    two.runs_at(0, 5).await;
    two.commit(0, 8).await;

    proxy.heal();
    eventually("the partition is lost", SOON, async || one.lost() == [0]).await;
    // Its quota is 1 and the other's 0: it gets the partition back, where the other left it.
    one.runs_at(0, 8).await;
    assert!(one.may_push());
    assert_eq!(two.runs().len(), 0);
}

#[tokio::test]
async fn a_commit_of_a_former_owner_is_refused() {
    let scene = Scene::new("fenced", 1).await;
    let proxy = Proxy::start(&scene.cluster.zookeeper).await;
    let mut start = Start::new("a:1", &scene.name, &scene.name);
    start.zookeeper = Some(proxy.address());
    start.session_timeout = LONG_SESSION;
    let one = start.on(&scene.cluster);
    one.runs_partitions(1).await;
    one.commit(0, 5).await;
    // Another claims while our session lives on, and the news does not reach us before we commit.
    proxy.hold_answers();
    scene.znodes.delete(&scene.owner_path(0)).await.unwrap();
    scene.znodes.set(&scene.owner_path(0), "c:3").await.unwrap();
    scene.znodes.set(&scene.offset_path(0), "5").await.unwrap();
    let (outcome, ()) = tokio::join!(one.commit(0, 9), async {
        eventually("the commit is sent", SOON, async || {
            proxy.passed(&scene.offset_path(0))
        })
        .await;
        proxy.heal();
    });
    assert_eq!(outcome, CommitOutcome::Refused);
    eventually("the partition is lost", SOON, async || one.lost() == [0]).await;
    assert_eq!(
        one.revoked(),
        [0; 0],
        "it was taken by another, not moved by an operator"
    );
    assert_eq!(
        scene.znodes.get(&scene.offset_path(0)).await.unwrap().unwrap(),
        "5"
    );
    assert_eq!(
        scene.znodes.get(&scene.owner_path(0)).await.unwrap().unwrap(),
        "c:3"
    );
}

#[tokio::test]
async fn a_look_that_hangs_delays_neither_a_commit_nor_a_stop() {
    let scene = Scene::new("hanging-look", 1).await;
    let proxy = Proxy::start(&scene.cluster.zookeeper).await;
    let mut start = Start::new("a:1", &scene.name, &scene.name);
    start.zookeeper = Some(proxy.address());
    start.session_timeout = LONG_SESSION;
    let one = start.on(&scene.cluster);
    one.runs_partitions(1).await;
    one.commit(0, 5).await;
    // A new member makes it look, and no answer comes.
    proxy.hold_answers_to(&scene.path("ids"));
    let other = scene.start("b:2");
    eventually("a look is under way", SOON, async || {
        proxy.passed(&scene.path("ids"))
    })
    .await;
    let (outcome, ()) = tokio::join!(one.commit(0, 9), async {
        eventually("the commit is sent", SOON, async || {
            proxy.passed(&scene.offset_path(0))
        })
        .await;
        one.begin_stop();
        let id = scene.path("ids/a:1");
        eventually("it has left the group", SOON, async || {
            scene.znodes.get(&id).await.unwrap().is_none()
        })
        .await;
        proxy.heal();
    });
    assert!(
        matches!(outcome, CommitOutcome::Committed(stored) if stored.get() == 9),
        "{outcome:?}"
    );
    assert_eq!(one.stop().await, Ended::Stopped);
    other.runs_at(0, 9).await;
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
    assert_eq!(
        scene.znodes.get(&scene.offset_path(0)).await.unwrap().unwrap(),
        "10"
    );
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
    assert_eq!(
        scene.znodes.get(&scene.owner_path(1)).await.unwrap().unwrap(),
        "a:1",
        "it stays claimed"
    );
    assert_eq!(
        scene.znodes.get(&scene.offset_path(1)).await.unwrap().unwrap(),
        "seven"
    );
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
    assert_eq!(
        scene.znodes.get(&scene.offset_path(0)).await.unwrap().unwrap(),
        "5"
    );
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

#[tokio::test]
async fn after_an_outage_longer_than_the_session_the_claims_go_on() {
    let mut own = own_cluster().await;
    let (cluster, name) = (own.cluster.clone(), unique("outage"));
    cluster.create_topic(&name, 2).await.unwrap();
    let one = Start::new("a:1", &name, &name).on(&cluster);
    one.runs_partitions(2).await;
    one.commit(0, 5).await;
    own.stop_zookeeper().await.unwrap();
    eventually("the lease ends", SOON, async || !one.may_push()).await;
    eventually("the session is given up", SOON, async || {
        one.reasons().contains("gives no answer")
    })
    .await;
    // Longer than the library's own client would have believed in the session.
    tokio::time::sleep(2 * SESSION).await;
    assert!(!one.may_push());
    own.start_zookeeper().await.unwrap();
    eventually("pushing goes on", SOON, async || one.may_push()).await;
    assert_eq!(one.runs().into_iter().collect::<Vec<_>>(), [(0, 5), (1, 0)]);
    assert_eq!((one.lost(), one.revoked()), (vec![], vec![]));
    eventually("commits are stored again", SOON, async || {
        matches!(one.commit(0, 6).await, CommitOutcome::Committed(_))
    })
    .await;
    one.is_ready().await;
}

#[tokio::test]
async fn a_session_is_attached_to_anew_as_long_as_the_server_has_it() {
    let cluster = cluster();
    let settings = Settings {
        hosts: vec![cluster.zookeeper.clone()],
        chroot: cluster.chroot.clone(),
        session_timeout: SESSION,
    };
    let path = format!("/consumers/{}", unique("reattach"));
    let first = Session::connect(&settings).await.unwrap();
    first.create(&path, b"", Lifetime::Ephemeral).await.unwrap();
    let (_children, watch) = first.watch_children(&path).await.unwrap().unwrap();
    let second = first.reattach(&settings).await.unwrap();
    assert_eq!(second.id(), first.id());
    watch.changed().await;
    assert!(matches!(first.exists(&path).await, Err(Error::Expired)));
    drop(first);
    let stat = second.exists(&path).await.unwrap().unwrap();
    assert_eq!(stat.ephemeral_owner, second.id().0);
    // Once it is closed the server refuses it.
    let third = second.reattach(&settings).await.unwrap();
    third.close().await;
    assert!(matches!(second.reattach(&settings).await, Err(Error::Expired)));
}

#[tokio::test]
async fn a_session_that_cannot_be_made_says_what_to_do() {
    let cluster = cluster();
    let settings = |host: &str, chroot: &str| Settings {
        hosts: vec![host.to_owned()],
        chroot: chroot.to_owned(),
        session_timeout: SESSION,
    };
    let missing = Session::connect(&settings(&cluster.zookeeper, "/no/such"))
        .await
        .unwrap_err();
    assert!(matches!(missing, Error::NoChroot { .. }));
    let text = missing.to_string();
    assert!(text.contains("/no/such") && text.contains("zk_chroot"), "{text}");
    // Port 1 is nobody's.
    let away = Session::connect(&settings("127.0.0.1:1", "")).await.unwrap_err();
    assert!(matches!(away, Error::Unreachable { .. }));
    let text = away.to_string();
    assert!(
        text.contains("127.0.0.1:1") && text.contains("zk_hosts"),
        "{text}"
    );
}

//! Sessions and connections that fail under a coordinator: answers that are lost or late, a server that is away, fencing.

use std::time::Duration;

use kcommon::zookeeper::{Error, Lifetime, Session, Settings};
use ktests::{cluster, eventually, own_cluster, unique};
use ktransfer::assignment::CommitOutcome;
use ktransfer::coordinator::Ended;

use super::instance::{SESSION, SOON, Start};
use super::scene::{Scene, settings};

/// So long that a connection whose answers are held back is not given up while a scenario still looks at it.
const LONG_SESSION: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_answer_that_is_lost_is_found_out() {
    let scene = Scene::new("lostanswer", 2).await;
    let (proxy, one) = scene.start_behind("a:1", SESSION).await;
    one.runs_partitions(2).await;
    one.commit(0, 5).await;

    // The commit is stored, and its answer lost with the connection.
    proxy.hold_answers();
    let (outcome, ()) = tokio::join!(one.commit(0, 9), async {
        eventually("the commit is stored", SOON, async || {
            scene.offset(0).await.as_deref() == Some("9")
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
        let applied = scene.owner(1).await.is_some();
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
    let (proxy, one) = scene.start_behind("a:1", SESSION).await;
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
    let (proxy, one) = scene.start_behind("a:1", LONG_SESSION).await;
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
    assert_eq!(scene.offset(0).await.unwrap(), "5");
    assert_eq!(scene.owner(0).await.unwrap(), "c:3");
}

#[tokio::test]
async fn a_look_that_hangs_delays_neither_a_commit_nor_a_stop() {
    let scene = Scene::new("hanging-look", 1).await;
    let (proxy, one) = scene.start_behind("a:1", LONG_SESSION).await;
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
async fn an_attempt_to_attach_that_gets_no_answer_costs_no_claim() {
    let scene = Scene::new("unanswered", 1).await;
    let (proxy, one) = scene.start_behind("a:1", SESSION).await;
    one.runs_partitions(1).await;
    one.commit(0, 5).await;
    proxy.hold_answers();
    eventually("an attempt has failed", SOON, async || {
        one.reasons().contains("gives no answer")
    })
    .await;
    proxy.heal();
    eventually("pushing goes on", SOON, async || one.may_push()).await;
    assert_eq!((one.lost(), one.revoked()), (vec![], vec![]));
    assert!(matches!(one.commit(0, 6).await, CommitOutcome::Committed(_)));
}

#[tokio::test]
async fn a_session_is_attached_to_anew_as_long_as_the_server_has_it() {
    let cluster = cluster();
    let settings = settings(&cluster);
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
    let without_chroot = Settings {
        chroot: "/no/such".to_owned(),
        ..settings(&cluster)
    };
    let missing = Session::connect(&without_chroot).await.unwrap_err();
    assert!(matches!(missing, Error::NoChroot { .. }));
    let text = missing.to_string();
    assert!(text.contains("/no/such") && text.contains("zk_chroot"), "{text}");
    // Port 1 is nobody's.
    let elsewhere = Settings {
        hosts: vec!["127.0.0.1:1".to_owned()],
        ..settings(&cluster)
    };
    let away = Session::connect(&elsewhere).await.unwrap_err();
    assert!(matches!(away, Error::Unreachable { .. }));
    let text = away.to_string();
    assert!(
        text.contains("127.0.0.1:1") && text.contains("zk_hosts"),
        "{text}"
    );
}

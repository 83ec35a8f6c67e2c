//! Connections to ZooKeeper that are cut in one direction, or reset in the middle of a `multi`: one of two
//! instances suffers them, under load.

use std::time::Duration;

use ktests::proxy::{Moment, Request};
use ktests::{Behaviour, Daemon, Produced, Proxy, When, cluster, eventually};
use tokio::task::JoinHandle;

use crate::fleet::{PATIENCE, SESSION, World};

/// Two instances, the first behind a proxy, and a load.
struct Scene {
    world: World,
    proxy: Proxy,
    first: String,
    /// End with the scene.
    daemons: Vec<Daemon>,
    load: JoinHandle<Vec<Produced>>,
}

const PARTITIONS: usize = 4;

impl Scene {
    async fn new(what: &str, session: Duration, records: usize) -> Self {
        let world = World::new(cluster(), what, 4).await;
        world.backend.on(
            When::always(),
            Behaviour::status(200).after(Duration::from_millis(2)),
        );
        let proxy = Proxy::start(&world.cluster.zookeeper).await;
        let behind = world.named("a", session, Some(&proxy)).await;
        let first = world.only_member().await;
        let other = world.named("b", session, None).await;
        world.wait_owned(PARTITIONS, 2).await;
        let load = world.trickle(records);
        world.wait_delivered(500).await;
        Self {
            world,
            proxy,
            first,
            daemons: vec![behind, other],
            load,
        }
    }

    /// Everything arrives, is committed, and was pushed by one at a time.
    async fn ends_well(self) {
        self.world.wait_owned(PARTITIONS, 2).await;
        let produced = self.load.await.unwrap();
        self.world.wait_committed(produced.len()).await;
        let report = self.world.check(&produced);
        report.assert_at_least_once();
        eprintln!("{report}");
        drop(self.daemons);
    }

    async fn first_owns_nothing(&self) {
        eventually("the other owns everything", PATIENCE, async || {
            self.world.owners().await == (PARTITIONS, 1) && self.world.owned_by(&self.first).await.is_empty()
        })
        .await;
    }
}

#[tokio::test]
async fn requests_that_pass_without_their_answers_cost_nothing_but_the_session() {
    let scene = Scene::new("no-answers", SESSION, 4_000).await;
    scene.proxy.hold_answers();
    // The server hears heartbeats, so the session lives; the instance hears nothing and stops by its own lease. That its
    // pushes stop is the checker's business; that the partitions do not stay with it for ever is the client's, which gives
    // the connection up, and the server's, which then hears no heartbeats.
    scene.first_owns_nothing().await;
    scene.proxy.heal();
    scene.ends_well().await;
}

#[tokio::test]
async fn answers_that_pass_without_requests_cost_nothing_but_the_session() {
    let scene = Scene::new("no-requests", SESSION, 4_000).await;
    scene.proxy.hold_requests();
    scene.first_owns_nothing().await;
    scene.proxy.heal();
    scene.ends_well().await;
}

#[tokio::test]
async fn commits_go_on_over_a_connection_that_is_two_seconds_late() {
    let scene = Scene::new("late", Duration::from_secs(20), 4_000).await;
    let owned = scene.world.owned_by(&scene.first).await;
    let stored = async || {
        let World {
            znodes,
            module,
            topic,
            ..
        } = &scene.world;
        let offsets = znodes.offsets(module, topic).await.unwrap();
        owned.iter().map(|partition| offsets[partition]).sum::<i64>()
    };
    // A request and its answer take two seconds together.
    scene.proxy.delay(Duration::from_secs(1));
    let before = stored().await;
    eventually("commits go on", PATIENCE, async || stored().await > before + 200).await;
    assert_eq!(
        scene.world.owned_by(&scene.first).await,
        owned,
        "it stays the owner"
    );
    scene.proxy.heal();
    scene.ends_well().await;
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_multi_loses_nothing_whether_the_server_has_it_or_not() {
    let mut scene = Scene::new("multi", SESSION, 8_000).await;
    for moment in [Moment::Before, Moment::After] {
        // The other leaves, so that the first claims, and comes back, so that the first releases.
        let claim = Request::multi().with("/owners/");
        scene.proxy.reset_at(claim.clone(), moment);
        let status = scene.daemons[1].terminate().await;
        assert!(status.success(), "{status}");
        eventually("a claim is reset", PATIENCE, async || !scene.proxy.is_waiting()).await;
        scene.world.wait_owned(PARTITIONS, 1).await;
        scene.proxy.reset_at(claim, moment);
        scene.daemons[1].restart().await;
        eventually("a release is reset", PATIENCE, async || !scene.proxy.is_waiting()).await;
        scene.world.wait_owned(PARTITIONS, 2).await;
    }
    scene.ends_well().await;
}

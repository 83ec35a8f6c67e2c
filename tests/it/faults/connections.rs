//! Connections to ZooKeeper that are cut in one direction, late, or reset in the middle of a `multi`: one of two instances
//! suffers them, under load.

use std::time::Duration;

use ktests::proxy::{Moment, Request};
use ktests::{Behaviour, Daemon, Produced, Proxy, When, cluster, eventually};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fleet::{PATIENCE, SESSION, World};

/// So long that nothing here ends it.
const LONG_SESSION: Duration = Duration::from_secs(20);

/// Two instances, the first behind a proxy, and a load that lasts until the scene ends.
struct Scene {
    world: World,
    proxy: Proxy,
    first: String,
    /// End with the scene.
    daemons: Vec<Daemon>,
    load: JoinHandle<Vec<Produced>>,
    stop_load: CancellationToken,
}

const PARTITIONS: usize = 4;

/// How much later every message arrives, in each direction.
const LATE: Duration = Duration::from_secs(2);

impl Scene {
    async fn new(what: &str, session: Duration) -> Self {
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
        let stop_load = CancellationToken::new();
        let load = world.steady(stop_load.clone());
        world.wait_delivered(500).await;
        Self {
            world,
            proxy,
            first,
            daemons: vec![behind, other],
            load,
            stop_load,
        }
    }

    /// The offsets that are stored for these partitions, together.
    async fn stored(&self, partitions: &[i32]) -> i64 {
        let World {
            znodes,
            module,
            topic,
            ..
        } = &self.world;
        let offsets = znodes.offsets(module, topic).await.unwrap();
        partitions.iter().map(|partition| offsets[partition]).sum()
    }

    /// How many commits of the first instance were stored.
    async fn commits(&self) -> f64 {
        let stored = ["outcome=\"stored\""];
        let commits = self.daemons[0].metric("ktransfer_commits_total", &stored).await;
        commits.unwrap_or(0.0)
    }

    /// Everything arrives, is committed, and was pushed by one at a time.
    async fn ends_well(self) {
        self.world.wait_owned(PARTITIONS, 2).await;
        self.stop_load.cancel();
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
    let scene = Scene::new("no-answers", SESSION).await;
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
    let scene = Scene::new("no-requests", SESSION).await;
    scene.proxy.hold_requests();
    scene.first_owns_nothing().await;
    scene.proxy.heal();
    scene.ends_well().await;
}

#[tokio::test]
async fn commits_go_on_over_a_connection_that_is_two_seconds_late_each_way() {
    let scene = Scene::new("late", LONG_SESSION).await;
    let owned = scene.world.owned_by(&scene.first).await;
    scene.proxy.delay(LATE);
    let before = scene.stored(&owned).await;
    eventually("commits go on", PATIENCE, async || {
        scene.stored(&owned).await > before + 1_000
    })
    .await;
    assert_eq!(
        scene.world.owned_by(&scene.first).await,
        owned,
        "it stays the owner"
    );
    scene.proxy.heal();
    scene.ends_well().await;
}

#[tokio::test]
async fn an_instance_whose_answers_come_later_than_its_lease_bears_stops_and_comes_back() {
    // An answer after four seconds says nothing about a session of three.
    let scene = Scene::new("too-late", SESSION).await;
    scene.proxy.delay(LATE);
    scene.first_owns_nothing().await;
    let others: Vec<i32> = (0..).take(PARTITIONS).collect();
    let before = scene.stored(&others).await;
    eventually("the other delivers everything", PATIENCE, async || {
        scene.stored(&others).await > before + 1_000
    })
    .await;
    scene.proxy.heal();
    scene.ends_well().await;
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_commits_multi_costs_nothing_but_the_connection() {
    let scene = Scene::new("commit", LONG_SESSION).await;
    // Behind a stuck key a commit stores what is done above it, and so is a multi. So many keys are in every partition.
    let stuck: Vec<String> = (0..32).map(|key| format!("k{key}")).collect();
    for key in &stuck {
        scene.world.backend.on(When::key(key), Behaviour::status(500));
    }
    let claims = scene.world.claims().await;
    for moment in [Moment::Before, Moment::After, Moment::Before, Moment::After] {
        scene.proxy.reset_at(Request::multi().with("/acks/"), moment);
        eventually("a commit is reset", PATIENCE, async || !scene.proxy.is_waiting()).await;
        let before = scene.commits().await;
        eventually("commits go on", PATIENCE, async || {
            scene.commits().await > before + 2.0
        })
        .await;
    }
    for key in &stuck {
        scene.world.backend.off(When::key(key));
    }
    assert_eq!(
        scene.world.claims().await,
        claims,
        "every claim is the one of before"
    );
    scene.ends_well().await;
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_multi_loses_nothing_whether_the_server_has_it_or_not() {
    let mut scene = Scene::new("multi", SESSION).await;
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

//! Many modules on several instances: how long a cold start and a loss take, and what they cost ZooKeeper.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use ktests::cluster::ready::zookeeper_received;
use ktests::{Backend, Daemon, OwnCluster, Setup, eventually, own_cluster, unique};

use crate::fleet::{PATIENCE, main_file, module_file};

const MODULES: usize = 50;
const INSTANCES: usize = 4;

/// 16, or what `KTESTS_PARTITIONS` says: with 64 it is a measurement by hand.
fn partitions() -> usize {
    std::env::var("KTESTS_PARTITIONS").map_or(16, |partitions| partitions.parse().unwrap())
}

struct Fleet {
    own: OwnCluster,
    topic: String,
    modules: Vec<String>,
    _backend: Backend,
    file: String,
    instances: Vec<Daemon>,
}

impl Fleet {
    async fn new() -> Self {
        let own = own_cluster().await;
        let topic = unique("scale");
        let count = i32::try_from(partitions()).unwrap();
        own.cluster.create_topic(&topic, count).await.unwrap();
        let backend = Backend::start().await;
        let mut file = module_file(&topic, &backend);
        file["worker_num"] = 4.into();
        Self {
            own,
            topic,
            modules: (0..MODULES).map(|module| format!("m{module}")).collect(),
            file: file.to_string(),
            _backend: backend,
            instances: Vec::new(),
        }
    }

    /// An instance that runs the first `modules` of all.
    fn setup(&self, modules: usize) -> Setup {
        let names: Vec<&str> = self.modules[..modules].iter().map(String::as_str).collect();
        let main = main_file(&self.own.cluster, &names);
        names.iter().fold(Setup::new("ktransfer", main), |setup, name| {
            setup.file(format!("conf/modules/{name}.yaml"), self.file.clone())
        })
    }

    /// How many partitions each instance holds, as it says itself.
    async fn held(&self) -> Vec<usize> {
        let held = self.instances.iter().map(|instance| async {
            instance
                .metric("ktransfer_partitions_held", &[])
                .await
                .unwrap_or(0.0)
        });
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small count"
        )]
        let count = |held: f64| held as usize;
        join_all(held).await.into_iter().map(count).collect()
    }

    /// Waits until every instance holds its share.
    async fn wait_shared(&self) {
        let members = self.instances.len();
        let share = |at: usize| MODULES * (partitions() / members + usize::from(at < partitions() % members));
        // The first in the order of their ids hold more, whichever those are.
        let shares: Vec<usize> = (0..members).rev().map(share).collect();
        eventually("everything is owned and shared", PATIENCE, async || {
            let mut now = self.held().await;
            now.sort_unstable();
            now == shares
        })
        .await;
    }

    /// Waits until every partition has its owner znode; asks ZooKeeper for each.
    async fn wait_owned(&self) {
        eventually("every partition has an owner", PATIENCE, async || {
            self.owned_in_zookeeper().await == MODULES * partitions()
        })
        .await;
    }

    fn requests(&self) -> u64 {
        zookeeper_received(&self.own.cluster.zookeeper).unwrap()
    }

    /// How many requests a second come while nothing moves.
    async fn idle_rate(&self) -> u64 {
        const TIME: Duration = Duration::from_secs(10);
        let before = self.requests();
        tokio::time::sleep(TIME).await;
        (self.requests() - before) / TIME.as_secs()
    }

    async fn owned_in_zookeeper(&self) -> usize {
        let znodes = self.own.cluster.znodes().await.unwrap();
        let mut owned = 0;
        for module in &self.modules {
            owned += znodes.owners(module, &self.topic).await.unwrap().len();
        }
        owned
    }
}

/// Requests beyond those of idle times.
fn beyond(requests: u64, idle: u64, time: Duration) -> u64 {
    requests.saturating_sub(idle * time.as_secs().saturating_add(1))
}

#[tokio::test]
async fn fifty_modules_on_four_instances_are_owned_soon_and_cost_what_moves() {
    let mut fleet = Fleet::new().await;
    let all = MODULES * partitions();
    let (began, before) = (Instant::now(), fleet.requests());
    for _ in 0..INSTANCES {
        fleet.instances.push(fleet.setup(MODULES).spawn());
    }
    eventually("everything is owned", PATIENCE, async || {
        fleet.held().await.iter().sum::<usize>() == all
    })
    .await;
    println!(
        "{all} partitions: all owned {:?} after a cold start",
        began.elapsed()
    );
    fleet.wait_shared().await;
    println!(
        "shared after {:?}, {} requests",
        began.elapsed(),
        fleet.requests() - before
    );
    fleet.wait_owned().await;
    let idle = fleet.idle_rate().await;
    println!("{idle} requests a second while nothing moves");

    // One module gets one more instance: a fifth of its partitions move.
    let moved = partitions() / (INSTANCES + 1);
    let (began, before) = (Instant::now(), fleet.requests());
    let mut fifth = fleet.setup(1).spawn();
    eventually("it has its share", PATIENCE, async || {
        fifth.metric("ktransfer_partitions_held", &[]).await == Some(f64::from(u32::try_from(moved).unwrap()))
    })
    .await;
    let small = beyond(fleet.requests() - before, idle, began.elapsed());
    println!("{moved} of {all} moved: {small} requests");
    fifth.kill().await;
    fleet.wait_shared().await;

    let mut lost = fleet.instances.pop().unwrap();
    let moved_by_loss = all / INSTANCES;
    let (began, before) = (Instant::now(), fleet.requests());
    lost.kill().await;
    fleet.wait_shared().await;
    println!("all owned {:?} after an instance was lost", began.elapsed());
    let large = beyond(fleet.requests() - before, idle, began.elapsed());
    println!("{moved_by_loss} of {all} moved: {large} requests");
    fleet.wait_owned().await;

    // What each moved partition costs: its claim and release, and that every member of its module reads of it.
    let bound = |moved: usize| u64::try_from(100 * moved).unwrap();
    assert!(
        small < bound(moved.max(1)),
        "{moved} partitions moved for {small} requests"
    );
    assert!(
        large < bound(moved_by_loss),
        "{moved_by_loss} partitions moved for {large} requests"
    );
}

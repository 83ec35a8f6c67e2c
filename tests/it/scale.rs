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

/// Twice the time after which an instance reads everything again.
const PERIOD: Duration = Duration::from_secs(10);

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

    /// What ZooKeeper receives because of `change`, until it has settled. What comes anyhow is counted in as long a time
    /// afterwards, with the same instances: each reads everything again at equal intervals, so many of them in both.
    async fn caused<T>(&self, change: impl Future<Output = T>) -> (T, u64) {
        let (before, began) = (self.requests(), tokio::time::Instant::now());
        let outcome = change.await;
        let settled = began.elapsed();
        let mut end = began + PERIOD;
        while end < tokio::time::Instant::now() {
            end += PERIOD;
        }
        tokio::time::sleep_until(end).await;
        let with = self.requests() - before;
        let before = self.requests();
        tokio::time::sleep(end - began).await;
        let without = self.requests() - before;
        println!(
            "settled in {settled:?}: {with} requests in {:?}, {without} while nothing moves",
            end - began
        );
        (outcome, with.saturating_sub(without))
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

    // One module gets one more instance: a fifth of its partitions move.
    let few = partitions() / (INSTANCES + 1);
    let joins = async {
        let fifth = fleet.setup(1).spawn();
        eventually("it has its share", PATIENCE, async || {
            let held = fifth.metric("ktransfer_partitions_held", &[]).await;
            held == Some(f64::from(u32::try_from(few).unwrap()))
        })
        .await;
        fifth
    };
    let (mut fifth, cost_of_few) = fleet.caused(joins).await;
    println!("{few} of {all} moved: {cost_of_few} requests");
    fifth.kill().await;
    fleet.wait_shared().await;

    let mut lost = fleet.instances.pop().unwrap();
    let many = all / INSTANCES;
    let is_lost = async {
        let began = Instant::now();
        lost.kill().await;
        fleet.wait_shared().await;
        println!("all owned {:?} after an instance was lost", began.elapsed());
    };
    let ((), cost_of_many) = fleet.caused(is_lost).await;
    println!("{many} of {all} moved: {cost_of_many} requests");
    fleet.wait_owned().await;

    // What a change costs: in each module that it concerns, a few looks of each member, and for each partition that moves
    // its claim and release and what the members read of it. Not what the partitions cost that stay, nor the other modules.
    let bound = |modules: usize, moved: usize| u64::try_from(200 * modules + 20 * moved).unwrap();
    assert!(
        bound(1, few) < u64::try_from(all).unwrap(),
        "a request for every partition would be too many"
    );
    assert!(
        cost_of_few < bound(1, few),
        "{few} partitions moved for {cost_of_few} requests"
    );
    assert!(
        cost_of_many < bound(MODULES, many),
        "{many} partitions moved for {cost_of_many} requests"
    );
}

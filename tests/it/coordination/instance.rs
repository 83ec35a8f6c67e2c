//! One process of a fleet, without records: the real session, lease and coordinator, and a module that only keeps
//! positions and does what it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcommon::kafka::options::Options;
use kcommon::kafka::{CommitOffset, PartitionId, TopicName};
use kcommon::readiness::Readiness;
use kcommon::zookeeper::Settings;
use ktests::{Cluster, eventually};
use ktransfer::acks::{Acks, Builder};
use ktransfer::assignment::{Assignment, CommitOutcome, Epochs, Order, Report};
use ktransfer::consumer::Brokers;
use ktransfer::coordinator::{self, Ended, InitialOffset, Link, Module, Process};
use ktransfer::lease::Lease;
use ktransfer::sessions::Keeper;
use ktransfer::watermarks::Watermarks;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The session time-out that instances ask for.
pub(super) const SESSION: Duration = Duration::from_secs(4);

/// Ten times what a hand-over may take.
pub(super) const SOON: Duration = Duration::from_secs(40);

/// How an instance is started.
pub(super) struct Start {
    pub(super) member: &'static str,
    pub(super) module: String,
    pub(super) topic: String,
    pub(super) initial_offset: InitialOffset,
    /// `host:port` of ZooKeeper, if not the cluster's own.
    pub(super) zookeeper: Option<String>,
    pub(super) session_timeout: Duration,
    /// The brokers, if not the cluster's own.
    pub(super) brokers: Option<String>,
}

/// A running instance. Dropping it ends its tasks, and with them its session.
pub(super) struct Instance {
    pub(super) lease: Lease,
    pub(super) readiness: Readiness,
    module: FakeModule,
    stop: CancellationToken,
    keeper_stop: CancellationToken,
    /// What the coordinator was started with.
    coordinated: (Module, Process),
    coordinator: Option<JoinHandle<Ended>>,
    keeper: Option<JoinHandle<()>>,
}

/// What the module knows.
#[derive(Default)]
struct Known {
    runs: BTreeMap<Assignment, i64>,
    /// What each run knew to be done above its position when it began.
    began_with: BTreeMap<i32, Vec<i64>>,
    /// What is done above the position of each run.
    above: BTreeMap<i32, Vec<i64>>,
    /// Answers to commits, newest last.
    commits: Vec<(i32, CommitOutcome)>,
    /// Partitions whose requests do not end.
    hanging: Vec<i32>,
    /// Partitions that were to be drained.
    revoked: Vec<i32>,
    /// Partitions that were taken away without a drain.
    lost: Vec<i32>,
}

struct FakeModule {
    known: Arc<Mutex<Known>>,
    reports: mpsc::Sender<Report>,
    task: JoinHandle<()>,
}

impl Start {
    pub(super) fn new(member: &'static str, module: &str, topic: &str) -> Self {
        Self {
            member,
            module: module.to_owned(),
            topic: topic.to_owned(),
            initial_offset: InitialOffset::Earliest,
            zookeeper: None,
            session_timeout: SESSION,
            brokers: None,
        }
    }

    pub(super) fn on(self, cluster: &Cluster) -> Instance {
        let (lease, epochs, readiness) = (Lease::new(), Epochs::default(), Readiness::new());
        let settings = Settings {
            hosts: vec![self.zookeeper.unwrap_or_else(|| cluster.zookeeper.clone())],
            chroot: cluster.chroot.clone(),
            session_timeout: self.session_timeout,
            auth: None,
        };
        let latch = readiness.latch("zookeeper");
        let keeper = Keeper::new(
            settings,
            Duration::from_secs(1),
            lease.clone(),
            epochs.clone(),
            latch,
        );
        let process = Process {
            member: self.member.to_owned(),
            sessions: keeper.sessions(),
            epochs,
            watermarks: Watermarks::new(Brokers {
                hosts: vec![self.brokers.unwrap_or_else(|| cluster.brokers.clone())],
                options: Options::default(),
            }),
        };
        let module = Module {
            name: self.module,
            topic: TopicName::try_from(self.topic).unwrap(),
            initial_offset: self.initial_offset,
            drain_timeout: Duration::from_secs(2),
        };
        let coordinated = (module.clone(), process.clone());
        let (orders, order_receiver) = mpsc::channel(4);
        let (reports, report_receiver) = mpsc::channel(4);
        let link = Link {
            orders,
            reports: report_receiver,
            latch: readiness.latch(format!("module {}", module.name)),
        };
        let (stop, keeper_stop) = (CancellationToken::new(), CancellationToken::new());
        Instance {
            lease,
            readiness,
            module: FakeModule::start(order_receiver, reports),
            keeper: Some(tokio::spawn(keeper.run(keeper_stop.clone()))),
            coordinator: Some(tokio::spawn(coordinator::run(
                module,
                process,
                link,
                stop.clone(),
            ))),
            stop,
            keeper_stop,
            coordinated,
        }
    }
}

impl FakeModule {
    fn start(mut orders: mpsc::Receiver<Order>, reports: mpsc::Sender<Report>) -> Self {
        let known = Arc::new(Mutex::new(Known::default()));
        let (mine, answers) = (Arc::clone(&known), reports.clone());
        let task = tokio::spawn(async move {
            while let Some(order) = orders.recv().await {
                let drained = mine.lock().unwrap().take(order);
                if let Some(report) = drained {
                    answers.send(report).await.unwrap();
                }
            }
        });
        Self { known, reports, task }
    }
}

impl Known {
    fn take(&mut self, order: Order) -> Option<Report> {
        match order {
            Order::Assign { assignment, done } => {
                let twice = self
                    .runs
                    .keys()
                    .any(|other| other.partition == assignment.partition);
                assert!(!twice, "{assignment:?} beside an earlier epoch");
                let above = done.ranges().flatten().collect();
                self.began_with.insert(assignment.partition.0, above);
                self.runs.insert(assignment, done.base().get());
                None
            }
            Order::Revoke { assignment, .. } => {
                self.revoked.push(assignment.partition.0);
                self.drained(assignment)
            }
            Order::Lost { assignment } => {
                self.runs.remove(&assignment);
                self.lost.push(assignment.partition.0);
                None
            }
            Order::Partitions(_) => None,
            Order::CommitDone { assignment, outcome } => {
                self.commits.push((assignment.partition.0, outcome));
                None
            }
        }
    }

    fn drained(&mut self, assignment: Assignment) -> Option<Report> {
        if self.hanging.contains(&assignment.partition.0) {
            return None;
        }
        let done = self.above.remove(&assignment.partition.0).unwrap_or_default();
        let done = self.runs.remove(&assignment).map(|run| above(run, &done));
        Some(Report::Drained {
            assignment,
            done,
            cut: 0,
        })
    }
}

impl Instance {
    /// The partitions that the module runs, with their positions.
    pub(super) fn runs(&self) -> BTreeMap<i32, i64> {
        let known = self.module.known.lock().unwrap();
        known
            .runs
            .iter()
            .map(|(assignment, position)| (assignment.partition.0, *position))
            .collect()
    }

    /// Partitions lost so far.
    pub(super) fn lost(&self) -> Vec<i32> {
        self.module.known.lock().unwrap().lost.clone()
    }

    /// Partitions that were to be drained so far.
    pub(super) fn revoked(&self) -> Vec<i32> {
        self.module.known.lock().unwrap().revoked.clone()
    }

    /// Waits until the module runs so many partitions.
    pub(super) async fn runs_partitions(&self, count: usize) {
        let what = format!("{count} partitions are run");
        eventually(&what, SOON, async || self.runs().len() == count).await;
    }

    /// Waits until the module runs the partition at this position.
    pub(super) async fn runs_at(&self, partition: i32, position: i64) {
        let what = format!("partition {partition} is run at {position}");
        eventually(&what, SOON, async || {
            self.runs().get(&partition) == Some(&position)
        })
        .await;
    }

    /// Whether the lease allows pushes of every partition that the module runs.
    pub(super) fn may_push(&self) -> bool {
        let known = self.module.known.lock().unwrap();
        !known.runs.is_empty()
            && known
                .runs
                .keys()
                .all(|assignment| self.lease.may_push(assignment.epoch))
    }

    /// The module has delivered the partition up to `position`, without committing.
    pub(super) fn advance(&self, partition: i32, position: i64) {
        let mut known = self.module.known.lock().unwrap();
        let run = known
            .runs
            .iter_mut()
            .find(|(assignment, _)| assignment.partition.0 == partition);
        *run.unwrap().1 = position;
    }

    /// Waits until the module runs the partition at this position, knowing these records above it to be done.
    pub(super) async fn begins_with(&self, partition: i32, position: i64, above: &[i64]) {
        self.runs_at(partition, position).await;
        let known = self.module.known.lock().unwrap();
        assert_eq!(known.began_with[&partition], above);
    }

    /// These records above the position are done, without a commit.
    pub(super) fn finish(&self, partition: i32, done: &[i64]) {
        let mut known = self.module.known.lock().unwrap();
        known.above.insert(partition, done.to_vec());
    }

    /// Delivers up to a position, commits it and waits for the answer.
    pub(super) async fn commit(&self, partition: i32, position: i64) -> CommitOutcome {
        self.commit_with(partition, position, &[]).await
    }

    /// The same with records that are done above the position.
    pub(super) async fn commit_with(&self, partition: i32, position: i64, done: &[i64]) -> CommitOutcome {
        self.advance(partition, position);
        let (assignment, answered) = {
            let known = self.module.known.lock().unwrap();
            let find = known
                .runs
                .keys()
                .find(|assignment| assignment.partition == PartitionId(partition));
            (*find.unwrap(), known.commits.len())
        };
        let report = Report::Commit {
            assignment,
            done: above(position, done),
        };
        self.module.reports.send(report).await.unwrap();
        eventually("the commit is answered", SOON, async || {
            let known = self.module.known.lock().unwrap();
            known.commits.get(answered).map(|(_partition, outcome)| *outcome)
        })
        .await
    }

    /// From now on a request of the partition hangs, and a drain of it with it.
    pub(super) fn hang(&self, partition: i32) {
        self.module.known.lock().unwrap().hanging.push(partition);
    }

    /// Ends in good order, as on SIGTERM; the end comes later.
    pub(super) fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// The hanging requests are cut.
    pub(super) async fn cut(&self) {
        let drained: Vec<Report> = {
            let mut known = self.module.known.lock().unwrap();
            known.hanging.clear();
            let runs: Vec<Assignment> = known.runs.keys().copied().collect();
            runs.into_iter()
                .filter_map(|assignment| known.drained(assignment))
                .collect()
        };
        for report in drained {
            self.module.reports.send(report).await.unwrap();
        }
    }

    /// What `/readyz` would say.
    pub(super) fn reasons(&self) -> String {
        self.readiness
            .reasons()
            .into_iter()
            .map(|(name, reason)| format!("{name}: {reason}\n"))
            .collect()
    }

    /// Waits until nothing is wrong.
    pub(super) async fn is_ready(&self) {
        eventually("the instance is ready", SOON, async || self.reasons().is_empty()).await;
    }

    /// Ends in good order, as on SIGTERM.
    pub(super) async fn stop(mut self) -> Ended {
        self.stop.cancel();
        let ended = self.coordinator.take().unwrap().await.unwrap();
        self.keeper_stop.cancel();
        self.keeper.take().unwrap().await.unwrap();
        ended
    }

    /// Coordination ends without a chance to do anything, as by a panic, and the supervisor sweeps behind it.
    pub(super) async fn end_of_coordination(&mut self) {
        let coordinator = self.coordinator.take().unwrap();
        coordinator.abort();
        assert!(coordinator.await.unwrap_err().is_cancelled());
        coordinator::sweep(&self.coordinated.0, &self.coordinated.1).await;
    }

    /// The module ends by itself; how its coordinator ends then. The session lives on.
    pub(super) async fn end_of_module(&mut self) -> Ended {
        self.module.task.abort();
        let (reports, _closed) = mpsc::channel(1);
        // The task's own sender ends with it.
        drop(std::mem::replace(&mut self.module.reports, reports));
        self.coordinator.take().unwrap().await.unwrap()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.module.task.abort();
        self.coordinator.iter().for_each(JoinHandle::abort);
        self.keeper.iter().for_each(JoinHandle::abort);
    }
}

fn offset(number: i64) -> CommitOffset {
    CommitOffset::try_from(number).unwrap()
}

fn above(position: i64, done: &[i64]) -> Acks {
    let mut acks = Builder::new(offset(position));
    done.iter().for_each(|at| acks.add(&(*at..at + 1)));
    acks.finish()
}

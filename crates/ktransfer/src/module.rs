//! A running module: a thread with a runtime of its own, whose tasks own everything that records touch on their way. The
//! loop here applies the orders of coordination, sends the module's reports, and lets time pass.
//!
//! The module ends when coordination closes its orders, or with an error; then its supervisor starts it again.

mod partitions;
mod telling;
mod undelivered;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use kcommon::kafka::{CommitOffset, PartitionId};
use kcommon::readiness::Latch;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;
use tokio::runtime::LocalOptions;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::acks::Acks;
use crate::adaptive;
use crate::assignment::{Assignment, Order, Report};
use crate::budget::Budget;
use crate::committer::Stored;
use crate::config;
use crate::consumer::{self, Brokers, Consumer, Prefetch};
use crate::dispatcher::{Bounds, Dispatcher, Seat, Standing};
use crate::fetch::Source;
use crate::files;
use crate::key::{KeyHasher, OrderBy};
use crate::lease::Lease;
use crate::letters::Desk;
use crate::meters::Meters;
use crate::names;
use crate::reread::Reread;
use crate::target::{Target, TargetError};
use crate::worker::Worker;
use partitions::Fetching;

/// How often commits, drains and bounds are looked at while something is under way. The least time between two commits of
/// a partition.
const TICK: Duration = Duration::from_millis(50);
/// The same while nothing is under way.
const QUIET_TICK: Duration = Duration::from_secs(1);
/// How often the client is asked how far it has got beyond the last record.
const POSITIONS: Duration = Duration::from_millis(500);
/// The same while nothing is under way: it is a round trip to a thread of the client's.
const QUIET_POSITIONS: Duration = Duration::from_secs(2);

/// Records of a partition that is one queue, at most: nothing behind the first one can be pushed.
const IN_ONE_QUEUE: usize = 1000;

/// What a module needs to run.
pub struct Start {
    /// Its configuration.
    pub module: config::Module,
    /// How the brokers are reached.
    pub brokers: Brokers,
    /// How much the Kafka client holds of each partition.
    pub prefetch: Prefetch,
    /// From coordination; closed when the module is to end.
    pub orders: mpsc::Receiver<Order>,
    /// To coordination.
    pub reports: mpsc::Sender<Report>,
    /// The process's lease.
    pub lease: Lease,
    /// The process's byte budget.
    pub budget: Budget,
    /// What the commits of the process store.
    pub stored: Stored,
    /// Says which partitions stand still.
    pub latch: Latch,
    /// Says when the backends take nothing.
    pub backend: Latch,
    /// From people who want to know how its partitions stand.
    pub questions: mpsc::Receiver<Question>,
}

/// A question how the partitions stand: where the answer goes.
pub type Question = oneshot::Sender<Vec<Standing>>;

/// Why a module ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// No thread or runtime to run on.
    #[error("cannot start the module's runtime")]
    Runtime(#[source] std::io::Error),
    /// The Kafka client could not be made.
    #[error("cannot make the Kafka client")]
    Client(#[source] KafkaError),
    /// The servers cannot be pushed to.
    #[error("cannot push to the module's servers")]
    Target(#[source] TargetError),
    /// A task of the module panicked: a bug, and the log has it.
    #[error("a task of the module ended unexpectedly")]
    Task(#[source] tokio::task::JoinError),
    /// The fetch of a partition panicked: a bug, and the log has it.
    #[error("the fetch of partition {0} ended unexpectedly")]
    Fetch(PartitionId),
    /// A record came by the wrong way, so that the order of its partition is in doubt.
    #[error("a record of partition {0} arrived outside its queue")]
    Astray(PartitionId),
    /// Coordination does not take reports any more.
    #[error("coordination has ended")]
    Coordination,
}

/// Runs a module on the calling thread until it ends.
///
/// # Errors
/// See [`ModuleError`]; the claims of the module are to be given up, and it may be started again.
pub fn run(start: Start) -> Result<(), ModuleError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // A busy module looks for answers less often than the default of 61 turns of its tasks: it finds more at a time, 256
        // turns are about a millisecond.
        .event_interval(256)
        .build_local(LocalOptions::default())
        .map_err(ModuleError::Runtime)?;
    let outcome = runtime.block_on(async {
        let mut running = Running::new(start)?;
        running.run().await
    });
    // Its tasks end with it; a blocked question to a broker does not hold up the end.
    runtime.shutdown_background();
    outcome
}

struct Running {
    questions: mpsc::Receiver<Question>,
    orders: mpsc::Receiver<Order>,
    reports: mpsc::Sender<Report>,
    lease: Lease,
    latch: Latch,
    backend: Latch,
    /// Whether the outage of the backends was told.
    outage_told: bool,
    /// Whether it was told that the backends slow the module down.
    slowed: adaptive::Telling,
    /// Where records go that end undelivered, if they are stored.
    desk: Option<Rc<Desk>>,
    told: undelivered::Told,
    target: Rc<Target>,
    source: Rc<Source>,
    dispatcher: Rc<RefCell<Dispatcher>>,
    bell: Rc<Notify>,
    /// Workers and the task on the client's main queue; none of them ends by itself.
    tasks: JoinSet<ModuleError>,
    fetching: HashMap<PartitionId, Fetching>,
    /// Assignments that wait until an earlier epoch of their partition has nothing on the wire.
    waiting: Vec<(Assignment, Acks)>,
    next_tick: Instant,
    next_positions: Instant,
    /// Whether nothing was under way at the last tick.
    quiet: bool,
    /// Whether requests on the wire have been cut since the lease last held.
    lease_cut: bool,
}

impl Running {
    fn new(start: Start) -> Result<Self, ModuleError> {
        let Start {
            module,
            brokers,
            prefetch,
            orders,
            reports,
            lease,
            budget,
            stored,
            latch,
            backend,
            questions,
        } = start;
        let consumer = consumer::connect(&module.name, &brokers, prefetch).map_err(ModuleError::Client)?;
        let bounds = bounds(&module);
        let meters = Rc::new(Meters::with_policy(&module.name, module.last.policy()));
        let dispatcher = Dispatcher::new(bounds, lease.clone(), budget, stored, Rc::clone(&meters));
        let bell = dispatcher.bell();
        let dispatcher = Rc::new(RefCell::new(dispatcher));
        let target = Rc::new(Target::new(module.clone()).map_err(ModuleError::Target)?);
        let mut tasks = workers(bounds.workers, &dispatcher, &target, &meters);
        keep_up(&target, &mut tasks);
        tasks.spawn_local(serve_main_queue(Arc::clone(&consumer)));
        let source = Rc::new(Source {
            consumer,
            module: Rc::new(module),
            dispatcher: Rc::clone(&dispatcher),
            hasher: KeyHasher::new(uuid::Uuid::new_v4().into_bytes()),
            meters,
        });
        let desk = undelivered::store_letters(&source, &brokers, &mut tasks);
        let reread = Reread::new(Rc::clone(&source), brokers).run();
        tasks.spawn_local(reread.map(|never| match never {}));
        latch.ready();
        let now = Instant::now();
        Ok(Self {
            questions,
            orders,
            reports,
            lease,
            latch,
            backend,
            outage_told: false,
            slowed: adaptive::Telling::default(),
            desk,
            told: undelivered::Told::default(),
            target,
            source,
            dispatcher,
            bell,
            tasks,
            fetching: HashMap::new(),
            waiting: Vec::new(),
            next_tick: now,
            next_positions: now,
            quiet: false,
            lease_cut: false,
        })
    }

    async fn run(&mut self) -> Result<(), ModuleError> {
        let reports = self.reports.clone();
        loop {
            let wake = self
                .dispatcher
                .borrow()
                .next_wake()
                .map_or(self.next_tick, |wake| wake.min(self.next_tick));
            let has_report = self.dispatcher.borrow().has_report();
            // The bell rings when the first push begins: an idle module does not look at the lease's clock.
            let on_the_wire = self.dispatcher.borrow().in_flight() > 0;
            tokio::select! {
                // Orders first: after a revoke nothing of its partition may begin. Then reports, which others wait for.
                biased;
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return Ok(()),
                },
                permit = reports.reserve(), if has_report => {
                    let permit = permit.map_err(|_closed| ModuleError::Coordination)?;
                    if let Some(report) = self.dispatcher.borrow_mut().next_report() {
                        permit.send(report);
                    }
                }
                Some(ended) = self.tasks.join_next() => {
                    return Err(ended.unwrap_or_else(ModuleError::Task));
                }
                () = self.lease.cut_due(), if on_the_wire && !self.lease_cut => {
                    self.lease_cut = true;
                    self.dispatcher.borrow_mut().cut_all();
                }
                () = self.bell.notified() => {
                    self.assign_waiting();
                    // Whatever it is, the quiet is over.
                    let now = Instant::now();
                    self.next_tick = self.next_tick.min(now + TICK);
                    self.next_positions = self.next_positions.min(now + POSITIONS);
                }
                () = tokio::time::sleep_until(wake) => self.pass_time()?,
                Some(question) = self.questions.recv() => self.answer(question),
            }
        }
    }

    fn pass_time(&mut self) -> Result<(), ModuleError> {
        let now = Instant::now();
        if now < self.next_tick {
            self.dispatcher.borrow_mut().wake(now);
            return Ok(());
        }
        if let Some((partition, _)) = self
            .fetching
            .iter()
            .find(|(_, fetching)| fetching.task.is_finished())
        {
            return Err(ModuleError::Fetch(*partition));
        }
        if now >= self.next_positions {
            self.next_positions = now + if self.quiet { QUIET_POSITIONS } else { POSITIONS };
            self.take_positions();
            self.tell_stopped(now);
            self.tell_outage(now);
            self.tell_slowed(now);
            self.dispatcher.borrow_mut().shrink();
        }
        let mut dispatcher = self.dispatcher.borrow_mut();
        dispatcher.tick(now);
        self.quiet = dispatcher.doze();
        self.next_tick = now + if self.quiet { QUIET_TICK } else { TICK };
        // Once the lease holds again it may run out again.
        self.lease_cut = self.lease_cut && self.lease.cut_due().now_or_never().is_some();
        Ok(())
    }

    /// Lets the ledgers know of what was passed without a record: transaction markers, aborted and compacted records.
    fn take_positions(&self) {
        let Ok(positions) = self.source.consumer.position() else {
            return;
        };
        for element in positions.elements() {
            let Some(fetching) = self.fetching.get(&PartitionId(element.partition())) else {
                continue;
            };
            let position = match element.offset() {
                Offset::Offset(offset) => CommitOffset::try_from(offset).ok(),
                _ => None,
            };
            if let Some(position) = fetching.progress.judge(position) {
                self.dispatcher
                    .borrow_mut()
                    .reach(fetching.assignment.epoch, position);
            }
        }
    }
}

/// The bounds that a module asks for.
fn bounds(module: &config::Module) -> Bounds {
    Bounds {
        workers: module.worker_num.min(module.window_size).get(),
        max_uncommitted: match module.order {
            OrderBy::Partition => module.max_uncommitted.get().min(IN_ONE_QUEUE),
            OrderBy::Key | OrderBy::Nothing => module.max_uncommitted.get(),
        },
        pace: module.pace,
        evicts: module.order != OrderBy::Partition,
        commit_interval: module.commit_interval,
        slows_down: module.retry.slows_down,
    }
}

/// Starts what keeps a target up to date: the names of its servers, and its files.
fn keep_up(target: &Rc<Target>, tasks: &mut JoinSet<ModuleError>) {
    if let Some(interval) = target.module().dns_refresh {
        let names = names::follow(Rc::clone(target), interval);
        tasks.spawn_local(names.map(|never| match never {}));
    }
    tasks.spawn_local(files::follow(Rc::clone(target)).map(|never| match never {}));
}

/// Starts the workers, on seats from 0 on.
fn workers(
    count: usize,
    dispatcher: &Rc<RefCell<Dispatcher>>,
    target: &Rc<Target>,
    meters: &Rc<Meters>,
) -> JoinSet<ModuleError> {
    let mut tasks = JoinSet::new();
    for seat in (0..count).map(Seat) {
        let worker = Worker::new(seat, Rc::clone(dispatcher), Rc::clone(target), Rc::clone(meters));
        tasks.spawn_local(worker.run().map(|never| match never {}));
    }
    tasks
}

/// Serves the client's main queue, on which its errors and log lines come. Records come on their partitions' own queues: one
/// that comes here has overtaken or been overtaken.
async fn serve_main_queue(consumer: Arc<Consumer>) -> ModuleError {
    loop {
        match consumer.recv().await {
            Ok(record) => {
                use rdkafka::message::Message as _;
                return ModuleError::Astray(PartitionId(record.partition()));
            }
            // Told by the client's context already; the client goes on by itself.
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "Kafka client"),
        }
    }
}

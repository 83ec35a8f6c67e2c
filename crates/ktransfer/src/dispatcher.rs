//! What all tasks of a module share, on its one thread: the partitions with their ledgers, the scheduler, and who
//! pushes what. Fetch tasks admit records, workers take and end them, the module's loop applies orders and ticks.
//!
//! Nothing here waits or does I/O; tasks are woken through [`Notify`]s and wakers. It is kept in a `RefCell` that is
//! never borrowed across an await.

mod flights;
mod partition;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use kcommon::kafka::{CommitOffset, PartitionId, RecordOffset};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::assignment::{Assignment, CommitOutcome, Epoch, Report};
use crate::budget::Budget;
use crate::lease::Lease;
use crate::ledger::{Admission, Entry};
use crate::meters::Meters;
use crate::record::Record;
use crate::scheduler::{Job, Scheduler};
use flights::Flights;
pub use flights::Seat;
use partition::{Partition, Phase};

/// The bounds of a module.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Pushes in flight at most: the number of workers.
    pub workers: usize,
    /// Records of one partition between the commit position and the newest admitted.
    pub max_uncommitted: usize,
    /// Time between two commits of a partition, unless many records are newly done.
    pub commit_interval: Duration,
}

impl Bounds {
    /// Keys of one partition that may stand ready: enough that no worker waits for a fetch, and no more, because what
    /// waits here is memory that has gone cold by the time it is pushed. Stuck keys do not count.
    const fn ready_keys(self) -> usize {
        self.workers * 4 + 64
    }
}

/// What a fetch brings.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// The record's offset.
    pub offset: RecordOffset,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The identity of the key; `None` when the module asks for no order.
    pub id: Option<crate::key::KeyId>,
    /// Its value.
    pub value: &'a [u8],
    /// Whether it needs a push.
    pub entry: Entry,
}

/// What became of a fetched record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It is entered, or was before: go on.
    Taken,
    /// There is no room in the byte budget: wait, then offer it again.
    NoRoom,
}

/// How a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Delivered, or given up by policy: the record is done.
    Done,
    /// The push failed: again at this time.
    RetryAt(Instant),
    /// Not a byte was sent: again when allowed, not an attempt.
    NotStarted,
    /// Cut on the wire: nobody knows what the backend did, so the record is not done.
    Cut,
}

/// See the module.
#[derive(Debug)]
pub struct Dispatcher {
    bounds: Bounds,
    scheduler: Scheduler,
    partitions: HashMap<Epoch, Partition>,
    flights: Flights,
    lease: Lease,
    budget: Budget,
    outbox: VecDeque<Report>,
    /// Rung when the module's loop has something new to do: a report, or an earlier back-off.
    bell: Rc<Notify>,
    meters: Rc<Meters>,
}

impl Dispatcher {
    /// The state of a module without partitions.
    #[must_use]
    pub fn new(bounds: Bounds, lease: Lease, budget: Budget, meters: Rc<Meters>) -> Self {
        Self {
            bounds,
            scheduler: Scheduler::default(),
            partitions: HashMap::new(),
            flights: Flights::new(bounds.workers),
            lease,
            budget,
            outbox: VecDeque::new(),
            bell: Rc::new(Notify::new()),
            meters,
        }
    }

    /// Rung when [`Dispatcher::next_report`] or [`Dispatcher::next_wake`] has changed.
    #[must_use]
    pub fn bell(&self) -> Rc<Notify> {
        Rc::clone(&self.bell)
    }

    // Partitions come and go.

    /// Whether an earlier epoch of the partition still has requests on the wire: until they have ended, the partition
    /// may not be delivered again in this process (else n, n + 1, and then the old n arrives).
    #[must_use]
    pub fn is_busy(&self, partition: PartitionId) -> bool {
        self.partitions
            .values()
            .any(|known| known.assignment.partition == partition)
    }

    /// Begins a partition. Returns what its fetch waits on for room.
    pub fn assign(&mut self, assignment: Assignment, position: CommitOffset, now: Instant) -> Rc<Notify> {
        let lane = self.scheduler.open(assignment.epoch);
        let share = self.budget.share(self.partitions.len() + 1);
        let partition = Partition::new(assignment, lane, (position, share), &self.bounds, now);
        let room = partition.room();
        self.partitions.insert(assignment.epoch, partition);
        self.share_out();
        room
    }

    /// Stops starting pushes of the partition; answers by a report when none is on the wire, at `deadline` at the
    /// latest.
    pub fn revoke(&mut self, assignment: Assignment, deadline: Instant) {
        let Some(partition) = self.partitions.get_mut(&assignment.epoch) else {
            self.report(Report::Drained {
                assignment,
                position: None,
                cut: 0,
            });
            return;
        };
        partition.phase = Phase::Draining { deadline, cut: 0 };
        self.scheduler.close(partition.lane);
        self.settle(assignment.epoch);
        self.bell.notify_one();
    }

    /// The claim is gone: cuts what is on the wire and forgets the partition.
    pub fn lose(&mut self, assignment: Assignment) {
        let Some(partition) = self.partitions.get_mut(&assignment.epoch) else {
            return;
        };
        partition.phase = Phase::Lost;
        self.scheduler.close(partition.lane);
        let cut = self.flights.cut(assignment.epoch);
        self.meters.cut.increment(cut as u64);
        self.settle(assignment.epoch);
    }

    /// A commit was answered.
    pub fn commit_done(&mut self, assignment: Assignment, outcome: CommitOutcome) {
        if let Some(partition) = self.partitions.get_mut(&assignment.epoch) {
            partition.commit_done(outcome);
        }
    }

    /// The next report to send. Bounded by two for each partition.
    pub fn next_report(&mut self) -> Option<Report> {
        self.outbox.pop_front()
    }

    /// Whether [`Dispatcher::next_report`] has one.
    #[must_use]
    pub fn has_report(&self) -> bool {
        !self.outbox.is_empty()
    }

    // Time passes.

    /// Wakes the keys whose back-off is over, cuts what has outlived its drain, and reports the commits that are due.
    pub fn tick(&mut self, now: Instant) {
        self.scheduler.wake(now);
        if self.scheduler.has_ready() {
            // Workers rest beside ready keys only while the lease is away: it may be back.
            self.flights.wake(usize::MAX);
        }
        let epochs: Vec<_> = self.partitions.keys().copied().collect();
        for epoch in epochs {
            self.tick_partition(epoch, now);
        }
        self.meters.tell(
            self.flights.in_flight(),
            self.partitions.values().map(|known| known.ledger.len()).sum(),
        );
    }

    /// Whether nothing is under way, so that ticks may be rare.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let quiet = |partition: &Partition| partition.is_running() && partition.schedule.due_at().is_none();
        !self.scheduler.has_ready() && self.partitions.values().all(quiet)
    }

    /// Wakes the keys whose back-off is over.
    pub fn wake(&mut self, now: Instant) {
        let woken = self.scheduler.wake(now);
        self.flights.wake(woken);
    }

    /// When [`Dispatcher::wake`] has something to do next.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        self.scheduler.next_wake()
    }

    /// Cuts every request on the wire: the lease has run out for them too. Their records are pushed again if the lease
    /// comes back.
    pub fn cut_all(&mut self) {
        let cut = self.flights.cut_all();
        self.meters.cut.increment(cut as u64);
    }

    // A fetch works.

    /// Whether the next record of this epoch may be fetched.
    #[must_use]
    pub fn admits(&self, epoch: Epoch) -> bool {
        self.partitions.get(&epoch).is_some_and(|partition| {
            partition.is_running()
                && !partition.ledger.is_full()
                && self.scheduler.ready(partition.lane) < self.bounds.ready_keys()
        })
    }

    /// Enters a fetched record.
    pub fn admit(&mut self, epoch: Epoch, fetched: &Fetched<'_>) -> Admitted {
        let Some(partition) = self
            .partitions
            .get_mut(&epoch)
            .filter(|partition| partition.is_running())
        else {
            return Admitted::Taken;
        };
        let pending = fetched.entry == Entry::Pending;
        let bytes = fetched.key.map_or(0, <[u8]>::len) + fetched.value.len();
        if pending && !partition.share.take(bytes) {
            partition.wait_for_room();
            return Admitted::NoRoom;
        }
        match partition.ledger.admit(fetched.offset, fetched.entry) {
            Admission::Stale => {
                self.meters.stale.increment(1);
                partition.share.give(if pending { bytes } else { 0 });
            }
            Admission::Entered(_) if !pending => partition.schedule.note_acks(1),
            Admission::Entered(seq) => {
                let key = fetched.key.map(|key| (key, fetched.id));
                let record = Record::new(fetched.offset, seq, key, fetched.value);
                if self.scheduler.enqueue(partition.lane, record) {
                    self.flights.wake(1);
                }
            }
        }
        Admitted::Taken
    }

    /// The fetch has passed everything below `position`.
    pub fn reach(&mut self, epoch: Epoch, position: CommitOffset) {
        if let Some(partition) = self.partitions.get_mut(&epoch)
            && partition.ledger.reached() < position
        {
            partition.ledger.reach(position);
            partition.schedule.note_acks(1);
        }
    }

    /// From where the partition is to be fetched: everything below is in the ledger.
    #[must_use]
    pub fn reached(&self, epoch: Epoch) -> Option<CommitOffset> {
        self.partitions
            .get(&epoch)
            .map(|partition| partition.ledger.reached())
    }

    /// The fetch waits for room: it is woken when there is some.
    pub fn wait_for_room(&mut self, epoch: Epoch) {
        if let Some(partition) = self.partitions.get_mut(&epoch) {
            partition.wait_for_room();
        }
    }

    // A worker works.

    /// What a worker waits on when [`Dispatcher::take`] has nothing.
    #[must_use]
    pub fn seat(&self, seat: Seat) -> Rc<Notify> {
        self.flights.bell(seat)
    }

    /// The next record for this worker; `None` puts it to rest until it is woken.
    pub fn take(&mut self, seat: Seat) -> Option<Job> {
        let job = self.scheduler.take().and_then(|job| {
            if self.lease.may_push(job.lane.epoch()) {
                return Some(job);
            }
            self.scheduler.put_back(job);
            None
        });
        let Some(job) = job else {
            self.flights.rest(seat);
            return None;
        };
        let epoch = job.lane.epoch();
        self.flights.start(seat, epoch);
        if let Some(partition) = self.partitions.get_mut(&epoch) {
            partition.in_flight += 1;
            if partition.waits_for_room()
                && self.scheduler.ready(partition.lane) < self.bounds.ready_keys() / 2
            {
                partition.give_room();
            }
        }
        Some(job)
    }

    /// Whether a push of this epoch may start now: asked in the poll that writes its first byte.
    #[must_use]
    pub fn may_start(&self, epoch: Epoch) -> bool {
        self.lease.may_push(epoch) && self.partitions.get(&epoch).is_some_and(Partition::is_running)
    }

    /// Whether the worker's request is cut; if not, `cx` is woken when it is.
    pub fn is_cut(&mut self, seat: Seat, cx: &Context<'_>) -> bool {
        self.flights.is_cut(seat, cx)
    }

    /// The partition of an epoch, while it is known.
    #[must_use]
    pub fn partition(&self, epoch: Epoch) -> Option<PartitionId> {
        self.partitions
            .get(&epoch)
            .map(|partition| partition.assignment.partition)
    }

    /// A job is over for its worker.
    pub fn end(&mut self, seat: Seat, mut job: Job, end: End) {
        let epoch = job.lane.epoch();
        self.flights.land(seat);
        let Some(partition) = self.partitions.get_mut(&epoch) else {
            return;
        };
        partition.in_flight -= 1;
        match end {
            End::Done => {
                let (lane, key, record) = job.into_parts();
                partition.done(&record);
                self.scheduler.end(lane, key);
            }
            End::RetryAt(at) => {
                job.record.failures = job.record.failures.saturating_add(1);
                let sooner = self.scheduler.next_wake().is_none_or(|next| at < next);
                if self.scheduler.retry(job, at).is_none() && sooner {
                    self.bell.notify_one();
                }
            }
            End::NotStarted | End::Cut => {
                self.scheduler.put_back(job);
            }
        }
        let room = partition.waits_for_room()
            && !partition.ledger.is_full()
            && self.scheduler.ready(partition.lane) < self.bounds.ready_keys();
        if room {
            partition.give_room();
        }
        self.settle(epoch);
    }

    // Inside.

    fn tick_partition(&mut self, epoch: Epoch, now: Instant) {
        let Some(partition) = self.partitions.get_mut(&epoch) else {
            return;
        };
        if let Phase::Draining { deadline, .. } = partition.phase
            && deadline <= now
        {
            let cut = self.flights.cut(epoch);
            self.meters.cut.increment(cut as u64);
            partition.note_cut(cut);
        }
        partition.give_room();
        if let Some(report) = partition.due_commit(now) {
            self.report(report);
        }
    }

    /// Forgets a partition that has ended and has nothing on the wire any more.
    fn settle(&mut self, epoch: Epoch) {
        let Some(partition) = self
            .partitions
            .get(&epoch)
            .filter(|partition| partition.in_flight == 0)
        else {
            return;
        };
        match partition.phase {
            Phase::Running => return,
            Phase::Lost => {}
            Phase::Draining { cut, .. } => {
                let position = Some(partition.ledger.commit_position());
                self.report(Report::Drained {
                    assignment: partition.assignment,
                    position,
                    cut,
                });
            }
        }
        self.partitions.remove(&epoch);
        self.share_out();
        // A partition that was assigned anew may have waited for this end.
        self.bell.notify_one();
    }

    fn share_out(&mut self) {
        let count = self.partitions.len();
        for partition in self.partitions.values_mut() {
            partition.share.resize(count);
        }
    }

    fn report(&mut self, report: Report) {
        self.outbox.push_back(report);
        self.bell.notify_one();
    }
}

#[cfg(test)]
mod tests;

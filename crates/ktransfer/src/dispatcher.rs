//! What all tasks of a module share, on its one thread: the partitions with their ledgers, the scheduler, and who
//! pushes what. Fetch tasks admit records, workers take and end them, the module's loop applies orders and ticks.
//!
//! Nothing here waits or does I/O; tasks are woken through [`Notify`]s and wakers. It is kept in a `RefCell` that is
//! never borrowed across an await.

mod admission;
mod eviction;
mod flights;
mod pacing;
mod partition;
mod pushing;
mod standing;
mod troubles;
mod truncation;
mod undelivered;
mod waits;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use kcommon::kafka::PartitionId;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::acks::Acks;
use crate::adaptive::Adaptive;
use crate::assignment::{Assignment, CommitOutcome, Epoch, Report};
use crate::budget::Budget;
use crate::committer::Stored;
use crate::key::TakeHash;
use crate::lease::Lease;
use crate::ledger::Ledger;
use crate::letter::Letter;
use crate::meters::{Levels, Meters};
use crate::pace::{Limits, Pace};
use crate::scheduler::Scheduler;
use flights::Flights;
use partition::{Partition, Phase};
use troubles::Troubles;
use waits::Waits;

pub use admission::{Admitted, Fetched, Fullness};
pub use eviction::{Gone, Restored};
pub use flights::Seat;
pub use pushing::End;
pub use standing::{Oldest, Standing};
pub use troubles::{Failing, StalledKey, Trouble};
pub use undelivered::Stuck;

/// The bounds of a module.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Pushes in flight at most: the number of workers.
    pub workers: usize,
    /// Records of one partition between the commit position and the newest admitted.
    pub max_uncommitted: usize,
    /// Whether bodies behind others of their key may go when memory is short: of no use where all of a partition is one queue,
    /// because nothing that is fetched then could be pushed.
    pub evicts: bool,
    /// How fast pushes may begin.
    pub pace: Limits,
    /// Time between two commits of a partition, unless many records are newly done.
    pub commit_interval: Duration,
    /// Whether a backend that is overloaded or away gets fewer pushes at a time.
    pub slows_down: bool,
}

impl Bounds {
    /// Keys of one of so many partitions that may stand ready: enough that no worker waits for a fetch, and no more, because
    /// what waits here is memory that has gone cold by the time it is pushed. Stuck keys do not count. A fetch that had no
    /// room begins again when half of them are gone.
    const fn ready_keys(self, partitions: usize) -> usize {
        64 + match partitions {
            0 | 1 => self.workers * 2,
            several => self.workers * 2 / several,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Dispatcher {
    bounds: Bounds,
    scheduler: Scheduler,
    partitions: HashMap<Epoch, Partition, TakeHash>,
    flights: Flights,
    waits: Waits,
    troubles: Troubles,
    /// How many pushes may be on their way, where that depends on the backend.
    adaptive: Option<Adaptive>,
    /// How fast pushes may begin, where that is limited.
    pace: Option<Pace>,
    /// The partitions of the topic, whoever owns them; 0 = not known yet.
    all_partitions: usize,
    lease: Lease,
    budget: Budget,
    /// What the commits of the whole process store.
    stored: Stored,
    outbox: VecDeque<Report>,
    /// Records that end undelivered and are to be stored elsewhere first.
    letters: VecDeque<Letter>,
    /// Revoked before they began, while requests of older epochs are on the wire. At most one for each partition.
    unbegun: Vec<Assignment>,
    /// Whether the module's loop sleeps longer, until the bell rings.
    dozing: bool,
    /// Rung when the module's loop has something new to do: a report, an earlier back-off, the first record after a quiet time.
    bell: Rc<Notify>,
    /// Rung when bodies that were dropped are wanted.
    thirst: Rc<Notify>,
    /// Rung when there are letters.
    letters_bell: Rc<Notify>,
    meters: Rc<Meters>,
}

impl Dispatcher {
    /// The state of a module without partitions.
    #[must_use]
    pub fn new(bounds: Bounds, lease: Lease, budget: Budget, stored: Stored, meters: Rc<Meters>) -> Self {
        Self {
            bounds,
            scheduler: Scheduler::default(),
            partitions: HashMap::default(),
            flights: Flights::new(bounds.workers),
            waits: Waits::default(),
            troubles: Troubles::default(),
            adaptive: bounds.slows_down.then(|| Adaptive::new(bounds.workers)),
            pace: Pace::new(bounds.pace, Instant::now()),
            all_partitions: 0,
            lease,
            budget,
            stored,
            outbox: VecDeque::new(),
            letters: VecDeque::new(),
            unbegun: Vec::new(),
            dozing: false,
            bell: Rc::new(Notify::new()),
            thirst: Rc::new(Notify::new()),
            letters_bell: Rc::new(Notify::new()),
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

    /// Begins a partition, of which so much is done. Returns what its fetch waits on for room.
    pub fn assign(&mut self, assignment: Assignment, done: Acks, now: Instant) -> Rc<Notify> {
        let lane = self.scheduler.open(assignment.epoch);
        let share = self.budget.share(self.partitions.len() + 1);
        let parts = (
            Ledger::new(done, self.bounds.max_uncommitted),
            share,
            self.stored.part(),
        );
        let partition = Partition::new(assignment, lane, parts, self.bounds.commit_interval, now);
        let room = partition.room();
        self.partitions.insert(assignment.epoch, partition);
        self.share_out();
        room
    }

    /// Stops starting pushes of the partition; answers by a report when none is on the wire, at `deadline` at the
    /// latest.
    pub fn revoke(&mut self, assignment: Assignment, deadline: Instant) {
        let Some(partition) = self.partitions.get_mut(&assignment.epoch) else {
            self.unbegun.push(assignment);
            return self.answer_unbegun();
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

    /// The next report to send. Bounded by three for each partition.
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
            // Workers rest beside ready keys only while the lease is away, or the backend: either may be back.
            self.flights.wake(self.free_places());
        }
        let epochs: Vec<_> = self.partitions.keys().copied().collect();
        for epoch in epochs {
            self.tick_partition(epoch, now);
        }
        let sum =
            |of: fn(&Self, &Partition) -> usize| self.partitions.values().map(|known| of(self, known)).sum();
        self.meters.tell(&Levels {
            in_flight: self.flights.in_flight(),
            limit: self.concurrency().0,
            uncommitted: sum(|_, known| known.ledger.len()),
            held_bytes: sum(|_, known| known.share.held()),
            bodiless: sum(|all, known| all.scheduler.cold(known.lane)),
        });
    }

    /// Whether nothing is to be done before a record comes, or a push begins or ends, so that ticks may be rare: the bell rings
    /// then.
    pub fn doze(&mut self) -> bool {
        let quiet = |partition: &Partition| partition.commits() && partition.schedule.due_at().is_none();
        self.dozing = !self.scheduler.has_ready() && self.partitions.values().all(quiet);
        self.dozing
    }

    /// Something has begun: the loop looks at it soon, if it has gone to sleep.
    fn rouse(&mut self) {
        if std::mem::take(&mut self.dozing) {
            self.bell.notify_one();
        }
    }

    /// Wakes the keys whose back-off is over.
    pub fn wake(&mut self, now: Instant) {
        let woken = self.scheduler.wake(now);
        self.flights.wake(woken.min(self.free_places()));
        self.wake_paced(now);
    }

    /// Pushes on their way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.in_flight()
    }

    /// Gives memory back that former crowds of keys have left, and follows a change of the number of modules.
    pub fn shrink(&mut self) {
        self.scheduler.shrink();
        self.share_out();
    }

    /// When [`Dispatcher::wake`] has something to do next.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        let paced = self.pace.as_ref().and_then(Pace::waits_until);
        let paced = paced.filter(|_| self.scheduler.has_ready());
        self.scheduler.next_wake().into_iter().chain(paced).min()
    }

    /// Cuts every request on the wire: the lease has run out for them too. Their records are pushed again if the lease
    /// comes back.
    pub fn cut_all(&mut self) {
        let cut = self.flights.cut_all();
        self.meters.cut.increment(cut as u64);
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
            // What is not stored by then is pushed again by the next owner.
            partition.leaving = 0;
            return self.settle(epoch);
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
            Phase::Running | Phase::Stopped { .. } | Phase::Truncated => return,
            Phase::Draining { .. } if partition.leaving > 0 => return,
            Phase::Lost => {}
            Phase::Draining { cut, .. } => {
                let done = Some(partition.ledger.acks());
                self.report(Report::Drained {
                    assignment: partition.assignment,
                    done,
                    cut,
                });
            }
        }
        self.partitions.remove(&epoch);
        self.waits.forget(epoch);
        self.troubles.end(epoch);
        self.letters.retain(|letter| letter.lane.epoch() != epoch);
        self.share_out();
        self.answer_unbegun();
        // A partition that was assigned anew may have waited for this end.
        self.bell.notify_one();
    }

    /// Answers the revokes of epochs that never began, once nothing of older ones of their partitions is on the wire.
    fn answer_unbegun(&mut self) {
        for assignment in std::mem::take(&mut self.unbegun) {
            let older = |known: &Partition| {
                known.assignment.partition == assignment.partition
                    && known.assignment.epoch < assignment.epoch
            };
            if self.partitions.values().any(older) {
                self.unbegun.push(assignment);
            } else {
                self.report(Report::Drained {
                    assignment,
                    done: None,
                    cut: 0,
                });
            }
        }
    }

    fn share_out(&mut self) {
        let count = self.partitions.len();
        for partition in self.partitions.values_mut() {
            partition.share.resize(count);
        }
        self.share_pace();
    }

    fn report(&mut self, report: Report) {
        self.outbox.push_back(report);
        self.bell.notify_one();
    }
}

#[cfg(test)]
mod mutant;
#[cfg(test)]
mod tests;

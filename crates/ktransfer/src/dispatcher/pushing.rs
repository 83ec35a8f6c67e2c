//! What the workers do with a dispatcher: take a record, ask whether its push may start or go on, and end it.

use std::rc::Rc;
use std::task::Context;

use std::time::SystemTime;

use hyper::StatusCode;
use kcommon::kafka::PartitionId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Dispatcher, Failing, Partition, Seat, StalledKey, Trouble};
use crate::adaptive::{Adaptive, Sign};
use crate::assignment::Epoch;
use crate::lease::BootTime;
use crate::letter::Account;
use crate::scheduler::Job;

/// How a job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Delivered, or given up by policy: the record is done.
    Done,
    /// The push failed: again at this time.
    RetryAt(Instant),
    /// Not a byte was sent: again when allowed, not an attempt.
    NotStarted,
    /// Cut on the wire: nobody knows what the backend did, so the record is not done.
    Cut,
    /// Undelivered for good: done once it is stored elsewhere.
    Leave(Box<Account>),
    /// Undelivered for good: its key waits for an operator.
    Block,
    /// Undelivered for good: its partition waits for an operator.
    Stop,
}

impl Dispatcher {
    /// What a worker waits on when [`Dispatcher::take`] has nothing.
    #[must_use]
    pub fn seat(&self, seat: Seat) -> Rc<Notify> {
        self.flights.bell(seat)
    }

    /// The next record for this worker; `None` puts it to rest until it is woken.
    pub fn take(&mut self, seat: Seat) -> Option<Job> {
        let in_flight = self.flights.in_flight();
        if let Some(adaptive) = &mut self.adaptive
            && !adaptive.admits(in_flight, Instant::now)
        {
            self.flights.rest(seat);
            return None;
        }
        if self.pace.is_some() && !self.is_in_time() {
            self.flights.rest(seat);
            return None;
        }
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
        if let Some(waited) = self.waits.end(epoch, job.record.seq, Instant::now) {
            self.meters.wait.record(waited);
        }
        self.flights.start(seat, epoch);
        self.spend(&job);
        self.rouse();
        let ready_keys = self.bounds.ready_keys(self.partitions.len());
        if let Some(partition) = self.partitions.get_mut(&epoch) {
            partition.in_flight += 1;
            if partition.waits_for_room() && self.scheduler.ready(partition.lane) < ready_keys / 2 {
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

    /// When the lease ends, as far as it is known now: asked when an exchange begins.
    #[must_use]
    pub fn deadline(&self) -> BootTime {
        self.lease.deadline()
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

    /// An attempt of a record has failed: it began then, and had this answer, if any. Returns what is known of its attempts.
    pub fn failed(&mut self, job: &mut Job, started: Instant, status: Option<StatusCode>) -> Trouble {
        let record = &mut job.record;
        record.failures = record.failures.saturating_add(1);
        let attempt = Trouble {
            offset: record.offset,
            attempts: 1,
            first: started,
            first_time: SystemTime::now() - started.elapsed(),
            status,
        };
        self.troubles.failed(job.lane.epoch(), record.seq, attempt)
    }

    /// The records that have failed and are not done. Costs a look at each.
    #[must_use]
    pub fn failing(&self, stalled: Option<&StalledKey>, now: Instant) -> Failing {
        self.troubles.look(stalled, now)
    }

    /// What an attempt that began then, and has ended now, says about the backend. Without [`super::Bounds::slows_down`] it
    /// changes nothing.
    pub fn note(&mut self, sign: Sign, started: Instant, random: impl FnOnce() -> f64) {
        let in_flight = self.flights.in_flight();
        if let Some(adaptive) = &mut self.adaptive {
            let before = adaptive.limit();
            adaptive.note(sign, (started, Instant::now()), in_flight, random);
            let more = adaptive.limit().saturating_sub(before);
            self.flights.wake(more);
        }
    }

    /// How many pushes may be on their way, and whether those are fewer than there are workers because the backend wants less.
    #[must_use]
    pub fn concurrency(&self) -> (usize, bool) {
        let adaptive = self.adaptive.as_ref();
        adaptive.map_or((self.bounds.workers, false), |adaptive| {
            (adaptive.limit(), adaptive.is_slowed())
        })
    }

    /// For how many workers there is something to do as far as the backend goes.
    pub(super) fn free_places(&self) -> usize {
        let limit = self.adaptive.as_ref().map_or(usize::MAX, Adaptive::limit);
        limit.saturating_sub(self.flights.in_flight())
    }

    /// A job is over for its worker.
    pub fn end(&mut self, seat: Seat, job: Job, end: End) {
        let epoch = job.lane.epoch();
        self.flights.land(seat);
        self.rouse();
        let ready_keys = self.bounds.ready_keys(self.partitions.len());
        let Some(partition) = self.partitions.get_mut(&epoch) else {
            return;
        };
        partition.in_flight -= 1;
        match end {
            End::Done => {
                let (lane, key, record) = job.into_parts();
                partition.done(&record);
                if record.failures > 0 {
                    self.troubles.forget(epoch, record.seq);
                }
                self.scheduler.end(lane, key);
                if self.scheduler.is_thirsty(lane) {
                    self.thirst.notify_one();
                }
            }
            End::RetryAt(at) => {
                let sooner = self.scheduler.next_wake().is_none_or(|next| at < next);
                if self.scheduler.retry(job, at).is_none() && sooner {
                    self.bell.notify_one();
                }
            }
            End::NotStarted | End::Cut => {
                self.scheduler.put_back(job);
            }
            End::Leave(account) => self.leave(job, *account),
            End::Block => self.block(job),
            End::Stop => self.stop(&job),
        }
        let Some(partition) = self.partitions.get_mut(&epoch) else {
            return;
        };
        // Not for each record that goes: a fetch that is woken takes many at once.
        let room = partition.waits_for_room()
            && !partition.ledger.is_full()
            && self.scheduler.ready(partition.lane) < ready_keys / 2;
        if room {
            partition.give_room();
        }
        self.settle(epoch);
    }
}

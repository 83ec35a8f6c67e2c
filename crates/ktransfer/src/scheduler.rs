//! Which record is pushed next: a queue per key with at most one push under way, round robin over the partitions
//! that have a ready key, and inside a partition the ready key whose head is the oldest, because that one holds
//! the commit position back.
//!
//! "The oldest head over all partitions" would let a backlog on one partition starve the live ones. A key in
//! back-off waits in a timer queue and holds no worker.
//!
//! When memory is short, records behind others of their key lose their bodies ([`Scheduler::evict`]) and get them back
//! ([`Scheduler::restore`]) once their key moves on; until then they hold their place in its order.
//!
//! Pure: `now` is an argument. One owner, the module's thread. Costs per record: O(log ready keys).

mod eviction;
mod lane;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use slab::Slab;
use tokio::time::Instant;

use crate::assignment::Epoch;
use crate::key::KeyId;
use crate::record::Record;
pub use eviction::{Cold, Evicted, Wanted};
pub use lane::KeySlot;
use lane::Lane;

/// A partition's place in the scheduler, from [`Scheduler::open`] to [`Scheduler::close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId {
    index: usize,
    epoch: Epoch,
}

impl LaneId {
    /// The epoch of the partition.
    #[must_use]
    pub const fn epoch(self) -> Epoch {
        self.epoch
    }
}

/// A record on its way to a worker. It comes back by [`Scheduler::end`], [`Scheduler::retry`] or
/// [`Scheduler::put_back`].
#[derive(Debug)]
pub struct Job {
    /// Whose record it is.
    pub lane: LaneId,
    /// The record.
    pub record: Record,
    key: KeySlot,
}

/// The queues of all partitions of a module.
#[derive(Debug, Default)]
pub struct Scheduler {
    lanes: Slab<Lane>,
    /// Partitions that have a ready key, each once, the next one in front.
    turn: VecDeque<LaneId>,
    /// Keys in back-off by the time they are due. An entry of a closed lane is dropped when it comes up.
    timers: BinaryHeap<Reverse<(Instant, LaneId, KeySlot)>>,
}

impl Scheduler {
    /// A partition begins.
    pub fn open(&mut self, epoch: Epoch) -> LaneId {
        LaneId {
            index: self.lanes.insert(Lane::new(epoch)),
            epoch,
        }
    }

    /// A partition ends: what waits is dropped; returns its bytes. Jobs under way may still come back and are
    /// ignored.
    pub fn close(&mut self, lane: LaneId) -> usize {
        if self.lane(lane).is_none() {
            return 0;
        }
        self.turn.retain(|other| *other != lane);
        self.lanes.remove(lane.index).queued_bytes()
    }

    /// A record is admitted; `id` is the identity of its key, if it has an order. Returns whether a worker could take
    /// something that it could not take before.
    pub fn enqueue(&mut self, lane: LaneId, id: Option<KeyId>, record: Record) -> bool {
        let Some(queue) = self.lane_mut(lane) else {
            return false;
        };
        let ready = queue.push(id, record);
        if ready {
            self.line_up(lane);
        }
        ready
    }

    /// The next record to push, if any key is ready.
    pub fn take(&mut self) -> Option<Job> {
        let lane = self.turn.pop_front()?;
        let queue = self
            .lanes
            .get_mut(lane.index)
            .filter(|queue| queue.epoch == lane.epoch)?;
        let (key, record) = queue.pop()?;
        if queue.ready() > 0 {
            queue.in_turn = true;
            self.turn.push_back(lane);
        } else {
            queue.in_turn = false;
        }
        Some(Job { lane, record, key })
    }

    /// The record has ended, delivered or given up: its key's next one may go. Returns whether that made the key
    /// ready.
    pub fn end(&mut self, lane: LaneId, key: KeySlot) -> bool {
        let Some(queue) = self.lane_mut(lane) else {
            return false;
        };
        let ready = queue.end(key);
        if ready {
            self.line_up(lane);
        }
        ready
    }

    /// The record waits in front of its key, which goes on by [`Scheduler::release`] only. A job of a closed lane is dropped.
    /// Returns the place of the key.
    pub fn hold(&mut self, job: Job) -> KeySlot {
        if let Some(queue) = self.lane_mut(job.lane) {
            queue.hold(job.key, job.record);
        }
        job.key
    }

    /// The record that is held has ended: its key's next one may go. Returns whether that made the key ready.
    pub fn release(&mut self, lane: LaneId, key: KeySlot) -> bool {
        let Some(queue) = self.lane_mut(lane) else {
            return false;
        };
        let ready = queue.release(key);
        if ready {
            self.line_up(lane);
        }
        ready
    }

    /// The record is to be pushed again at `due`, before its successors. A job of a closed lane is given back.
    pub fn retry(&mut self, job: Job, due: Instant) -> Option<Job> {
        let Some(queue) = self.lane_mut(job.lane) else {
            return Some(job);
        };
        queue.hold(job.key, job.record);
        self.timers.push(Reverse((due, job.lane, job.key)));
        None
    }

    /// The record was not pushed at all: its key is ready again with the same head. A job of a closed lane
    /// is given back.
    pub fn put_back(&mut self, job: Job) -> Option<Job> {
        let Some(queue) = self.lane_mut(job.lane) else {
            return Some(job);
        };
        queue.hold(job.key, job.record);
        queue.resume(job.key);
        self.line_up(job.lane);
        None
    }

    /// Makes the keys ready whose back-off is over; returns how many.
    pub fn wake(&mut self, now: Instant) -> usize {
        let mut woken = 0;
        while let Some(Reverse((due, lane, key))) = self.timers.peek().copied() {
            if due > now {
                break;
            }
            self.timers.pop();
            if let Some(queue) = self.lane_mut(lane) {
                queue.resume(key);
                self.line_up(lane);
                woken += 1;
            }
        }
        woken
    }

    /// When [`Scheduler::wake`] has something to do next.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((due, _, _))| *due)
    }

    /// Gives memory back that a former crowd of keys has left.
    pub fn shrink(&mut self) {
        for (_, lane) in &mut self.lanes {
            lane.shrink();
        }
    }

    /// Whether any key of any partition could be pushed at once.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.turn.is_empty()
    }

    /// Keys of the partition that could be pushed at once.
    #[must_use]
    pub fn ready(&self, lane: LaneId) -> usize {
        self.lane(lane).map_or(0, Lane::ready)
    }

    fn lane(&self, lane: LaneId) -> Option<&Lane> {
        self.lanes
            .get(lane.index)
            .filter(|queue| queue.epoch == lane.epoch)
    }

    fn lane_mut(&mut self, lane: LaneId) -> Option<&mut Lane> {
        self.lanes
            .get_mut(lane.index)
            .filter(|queue| queue.epoch == lane.epoch)
    }

    /// Puts the partition into the round if it is not there.
    fn line_up(&mut self, lane: LaneId) {
        if let Some(queue) = self.lane_mut(lane)
            && !queue.in_turn
        {
            queue.in_turn = true;
            self.turn.push_back(lane);
        }
    }
}

impl Job {
    /// What [`Scheduler::end`] wants to know, and the record, which is over.
    #[must_use]
    pub fn into_parts(self) -> (LaneId, KeySlot, Record) {
        (self.lane, self.key, self.record)
    }
}

#[cfg(test)]
mod tests;

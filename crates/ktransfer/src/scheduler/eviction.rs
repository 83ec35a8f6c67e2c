//! The scheduler's side of eviction: which records may stay without a body, and what becomes of those.
//!
//! Pure.

use super::{Lane, LaneId, Scheduler};
use crate::key::KeyId;
use crate::record::Record;

pub use super::lane::{Cold, Evicted, Wanted};

impl Scheduler {
    /// Whether a record of this key has to be admitted without its body, because one before it has none.
    #[must_use]
    pub fn is_cold(&self, lane: LaneId, id: KeyId) -> bool {
        self.lane(lane).is_some_and(|queue| queue.is_cold(id))
    }

    /// Whether a record of this key may be admitted without its body: others of its key wait before it.
    #[must_use]
    pub fn can_cool(&self, lane: LaneId, id: KeyId) -> bool {
        self.lane(lane).is_some_and(|queue| queue.can_cool(id))
    }

    /// Admits a record without its body; only after [`Scheduler::can_cool`].
    pub fn enqueue_cold(&mut self, lane: LaneId, id: KeyId, cold: Cold) {
        if let Some(queue) = self.lane_mut(lane) {
            queue.push_cold(id, cold);
        }
    }

    /// Drops bodies from the tails of keys, of those first that have had one for the longest time, until `bytes` are
    /// free. The first waiting record of a key stays.
    pub fn evict(&mut self, lane: LaneId, bytes: usize) -> Evicted {
        self.lane_mut(lane)
            .map_or_else(Evicted::default, |queue| queue.evict(bytes))
    }

    /// Records of the partition without a body.
    #[must_use]
    pub fn cold(&self, lane: LaneId) -> usize {
        self.lane(lane).map_or(0, Lane::cold)
    }

    /// Whether a key of the partition has moved on and is about to need a body that it lacks.
    #[must_use]
    pub fn is_thirsty(&self, lane: LaneId) -> bool {
        self.lane(lane).is_some_and(Lane::is_thirsty)
    }

    /// The bodies that are needed first, in the order of their offsets: some of each of at most `keys` keys, `records` in
    /// all or one of each.
    #[must_use]
    pub fn wanted(&self, lane: LaneId, keys: usize, records: usize) -> Vec<Wanted> {
        self.lane(lane)
            .map_or_else(Vec::new, |queue| queue.wanted(keys, records))
    }

    /// Whether the record still waits for its body, and is the first of its key to do so.
    #[must_use]
    pub fn still_wants(&self, lane: LaneId, wanted: &Wanted) -> bool {
        self.lane(lane).is_some_and(|queue| queue.still_wants(wanted))
    }

    /// Whether nothing of its key is before the record, so that it could be pushed at once if it had its body.
    #[must_use]
    pub fn is_next(&self, lane: LaneId, wanted: &Wanted) -> bool {
        self.lane(lane).is_some_and(|queue| queue.is_next(wanted))
    }

    /// The record has its body again; only after [`Scheduler::still_wants`]. Returns whether that made its key ready.
    pub fn restore(&mut self, lane: LaneId, wanted: &Wanted, record: Record) -> bool {
        let Some(queue) = self.lane_mut(lane) else {
            return false;
        };
        let ready = queue.restore(wanted, record);
        if ready {
            self.line_up(lane);
        }
        ready
    }

    /// The record has ended without a push; only after [`Scheduler::still_wants`].
    pub fn give_up(&mut self, lane: LaneId, wanted: &Wanted) {
        if let Some(queue) = self.lane_mut(lane) {
            queue.give_up(wanted);
        }
    }
}

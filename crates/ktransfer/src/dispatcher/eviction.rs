//! What the dispatcher does when its byte budget is short: bodies behind others of their key are dropped, and come back when
//! their key moves on.
//!
//! Nothing is dropped while a key of the partition is ready: then the workers have something to do, and what they push makes
//! room. So it costs nothing until records that do not move fill the budget.

use std::rc::Rc;

use kcommon::kafka::RecordOffset;
use tokio::sync::Notify;

use super::{Dispatcher, Fetched, Partition};
use crate::assignment::{Assignment, Epoch};
use crate::key::KeyId;
use crate::record::Record;
use crate::scheduler::Wanted;

/// How much is made free at a time, so that it is not done for every record.
const CHUNK: usize = 1 << 20;
/// How many keys get bodies again in one reading, and how many records.
const KEYS_AT_ONCE: usize = 2048;
const RECORDS_AT_ONCE: usize = 4096;

/// Where a fetched record may stay.
pub(super) enum Room {
    /// In memory; its bytes are taken.
    Made,
    /// Outside, behind others of this key.
    Outside(KeyId),
    /// Nowhere yet: the fetch waits.
    None,
}

/// What became of a body that was read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// The record has its body.
    Taken,
    /// It does not wait for one any more.
    NotWanted,
    /// There is no room in the byte budget: later.
    NoRoom,
    /// Another record stands at this offset: the log is not the one that was read before.
    Other,
}

/// Why a record without a body can never have one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Kafka deleted it before it was pushed.
    Lost,
    /// A newer record of its key has replaced it.
    Compacted,
}

impl Dispatcher {
    /// Rung when bodies are wanted.
    #[must_use]
    pub fn thirst(&self) -> Rc<Notify> {
        Rc::clone(&self.thirst)
    }

    /// The partitions that want bodies.
    #[must_use]
    pub fn thirsty(&self) -> Vec<Assignment> {
        let thirsty = self
            .partitions
            .values()
            .filter(|known| known.is_running() && self.scheduler.is_thirsty(known.lane));
        thirsty.map(|known| known.assignment).collect()
    }

    /// The bodies that a partition wants first, in the order of their offsets.
    #[must_use]
    pub fn wanted(&self, epoch: Epoch) -> Vec<Wanted> {
        self.running(epoch).map_or_else(Vec::new, |partition| {
            self.scheduler
                .wanted(partition.lane, KEYS_AT_ONCE, RECORDS_AT_ONCE)
        })
    }

    /// A body was read again.
    pub fn restore(&mut self, epoch: Epoch, wanted: &Wanted, fetched: &Fetched<'_>) -> Restored {
        let Some((lane, offset)) = self.awaited(epoch, wanted) else {
            return Restored::NotWanted;
        };
        if fetched.id != Some(wanted.id)
            || fetched.timestamp != wanted.cold.timestamp
            || fetched.offset != offset
        {
            return Restored::Other;
        }
        let bytes = fetched.parts().cost();
        let Some(partition) = self.partitions.get_mut(&epoch) else {
            return Restored::NotWanted;
        };
        let Some(seq) = partition.ledger.pending(offset) else {
            return Restored::NotWanted;
        };
        if !partition.share.take(bytes) {
            // A record that could be pushed now goes before others that could not. It is not of the key that they are of.
            if !self.scheduler.is_next(lane, wanted) {
                return Restored::NoRoom;
            }
            let evicted = self.scheduler.evict(lane, bytes);
            self.meters.evicted.increment(evicted.records as u64);
            partition.share.give(evicted.bytes);
            if !partition.share.overdraw(bytes) {
                return Restored::NoRoom;
            }
        }
        let record = Record::new(offset, seq, fetched.timestamp, &fetched.parts());
        self.meters.reread.increment(1);
        if self.scheduler.restore(lane, wanted, record) {
            self.flights.wake(1);
        }
        Restored::Taken
    }

    /// A record without a body is not in the log any more: it ends unpushed.
    pub fn gone(&mut self, epoch: Epoch, wanted: &Wanted, gone: Gone) {
        let Some((lane, offset)) = self.awaited(epoch, wanted) else {
            return;
        };
        match gone {
            Gone::Lost => self.meters.lost.increment(1),
            Gone::Compacted => self.meters.compacted.increment(1),
        }
        self.scheduler.give_up(lane, wanted);
        if let Some(partition) = self.partitions.get_mut(&epoch)
            && let Some(seq) = partition.ledger.pending(offset)
        {
            let _moved = partition.ledger.ack(seq);
            partition.schedule.note_acks(1);
        }
    }

    /// Room for a record in a budget that is short.
    pub(super) fn make_room(&mut self, epoch: Epoch, bytes: usize, id: Option<KeyId>) -> Room {
        let Some(partition) = self.partitions.get_mut(&epoch) else {
            return Room::None;
        };
        let lane = partition.lane;
        if self.bounds.evicts && self.scheduler.ready(lane) == 0 {
            if let Some(id) = id.filter(|id| self.scheduler.can_cool(lane, *id)) {
                return Room::Outside(id);
            }
            let evicted = self.scheduler.evict(lane, bytes.max(CHUNK));
            self.meters.evicted.increment(evicted.records as u64);
            partition.share.give(evicted.bytes);
            if evicted.records > 0 && partition.share.take(bytes) {
                return Room::Made;
            }
        }
        partition.out_of_memory = true;
        partition.wait_for_room();
        Room::None
    }

    fn running(&self, epoch: Epoch) -> Option<&Partition> {
        self.partitions
            .get(&epoch)
            .filter(|partition| partition.is_running())
    }

    fn awaited(&self, epoch: Epoch, wanted: &Wanted) -> Option<(crate::scheduler::LaneId, RecordOffset)> {
        let lane = self.running(epoch)?.lane;
        let waits = self.scheduler.still_wants(lane, wanted);
        let offset = RecordOffset::try_from(wanted.cold.offset).ok()?;
        waits.then_some((lane, offset))
    }
}

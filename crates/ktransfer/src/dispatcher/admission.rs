//! What the fetch tasks do with a dispatcher: ask for room, enter records, tell how far they have got.

use kcommon::kafka::{CommitOffset, RecordOffset};
use tokio::time::Instant;

use super::Dispatcher;
use super::eviction::Room;
use crate::assignment::Epoch;
use crate::key::KeyId;
use crate::ledger::{Admission, Entry};
use crate::record::{Parts, Record};
use crate::scheduler::Cold;
use crate::stall::Limit;

/// What a fetch brings.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// The record's offset.
    pub offset: RecordOffset,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The identity of the key; `None` when the module asks for no order.
    pub id: Option<KeyId>,
    /// Its timestamp in Kafka, in milliseconds; -1 without.
    pub timestamp: i64,
    /// Its headers, as [`crate::headers`] writes them, if the module keeps them.
    pub headers: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// Whether it needs a push.
    pub entry: Entry,
}

impl<'a> Fetched<'a> {
    /// What is kept of it.
    #[must_use]
    pub const fn parts(&self) -> Parts<'a> {
        Parts {
            key: self.key,
            headers: self.headers,
            value: self.value,
        }
    }
}

/// What became of a fetched record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It is entered, or was before: go on.
    Taken,
    /// There is no room in the byte budget: wait, then offer it again.
    NoRoom,
}

/// How full a partition is.
#[derive(Clone, Copy, Debug)]
pub struct Fullness {
    /// What keeps the next record out, if anything does.
    pub limit: Option<Limit>,
    /// The oldest record that is not done.
    pub oldest: Option<RecordOffset>,
    /// Records from that one to the newest.
    pub uncommitted: usize,
    /// What the fetch has reached.
    pub reached: CommitOffset,
}

impl Dispatcher {
    /// Whether the next record of this epoch may be fetched.
    #[must_use]
    pub fn admits(&self, epoch: Epoch) -> bool {
        let ready_keys = self.bounds.ready_keys(self.partitions.len());
        self.partitions.get(&epoch).is_some_and(|partition| {
            partition.is_running()
                && !partition.ledger.is_full()
                && self.scheduler.ready(partition.lane) < ready_keys
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
        let lane = partition.lane;
        // Delivered in an earlier life, whose acknowledgement was stored: no push, and no bytes.
        let before = partition.ledger.was_done_before(fetched.offset);
        let entry = if before { Entry::Done } else { fetched.entry };
        let pending = entry == Entry::Pending;
        let bytes = fetched.parts().cost();
        let mut cold = fetched
            .id
            .filter(|id| pending && self.scheduler.is_cold(lane, *id));
        if pending && cold.is_none() && !partition.share.take(bytes) {
            match self.make_room(epoch, bytes, fetched.id) {
                Room::Made => {}
                Room::Outside(id) => cold = Some(id),
                Room::None => return Admitted::NoRoom,
            }
        }
        let Some(partition) = self.partitions.get_mut(&epoch) else {
            return Admitted::Taken;
        };
        partition.out_of_memory = false;
        match (partition.ledger.admit(fetched.offset, entry), cold) {
            (Admission::Stale, cold) => {
                self.meters.stale.increment(1);
                partition
                    .share
                    .give(if pending && cold.is_none() { bytes } else { 0 });
            }
            (Admission::Entered(_), _) if !pending => {
                partition.schedule.note_acks(1);
                self.meters.done_before.increment(u64::from(before));
            }
            (Admission::Entered(_), Some(id)) => {
                let cold = Cold {
                    offset: fetched.offset.get(),
                    timestamp: fetched.timestamp,
                };
                self.scheduler.enqueue_cold(lane, id, cold);
                self.meters.evicted.increment(1);
            }
            (Admission::Entered(seq), None) => {
                let record = Record::new(fetched.offset, seq, fetched.timestamp, &fetched.parts());
                self.waits.begin(epoch, seq, Instant::now);
                if self.scheduler.enqueue(lane, fetched.id, record) {
                    self.flights.wake(1);
                }
            }
        }
        self.rouse();
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

    /// How a partition stands that can take no record now.
    #[must_use]
    pub fn fullness(&self, epoch: Epoch) -> Option<Fullness> {
        let partition = self.partitions.get(&epoch).filter(|known| known.is_running())?;
        Some(Fullness {
            limit: partition.limit(),
            oldest: partition.ledger.oldest(),
            uncommitted: partition.ledger.len(),
            reached: partition.ledger.reached(),
        })
    }

    /// The fetch waits for room: it is woken when there is some.
    pub fn wait_for_room(&mut self, epoch: Epoch) {
        if let Some(partition) = self.partitions.get_mut(&epoch) {
            partition.wait_for_room();
        }
    }
}

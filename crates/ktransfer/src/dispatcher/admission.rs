//! What the fetch tasks do with a dispatcher: ask for room, enter records, tell how far they have got.

use kcommon::kafka::{CommitOffset, RecordOffset};

use super::Dispatcher;
use crate::assignment::Epoch;
use crate::key::KeyId;
use crate::ledger::{Admission, Entry};
use crate::record::Record;

/// What a fetch brings.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// The record's offset.
    pub offset: RecordOffset,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The identity of the key; `None` when the module asks for no order.
    pub id: Option<KeyId>,
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

impl Dispatcher {
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
}

//! What the dispatcher does with records that end undelivered and are not simply dropped: their key waits until a letter about
//! them is stored, or for good; or their partition stops.
//!
//! Nothing of that is done for the ledger before [`Dispatcher::stored`].

use std::rc::Rc;

use kcommon::kafka::{PartitionId, RecordOffset};
use tokio::sync::Notify;

use super::partition::Phase;
use super::{Dispatcher, Partition};
use crate::assignment::Epoch;
use crate::letter::{Account, Letter};
use crate::scheduler::Job;

/// A key that waits for an operator, or a partition that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// How many there are.
    pub count: usize,
    /// The partition and the offset of one of them.
    pub example: (PartitionId, RecordOffset),
}

impl Dispatcher {
    /// Rung when [`Dispatcher::next_letter`] has one.
    #[must_use]
    pub fn letters(&self) -> Rc<Notify> {
        Rc::clone(&self.letters_bell)
    }

    /// The next record to be stored elsewhere. As many as there are keys with a record in memory may wait here.
    pub fn next_letter(&mut self) -> Option<Letter> {
        loop {
            let letter = self.letters.pop_front()?;
            if self.wants(&letter) {
                return Some(letter);
            }
        }
    }

    /// Whether a letter still matters: its partition has not been lost or handed over.
    #[must_use]
    pub fn wants(&self, letter: &Letter) -> bool {
        self.partitions.contains_key(&letter.lane.epoch())
    }

    /// A letter is where nothing can take it away: its record is done, and its key goes on.
    pub fn stored(&mut self, letter: &Letter) {
        let epoch = letter.lane.epoch();
        let Some(partition) = self.partitions.get_mut(&epoch) else {
            return;
        };
        partition.leaving = partition.leaving.saturating_sub(1);
        partition.done(&letter.record);
        self.troubles.forget(epoch, letter.record.seq);
        if self.scheduler.release(letter.lane, letter.key) {
            self.flights.wake(1);
        }
        if self.scheduler.is_thirsty(letter.lane) {
            self.thirst.notify_one();
        }
        self.rouse();
        self.settle(epoch);
    }

    /// The keys that wait for an operator.
    #[must_use]
    pub fn blocked(&self) -> Option<Stuck> {
        stuck(self.partitions.values().map(|known| (known, known.blocked)))
    }

    /// The partitions that wait for an operator.
    #[must_use]
    pub fn stopped(&self) -> Option<Stuck> {
        let stopped = self.partitions.values().map(|known| match known.phase {
            Phase::Stopped { at } => (known, (1, Some(at))),
            _ => (known, (0, None)),
        });
        stuck(stopped)
    }

    /// How many letters have not been stored.
    #[must_use]
    pub fn leaving(&self) -> usize {
        self.partitions.values().map(|known| known.leaving).sum()
    }

    /// The job's key waits until the letter is stored.
    pub(super) fn leave(&mut self, job: Job, account: Account) {
        let (lane, record) = (job.lane, job.record.clone());
        let epoch = lane.epoch();
        let key = self.scheduler.hold(job);
        let ends = |known: &&mut Partition| matches!(known.phase, Phase::Lost | Phase::Truncated);
        let Some(partition) = self.partitions.get_mut(&epoch).filter(|known| !ends(known)) else {
            // Whoever has the partition next pushes the record again.
            return;
        };
        partition.leaving += 1;
        self.letters.push_back(Letter {
            partition: partition.assignment.partition,
            lane,
            key,
            record,
            account,
        });
        self.letters_bell.notify_one();
    }

    /// The job's key waits for an operator.
    pub(super) fn block(&mut self, job: Job) {
        let (epoch, offset) = (job.lane.epoch(), job.record.offset);
        self.scheduler.hold(job);
        if let Some(partition) = self.partitions.get_mut(&epoch) {
            let (count, first) = &mut partition.blocked;
            *count += 1;
            *first = Some(first.map_or(offset, |known: RecordOffset| known.min(offset)));
        }
    }

    /// The job's partition waits for an operator: nothing of it begins any more, and its offset stays at this record at most.
    pub(super) fn stop(&mut self, job: &Job) {
        let epoch = job.lane.epoch();
        if let Some(partition) = self.partitions.get_mut(&epoch)
            && partition.is_running()
        {
            partition.phase = Phase::Stopped {
                at: job.record.offset,
            };
            self.scheduler.close(job.lane);
        }
    }
}

/// What waits in partitions of which each has so many, and its first one.
fn stuck<'a>(
    partitions: impl Iterator<Item = (&'a Partition, (usize, Option<RecordOffset>))>,
) -> Option<Stuck> {
    let some = partitions.filter_map(|(known, (count, first))| {
        let example = (known.assignment.partition, first?);
        Some(Stuck { count, example })
    });
    some.reduce(|all, other| Stuck {
        count: all.count + other.count,
        example: all.example.min(other.example),
    })
}

impl Dispatcher {
    /// Whether the partition of an epoch waits for an operator, and at which record.
    #[must_use]
    pub fn stopped_at(&self, epoch: Epoch) -> Option<RecordOffset> {
        match self.partitions.get(&epoch)?.phase {
            Phase::Stopped { at } => Some(at),
            _ => None,
        }
    }
}

//! What the brokers hold: a log for each partition, with the gaps that compaction and transactions leave, a start that
//! retention moves, and records that the method filter passes over.

use std::sync::{Arc, Mutex, MutexGuard};

use kcommon::kafka::{CommitOffset, PartitionId, TopicName};

use super::dice::Dice;
use super::mutation::{Mutation, mutated};
use super::session::Client;
use crate::coordinator::servers::Brokers;
use crate::watermarks::{LogEnd, WatermarkError};

/// Keys of the records; the last stands for none.
pub(super) const KEYS: u64 = 5;

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) offset: i64,
    /// `None`: no order.
    pub(super) key: Option<u8>,
    /// Whether the method filter lets it through.
    pub(super) wanted: bool,
    /// Of which of the topics that had this name it is.
    pub(super) generation: u8,
}

impl Entry {
    /// No two records of one offset have the same.
    pub(super) fn timestamp(&self) -> i64 {
        i64::from(self.generation) * 1_000_000 + self.offset
    }

    /// Says which record it is.
    pub(super) fn body(&self) -> [u8; 9] {
        let mut body = [self.generation; 9];
        body[1..].copy_from_slice(&self.offset.to_be_bytes());
        body
    }
}

/// The topic and the offset that a body was made for.
pub(super) fn body_of(body: &[u8]) -> (u8, i64) {
    (body[0], i64::from_be_bytes(body[1..].try_into().unwrap()))
}

#[derive(Debug, Default)]
pub(super) struct Log {
    /// In the order of their offsets.
    pub(super) records: Vec<Entry>,
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Log {
    /// The records from `position` on.
    pub(super) fn from(&self, position: i64) -> &[Entry] {
        let at = self.records.partition_point(|record| record.offset < position);
        &self.records[at..]
    }

    /// The record at an offset.
    pub(super) fn at(&self, offset: i64) -> Option<Entry> {
        self.from(offset)
            .first()
            .copied()
            .filter(|record| record.offset == offset)
    }

    fn append(&mut self, dice: &mut Dice, generation: u8) {
        // Markers, aborted and compacted records.
        if dice.one_in(6) {
            self.end += i64::try_from(dice.between(1, 4)).unwrap();
        }
        if dice.one_in(12) {
            return;
        }
        let key = u8::try_from(dice.below(KEYS)).unwrap();
        self.records.push(Entry {
            offset: self.end,
            key: (u64::from(key) + 1 < KEYS).then_some(key),
            wanted: !dice.one_in(9),
            generation,
        });
        self.end += 1;
    }
}

#[derive(Debug, Default)]
pub(super) struct Logs {
    pub(super) logs: Vec<Log>,
    /// How often the topic was created anew.
    pub(super) generation: u8,
    /// Whether the brokers answer questions.
    pub(super) up: bool,
}

/// The brokers. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Kafka(Arc<Mutex<Logs>>);

impl Kafka {
    pub(super) fn new(partitions: usize, dice: &mut Dice) -> Self {
        let kafka = Self::default();
        let mut logs = kafka.lock();
        logs.up = true;
        logs.logs = (0..partitions).map(|_| Log::default()).collect();
        for log in &mut logs.logs {
            log.start = i64::try_from(dice.below(3)).unwrap();
            log.end = log.start;
            for _ in 0..dice.below(12) {
                log.append(dice, 0);
            }
        }
        drop(logs);
        kafka
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Logs> {
        self.0.lock().unwrap()
    }

    /// A few records more in any partition.
    pub(super) fn produce(&self, dice: &mut Dice, records: u64) {
        let mut logs = self.lock();
        for _ in 0..records {
            let at = dice.index(logs.logs.len());
            let generation = logs.generation;
            logs.logs[at].append(dice, generation);
        }
    }

    /// A partition more.
    pub(super) fn grow(&self) {
        self.lock().logs.push(Log::default());
    }

    /// The topic is deleted and created anew, with as many partitions, and may soon be longer than it was.
    pub(super) fn anew(&self, dice: &mut Dice) -> u8 {
        let mut logs = self.lock();
        logs.generation += 1;
        let generation = logs.generation;
        for log in &mut logs.logs {
            *log = Log::default();
            for _ in 0..dice.below(30) {
                log.append(dice, generation);
            }
        }
        generation
    }

    /// Compaction removes a record that has a successor of its key, if the dice choose one.
    pub(super) fn compact(&self, partition: PartitionId, dice: &mut Dice) {
        let mut logs = self.lock();
        let records = &mut logs.logs[index(partition)].records;
        if records.is_empty() {
            return;
        }
        let at = dice.index(records.len());
        let key = records[at].key;
        if key.is_some() && records[at + 1..].iter().any(|later| later.key == key) {
            records.remove(at);
        }
    }

    /// Retention deletes the oldest records of a partition; up to where.
    pub(super) fn expire(&self, partition: PartitionId, dice: &mut Dice) -> i64 {
        let mut logs = self.lock();
        let log = &mut logs.logs[index(partition)];
        let kept = log.from(log.start + i64::try_from(dice.between(1, 6)).unwrap());
        log.start = kept.first().map_or(log.end, |record| record.offset);
        log.start
    }

    pub(super) fn partitions(&self) -> Vec<PartitionId> {
        let count = self.lock().logs.len();
        (0..i32::try_from(count).unwrap()).map(PartitionId).collect()
    }
}

pub(super) fn index(partition: PartitionId) -> usize {
    usize::try_from(partition.0).unwrap()
}

impl Brokers<Client> for Kafka {
    async fn offsets(
        &self,
        _session: &Client,
        _topic: &TopicName,
        partitions: &[PartitionId],
        end: LogEnd,
    ) -> Result<Vec<CommitOffset>, WatermarkError> {
        let logs = self.lock();
        if !logs.up {
            return Err(WatermarkError::CutOff);
        }
        let number = |partition: &PartitionId| {
            let log = &logs.logs[index(*partition)];
            let number = match end {
                LogEnd::Start if mutated(Mutation::NewPartitionsBeginAtTheirEnd) => log.end,
                LogEnd::Start => log.start,
                LogEnd::End => log.end,
            };
            CommitOffset::try_from(number).unwrap()
        };
        Ok(partitions.iter().map(number).collect())
    }
}

//! The fetch of a partition: what `fetch` does, from a log of the model.

use kcommon::kafka::{CommitOffset, PartitionId, RecordOffset};

use super::Module;
use crate::assignment::Epoch;
use crate::dispatcher::{Admitted, Fetched};
use crate::key::KeyHasher;
use crate::ledger::Entry;
use crate::simulation::env::{Env, What};
use crate::simulation::kafka::{Entry as Found, index};
use crate::simulation::mutation::{Mutation, mutated};

impl Module {
    pub(super) fn fetch(&mut self, partition: PartitionId, epoch: Epoch, env: &mut Env<'_>) {
        let Some(position) = self
            .fetching
            .get(&partition)
            .filter(|fetching| fetching.assignment.epoch == epoch)
            .map(|fetching| fetching.position)
        else {
            return;
        };
        let logs = env.kafka.lock();
        let log = &logs.logs[index(partition)];
        let (start, end) = (log.start, log.end);
        let few = usize::try_from(env.dice.between(1, 5)).unwrap();
        let found: Vec<Found> = log.from(position).iter().take(few).copied().collect();
        drop(logs);
        if position > end {
            return env.after(1_000, What::Fetch(partition, epoch));
        }
        if position < start {
            self.dispatcher
                .reach(epoch, CommitOffset::try_from(start).unwrap());
        }
        for record in &found {
            if !self.dispatcher.admits(epoch) {
                self.dispatcher.wait_for_room(epoch);
                return;
            }
            if self.admit(epoch, *record) == Admitted::NoRoom {
                return;
            }
            self.reached(partition, record.offset + 1);
        }
        if found.len() < few {
            // The queue is empty and everything from it is entered: what the client reports is passed on.
            self.dispatcher.reach(epoch, CommitOffset::try_from(end).unwrap());
            self.reached(partition, end);
        }
        let wait = if found.is_empty() {
            env.dice.between(50, 300)
        } else {
            env.dice.between(1, 20)
        };
        env.after(wait, What::Fetch(partition, epoch));
    }

    fn reached(&mut self, partition: PartitionId, position: i64) {
        if let Some(fetching) = self.fetching.get_mut(&partition) {
            fetching.position = position;
        }
    }

    fn admit(&mut self, epoch: Epoch, record: Found) -> Admitted {
        Self::with_fetched(record, |fetched| self.dispatcher.admit(epoch, fetched))
    }

    /// A record as the client hands it over.
    pub(super) fn with_fetched<T>(record: Found, act: impl FnOnce(&Fetched<'_>) -> T) -> T {
        let hasher = KeyHasher::new([7; 16]);
        let key = record.key.map(|key| [key]);
        let id = if mutated(Mutation::KeysAreNotOrdered) {
            key.map(|_key| hasher.id(&record.offset.to_be_bytes()))
        } else {
            key.map(|key| hasher.id(&key))
        };
        let fetched = Fetched {
            offset: RecordOffset::try_from(record.offset).unwrap(),
            key: key.as_ref().map(<[u8; 1]>::as_slice),
            id,
            headers: &[],
            value: &record.body(),
            timestamp: record.timestamp(),
            entry: if record.wanted {
                Entry::Pending
            } else {
                Entry::Done
            },
        };
        act(&fetched)
    }
}

//! Bodies that were dropped: what `reread` does, from a log of the model. What is wanted is asked for first, and read in a
//! moment, when it may be wanted no more.

use super::Module;
use crate::assignment::Assignment;
use crate::dispatcher::{Gone, Restored};
use crate::scheduler::Wanted;
use crate::simulation::env::{Env, What};
use crate::simulation::kafka::index;
use crate::simulation::mutation::{Mutation, mutated};

/// What the reader is about.
#[derive(Debug, Default)]
pub(super) struct Reader {
    reads: bool,
    wanted: Option<(Assignment, Vec<Wanted>)>,
}

impl Module {
    pub(super) fn begin_reading(&mut self, env: &mut Env<'_>) {
        if !self.reader.reads && !mutated(Mutation::NothingIsReread) {
            self.reader.reads = true;
            let connecting = env.dice.between(1, 40);
            env.after(connecting, What::Reread(self.number));
        }
    }

    pub(super) fn reread(&mut self, env: &mut Env<'_>) {
        let mut progress = true;
        if let Some((assignment, wanted)) = self.reader.wanted.take() {
            progress = self.read_bodies(assignment, &wanted, env);
        }
        let mut thirsty = self.dispatcher.thirsty();
        if thirsty.is_empty() {
            self.reader.reads = false;
            return;
        }
        thirsty.sort_unstable_by_key(|assignment| assignment.epoch);
        let assignment = thirsty[env.dice.index(thirsty.len())];
        self.reader.wanted = Some((assignment, self.dispatcher.wanted(assignment.epoch)));
        let wait = if progress { env.dice.between(1, 30) } else { 200 };
        env.after(wait, What::Reread(self.number));
    }

    /// Reads some of what was wanted; whether anything came of it.
    fn read_bodies(&mut self, assignment: Assignment, wanted: &[Wanted], env: &mut Env<'_>) -> bool {
        let few = usize::try_from(env.dice.between(1, 8)).unwrap();
        for (read, wanted) in wanted.iter().take(few).enumerate() {
            let logs = env.kafka.lock();
            let log = &logs.logs[index(assignment.partition)];
            let (start, end) = (log.start, log.end);
            let found = log.at(wanted.cold.offset).filter(|found| found.offset >= start);
            let up = logs.up;
            drop(logs);
            let found = found.filter(|_found| !mutated(Mutation::DroppedIsGone));
            let gone = if wanted.cold.offset < start {
                Gone::Lost
            } else {
                Gone::Compacted
            };
            match found {
                _ if !up || wanted.cold.offset >= end => return read > 0,
                None => self.dispatcher.gone(assignment.epoch, wanted, gone),
                Some(found) => {
                    let restored = Self::with_fetched(found, |fetched| {
                        self.dispatcher.restore(assignment.epoch, wanted, fetched)
                    });
                    if matches!(restored, Restored::NoRoom | Restored::Other) {
                        return read > 0;
                    }
                }
            }
        }
        true
    }
}

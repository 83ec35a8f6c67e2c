//! Records that are given up: what `letters` does with them, against a place that takes each after a while.

use super::Module;
use crate::assignment::Assignment;
use crate::simulation::env::{Env, What};

impl Module {
    pub(super) fn offer(&mut self, env: &mut Env<'_>) {
        while let Some(letter) = self.dispatcher.next_letter() {
            self.letter += 1;
            let wait = if env.dice.one_in(4) {
                env.dice.below(3_000)
            } else {
                env.dice.below(60)
            };
            self.letters.insert(self.letter, letter);
            env.after(wait, What::Stored(self.number, self.letter));
        }
    }

    pub(super) fn stored(&mut self, number: u64, env: &mut Env<'_>) {
        let Some(letter) = self.letters.remove(&number) else {
            return;
        };
        let assignment = Assignment {
            partition: letter.partition,
            epoch: letter.lane.epoch(),
        };
        let body = crate::simulation::kafka::body_of(&letter.record.value());
        env.truth
            .stored_elsewhere(assignment, (letter.record.offset.get(), body.0), env.now);
        self.dispatcher.stored(&letter);
    }
}

//! A log that has lost records which the module had taken in: after an unclean election of a leader, or because the topic was
//! deleted and created anew.
//!
//! Pure.

use kcommon::kafka::CommitOffset;
use tokio::time::Instant;

use super::Claims;
use super::phase::{Ending, Phase};
use super::step::Step;
use crate::assignment::{Assignment, Order};

impl Claims {
    /// The log has lost records that the module had taken in. The partition is given up at `position`, so that whoever
    /// claims it next, most likely we, begins there and knows of nothing above it.
    pub fn truncated(&mut self, assignment: Assignment, position: CommitOffset, now: Instant) -> Vec<Step> {
        let Assignment { partition, epoch } = assignment;
        match self.held.remove(&partition) {
            Some(Phase::Running(life)) if life.epoch == epoch => {
                self.held
                    .insert(partition, Phase::Draining(life, Ending::Truncated(position)));
                vec![Step::Tell(Order::Revoke {
                    assignment,
                    deadline: now,
                })]
            }
            // A release must not store what was done beyond the end of the log; an operator's move goes before.
            Some(Phase::Draining(life, Ending::Release)) if life.epoch == epoch => {
                self.held
                    .insert(partition, Phase::Draining(life, Ending::Truncated(position)));
                Vec::new()
            }
            Some(other) => {
                self.held.insert(partition, other);
                Vec::new()
            }
            None => Vec::new(),
        }
    }
}

//! Somebody else wrote the offset of a partition that we own.
//!
//! In a fleet of one kind that is an operator, whose value holds. Classic members commit by reading and writing, also
//! for a while after they have lost a partition; while one of them is in the group nobody can tell the two apart, and
//! what we have stored is written again.

use kcommon::kafka::PartitionId;
use tokio::time::Instant;

use super::phase::{Ending, Phase};
use super::{Claims, Step, Stored};
use crate::assignment::{Assignment, Order};

impl Claims {
    /// Somebody else wrote the offset while we own the partition: their value holds, unless it may be a classic
    /// member's, who commit what they do not own any more.
    pub(super) fn moved(&mut self, partition: PartitionId, found: Stored, now: Instant) -> Vec<Step> {
        if self.plan.is_some() {
            return self.restore(partition, found.version);
        }
        match self.held.remove(&partition) {
            Some(Phase::Running(mut life)) => {
                life.stored = found;
                let assignment = Assignment {
                    partition,
                    epoch: life.epoch,
                };
                self.held
                    .insert(partition, Phase::Draining(life, Ending::Reassign));
                vec![Step::Tell(Order::Revoke {
                    assignment,
                    deadline: now + self.drain_timeout,
                })]
            }
            Some(Phase::Draining(mut life, ending)) => {
                life.stored = found;
                let ending = match ending {
                    Ending::Release | Ending::Truncated(_) => Ending::GiveUp,
                    Ending::GiveUp | Ending::Reassign => ending,
                };
                self.held.insert(partition, Phase::Draining(life, ending));
                Vec::new()
            }
            Some(other) => {
                self.held.insert(partition, other);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Writes what we stored last over what somebody else wrote.
    fn restore(&mut self, partition: PartitionId, version: i32) -> Vec<Step> {
        let (Some(Phase::Running(life)) | Some(Phase::Draining(life, _))) = self.held.get_mut(&partition)
        else {
            return Vec::new();
        };
        life.stored.version = version;
        let (Ok(position), None, None) = (life.stored.position(), life.committing, &life.drained) else {
            return Vec::new();
        };
        // What was done above it is void; the module stores it again with its next commit.
        life.committing = Some((position, 0));
        life.restoring = true;
        life.look = None;
        vec![Step::Commit {
            assignment: Assignment {
                partition,
                epoch: life.epoch,
            },
            version,
            position,
            map: None,
        }]
    }
}

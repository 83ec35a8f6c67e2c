//! Which topic the partitions belong to, and how much is stored as done above their offsets.
//!
//! A topic that was deleted and created anew has other records at the same offsets. Its partitions are given up as they
//! are; whoever claims them next sees that what is stored is of another topic, and begins at the start of the log.

use tokio::time::Instant;

use super::Claims;
use super::phase::{Ending, Phase};
use super::step::Step;
use crate::acks::TopicIdentity;
use crate::assignment::{Assignment, Order};

impl Claims {
    /// The topic is this one now. Gives up the partitions that are run as those of another; their requests get until
    /// `deadline`.
    pub fn topic_is(&mut self, topic: &TopicIdentity, deadline: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        for (partition, phase) in &mut self.held {
            match phase {
                Phase::Running(life) => {
                    if life.topic.as_ref().is_none_or(|known| known.is_same(topic)) {
                        life.topic = Some(topic.clone());
                        continue;
                    }
                    let assignment = Assignment {
                        partition: *partition,
                        epoch: life.epoch,
                    };
                    let running = std::mem::replace(phase, Phase::Releasing);
                    if let Phase::Running(life) = running {
                        *phase = Phase::Draining(life, Ending::GiveUp);
                    }
                    steps.push(Step::Tell(Order::Revoke { assignment, deadline }));
                }
                // Its offset is to be repaired by hand: for the topic of this moment.
                Phase::Stopped { topic: known, .. } => *known = Some(topic.clone()),
                Phase::Claiming | Phase::Draining(..) | Phase::Releasing => {}
            }
        }
        steps
    }

    /// How many offsets are stored as done above the positions of all partitions that are run.
    #[must_use]
    pub fn stored_above(&self) -> u64 {
        let above = |phase: &Phase| match phase {
            Phase::Running(life) | Phase::Draining(life, _) => life.above,
            Phase::Claiming | Phase::Stopped { .. } | Phase::Releasing => 0,
        };
        self.held.values().map(above).sum()
    }
}

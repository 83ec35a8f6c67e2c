//! The session goes on through another client: whatever its former client had on its way is unknown, and what it held is
//! read again before anything is pushed or committed.
//!
//! The server has kept the session, and so all its owner znodes; what may have changed is what others did to the
//! znodes of a session that heard nothing.

use tokio::time::Instant;

use super::phase::Phase;
use super::step::{Confirmed, Stored};
use super::{Claims, Step, lost};
use crate::assignment::Assignment;

impl Claims {
    /// The same session has another client. Nothing is committed of what is run until it is confirmed; see
    /// [`Claims::runs`].
    pub fn reattached(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (partition, phase) in &mut self.held {
            if let Phase::Running(life) | Phase::Draining(life, _) = phase {
                life.confirming = true;
                let epoch = life.epoch;
                steps.push(Step::Confirm(Assignment {
                    partition: *partition,
                    epoch,
                }));
            }
        }
        steps
    }

    /// The answer to [`Step::Confirm`].
    pub fn confirmed(&mut self, assignment: Assignment, confirmed: Confirmed, now: Instant) -> Vec<Step> {
        let Assignment { partition, epoch } = assignment;
        let life = match self.held.get_mut(&partition) {
            Some(Phase::Running(life) | Phase::Draining(life, _))
                if life.epoch == epoch && life.confirming =>
            {
                life
            }
            _ => return Vec::new(),
        };
        let found = match confirmed {
            // Asked for again with the next client.
            Confirmed::Unknown => return Vec::new(),
            Confirmed::NotOurs => {
                let lost = self
                    .held
                    .remove(&partition)
                    .and_then(|phase| lost(partition, &phase));
                return lost.into_iter().collect();
            }
            Confirmed::Ours(found) => found,
        };
        life.confirming = false;
        life.checked = now;
        // A znode that is gone is created again by the next commit or look.
        let Some(found) = found.filter(|found| *found != life.stored) else {
            return Vec::new();
        };
        let unsure = life.unsure.take();
        let is_ours = unsure.is_some_and(|position| {
            let stored = Stored {
                bytes: position.to_znode(),
                version: life.stored.version.wrapping_add(1),
            };
            found == stored
        });
        // After a commit that may have been stored the former value is a move back.
        if is_ours || unsure.is_none() && found.bytes == life.stored.bytes {
            life.stored = found;
            return Vec::new();
        }
        self.moved(partition, found, now)
    }

    /// Whether the module runs this epoch, confirmed to be ours.
    #[must_use]
    pub fn runs(&self, assignment: Assignment) -> bool {
        match self.held.get(&assignment.partition) {
            Some(Phase::Running(life) | Phase::Draining(life, _)) => {
                life.epoch == assignment.epoch && !life.confirming
            }
            _ => false,
        }
    }
}

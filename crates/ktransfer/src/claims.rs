//! Which partitions of one module this process holds, and what follows from what it sees: the decisions of
//! coordination, as a state machine without I/O, clock or randomness.
//!
//! The shell (`coordinator`) feeds it what ZooKeeper and the module answered and carries out the [`Step`]s that
//! come back. Answers carry the epoch they belong to, so that an answer that comes late, after the partition was
//! lost and claimed again, changes nothing.
//!
//! A partition goes through [`Phase`]s: claiming, running (or stopped, while its offset znode is unreadable),
//! draining, releasing. It counts against the quota until its release begins. Nothing here is given up before
//! the module has said that no request of the epoch is on the wire, except when the claim is lost anyway.

mod classic;
mod confirm;
mod foreign;
mod phase;
mod plan;
#[cfg(test)]
mod simulation;
mod step;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kcommon::kafka::{CommitOffset, OffsetTextError, PartitionId};
use tokio::time::Instant;

use crate::assignment::{Assignment, CommitOutcome, Epochs, Order};
use classic::Plan;
use phase::{Ending, Life, Phase};

pub use classic::{Classic, NOBODY_PLANS};
pub use plan::{CHECK_EVERY, CLAIMS_IN_FLIGHT, RELEASE_DELAY, View};
pub use step::{Claimed, Committed, Confirmed, Step, Stored, Written};

/// The claims of one module in one session.
#[derive(Debug)]
pub struct Claims {
    me: String,
    epochs: Epochs,
    drain_timeout: Duration,
    held: BTreeMap<PartitionId, Phase>,
    members: Vec<String>,
    members_since: Option<Instant>,
    /// The plan to follow while a classic member is in the group; `None` while all share by quota.
    plan: Option<Plan>,
    /// Claims that wait for others to be answered; decided anew on every pass.
    wanted: VecDeque<PartitionId>,
    looks: u64,
    stopping: bool,
}

impl Claims {
    /// No claim yet. `me` is the process's id, `drain_timeout` what a module gets to finish its requests.
    #[must_use]
    pub fn new(me: String, epochs: Epochs, drain_timeout: Duration) -> Self {
        Self {
            me,
            epochs,
            drain_timeout,
            held: BTreeMap::new(),
            members: Vec::new(),
            members_since: None,
            plan: None,
            wanted: VecDeque::new(),
            looks: 0,
            stopping: false,
        }
    }

    /// Whether nothing is held and nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How many partitions are held, claims on their way included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether a classic member is in the group.
    #[must_use]
    pub fn is_classic(&self) -> bool {
        self.plan.is_some()
    }

    /// The partitions whose offset znode is unreadable, with what it holds.
    pub fn stopped(&self) -> impl Iterator<Item = (PartitionId, OffsetTextError)> + '_ {
        self.held.iter().filter_map(|(partition, phase)| match phase {
            Phase::Stopped { stored, .. } => stored.position().err().map(|error| (*partition, error)),
            _ => None,
        })
    }

    /// The answer to [`Step::Claim`].
    pub fn claimed(&mut self, partition: PartitionId, claimed: Claimed, now: Instant) -> Vec<Step> {
        if !matches!(self.held.get(&partition), Some(Phase::Claiming)) {
            return Vec::new();
        }
        let mut steps = match claimed {
            Claimed::NotOurs => {
                self.held.remove(&partition);
                Vec::new()
            }
            Claimed::Ours(stored) if self.stopping => self.release(partition, stored),
            Claimed::Ours(stored) => self.assign(partition, stored, now),
        };
        steps.extend(self.claim_wanted());
        steps
    }

    /// The module wants to commit.
    pub fn commit(&mut self, assignment: Assignment, position: CommitOffset) -> Vec<Step> {
        let Assignment { partition, epoch } = assignment;
        let life = match self.held.get_mut(&partition) {
            Some(Phase::Running(life) | Phase::Draining(life, Ending::Release)) if life.epoch == epoch => {
                life
            }
            _ => return vec![done(assignment, CommitOutcome::Refused)],
        };
        if life.committing.is_some() || life.drained.is_some() || life.confirming {
            return vec![done(assignment, CommitOutcome::Again)];
        }
        life.committing = Some(position);
        life.look = None;
        vec![Step::Commit {
            assignment,
            version: life.stored.version,
            position,
        }]
    }

    /// The answer to [`Step::Commit`].
    pub fn committed(&mut self, assignment: Assignment, committed: Committed, now: Instant) -> Vec<Step> {
        let Assignment { partition, epoch } = assignment;
        let life = match self.held.get_mut(&partition) {
            Some(Phase::Running(life) | Phase::Draining(life, _)) if life.epoch == epoch => life,
            _ => return vec![done(assignment, CommitOutcome::Refused)],
        };
        let Some(position) = life.committing.take() else {
            return Vec::new();
        };
        let asked = !std::mem::take(&mut life.restoring);
        let done = |outcome| asked.then(|| done(assignment, outcome));
        let mut steps: Vec<Step> = match committed {
            Ok(Written::Stored(version)) => {
                life.stored = Stored {
                    bytes: position.to_znode(),
                    version,
                };
                life.checked = now;
                life.unsure = None;
                done(CommitOutcome::Committed(position)).into_iter().collect()
            }
            Ok(Written::NotStored) => {
                life.unsure = Some(position);
                done(CommitOutcome::Again).into_iter().collect()
            }
            Ok(Written::Fenced) => {
                self.held.remove(&partition);
                let lost = Step::Tell(Order::Lost { assignment });
                return done(CommitOutcome::Refused).into_iter().chain([lost]).collect();
            }
            Err(stored) => {
                let outcome = if self.plan.is_some() {
                    CommitOutcome::Again
                } else {
                    CommitOutcome::Refused
                };
                let moved = self.moved(partition, stored, now);
                done(outcome).into_iter().chain(moved).collect()
            }
        };
        steps.extend(self.finish(partition, now));
        steps
    }

    /// The module has no request of the epoch on the wire any more.
    pub fn drained(
        &mut self,
        assignment: Assignment,
        position: Option<CommitOffset>,
        now: Instant,
    ) -> Vec<Step> {
        match self.held.get_mut(&assignment.partition) {
            Some(Phase::Draining(life, _)) if life.epoch == assignment.epoch => life.drained = Some(position),
            _ => return Vec::new(),
        }
        self.finish(assignment.partition, now)
    }

    /// The answer to [`Step::Release`] and [`Step::Sweep`]: the owner znode is gone, or is another's.
    pub fn released(&mut self, partition: PartitionId) {
        if matches!(self.held.get(&partition), Some(Phase::Releasing)) {
            self.held.remove(&partition);
        }
    }

    /// The answer to [`Step::Look`]; `None` if nothing could be read.
    pub fn looked(
        &mut self,
        partition: PartitionId,
        look: u64,
        found: Option<Stored>,
        now: Instant,
    ) -> Vec<Step> {
        match self.held.get_mut(&partition) {
            Some(Phase::Running(life)) if life.look == Some(look) => {
                life.look = None;
                life.checked = now;
                match found {
                    Some(found) if found != life.stored => {
                        // The same value in another version is no move: it was created or written again.
                        if found.bytes == life.stored.bytes {
                            life.stored = found;
                            return Vec::new();
                        }
                        self.moved(partition, found, now)
                    }
                    _ => Vec::new(),
                }
            }
            Some(Phase::Stopped {
                stored,
                look: expected,
                checked,
            }) if *expected == Some(look) => {
                *expected = None;
                *checked = now;
                let Some(found) = found else { return Vec::new() };
                *stored = found.clone();
                if found.position().is_err() {
                    Vec::new()
                } else {
                    self.assign(partition, found, now)
                }
            }
            _ => Vec::new(),
        }
    }

    /// The process or the module is asked to end: everything is drained and released, and nothing claimed any
    /// more. What the module has not drained at `deadline` it cuts.
    pub fn stop(&mut self, deadline: Instant) -> Vec<Step> {
        self.stopping = true;
        self.wanted.clear();
        let partitions: Vec<PartitionId> = self.held.keys().copied().collect();
        partitions
            .into_iter()
            .flat_map(|partition| self.end(partition, deadline))
            .collect()
    }

    /// The module has ended without draining; its connections are closed. Every claim is given up where it was
    /// last committed, and nothing claimed any more.
    pub fn abandon(&mut self, now: Instant) -> Vec<Step> {
        self.stopping = true;
        self.wanted.clear();
        let partitions: Vec<PartitionId> = self.held.keys().copied().collect();
        let mut steps = Vec::new();
        for partition in partitions {
            steps.extend(self.end(partition, now));
            if let Some(Phase::Draining(life, ending)) = self.held.get_mut(&partition) {
                *ending = Ending::GiveUp;
                life.drained = Some(None);
                steps.extend(self.finish(partition, now));
            }
        }
        steps
    }

    /// The session has ended, and every claim with it.
    pub fn lost(&mut self) -> Vec<Step> {
        self.wanted.clear();
        let held = std::mem::take(&mut self.held);
        held.into_iter()
            .filter_map(|(partition, phase)| lost(partition, &phase))
            .collect()
    }

    fn assign(&mut self, partition: PartitionId, stored: Stored, now: Instant) -> Vec<Step> {
        let Ok(position) = stored.position() else {
            self.held.insert(
                partition,
                Phase::Stopped {
                    stored,
                    look: None,
                    checked: now,
                },
            );
            return Vec::new();
        };
        let epoch = self.epochs.next();
        let life = Life {
            epoch,
            stored,
            committing: None,
            restoring: false,
            unsure: None,
            confirming: false,
            look: None,
            checked: now,
            drained: None,
        };
        self.held.insert(partition, Phase::Running(life));
        vec![Step::Tell(Order::Assign {
            assignment: Assignment { partition, epoch },
            position,
        })]
    }

    fn release(&mut self, partition: PartitionId, stored: Stored) -> Vec<Step> {
        self.held.insert(partition, Phase::Releasing);
        let insist = self.plan.is_some();
        vec![Step::Release {
            partition,
            stored,
            insist,
        }]
    }

    /// Begins the end of a claim; a claim on its way ends when it is answered.
    fn end(&mut self, partition: PartitionId, deadline: Instant) -> Vec<Step> {
        match self.held.remove(&partition) {
            Some(Phase::Running(life)) => {
                let assignment = Assignment {
                    partition,
                    epoch: life.epoch,
                };
                self.held
                    .insert(partition, Phase::Draining(life, Ending::Release));
                vec![Step::Tell(Order::Revoke { assignment, deadline })]
            }
            Some(Phase::Draining(life, Ending::Reassign)) => {
                self.held.insert(partition, Phase::Draining(life, Ending::GiveUp));
                Vec::new()
            }
            Some(Phase::Stopped { stored, .. }) => self.release(partition, stored),
            Some(other) => {
                self.held.insert(partition, other);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Goes on once the module has drained and no commit is on its way.
    fn finish(&mut self, partition: PartitionId, now: Instant) -> Vec<Step> {
        let Some(Phase::Draining(life, ending)) = self.held.get(&partition) else {
            return Vec::new();
        };
        let (Some(last), None) = (life.drained, life.committing) else {
            return Vec::new();
        };
        let mut stored = life.stored.clone();
        match *ending {
            Ending::Reassign => return self.assign(partition, stored, now),
            Ending::GiveUp => {}
            Ending::Release => {
                // Never back: what is stored is done, whatever the module says at its end.
                if let Some(position) = last
                    && stored.position().is_ok_and(|stored| position > stored)
                {
                    stored.bytes = position.to_znode();
                }
            }
        }
        self.release(partition, stored)
    }
}

fn done(assignment: Assignment, outcome: CommitOutcome) -> Step {
    Step::Tell(Order::CommitDone { assignment, outcome })
}

/// What the module is told when a claim is gone; it knows only of those that it was assigned.
fn lost(partition: PartitionId, phase: &Phase) -> Option<Step> {
    match phase {
        Phase::Running(life) | Phase::Draining(life, _) if life.drained.is_none() => {
            Some(Step::Tell(Order::Lost {
                assignment: Assignment {
                    partition,
                    epoch: life.epoch,
                },
            }))
        }
        _ => None,
    }
}

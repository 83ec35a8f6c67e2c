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
mod step;
#[cfg(test)]
mod tests;
mod topic;
mod truncation;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kcommon::kafka::{CommitOffset, OffsetTextError, PartitionId};
use tokio::time::Instant;

use crate::acks::{Acks, Map, TopicIdentity};
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

    /// How many partitions are ours: claimed, and not yet released.
    #[must_use]
    pub fn owned(&self) -> usize {
        self.held
            .values()
            .filter(|phase| !matches!(phase, Phase::Claiming))
            .count()
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
            Claimed::Ours(stored, _map) if self.stopping => self.release(partition, stored, None),
            Claimed::Ours(stored, map) => self.assign(partition, stored, map, now),
        };
        steps.extend(self.claim_wanted());
        steps
    }

    /// The module wants to commit.
    pub fn commit(&mut self, assignment: Assignment, acks: Acks) -> Vec<Step> {
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
        let position = acks.base();
        life.committing = Some((position, acks.count()));
        life.look = None;
        // A map that is stored is emptied once, so that it can be seen to be empty; after that it is left alone.
        let plain = acks.is_empty() && life.above == 0;
        let topic = life.topic.clone();
        vec![Step::Commit {
            assignment,
            version: life.stored.version,
            position,
            map: (!plain).then_some(Map { topic, acks }),
        }]
    }

    /// The answer to [`Step::Commit`].
    pub fn committed(&mut self, assignment: Assignment, committed: Committed, now: Instant) -> Vec<Step> {
        let Assignment { partition, epoch } = assignment;
        let life = match self.held.get_mut(&partition) {
            Some(Phase::Running(life) | Phase::Draining(life, _)) if life.epoch == epoch => life,
            _ => return vec![done(assignment, CommitOutcome::Refused)],
        };
        let Some((position, above)) = life.committing.take() else {
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
                life.above = above;
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
    pub fn drained(&mut self, assignment: Assignment, acks: Option<Acks>, now: Instant) -> Vec<Step> {
        match self.held.get_mut(&assignment.partition) {
            Some(Phase::Draining(life, _)) if life.epoch == assignment.epoch => life.drained = Some(acks),
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
                        // The same value in another version is no move, it was created or written again; but after a
                        // commit that may have been stored it is a move back.
                        if found.bytes == life.stored.bytes && life.unsure.is_none() {
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
                topic,
                look: expected,
                checked,
            }) if *expected == Some(look) => {
                *expected = None;
                *checked = now;
                let Some(found) = found else { return Vec::new() };
                *stored = found.clone();
                if found.position().is_err() {
                    return Vec::new();
                }
                let map = void(topic.take());
                self.assign(partition, found, map, now)
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
                if !matches!(ending, Ending::Truncated(_)) {
                    *ending = Ending::GiveUp;
                }
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

    /// Begins an epoch. A map of another position is void.
    fn assign(&mut self, partition: PartitionId, stored: Stored, map: Map, now: Instant) -> Vec<Step> {
        let Map { topic, acks } = map;
        let Ok(position) = stored.position() else {
            self.held.insert(
                partition,
                Phase::Stopped {
                    stored,
                    topic,
                    look: None,
                    checked: now,
                },
            );
            return Vec::new();
        };
        let epoch = self.epochs.next();
        let done = if acks.base() == position {
            acks
        } else {
            Acks::none(position)
        };
        let life = Life {
            epoch,
            stored,
            topic,
            above: done.count(),
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
            done,
        })]
    }

    fn release(&mut self, partition: PartitionId, stored: Stored, map: Option<Map>) -> Vec<Step> {
        self.held.insert(partition, Phase::Releasing);
        let insist = self.plan.is_some();
        vec![Step::Release {
            partition,
            stored,
            insist,
            map,
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
            // An operator may have repaired it since: it is released as it is found.
            Some(Phase::Stopped { .. }) => {
                self.held.insert(partition, Phase::Releasing);
                vec![Step::Sweep(partition)]
            }
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
        let (Some(last), None) = (&life.drained, life.committing) else {
            return Vec::new();
        };
        let (mut stored, topic) = (life.stored.clone(), life.topic.clone());
        let mut map = None;
        match *ending {
            Ending::Reassign => return self.assign(partition, stored, void(topic), now),
            Ending::GiveUp => {}
            Ending::Truncated(position) => {
                stored.bytes = position.to_znode();
                map = Some(Map::empty(topic, position));
            }
            Ending::Release => {
                // Never back: what is stored is done, whatever the module says at its end.
                if let Some(acks) = last
                    && stored.position().is_ok_and(|stored| acks.base() >= stored)
                {
                    if stored.position() != Ok(acks.base()) {
                        stored.bytes = acks.base().to_znode();
                    }
                    let acks = acks.clone();
                    map = Some(Map { topic, acks });
                }
            }
        }
        self.release(partition, stored, map)
    }
}

/// Nothing is known to be done above the position, whatever it is.
fn void(topic: Option<TopicIdentity>) -> Map {
    Map::empty(topic, CommitOffset::ZERO)
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

//! A member that follows the classic protocol, as far as others can see it.
//!
//! It stops when the group changes, commits by reading and writing, deletes its owner znodes, reads members and
//! leaders, and claims what its plan gives it: once a second, 62 times, deaf to further changes. If that does not
//! succeed its process ends. What it has not committed when it stops it may commit later, owner or not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kcommon::kafka::PartitionId;
use tokio::time::Instant;

use super::Classic;
use super::tests::{Dice, Znodes};

const CLAIM_TRIES: u32 = 62;

pub(super) struct Original {
    pub(super) id: String,
    pub(super) session: i64,
    state: State,
    /// What it consumes, and the next offset of each.
    pub(super) held: BTreeMap<PartitionId, i64>,
    /// Commits that come after their partition was given up.
    late: Vec<(Instant, PartitionId, i64)>,
}

enum State {
    Consuming {
        changes: i32,
    },
    /// Waits for what is under way.
    Stopping {
        until: Instant,
    },
    /// Has read the members, and reads the leaders later.
    Planning {
        changes: i32,
        members: Vec<String>,
        at: Instant,
    },
    Claiming(Claiming),
}

/// What the plan gives it and it has not got yet.
struct Claiming {
    changes: i32,
    missing: BTreeSet<PartitionId>,
    tries: u32,
    next: Instant,
}

impl Original {
    pub(super) fn new(id: String, session: i64, now: Instant) -> Self {
        Self {
            id,
            session,
            state: State::Stopping { until: now },
            held: BTreeMap::new(),
            late: Vec::new(),
        }
    }

    /// One step; `false` when its process ends.
    pub(super) fn step(&mut self, znodes: &mut Znodes, dice: &mut Dice, now: Instant) -> bool {
        self.commit_late(znodes, now);
        self.consume(znodes, dice);
        let state = std::mem::replace(&mut self.state, State::Stopping { until: now });
        let next = self.next(state, znodes, dice, now);
        let lives = next.is_some();
        self.state = next.unwrap_or(State::Stopping { until: now });
        lives
    }

    fn next(&mut self, state: State, znodes: &mut Znodes, dice: &mut Dice, now: Instant) -> Option<State> {
        Some(match state {
            State::Consuming { changes } if changes == znodes.changes || dice.below(4) != 0 => {
                State::Consuming { changes }
            }
            State::Consuming { .. } => State::Stopping {
                until: now + Duration::from_millis(dice.number(5_000)),
            },
            State::Stopping { until } if now < until => State::Stopping { until },
            State::Stopping { .. } => {
                self.give_up(znodes, dice, now);
                State::Planning {
                    changes: znodes.changes,
                    members: znodes.ids.keys().cloned().collect(),
                    at: now + Duration::from_millis(dice.number(1_000)),
                }
            }
            State::Planning { changes, members, at } if now < at => State::Planning { changes, members, at },
            State::Planning { changes, members, .. } => {
                let plan = Classic {
                    changes,
                    members,
                    leaders: znodes.leaders.clone(),
                };
                State::Claiming(Claiming {
                    changes,
                    missing: plan.planned(&self.id),
                    tries: 0,
                    next: now,
                })
            }
            State::Claiming(claiming) if now < claiming.next => State::Claiming(claiming),
            State::Claiming(mut claiming) => {
                claiming
                    .missing
                    .retain(|partition| !self.claim(*partition, znodes));
                claiming.tries += 1;
                claiming.next = now + Duration::from_secs(1);
                if claiming.missing.is_empty() {
                    State::Consuming {
                        changes: claiming.changes,
                    }
                } else if claiming.tries == CLAIM_TRIES {
                    return None;
                } else {
                    State::Claiming(claiming)
                }
            }
        })
    }

    /// Without the offset: whoever wrote it last may write again.
    fn claim(&mut self, partition: PartitionId, znodes: &mut Znodes) -> bool {
        if znodes.owners.contains_key(&partition) {
            return false;
        }
        znodes.owners.insert(partition, self.session);
        self.held.insert(partition, znodes.begin(partition));
        true
    }

    fn consume(&mut self, znodes: &mut Znodes, dice: &mut Dice) {
        if matches!(self.state, State::Stopping { .. }) {
            return;
        }
        for (partition, position) in &mut self.held {
            *position += i64::try_from(dice.number(3)).unwrap();
            znodes.pushed(*partition, *position);
            if dice.below(8) == 0 {
                znodes.write(*partition, *position);
            }
        }
    }

    fn give_up(&mut self, znodes: &mut Znodes, dice: &mut Dice, now: Instant) {
        for (partition, position) in std::mem::take(&mut self.held) {
            if dice.below(3) == 0 {
                let later = now + Duration::from_millis(dice.number(60_000));
                self.late.push((later, partition, position));
            } else {
                znodes.write(partition, position);
            }
            znodes.owners.remove(&partition);
        }
    }

    fn commit_late(&mut self, znodes: &mut Znodes, now: Instant) {
        self.late.retain(|(at, partition, position)| {
            let due = *at <= now;
            if due {
                znodes.write(*partition, *position);
            }
            !due
        });
    }
}

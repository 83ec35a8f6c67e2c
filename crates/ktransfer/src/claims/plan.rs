//! What follows from a look at the group: which partitions to claim, to give up, to count as lost.
//!
//! Three sets are compared on every pass: the owner znodes of our session, the claims in memory, and the
//! partitions that the module runs. A claim whose answer was lost may have been applied, and an operator may
//! delete an owner znode; either shows up here, whatever events were missed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kcommon::kafka::PartitionId;
use tokio::time::Instant;

use super::classic::{Classic, Plan};
use super::phase::{Ending, Phase};
use super::{Claims, Step, lost};
use crate::quota;

/// Claims on their way at a time, per module.
pub const CLAIMS_IN_FLIGHT: usize = 8;

/// What is too much for the quota is given up only when the group has not changed for so long, so that a member
/// that starts and dies in a loop moves nothing. Claiming never waits.
pub const RELEASE_DELAY: Duration = Duration::from_secs(2);

/// The part of the extras that is given up at a time: one in so many.
const EXTRAS_AT_ONCE: usize = 4;

/// A partition whose offset was neither written nor read for so long is read again: a stuck partition commits
/// nothing and would never learn that an operator moved it.
pub const CHECK_EVERY: Duration = Duration::from_secs(5);

/// One look at the group.
#[derive(Clone, Debug)]
pub struct View {
    /// Our session; owner znodes carry it.
    pub session: i64,
    /// Every partition of the topic.
    pub partitions: BTreeSet<PartitionId>,
    /// The ids of the members that subscribe to the topic, sorted.
    pub members: Vec<String>,
    /// What the classic plan is made from, while a classic member is in the group.
    pub classic: Option<Classic>,
    /// The owner znodes, with the session that each belongs to.
    pub owners: BTreeMap<PartitionId, i64>,
    /// Partitions whose claim or release was answered while the look was under way: what it found of them is older
    /// than what is known, and decides nothing.
    pub overtaken: BTreeSet<PartitionId>,
}

impl Claims {
    /// Decides what follows from `view`, which was read after the last answer was passed in, except for those of
    /// partitions that it names as overtaken.
    pub fn seen(&mut self, view: &View, now: Instant) -> Vec<Step> {
        let same_plan = match (&self.plan, &view.classic) {
            (Some(plan), Some(classic)) => plan.is_from(classic),
            (None, None) => true,
            _ => false,
        };
        if self.members_since.is_none() || self.members != view.members || !same_plan {
            self.members.clone_from(&view.members);
            self.members_since = Some(now);
        }
        if !same_plan {
            self.plan = view.classic.clone().map(|classic| Plan::new(classic, &self.me));
        }
        self.wanted.clear();
        let mut steps = self.drop_lost(view);
        steps.extend(self.sweep(view));
        if !self.stopping {
            let quota = quota::quota(view.partitions.len(), &view.members, &self.me);
            steps.extend(self.claim(view, quota, now));
            steps.extend(self.give_up(view, quota, now));
            steps.extend(self.check(now));
        }
        steps
    }

    /// When [`Claims::seen`] should be called again although nothing happens: for a release that waits.
    #[must_use]
    pub fn next_release(&self, partitions: usize) -> Option<Instant> {
        let over = match &self.plan {
            Some(plan) => self
                .held
                .iter()
                .any(|(partition, phase)| can_end(phase) && !plan.keeps(*partition)),
            None => self.keeping() > quota::quota(partitions, &self.members, &self.me),
        };
        self.members_since
            .filter(|_since| over && !self.stopping)
            .map(|since| since + RELEASE_DELAY)
    }

    /// Claims whose owner znode is gone or another's.
    fn drop_lost(&mut self, view: &View) -> Vec<Step> {
        let gone: Vec<PartitionId> = self
            .held
            .iter()
            .filter(|(_partition, phase)| !matches!(phase, Phase::Claiming | Phase::Releasing))
            .map(|(partition, _phase)| *partition)
            .filter(|partition| !view.overtaken.contains(partition))
            .filter(|partition| view.owners.get(partition) != Some(&view.session))
            .collect();
        gone.into_iter()
            .filter_map(|partition| {
                self.held
                    .remove(&partition)
                    .and_then(|phase| lost(partition, &phase))
            })
            .collect()
    }

    /// Owner znodes of ours that belong to no claim.
    fn sweep(&mut self, view: &View) -> Vec<Step> {
        let strays: Vec<PartitionId> = view
            .owners
            .iter()
            .filter(|(partition, session)| **session == view.session && !self.held.contains_key(partition))
            .filter(|(partition, _session)| !view.overtaken.contains(partition))
            .map(|(partition, _session)| *partition)
            .collect();
        for partition in &strays {
            self.held.insert(*partition, Phase::Releasing);
        }
        strays.into_iter().map(Step::Sweep).collect()
    }

    fn claim(&mut self, view: &View, quota: usize, now: Instant) -> Vec<Step> {
        let held = self
            .held
            .values()
            .filter(|phase| !matches!(phase, Phase::Releasing))
            .count();
        let free = |partition: &&PartitionId| {
            !view.owners.contains_key(partition)
                && !self.held.contains_key(partition)
                && !view.overtaken.contains(partition)
        };
        let mut free: Vec<PartitionId> = view.partitions.iter().filter(free).copied().collect();
        if let Some(plan) = &mut self.plan {
            free = plan.wants(&free, now);
        }
        quota::sort_by_preference(&self.me, &mut free);
        if self.plan.is_none() {
            free.truncate(quota.saturating_sub(held));
        }
        self.wanted = free.into();
        self.claim_wanted()
    }

    /// Sends as many of the wanted claims as may be on their way.
    pub(super) fn claim_wanted(&mut self) -> Vec<Step> {
        let on_their_way = self
            .held
            .values()
            .filter(|phase| matches!(phase, Phase::Claiming))
            .count();
        let now = self
            .wanted
            .len()
            .min(CLAIMS_IN_FLIGHT.saturating_sub(on_their_way));
        let claims: Vec<PartitionId> = self.wanted.drain(..now).collect();
        for partition in &claims {
            self.held.insert(*partition, Phase::Claiming);
        }
        claims.into_iter().map(Step::Claim).collect()
    }

    /// How many partitions are held and not on the way out.
    fn keeping(&self) -> usize {
        let kept = |phase: &&Phase| match phase {
            Phase::Claiming | Phase::Running(_) | Phase::Stopped { .. } => true,
            Phase::Draining(_, ending) => *ending == Ending::Reassign,
            Phase::Releasing => false,
        };
        self.held.values().filter(kept).count()
    }

    fn give_up(&mut self, view: &View, quota: usize, now: Instant) -> Vec<Step> {
        let settled = self
            .members_since
            .is_some_and(|since| now >= since + RELEASE_DELAY);
        if !settled {
            return Vec::new();
        }
        let mut held: Vec<PartitionId> = self
            .held
            .iter()
            .filter(|(_, phase)| can_end(phase))
            .map(|(partition, _)| *partition)
            .collect();
        let ending: Vec<PartitionId> = match &self.plan {
            Some(plan) => held
                .into_iter()
                .filter(|partition| !plan.keeps(*partition))
                .collect(),
            None => {
                let now = self.extras_to_end(view, quota);
                quota::sort_by_preference(&self.me, &mut held);
                held.into_iter().rev().take(now).collect()
            }
        };
        let deadline = now + self.drain_timeout;
        ending
            .into_iter()
            .flat_map(|partition| self.end(partition, deadline))
            .collect()
    }

    /// How many extras are given up in this pass: a quarter at a time, and none while a partition is free. So nothing
    /// lies idle for longer than it takes to be claimed, and a member that died before it claimed anything, but whose
    /// session lasts, costs little.
    fn extras_to_end(&self, view: &View, quota: usize) -> usize {
        let too_many = self.keeping().saturating_sub(quota);
        if !view.members.contains(&self.me) {
            // Nothing is left to weigh: we cannot deliver.
            return too_many;
        }
        let free = |partition: &PartitionId| {
            !view.owners.contains_key(partition) && !view.overtaken.contains(partition)
        };
        if view.partitions.iter().any(free) {
            return 0;
        }
        let ending = self.held.len() - self.keeping();
        let at_once = (too_many + ending).div_ceil(EXTRAS_AT_ONCE);
        too_many.min(at_once.saturating_sub(ending))
    }

    /// Reads the offset znodes that were neither written nor read for a while.
    fn check(&mut self, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        for (partition, phase) in &mut self.held {
            let (look, known) = match phase {
                Phase::Running(life) if life.committing.is_none() && now >= life.checked + CHECK_EVERY => {
                    (&mut life.look, Some(life.stored.bytes.clone()))
                }
                Phase::Stopped { look, checked, .. } if now >= *checked + CHECK_EVERY => (look, None),
                _ => continue,
            };
            if look.is_none() {
                self.looks += 1;
                *look = Some(self.looks);
                steps.push(Step::Look {
                    partition: *partition,
                    look: self.looks,
                    known,
                });
            }
        }
        steps
    }
}

fn can_end(phase: &Phase) -> bool {
    matches!(phase, Phase::Running(_) | Phase::Stopped { .. })
}

//! The plan of the classic consumers, which holds while one of them is in the group.
//!
//! They divide the partitions among **all** members, whatever those subscribe to, and each claims what the plan gives
//! it and waits a minute for who still owns it. A member that shared by quota beside them would hold what they wait
//! for and leave what they leave to it. So every one of ours follows their plan too, as they would compute it: from the
//! leaders of the partitions at the last change of the group, which they read then and not again.
//!
//! Plans may differ all the same: a leader that moves while the members read gives each another order. A partition that
//! nobody plans stays free; after a time in which any member that plans it must have claimed it, one of ours takes it
//! until the plan changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kcommon::kafka::PartitionId;
use tokio::time::Instant;

/// Nobody plans a partition that has been free for so long: classic members try for 62 s.
pub const NOBODY_PLANS: Duration = Duration::from_secs(70);

/// What the classic plan is made from, as of one change of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classic {
    /// How often the group had changed; the plan is a new one whenever it differs.
    pub changes: i32,
    /// The ids of all members, sorted.
    pub members: Vec<String>,
    /// The leader of every partition that the topic had.
    pub leaders: Vec<(PartitionId, i32)>,
}

impl Classic {
    /// The partitions that `me` is to claim: those sorted by leader and number are cut into pieces as long as the
    /// others, the first ones longer by one, in the order of the ids.
    #[must_use]
    pub fn planned(&self, me: &str) -> BTreeSet<PartitionId> {
        let Some(at) = self.members.iter().position(|member| member == me) else {
            return BTreeSet::new();
        };
        let mut order: Vec<(i32, PartitionId)> = self
            .leaders
            .iter()
            .map(|(partition, leader)| (*leader, *partition))
            .collect();
        order.sort_unstable();
        let (each, rest) = (order.len() / self.members.len(), order.len() % self.members.len());
        let before = at * each + at.min(rest);
        let count = each + usize::from(at < rest);
        order
            .into_iter()
            .skip(before)
            .take(count)
            .map(|(_leader, partition)| partition)
            .collect()
    }
}

/// How one member follows the plan.
#[derive(Debug)]
pub(super) struct Plan {
    from: Classic,
    mine: BTreeSet<PartitionId>,
    /// Claimed because nobody else did, until the plan changes.
    extra: BTreeSet<PartitionId>,
    free_since: BTreeMap<PartitionId, Instant>,
}

impl Plan {
    pub(super) fn new(from: Classic, me: &str) -> Self {
        Self {
            mine: from.planned(me),
            from,
            extra: BTreeSet::new(),
            free_since: BTreeMap::new(),
        }
    }

    pub(super) fn is_from(&self, from: &Classic) -> bool {
        self.from == *from
    }

    /// Which of the partitions that are free now are to be claimed.
    pub(super) fn wants(&mut self, free: &[PartitionId], now: Instant) -> Vec<PartitionId> {
        self.free_since
            .retain(|partition, _since| free.contains(partition));
        let mut wanted = Vec::new();
        for partition in free {
            let since = *self.free_since.entry(*partition).or_insert(now);
            if self.mine.contains(partition) {
                wanted.push(*partition);
            } else if now >= since + NOBODY_PLANS {
                self.extra.insert(*partition);
                wanted.push(*partition);
            }
        }
        wanted
    }

    /// Whether a partition that is held may be kept.
    pub(super) fn keeps(&self, partition: PartitionId) -> bool {
        self.mine.contains(&partition) || self.extra.contains(&partition)
    }
}

#[cfg(test)]
mod original;
#[cfg(test)]
mod tests;

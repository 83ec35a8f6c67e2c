//! How many partitions each member of a module may hold, and which it tries first.
//!
//! There is no leader and no plan that all must agree on: a member that knows the others' ids and the number of
//! partitions knows its own quota, and claims are exclusive, so members that see the group differently for a
//! while hold too few or wait, and never share a partition. Pure: no I/O, no clock, no randomness.

use std::hash::Hasher;

use kcommon::kafka::PartitionId;
use siphasher::sip::SipHasher13;

/// How many of `partitions` the member `me` may hold. `members` are the ids of those that subscribe to the topic,
/// in any order, without repetition; one that is not among them may hold none.
///
/// With N members each may hold the N-th part rounded down, and those that come first in the order of their ids
/// one of the rest.
#[must_use]
pub fn quota(partitions: usize, members: &[String], me: &str) -> usize {
    if !members.iter().any(|member| member == me) {
        return 0;
    }
    let before = members.iter().filter(|member| member.as_str() < me).count();
    partitions / members.len() + usize::from(before < partitions % members.len())
}

/// Sorts partitions into the order in which `me` tries them: every member has another order, so that members
/// that start together seldom try the same partition, and a member keeps its order over restarts of others.
pub fn sort_by_preference(me: &str, partitions: &mut [PartitionId]) {
    partitions.sort_by_cached_key(|partition| (weight(me, *partition), *partition));
}

/// The rendezvous hash; the same in every process and version, because its keys are fixed.
fn weight(member: &str, partition: PartitionId) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(member.as_bytes());
    hasher.write_i32(partition.0.to_be());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn members(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn the_first_members_take_the_rest() {
        let members = members(&["c", "a", "b"]);
        let quotas = |partitions| ["a", "b", "c"].map(|me| quota(partitions, &members, me));
        assert_eq!(quotas(8), [3, 3, 2]);
        assert_eq!(quotas(9), [3, 3, 3]);
        assert_eq!(quotas(2), [1, 1, 0]);
        assert_eq!(quotas(0), [0, 0, 0]);
    }

    #[test]
    fn who_is_no_member_may_hold_nothing() {
        assert_eq!(quota(8, &members(&["a"]), "b"), 0);
        assert_eq!(quota(8, &[], "b"), 0);
    }

    #[test]
    fn the_order_is_the_same_in_every_version() {
        let mut partitions: Vec<_> = (0..6).map(PartitionId).collect();
        sort_by_preference("host:1", &mut partitions);
        let order: Vec<_> = partitions.iter().map(|partition| partition.0).collect();
        assert_eq!(order, ORDER_OF_HOST_1);
    }

    /// Taken from the first version. Another order would still be right, but would move partitions during an
    /// upgrade, when members of two versions release what the other prefers.
    const ORDER_OF_HOST_1: [i32; 6] = [5, 2, 0, 3, 1, 4];

    proptest! {
        #[test]
        fn quotas_add_up_to_all_partitions_and_differ_by_one_at_most(
            ids in proptest::collection::btree_set("[a-z]{1,6}", 1..40),
            partitions in 0_usize..2000,
        ) {
            let members: Vec<String> = ids.into_iter().collect();
            let quotas: Vec<usize> = members.iter().map(|me| quota(partitions, &members, me)).collect();
            prop_assert_eq!(quotas.iter().sum::<usize>(), partitions);
            let (least, most) = (quotas.iter().min().unwrap(), quotas.iter().max().unwrap());
            prop_assert!(most - least <= 1);
        }

        /// Exclusive claims up to the quota, in whatever order the members get their turns, end with every
        /// partition owned by exactly one member.
        #[test]
        fn claims_up_to_the_quota_give_every_partition_one_owner(
            ids in proptest::collection::btree_set("[a-z]{1,6}", 1..12),
            partitions in 0_i32..64,
            turns in proptest::collection::vec(0_usize..12, 0..256),
        ) {
            let members: Vec<String> = ids.into_iter().collect();
            let all: Vec<PartitionId> = (0..partitions).map(PartitionId).collect();
            let mut owners: BTreeMap<PartitionId, usize> = BTreeMap::new();
            // The random turns first, then every member until nothing changes, as the reconcile timer does.
            let rounds = turns.into_iter().chain((0..members.len()).flat_map(|at| std::iter::repeat_n(at, 64)));
            for turn in rounds {
                let at = turn % members.len();
                let held = owners.values().filter(|owner| **owner == at).count();
                let mut order = all.clone();
                sort_by_preference(&members[at], &mut order);
                let free = order.into_iter().find(|partition| !owners.contains_key(partition));
                if let Some(free) = free && held < quota(all.len(), &members, &members[at]) {
                    owners.insert(free, at);
                }
            }
            prop_assert_eq!(owners.keys().copied().collect::<BTreeSet<_>>(), all.into_iter().collect());
        }
    }
}

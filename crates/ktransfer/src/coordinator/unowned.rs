//! Partitions that nobody owns. Pure.
//!
//! A moment without owner is normal: during a hand-over, after a crash until the session ends. One that lasts
//! needs a person: fewer members than believed, or a member that neither claims nor leaves.

use std::collections::BTreeMap;
use std::time::Duration;

use kcommon::kafka::PartitionId;
use tokio::time::Instant;

/// How long a partition may be without owner before it is reported.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Since when which partition has no owner, and whether that was reported.
#[derive(Debug, Default)]
pub(super) struct Unowned(BTreeMap<PartitionId, (Instant, bool)>);

impl Unowned {
    /// Notes which partitions have no owner now; those that have had none for too long and were not reported.
    pub(super) fn note(&mut self, free: &[PartitionId], now: Instant) -> Vec<PartitionId> {
        self.0.retain(|partition, _since| free.contains(partition));
        let mut overdue = Vec::new();
        for partition in free {
            let (since, reported) = self.0.entry(*partition).or_insert((now, false));
            if !*reported && now >= *since + PATIENCE {
                *reported = true;
                overdue.push(*partition);
            }
        }
        overdue
    }

    /// How many have been reported and still have no owner.
    pub(super) fn overdue(&self) -> usize {
        self.0.values().filter(|(_since, reported)| *reported).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_reported_once_when_it_has_had_no_owner_for_too_long() {
        let (mut unowned, start) = (Unowned::default(), Instant::now());
        let (p, q) = (PartitionId(1), PartitionId(2));
        assert_eq!(unowned.note(&[p], start), []);
        assert_eq!(unowned.note(&[p, q], start + PATIENCE), [p]);
        assert_eq!(unowned.note(&[p, q], start + PATIENCE), []);
        assert_eq!(unowned.overdue(), 1);
        assert_eq!(unowned.note(&[q], start + PATIENCE), [], "1 has an owner again");
        assert_eq!(unowned.overdue(), 0);
        assert_eq!(unowned.note(&[p, q], start + 2 * PATIENCE), [q], "1 counts anew");
    }
}

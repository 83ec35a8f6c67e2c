//! Whether a partition stands still because it can take no further record. Pure: the time is an argument.
//!
//! A partition that is full and moves on is only busy: a key with a long backlog keeps it full. It stands still when nothing
//! was taken in for [`PATIENCE`].

use std::time::Duration;

use kcommon::kafka::CommitOffset;
use tokio::time::Instant;

/// How long nothing is taken in before it is told.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Why a partition can take no further record now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `max_uncommitted` records have passed its oldest one that is not done.
    Uncommitted,
    /// Records that do not move fill its part of `body_budget_bytes`, and none of them can be dropped.
    Memory,
}

impl Limit {
    /// What stands in the way and what to do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Uncommitted => {
                "max_uncommitted records have passed its oldest one that is not done; make the backend take that one, or \
                 write a higher offset into ZooKeeper to skip it, or raise max_uncommitted"
            }
            Self::Memory => {
                "records that are tried again fill its part of body_budget_bytes; make the backend take them, or raise \
                 body_budget_bytes"
            }
        }
    }
}

/// What is known of one partition.
#[derive(Debug, Default)]
pub struct Stall {
    /// What the fetch had reached when the partition was first seen to be full there, and since when.
    since: Option<(CommitOffset, Instant)>,
}

impl Stall {
    /// The fetch has reached `reached`, and `full` says whether the partition can take the next record. Returns whether
    /// the partition stands still.
    pub fn observe(&mut self, full: bool, reached: CommitOffset, now: Instant) -> bool {
        if !full {
            self.since = None;
            return false;
        }
        let (at, since) = *self.since.get_or_insert((reached, now));
        if at != reached {
            self.since = Some((reached, now));
            return false;
        }
        now >= since + PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(offset: i64) -> CommitOffset {
        CommitOffset::try_from(offset).unwrap()
    }

    #[test]
    fn only_a_full_partition_that_takes_nothing_for_long_enough_stands_still() {
        let (mut stall, start) = (Stall::default(), Instant::now());
        assert!(!stall.observe(true, reached(5), start));
        assert!(!stall.observe(true, reached(5), start + PATIENCE / 2));
        assert!(stall.observe(true, reached(5), start + PATIENCE));
        assert!(
            !stall.observe(true, reached(6), start + PATIENCE),
            "full all the time, but it moves"
        );
        assert!(stall.observe(true, reached(6), start + 2 * PATIENCE));
        assert!(!stall.observe(false, reached(6), start + 2 * PATIENCE));
        assert!(!stall.observe(true, reached(6), start + 3 * PATIENCE));
    }
}

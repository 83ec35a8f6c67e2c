//! What coordination counts, per module.

use kcommon::kafka::PartitionId;
use metrics::{Counter, Gauge, counter, gauge};

use crate::claims::{Committed, Written};

/// Partitions that this process has claimed.
pub const HELD: &str = "ktransfer_partitions_held";
/// Partitions that have had no owner for 5 s, as this process sees it.
pub const UNOWNED: &str = "ktransfer_partitions_unowned";
/// Claimed partitions that are not delivered because their offset znode is unreadable.
pub const STOPPED: &str = "ktransfer_partitions_stopped";
/// Offsets that are stored as done above the stored offsets, of the partitions that this process has claimed.
pub const ACKS_STORED: &str = "ktransfer_acks_stored";
/// Partitions that began again at the start of their log, because their topic had been deleted and created anew.
pub const RESTARTED: &str = "ktransfer_partitions_restarted_total";
/// Commits by outcome: `stored`, `repeated` (not stored, tried again), `moved`, `fenced`.
pub const COMMITS: &str = "ktransfer_commits_total";
/// Claims that ended without a release: the session ended, or the owner znode went away.
pub const LOST: &str = "ktransfer_claims_lost_total";

/// The handles of one module.
#[derive(Debug)]
pub(super) struct Meters {
    pub(super) held: Gauge,
    pub(super) unowned: Gauge,
    pub(super) stopped: Gauge,
    pub(super) acks_stored: Gauge,
    /// Held so that it is there before the first; the claims count with [`restarted`].
    _restarted: Counter,
    pub(super) lost: Counter,
    stored: Counter,
    repeated: Counter,
    moved: Counter,
    fenced: Counter,
}

impl Meters {
    pub(super) fn new(module: &str) -> Self {
        let commits =
            |outcome: &'static str| counter!(COMMITS, "module" => module.to_owned(), "outcome" => outcome);
        let labelled = |name: &'static str| gauge!(name, "module" => module.to_owned());
        Self {
            held: labelled(HELD),
            unowned: labelled(UNOWNED),
            stopped: labelled(STOPPED),
            acks_stored: labelled(ACKS_STORED),
            _restarted: restarted(module),
            lost: counter!(LOST, "module" => module.to_owned()),
            stored: commits("stored"),
            repeated: commits("repeated"),
            moved: commits("moved"),
            fenced: commits("fenced"),
        }
    }

    /// Counts a commit; what an operator or a new owner did to it is a line in the log too.
    pub(super) fn committed(&self, module: &str, partition: PartitionId, committed: &Committed) {
        match committed {
            Ok(Written::Stored(_version)) => self.stored.increment(1),
            Ok(Written::NotStored) => self.repeated.increment(1),
            Ok(Written::Fenced) => {
                self.fenced.increment(1);
                tracing::warn!(module, %partition, "commit refused: the partition has another owner");
            }
            Err(_found) => self.moved.increment(1),
        }
    }
}

/// The counter of [`RESTARTED`].
pub(super) fn restarted(module: &str) -> Counter {
    counter!(RESTARTED, "module" => module.to_owned())
}

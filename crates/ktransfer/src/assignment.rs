//! What coordination and a module say to each other, and nothing more: so that ZooKeeper can be one kind of
//! coordination among others. The ledger, the scheduler and the workers know only these words.
//!
//! An assignment is one epoch of one partition. [`Order::Revoke`] is always answered by [`Report::Drained`];
//! [`Order::Lost`] never is, because what is lost may not be committed. An operator's move of the offset is a
//! revoke followed by an assignment of a new epoch at the new position.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kcommon::kafka::{CommitOffset, PartitionId};
use tokio::time::Instant;

use crate::acks::Acks;

/// One life of a partition in this process. Raised at every assign, seek and re-assign, so that an
/// acknowledgement or a commit of an earlier life can be told from a current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

/// Hands out epochs, increasing over the whole process. One per process, cloned to whoever assigns.
#[derive(Clone, Debug, Default)]
pub struct Epochs(Arc<AtomicU64>);

impl Epochs {
    /// The next epoch: higher than every one handed out before.
    #[must_use]
    pub fn next(&self) -> Epoch {
        Epoch(self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1))
    }
}

impl Epoch {
    /// The epoch as a number, for log lines and texts.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// One partition in one epoch: what an order or a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Assignment {
    /// The partition of the module's topic.
    pub partition: PartitionId,
    /// Its life; a report of another life is ignored.
    pub epoch: Epoch,
}

/// What coordination tells a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// The partition is ours: deliver what is not done.
    Assign {
        /// The partition and its new epoch.
        assignment: Assignment,
        /// Everything below its base is done, and these offsets above it.
        done: Acks,
    },
    /// Stop starting pushes, wait for those in flight until `deadline`, cut the rest, answer with
    /// [`Report::Drained`]. An epoch that the module does not hold is answered at once.
    Revoke {
        /// The partition and the epoch that ends.
        assignment: Assignment,
        /// When what is still on the wire is cut.
        deadline: Instant,
    },
    /// The claim is gone (session expired): cut everything at once, commit nothing, answer nothing.
    Lost {
        /// The partition and the epoch that ended.
        assignment: Assignment,
    },
    /// The topic has so many partitions, whoever owns them: what is limited for the whole module is shared by that.
    Partitions(usize),
    /// The answer to [`Report::Commit`].
    CommitDone {
        /// The partition and epoch of the commit.
        assignment: Assignment,
        /// What became of it.
        outcome: CommitOutcome,
    },
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The stored position is now this one.
    Committed(CommitOffset),
    /// Not stored and not wanted again: the partition was moved or lost, and the order that says so follows.
    Refused,
    /// Not stored, or nobody knows: commit again, with the position of that moment.
    Again,
}

/// What a module tells its coordination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// So much is done. At most one per assignment is under way.
    Commit {
        /// The partition and epoch.
        assignment: Assignment,
        /// Everything below its base, which is the next offset to deliver, and these offsets above it.
        done: Acks,
    },
    /// The log has lost records that this epoch had already taken in, and others may come in their place: the epoch is to
    /// end, what is known above `position` is void, and the next one begins there. Nothing of the epoch is pushed any more.
    Truncated {
        /// The partition and epoch.
        assignment: Assignment,
        /// The lower of the commit position and where the log was cut off.
        position: CommitOffset,
    },
    /// The answer to [`Order::Revoke`]: no request of this epoch is on the wire any more.
    Drained {
        /// The partition and the epoch that has ended.
        assignment: Assignment,
        /// What is done, as in [`Report::Commit`]; `None` when the module did not hold the epoch.
        done: Option<Acks>,
        /// Requests that were still on the wire at the deadline and were cut: their outcome is unknown, and
        /// their records will be pushed again by the next owner.
        cut: usize,
    },
}

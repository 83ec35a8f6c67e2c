//! Where a partition stands, from the claim to the release.

use kcommon::kafka::CommitOffset;
use tokio::time::Instant;

use super::step::Stored;
use crate::acks::{Acks, TopicIdentity};
use crate::assignment::Epoch;

/// Where a partition stands on its way through us.
#[derive(Debug)]
pub(super) enum Phase {
    Claiming,
    Running(Life),
    Draining(Life, Ending),
    Stopped {
        stored: Stored,
        topic: Option<TopicIdentity>,
        look: Option<u64>,
        checked: Instant,
    },
    Releasing,
}

/// One epoch of a partition.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) epoch: Epoch,
    pub(super) stored: Stored,
    /// The topic that the records of this epoch belong to, as far as is known.
    pub(super) topic: Option<TopicIdentity>,
    /// How much is stored as done above the position; its znode may hold a map that says more and is void.
    pub(super) above: u64,
    /// The position of the commit on its way, and how much it stores as done above it.
    pub(super) committing: Option<(CommitOffset, u64)>,
    /// Whether that commit is our own, over what somebody else wrote, and not the module's.
    pub(super) restoring: bool,
    /// The position of a commit whose answer did not come; it may have been stored.
    pub(super) unsure: Option<CommitOffset>,
    /// Whether the session goes on through another client, and it is being read whether this is still ours.
    pub(super) confirming: bool,
    /// The look on its way; a commit that is sent meanwhile makes its answer worthless.
    pub(super) look: Option<u64>,
    /// When the znode was last seen to be as we left it.
    pub(super) checked: Instant,
    /// What the module had done, once it has drained.
    pub(super) drained: Option<Option<Acks>>,
}

/// What happens when the module has drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Release at the position that the module ends with.
    Release,
    /// Release, and leave what is stored as it is.
    GiveUp,
    /// An operator moved the offset: go on there, in a new epoch.
    Reassign,
    /// The log was truncated: release at this position, above which nothing is known to be done.
    Truncated(CommitOffset),
}

//! Where a partition stands, from the claim to the release.

use kcommon::kafka::CommitOffset;
use tokio::time::Instant;

use super::step::Stored;
use crate::assignment::Epoch;

/// Where a partition stands on its way through us.
#[derive(Debug)]
pub(super) enum Phase {
    Claiming,
    Running(Life),
    Draining(Life, Ending),
    Stopped {
        stored: Stored,
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
    /// The position of the commit on its way.
    pub(super) committing: Option<CommitOffset>,
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
    /// The last position of the module, once it has drained.
    pub(super) drained: Option<Option<CommitOffset>>,
}

/// What happens when the module has drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Release at the position that the module ends with.
    Release,
    /// Release, and leave the offset znode as it is.
    GiveUp,
    /// An operator moved the offset: go on there, in a new epoch.
    Reassign,
}

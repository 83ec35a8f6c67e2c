//! What the state machine and its shell say to each other.

use kcommon::kafka::{CommitOffset, OffsetTextError, PartitionId};

use crate::acks::Map;
use crate::assignment::{Assignment, Order};

/// What an offset znode of ours holds, as far as is known. The version is what the next write expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The bytes as they are.
    pub bytes: Vec<u8>,
    /// The znode's version.
    pub version: i32,
}

impl Stored {
    /// The position, if the bytes are one.
    ///
    /// # Errors
    /// The znode holds something else.
    pub fn position(&self) -> Result<CommitOffset, OffsetTextError> {
        CommitOffset::from_znode(&self.bytes)
    }
}

/// What is to be done next. Each [`Step`] but [`Step::Tell`] is answered, by the method that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Pass this on to the module, in order.
    Tell(Order),
    /// Claim the partition; [`super::Claims::claimed`].
    Claim(PartitionId),
    /// Write the position, if the znode still has this version; [`super::Claims::committed`].
    Commit {
        /// What is committed.
        assignment: Assignment,
        /// The version that the znode must have.
        version: i32,
        /// The next offset to deliver.
        position: CommitOffset,
        /// What to store beside it; `None`: nothing is done above the position, nor was at the last commit.
        map: Option<Map>,
    },
    /// Write these bytes and delete the owner znode, both or none; [`super::Claims::released`].
    Release {
        /// The partition to give up.
        partition: PartitionId,
        /// What its offset znode shall hold, and the version it must have.
        stored: Stored,
        /// If it has another version: `true` writes it all the same, at that version; `false` leaves what is there.
        insist: bool,
        /// What to store beside it; `None`: what is there goes on to hold, if it does.
        map: Option<Map>,
    },
    /// Delete an owner znode of our session that nobody here knows of; [`super::Claims::released`].
    Sweep(PartitionId),
    /// Read owner and offset again, because the session goes on through another client; [`super::Claims::confirmed`].
    Confirm(Assignment),
    /// Read the offset znode again, as it may have been moved or repaired; [`super::Claims::looked`].
    Look {
        /// Whose znode.
        partition: PartitionId,
        /// Tells the answer to this look from those to earlier ones.
        look: u64,
        /// What to create the znode with if it is gone; `None`: with the start of the partition's log.
        known: Option<Vec<u8>>,
    },
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is ours; this is its offset, and what is stored of the records above it.
    Ours(Stored, Map),
    /// Somebody else was first, or it could not be claimed now.
    NotOurs,
}

/// What was read of a claim after the session was attached to anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// It is ours still, and this is its offset, if there is one.
    Ours(Option<Stored>),
    /// It is not ours any more.
    NotOurs,
    /// Nothing could be read before that client ended too.
    Unknown,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Stored; the znode has this version now.
    Stored(i32),
    /// Nothing was stored; the claim stands.
    NotStored,
    /// We do not own the partition any more.
    Fenced,
}

/// The answer to [`Step::Commit`]: an operator's write is told with what the znode holds now.
pub type Committed = Result<Written, Stored>;

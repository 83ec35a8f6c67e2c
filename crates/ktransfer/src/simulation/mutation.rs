//! Defects that are put in on purpose, one at a time, to see that the simulation finds them.

use std::cell::Cell;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutation {
    /// The servers store an offset whatever version it expects, as if it were read anew for each commit.
    UnfencedCommit,
    /// The lease is extended for ever.
    EndlessLease,
    /// The lease counts from the answer to a heartbeat, not from its sending.
    LeaseFromTheAnswer,
    /// A lost session leaves the claims as they are: offsets and versions go on to be used in the next one.
    ClaimsOutliveTheSession,
    /// A lost session voids no epoch: the next one extends the lease of all of them.
    NothingIsVoid,
    /// A revoke is answered while requests are on the wire.
    ReleaseBeforeDrain,
    /// A partition begins again while requests of its older epoch are on the wire.
    NoWaitForOlderEpochs,
    /// An acknowledgement of an older epoch counts in the present one.
    OldEpochCounts,
    /// What was done last is committed, whatever is pending below it.
    CommitsLastPlusOne,
    /// The stored number is the last offset that is done, not the next one.
    CommitsTheLast,
    /// Stored acknowledgements count whoever wrote the offset last.
    AnyMapHolds,
    /// What was done before an operator moved the offset counts after it.
    AcksOutliveTheMove,
    /// A partition goes on where this process had got to, whatever is stored when it is claimed again.
    PositionOutlivesTheClaim,
    /// Every record is its own key.
    KeysAreNotOrdered,
    /// The quota is computed for one partition too few.
    QuotaOffByOne,
    /// A partition that was added begins at the end of its log, as the policy of the first start says.
    NewPartitionsBeginAtTheirEnd,
    /// That the topic was created anew is not seen.
    TopicsAreTheirNames,
    /// A record whose body was dropped is taken for one that is gone.
    DroppedIsGone,
    /// Bodies that were dropped are not read again.
    NothingIsReread,
    /// What is done above the offset is not stored.
    NothingAboveIsStored,
    /// Commits are ten times rarer than they should be.
    CommitsAreRare,
    /// A record that goes elsewhere is done before it is stored there.
    DoneBeforeItIsStored,
}

thread_local! {
    static ACTIVE: Cell<Option<Mutation>> = const { Cell::new(None) };
}

/// Whether the run on this thread has this defect.
pub(super) fn mutated(mutation: Mutation) -> bool {
    ACTIVE.get() == Some(mutation)
}

pub(super) fn mutate(mutation: Option<Mutation>) {
    ACTIVE.set(mutation);
}

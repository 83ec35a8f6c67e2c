//! The writes of coordination, each carried to a known outcome.
//!
//! A claim is one `multi` that creates the owner znode and writes the offset znode's own bytes again, at the
//! version that was read; a release is one `multi` that writes the offset and deletes the owner znode; a commit is
//! a plain `set` at the version that our last write left. It is the offset's version that fences: every claim
//! raises it, so nothing that a former owner sends can pass. (A check of the owner znode would not do: one that
//! is created anew starts at version 0 again.) Version -1, "any", is never used for an offset.
//!
//! When no answer came, [`Store::state`] finds out what happened: `sync`, because another server may lag, and then
//! a read. Requests of one session are applied in the order they were sent, so what the sync has overtaken will
//! not be applied later. These loops end at the latest with the session.

mod reading;

use std::time::Duration;

use kcommon::kafka::{CommitOffset, PartitionId, TopicName};
use kcommon::zookeeper::{Error, Lifetime, MultiError, Node, Session, Write, layout};

use super::servers::{Brokers, ZooKeeper};
use super::{Module, Process};
use crate::claims::{Claimed, Committed, Stored, Written};
use crate::watermarks::{LogEnd, Watermarks};

/// The wait before something that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Tries of one claim that other writers of the offset may spoil.
const CLAIM_TRIES: usize = 3;

/// The znodes of one module and topic, written in one session.
#[derive(Clone, Debug)]
pub(crate) struct Store<Z = Session, B = Watermarks> {
    pub(crate) session: Z,
    pub(crate) module: String,
    pub(crate) topic: TopicName,
    pub(crate) member: String,
    pub(crate) watermarks: B,
}

/// A partition as a reliable read found it.
struct State {
    ours: bool,
    offset: Option<Stored>,
}

impl From<Node> for Stored {
    fn from(node: Node) -> Self {
        Self {
            bytes: node.data,
            version: node.stat.version,
        }
    }
}

impl Store {
    pub(crate) fn new(session: Session, module: &Module, process: &Process) -> Self {
        Self {
            session,
            module: module.name.clone(),
            topic: module.topic.clone(),
            member: process.member.clone(),
            watermarks: process.watermarks.clone(),
        }
    }
}

impl<Z: ZooKeeper, B: Brokers<Z>> Store<Z, B> {
    /// Deletes our `ids` znode, whatever the outcome: the next look, or the end of the session, repeats it.
    pub(crate) async fn deregister(&self) {
        match self.session.delete(&layout::id(&self.module, &self.member)).await {
            Ok(()) | Err(Error::NoNode | Error::Expired) => {}
            Err(error) => {
                tracing::warn!(module = self.module, %error, "ids znode could not be deleted");
            }
        }
    }

    /// Claims a partition that nobody seemed to own.
    pub(crate) async fn claim(&self, partition: PartitionId) -> Claimed {
        for _ in 0..CLAIM_TRIES {
            match self.try_claim(partition).await {
                Ok(Some(claimed)) => return claimed,
                Ok(None) => {}
                Err(Error::Expired) => return Claimed::NotOurs,
                Err(error) => {
                    self.warn(partition, &error, "claim failed; trying again");
                    return Claimed::NotOurs;
                }
            }
        }
        Claimed::NotOurs
    }

    /// `None`: somebody wrote the offset between our read and our write, or a parent was missing; try again.
    async fn try_claim(&self, partition: PartitionId) -> Result<Option<Claimed>, Error> {
        let (owner, offset) = (self.owner(partition), self.offset(partition));
        let found = self.session.get(&offset).await?.map(Stored::from);
        let create = Write::Create {
            path: &owner,
            data: self.member.as_bytes(),
            lifetime: Lifetime::Ephemeral,
        };
        // The first start gives every partition a znode; one without is a new partition, from its first record.
        let bytes = match &found {
            Some(stored) => stored.bytes.clone(),
            None => match self.log_start(partition).await {
                Some(start) => start.to_znode(),
                None => return Ok(Some(Claimed::NotOurs)),
            },
        };
        let write = match &found {
            Some(stored) => Write::Set {
                path: &offset,
                data: &bytes,
                version: stored.version,
            },
            None => Write::Create {
                path: &offset,
                data: &bytes,
                lifetime: Lifetime::Persistent,
            },
        };
        match self.session.multi(&[create, write]).await {
            Ok(stats) => {
                let written = stats.get(1).copied().flatten();
                // A znode that was just created has version 0; older servers give no stat for it in a multi.
                let version = if found.is_some() {
                    written.map_or(0, |stat| stat.version)
                } else {
                    0
                };
                Ok(Some(Claimed::Ours(Stored { bytes, version })))
            }
            Err(error) => self.claim_failed(partition, error).await,
        }
    }

    async fn claim_failed(
        &self,
        partition: PartitionId,
        error: MultiError,
    ) -> Result<Option<Claimed>, Error> {
        let (module, topic) = (self.module.as_str(), self.topic.as_str());
        match (error.at, error.source) {
            (Some(0), Error::NodeExists) | (_, Error::Unknown(_)) => {
                // Ours, if the answer to this claim or to an earlier one was lost.
                let state = self.state(partition).await?;
                Ok(Some(match state.offset {
                    Some(stored) if state.ours => Claimed::Ours(stored),
                    _ => Claimed::NotOurs,
                }))
            }
            (Some(0), Error::NoNode) => self
                .session
                .ensure(&layout::owners(module, topic))
                .await
                .map(|()| None),
            (Some(1), Error::NoNode) => self
                .session
                .ensure(&layout::offsets(module, topic))
                .await
                .map(|()| None),
            (Some(1), Error::BadVersion | Error::NodeExists) => Ok(None),
            (_, source) => Err(source),
        }
    }

    /// Writes a position at the version that our last write left.
    pub(crate) async fn commit(
        &self,
        partition: PartitionId,
        version: i32,
        position: CommitOffset,
    ) -> Committed {
        let bytes = position.to_znode();
        let written = match self.session.set(&self.offset(partition), &bytes, version).await {
            Ok(stat) => Ok(Ok(Written::Stored(stat.version))),
            Err(Error::BadVersion | Error::NoNode | Error::Unknown(_)) => {
                self.commit_of_unknown_outcome(partition, version, &bytes).await
            }
            Err(error) => Err(error),
        };
        written.unwrap_or_else(|error| {
            if !matches!(error, Error::Expired) {
                self.warn(partition, &error, "commit failed; trying again");
            }
            Ok(Written::NotStored)
        })
    }

    async fn commit_of_unknown_outcome(
        &self,
        partition: PartitionId,
        version: i32,
        bytes: &[u8],
    ) -> Result<Committed, Error> {
        let state = self.state(partition).await?;
        if !state.ours {
            return Ok(Ok(Written::Fenced));
        }
        Ok(match state.offset {
            Some(found) if found.version == version => Ok(Written::NotStored),
            Some(found) if found.version == version.wrapping_add(1) && found.bytes == bytes => {
                Ok(Written::Stored(found.version))
            }
            Some(found) => Err(found),
            None => {
                tracing::warn!(
                    module = self.module,
                    topic = %self.topic,
                    %partition,
                    "offset znode was deleted while we own the partition; creating it with our position"
                );
                self.create_offset(partition, bytes)
                    .await
                    .map(|()| Ok(Written::Stored(0)))?
            }
        })
    }

    /// Writes the offset and deletes our owner znode. Ends when the owner znode is no longer ours. With `insist` what
    /// somebody else writes meanwhile is written over.
    pub(crate) async fn release(&self, partition: PartitionId, mut stored: Stored, insist: bool) {
        loop {
            match self.try_release(partition, &stored).await {
                Ok(None) | Err(Error::Expired) => return,
                Ok(Some(found)) if insist => stored.version = found.version,
                // An operator's write meanwhile holds.
                Ok(Some(found)) => stored = found,
                Err(error) => {
                    self.warn(partition, &error, "release failed; trying again");
                    self.session.pause(RETRY).await;
                }
            }
        }
    }

    /// Deletes an owner znode of ours that belongs to no claim, leaving the offset as it is.
    pub(crate) async fn sweep(&self, partition: PartitionId) {
        loop {
            match self.state(partition).await {
                Ok(State {
                    ours: true,
                    offset: Some(stored),
                }) => return self.release(partition, stored, false).await,
                Ok(State {
                    ours: true,
                    offset: None,
                }) => match self.session.delete(&self.owner(partition)).await {
                    Ok(()) | Err(Error::NoNode | Error::Expired) => return,
                    Err(error) => self.warn(
                        partition,
                        &error,
                        "deleting a stray owner znode failed; trying again",
                    ),
                },
                Ok(State { ours: false, .. }) | Err(Error::Expired) => return,
                Err(error) => self.warn(
                    partition,
                    &error,
                    "a stray owner znode could not be read; trying again",
                ),
            }
            self.session.pause(RETRY).await;
        }
    }

    /// `None`: released, or not ours any more. `Some`: the offset holds this instead, try with it.
    async fn try_release(&self, partition: PartitionId, stored: &Stored) -> Result<Option<Stored>, Error> {
        let (owner, offset) = (self.owner(partition), self.offset(partition));
        let set = Write::Set {
            path: &offset,
            data: &stored.bytes,
            version: stored.version,
        };
        match self.session.multi(&[set, Write::Delete { path: &owner }]).await {
            Ok(_stats) => Ok(None),
            Err(MultiError {
                source: Error::BadVersion | Error::NoNode | Error::Unknown(_),
                ..
            }) => {
                let state = self.state(partition).await?;
                match state.offset {
                    _ if !state.ours => Ok(None),
                    Some(found) if found.version == stored.version => Ok(Some(stored.clone())),
                    Some(found) => Ok(Some(found)),
                    None => {
                        self.create_offset(partition, &stored.bytes).await?;
                        Ok(Some(Stored {
                            bytes: stored.bytes.clone(),
                            version: 0,
                        }))
                    }
                }
            }
            Err(error) => Err(error.source),
        }
    }

    async fn create_offset(&self, partition: PartitionId, bytes: &[u8]) -> Result<(), Error> {
        self.session
            .ensure(&layout::offsets(&self.module, self.topic.as_str()))
            .await?;
        self.session
            .create(&self.offset(partition), bytes, Lifetime::Persistent)
            .await
            .map(|_stat| ())
    }

    /// What is so, after everything that this session has sent. Asks until there is an answer or the session ends.
    async fn state(&self, partition: PartitionId) -> Result<State, Error> {
        loop {
            match self.try_state(partition).await {
                Err(Error::Unknown(_)) => self.session.pause(RETRY).await,
                known => return known,
            }
        }
    }

    async fn try_state(&self, partition: PartitionId) -> Result<State, Error> {
        let (owner, offset) = (self.owner(partition), self.offset(partition));
        self.session.sync(&offset).await?;
        let owner = self.session.get(&owner).await?;
        let offset = self.session.get(&offset).await?;
        let ours = owner.is_some_and(|owner| owner.stat.ephemeral_owner == self.session.id().0);
        Ok(State {
            ours,
            offset: offset.map(Stored::from),
        })
    }

    async fn log_start(&self, partition: PartitionId) -> Option<CommitOffset> {
        let start = self
            .watermarks
            .offsets(&self.session, &self.topic, &[partition], LogEnd::Start)
            .await;
        match start {
            Ok(start) => start.first().copied(),
            Err(error) => {
                self.warn(
                    partition,
                    &error,
                    "the start of the log is not known; trying again",
                );
                None
            }
        }
    }

    fn owner(&self, partition: PartitionId) -> String {
        layout::owner(&self.module, self.topic.as_str(), partition)
    }

    fn offset(&self, partition: PartitionId) -> String {
        layout::offset(&self.module, self.topic.as_str(), partition)
    }

    fn warn(&self, partition: PartitionId, error: &(dyn std::error::Error + 'static), message: &'static str) {
        tracing::warn!(module = self.module, topic = %self.topic, %partition, error, "{message}");
    }
}

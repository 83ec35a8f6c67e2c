//! The writes of coordination, each carried to a known outcome.
//!
//! A claim is one `multi` that creates the owner znode and writes the offset znode's own bytes again, at the
//! version that was read; a release is one `multi` that writes the offset and deletes the owner znode; a commit
//! writes the offset at the version that our last write left. It is the offset's version that fences: every claim
//! raises it, so nothing that a former owner sends can pass. (A check of the owner znode would not do: one that
//! is created anew starts at version 0 again.) Version -1, "any", is never used for an offset.
//!
//! The acks znode is written in the same `multi`, whatever its version. It holds only while its last change is of the
//! same transaction as the offset's, so a write of the offset by anybody else makes it void, and it fences nothing.
//!
//! When no answer came, [`Store::state`] finds out what happened: `sync`, because another server may lag, and then
//! a read. Requests of one session are applied in the order they were sent, so what the sync has overtaken will
//! not be applied later. These loops end at the latest with the session.

mod acks;
mod claim;
mod commit;
mod reading;

use std::time::Duration;

use kcommon::kafka::{CommitOffset, PartitionId, TopicName};
use kcommon::zookeeper::{Error, Lifetime, Node, Session, layout};

use super::servers::{Brokers, ZooKeeper};
use super::{Module, Process};
use crate::acks::TopicIdentity;
use crate::claims::Stored;
use crate::watermarks::{LogEnd, Watermarks};

/// The wait before something that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

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
    offset: Option<Node>,
}

impl From<&Node> for Stored {
    fn from(node: &Node) -> Self {
        Self {
            bytes: node.data.clone(),
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

    /// Which topic it is at present; `None` if ZooKeeper does not know it.
    pub(crate) async fn topic_identity(&self) -> Result<Option<TopicIdentity>, Error> {
        let node = self
            .session
            .get(&layout::broker_topic(self.topic.as_str()))
            .await?;
        Ok(node.map(|node| TopicIdentity::from_znode(&node.data, node.stat.czxid)))
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
        Ok(State { ours, offset })
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

    fn acks(&self, partition: PartitionId) -> String {
        layout::acks(&self.module, self.topic.as_str(), partition)
    }

    fn warn(&self, partition: PartitionId, error: &(dyn std::error::Error + 'static), message: &'static str) {
        tracing::warn!(module = self.module, topic = %self.topic, %partition, error, "{message}");
    }
}

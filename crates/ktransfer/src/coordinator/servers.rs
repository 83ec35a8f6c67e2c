//! What coordination asks of ZooKeeper and of the brokers, as traits: the simulation puts models in their place and
//! runs the very code that resolves unknown outcomes and reads the group.
//!
//! The methods are those of [`Session`] and [`Watermarks`] with their meaning; the traits decide nothing.

use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;
use kcommon::kafka::{CommitOffset, PartitionId, TopicName};
use kcommon::zookeeper::{Error, Lifetime, MultiError, Node, Session, SessionId, Stat, Watch, Write};

use crate::watermarks::{LogEnd, WatermarkError, Watermarks};

/// A watch, which fires once, also when the session ends.
pub(crate) type Changed = BoxFuture<'static, ()>;

/// One ZooKeeper session. Requests are sent, in order, when their futures are first polled.
pub(crate) trait ZooKeeper: Clone + Send + Sync + 'static {
    /// Which session this is.
    fn id(&self) -> SessionId;
    /// Reads a znode.
    fn get(&self, path: &str) -> impl Future<Output = Result<Option<Node>, Error>> + Send;
    /// Reads many.
    fn get_many(&self, paths: &[String]) -> impl Future<Output = Result<Vec<Option<Node>>, Error>> + Send;
    /// Reads the names of its children.
    fn children(&self, path: &str) -> impl Future<Output = Result<Option<Vec<String>>, Error>> + Send;
    /// The same, and watches them.
    fn watch_children(
        &self,
        path: &str,
    ) -> impl Future<Output = Result<Option<(Vec<String>, Changed)>, Error>> + Send;
    /// How often children of a znode were created and deleted; 0 if there is no such znode.
    fn changes(&self, path: &str) -> impl Future<Output = Result<i32, Error>> + Send;
    /// Creates one.
    fn create(
        &self,
        path: &str,
        data: &[u8],
        lifetime: Lifetime,
    ) -> impl Future<Output = Result<Stat, Error>> + Send;
    /// Creates a persistent one and its parents, if they are missing.
    fn ensure(&self, path: &str) -> impl Future<Output = Result<(), Error>> + Send;
    /// Writes one that has this version.
    fn set(&self, path: &str, data: &[u8], version: i32) -> impl Future<Output = Result<Stat, Error>> + Send;
    /// Deletes one.
    fn delete(&self, path: &str) -> impl Future<Output = Result<(), Error>> + Send;
    /// All writes or none.
    fn multi(
        &self,
        writes: &[Write<'_>],
    ) -> impl Future<Output = Result<Vec<Option<Stat>>, MultiError>> + Send;
    /// Makes later reads see earlier writes.
    fn sync(&self, path: &str) -> impl Future<Output = Result<(), Error>> + Send;
    /// Waits before something is tried again.
    fn pause(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// What the brokers know.
pub(crate) trait Brokers<Z>: Clone + Send + Sync + 'static {
    /// One end of the logs of some partitions.
    fn offsets(
        &self,
        session: &Z,
        topic: &TopicName,
        partitions: &[PartitionId],
        end: LogEnd,
    ) -> impl Future<Output = Result<Vec<CommitOffset>, WatermarkError>> + Send;
}

impl ZooKeeper for Session {
    fn id(&self) -> SessionId {
        Self::id(self)
    }

    async fn get(&self, path: &str) -> Result<Option<Node>, Error> {
        Self::get(self, path).await
    }

    async fn get_many(&self, paths: &[String]) -> Result<Vec<Option<Node>>, Error> {
        Self::get_many(self, paths).await
    }

    async fn children(&self, path: &str) -> Result<Option<Vec<String>>, Error> {
        Self::children(self, path).await
    }

    async fn watch_children(&self, path: &str) -> Result<Option<(Vec<String>, Changed)>, Error> {
        let found = Self::watch_children(self, path).await?;
        Ok(found.map(|(children, watch)| (children, Box::pin(Watch::changed(watch)) as Changed)))
    }

    async fn changes(&self, path: &str) -> Result<i32, Error> {
        Ok(Self::exists(self, path).await?.map_or(0, |stat| stat.cversion))
    }

    async fn create(&self, path: &str, data: &[u8], lifetime: Lifetime) -> Result<Stat, Error> {
        Self::create(self, path, data, lifetime).await
    }

    async fn ensure(&self, path: &str) -> Result<(), Error> {
        Self::ensure(self, path).await
    }

    async fn set(&self, path: &str, data: &[u8], version: i32) -> Result<Stat, Error> {
        Self::set(self, path, data, version).await
    }

    async fn delete(&self, path: &str) -> Result<(), Error> {
        Self::delete(self, path).await
    }

    async fn multi(&self, writes: &[Write<'_>]) -> Result<Vec<Option<Stat>>, MultiError> {
        Self::multi(self, writes).await
    }

    async fn sync(&self, path: &str) -> Result<(), Error> {
        Self::sync(self, path).await
    }

    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

impl Brokers<Session> for Watermarks {
    async fn offsets(
        &self,
        session: &Session,
        topic: &TopicName,
        partitions: &[PartitionId],
        end: LogEnd,
    ) -> Result<Vec<CommitOffset>, WatermarkError> {
        Self::offsets(self, session, topic, partitions, end).await
    }
}

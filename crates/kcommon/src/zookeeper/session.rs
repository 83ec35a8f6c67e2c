//! One ZooKeeper session, with an end to the patience of every operation.
//!
//! While the connection is down the client library queues requests without limit and sends them after it is up
//! again; the bound here is each caller's own (few operations at a time, each given up after
//! [`Session::patience`]). Watches are one-shot only: the library loses persistent ones when it reconnects.
//! A watch is a hint, never a record of what changed: read again, and read on a timer too.

use std::future::Future;
use std::time::Duration;

use futures_util::stream::{StreamExt, TryStreamExt};
use zookeeper_client as zk;

use super::error::{Error, MultiError, Unanswered};

/// How many reads of [`Session::get_many`] are on the wire at a time.
const PIPELINED_READS: usize = 128;

/// The least patience with an operation, whatever the session time-out.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// Where ZooKeeper is and how long a session outlives its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `host:port` each; at least one.
    pub hosts: Vec<String>,
    /// Empty, or a path without a slash at its end, such as `/mq/cluster`.
    pub chroot: String,
    /// What is asked for; the server keeps it between 2 and 20 of its ticks.
    pub session_timeout: Duration,
}

/// A session. Clones share it; it is closed, and its ephemeral znodes vanish, when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Session {
    client: zk::Client,
    patience: Duration,
}

/// What a znode holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The bytes, at most 1 MiB by ZooKeeper's own default.
    pub data: Vec<u8>,
    /// Versions, times and the session of an ephemeral znode.
    pub stat: zk::Stat,
}

/// How long a new znode lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is deleted.
    Persistent,
    /// Until it is deleted or the session ends.
    Ephemeral,
}

/// One step of [`Session::multi`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    /// Creates a znode; refused with [`Error::NodeExists`] or, without a parent, [`Error::NoNode`].
    Create {
        /// The path below the chroot.
        path: &'a str,
        /// Its content.
        data: &'a [u8],
        /// How long it lives.
        lifetime: Lifetime,
    },
    /// Replaces the content if the znode has this version; refused with [`Error::BadVersion`].
    Set {
        /// The path below the chroot.
        path: &'a str,
        /// The new content.
        data: &'a [u8],
        /// The version it must have.
        version: i32,
    },
    /// Deletes a znode that has no children.
    Delete {
        /// The path below the chroot.
        path: &'a str,
    },
}

/// A one-shot watch.
#[derive(Debug)]
pub struct Watch(zk::OneshotWatcher);

impl Watch {
    /// Waits until the znode may have changed or the session has ended. Read again in either case.
    ///
    /// # Cancel safety
    /// Dropping the future drops the watch.
    pub async fn changed(self) {
        let _event = self.0.changed().await;
    }
}

impl Lifetime {
    fn options(self) -> zk::CreateOptions<'static> {
        let mode = match self {
            Self::Persistent => zk::CreateMode::Persistent,
            Self::Ephemeral => zk::CreateMode::Ephemeral,
        };
        // As the classic tools do, who have to read and write the same znodes.
        mode.with_acls(zk::Acls::anyone_all())
    }
}

impl Session {
    /// Tries each host once; gives up when all have failed, and after the asked session time-out at the latest.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::NoChroot`], and what reading the chroot's znode can give.
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        let hosts = settings.hosts.join(",");
        let within = settings.session_timeout;
        let cluster = format!("{hosts}{}", settings.chroot);
        // The library's own tries come at growing intervals without limit; the caller's do not.
        let connecting = zk::Client::connector()
            .with_session_timeout(within)
            .with_fail_eagerly()
            .connect(&cluster);
        // The library gives up after the session time-out; the second bound is for what it does before that.
        let connected = tokio::time::timeout(within * 2, connecting)
            .await
            .unwrap_or(Err(zk::Error::Timeout));
        let client = connected.map_err(|source| Error::Unreachable {
            hosts: hosts.clone(),
            within,
            source,
        })?;
        let patience = (client.session_timeout() / 2).max(LEAST_PATIENCE);
        let session = Self { client, patience };
        match session.exists("/").await? {
            Some(_stat) => Ok(session),
            None => Err(Error::NoChroot {
                hosts,
                chroot: settings.chroot.clone(),
            }),
        }
    }

    /// Which session this is; ephemeral znodes carry it as `ephemeral_owner`.
    #[must_use]
    pub fn id(&self) -> zk::SessionId {
        self.client.session_id()
    }

    /// The time-out that the server granted.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.client.session_timeout()
    }

    /// How long an operation may take: half the session time-out, at least 1 s.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether this client knows that its session has ended. `false` proves nothing: an expiry is learned from the
    /// server only after a reconnect.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.client.state().is_terminated()
    }

    /// Waits until this client knows that its session has ended.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn expired(&self) {
        let mut states = self.client.state_watcher();
        let mut state = states.state();
        while !state.is_terminated() {
            state = states.changed().await;
        }
    }

    /// Ends the session, if this is its last clone, and waits until the server has been told, 1 s at most.
    /// Dropping ends it too, but a process that exits at once may not get the word out.
    pub async fn close(self) {
        let mut states = self.client.state_watcher();
        drop(self);
        let closed = async { while !states.changed().await.is_terminated() {} };
        // Without an answer the server ends the session after its time-out.
        let _elapsed = tokio::time::timeout(LEAST_PATIENCE, closed).await.is_err();
    }

    /// Reads a znode; `None` if there is none.
    ///
    /// # Errors
    /// Any but [`Error::NoNode`].
    pub async fn get(&self, path: &str) -> Result<Option<Node>, Error> {
        let read = self.bounded(self.client.get_data(path)).await;
        absent_is_none(read.map(|(data, stat)| Node { data, stat }))
    }

    /// Reads many znodes, pipelined, in the order of `paths`; `None` for each that does not exist. Not a snapshot:
    /// other sessions may write in between.
    ///
    /// # Errors
    /// The first that is not [`Error::NoNode`].
    pub async fn get_many(&self, paths: &[String]) -> Result<Vec<Option<Node>>, Error> {
        let mut nodes = Vec::with_capacity(paths.len());
        for chunk in paths.chunks(PIPELINED_READS) {
            let reads: Vec<_> = chunk.iter().map(|path| self.get(path)).collect();
            let read = futures_util::stream::iter(reads).buffered(PIPELINED_READS);
            nodes.extend(read.try_collect::<Vec<_>>().await?);
        }
        Ok(nodes)
    }

    /// The names of a znode's children, in no order; `None` if there is no such znode.
    ///
    /// # Errors
    /// Any but [`Error::NoNode`].
    pub async fn children(&self, path: &str) -> Result<Option<Vec<String>>, Error> {
        absent_is_none(self.bounded(self.client.list_children(path)).await)
    }

    /// [`Session::children`], and a watch on them; `None`, and no watch, if there is no such znode.
    ///
    /// # Errors
    /// Any but [`Error::NoNode`].
    pub async fn watch_children(&self, path: &str) -> Result<Option<(Vec<String>, Watch)>, Error> {
        let read = self.bounded(self.client.list_and_watch_children(path)).await;
        absent_is_none(read.map(|(children, watcher)| (children, Watch(watcher))))
    }

    /// The stat of a znode without its content; `None` if there is none.
    ///
    /// # Errors
    /// Any but [`Error::NoNode`].
    pub async fn exists(&self, path: &str) -> Result<Option<zk::Stat>, Error> {
        self.bounded(self.client.check_stat(path)).await
    }

    /// Creates a znode below an existing parent.
    ///
    /// # Errors
    /// [`Error::NodeExists`], [`Error::NoNode`] without a parent, or any other.
    pub async fn create(&self, path: &str, data: &[u8], lifetime: Lifetime) -> Result<zk::Stat, Error> {
        let options = lifetime.options();
        let (stat, _sequence) = self.bounded(self.client.create(path, data, &options)).await?;
        Ok(stat)
    }

    /// Creates an empty persistent znode and its missing parents; it may exist already.
    ///
    /// # Errors
    /// Any but [`Error::NodeExists`].
    pub async fn ensure(&self, path: &str) -> Result<(), Error> {
        let options = Lifetime::Persistent.options();
        match self.bounded(self.client.mkdir(path, &options)).await {
            Err(Error::NodeExists) => Ok(()),
            made => made,
        }
    }

    /// Replaces the content of a znode if it has this version; its new stat.
    ///
    /// # Errors
    /// [`Error::BadVersion`], [`Error::NoNode`], or any other.
    pub async fn set(&self, path: &str, data: &[u8], version: i32) -> Result<zk::Stat, Error> {
        self.bounded(self.client.set_data(path, data, Some(version)))
            .await
    }

    /// Deletes a znode, whatever its version.
    ///
    /// # Errors
    /// [`Error::NoNode`], [`Error::NotEmpty`], or any other.
    pub async fn delete(&self, path: &str) -> Result<(), Error> {
        self.bounded(self.client.delete(path, None)).await
    }

    /// Makes all writes or none. The stats of created and changed znodes, in order; `None` for a deletion.
    ///
    /// # Errors
    /// The step that was refused, or the failure of the whole.
    pub async fn multi(&self, writes: &[Write<'_>]) -> Result<Vec<Option<zk::Stat>>, MultiError> {
        let mut writer = self.client.new_multi_writer();
        for (at, write) in writes.iter().enumerate() {
            let added = match *write {
                Write::Create { path, data, lifetime } => writer.add_create(path, data, &lifetime.options()),
                Write::Set { path, data, version } => writer.add_set_data(path, data, Some(version)),
                Write::Delete { path } => writer.add_delete(path, None),
            };
            added.map_err(|refused| MultiError {
                at: Some(at),
                source: refused.into(),
            })?;
        }
        let answer = tokio::time::timeout(self.patience, writer.commit()).await;
        let results = answer.map_err(|_elapsed| MultiError {
            at: None,
            source: self.timed_out(),
        })??;
        let stat = |result| match result {
            zk::MultiWriteResult::Create { stat, .. } | zk::MultiWriteResult::SetData { stat } => Some(stat),
            _ => None,
        };
        Ok(results.into_iter().map(stat).collect())
    }

    /// Makes reads that follow see everything that was written before this call, also through other servers.
    ///
    /// # Errors
    /// Any.
    pub async fn sync(&self, path: &str) -> Result<(), Error> {
        self.bounded(self.client.sync(path)).await
    }

    fn timed_out(&self) -> Error {
        Error::Unknown(Unanswered::TimedOut(self.patience))
    }

    async fn bounded<T>(&self, operation: impl Future<Output = Result<T, zk::Error>>) -> Result<T, Error> {
        match tokio::time::timeout(self.patience, operation).await {
            Ok(answer) => answer.map_err(Error::from),
            Err(_elapsed) => Err(self.timed_out()),
        }
    }
}

fn absent_is_none<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

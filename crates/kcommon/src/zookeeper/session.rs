//! One ZooKeeper session, with an end to the patience of every operation.
//!
//! While the connection is down the client library queues requests without limit and sends them after it is up
//! again; the bound here is each caller's own (few operations at a time, each given up after
//! [`Session::patience`]). Watches are one-shot only: the library loses persistent ones when it reconnects.
//! A watch is a hint, never a record of what changed: read again, and read on a timer too.

mod znode;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{StreamExt, TryStreamExt};
use zookeeper_client as zk;

use super::error::{Error, MultiError, Unanswered};
use super::serving::Serving;
use crate::secret::Secret;
pub use znode::{Lifetime, Node, Watch, Write};

/// How many znodes [`Session::get_many`] reads in one request, or in as many at a time.
const READS_AT_ONCE: usize = 128;

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
    /// Who we are, for znodes that not everybody may read or write.
    pub auth: Option<Auth>,
}

/// A user and a password for the scheme `digest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth(Secret);

impl Auth {
    /// What a file holds: `user:password`, in one line.
    ///
    /// # Errors
    /// Why it cannot be used, without its content.
    pub fn in_file(path: &Path) -> Result<Self, String> {
        let secret = Secret::in_file(&path.display().to_string())?;
        match secret.reveal().split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => Ok(Self(secret)),
            _ => Err(format!("names {}, which holds no user:password", path.display())),
        }
    }
}

/// A session. Clones share it; it is closed, and its ephemeral znodes vanish, when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Session {
    client: zk::Client,
    patience: Duration,
    serving: Serving,
    /// Set once the server has refused to read many in one request: it is older than 3.6.
    reads_singly: Arc<AtomicBool>,
}

impl Session {
    /// Tries each host once; gives up when all have failed, and after the asked session time-out at the latest.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::NoChroot`], and what reading the chroot's znode can give.
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        let session = Self::open(settings, None).await?;
        match session.exists("/").await? {
            Some(_stat) => Ok(session),
            None => Err(Error::NoChroot {
                hosts: settings.hosts.join(","),
                chroot: settings.chroot.clone(),
            }),
        }
    }

    /// Attaches anew to this same session, if the server still has it: its ephemeral znodes live on, whatever this
    /// client believed of its end. This handle and its clones are at an end, whatever the outcome: each of their
    /// operations is answered with [`Error::Expired`]. Call it again after a failure. Tries each host once.
    ///
    /// # Errors
    /// [`Error::Expired`] if the server says that the session has ended; [`Error::Unreachable`] and
    /// [`Error::Unknown`] leave it open.
    pub async fn reattach(&self, settings: &Settings) -> Result<Self, Error> {
        self.serving.abandon();
        let session = Self::open(settings, Some(self.client.session().clone())).await?;
        // The server may be another one, and behind what the former has told us.
        match session.sync("/").await {
            Ok(()) => Ok(session),
            Err(error) => {
                // A dropped client would close the session.
                session.serving.abandon();
                Err(error)
            }
        }
    }

    async fn open(settings: &Settings, former: Option<zk::SessionInfo>) -> Result<Self, Error> {
        let hosts = settings.hosts.join(",");
        let within = settings.session_timeout;
        let cluster = format!("{hosts}{}", settings.chroot);
        // The library's own tries come at growing intervals without limit; the caller's do not.
        let connector = zk::Client::connector()
            .with_session_timeout(within)
            .with_fail_eagerly();
        let connector = match &settings.auth {
            Some(auth) => connector.with_auth("digest", auth.0.reveal().as_bytes()),
            None => connector,
        };
        let connector = match former {
            Some(former) => connector.with_session(former),
            None => connector,
        };
        let serving = Serving::default();
        // The library gives up after the session time-out; the second bound is for what it does before that.
        // On the heap: the library's future is large.
        let connecting = serving.serve(Box::pin(connector.connect(&cluster)));
        let connected = tokio::time::timeout(within * 2, connecting)
            .await
            .unwrap_or(Err(zk::Error::Timeout));
        let client = connected.map_err(|source| match source {
            zk::Error::SessionExpired => Error::Expired,
            source => Error::Unreachable {
                hosts,
                within,
                source,
            },
        })?;
        let patience = (client.session_timeout() / 2).max(LEAST_PATIENCE);
        Ok(Self {
            client,
            patience,
            serving,
            reads_singly: Arc::default(),
        })
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

    /// Waits until this client believes that its session has ended. It says so by its own clock too; only the server
    /// knows, see [`Session::reattach`].
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

    /// Reads many znodes, in the order of `paths`; `None` for each that does not exist. One request for every 128, as
    /// long as the server can do that; not a snapshot of all in any case. For small znodes: an answer has no limit.
    ///
    /// # Errors
    /// The first that is not [`Error::NoNode`].
    pub async fn get_many(&self, paths: &[String]) -> Result<Vec<Option<Node>>, Error> {
        let mut nodes = Vec::with_capacity(paths.len());
        for chunk in paths.chunks(READS_AT_ONCE) {
            let read = self.get_each(chunk).await?;
            nodes.extend(read.into_iter().collect::<Result<Vec<_>, Error>>()?);
        }
        Ok(nodes)
    }

    /// Reads up to 128 znodes at once as [`Session::get_many`] does, and tells of each by itself that the server refused
    /// to show it ([`Error::Refused`]). More paths are read in as large a request as they make.
    ///
    /// # Errors
    /// What concerns all of them: no answer, or the end of the session.
    pub async fn get_each(&self, paths: &[String]) -> Result<Vec<Result<Option<Node>, Error>>, Error> {
        if paths.len() > 1 && !self.reads_singly.load(Ordering::Relaxed) {
            match self.multi_read(paths).await {
                Err(Error::Refused(zk::Error::Unimplemented)) => {
                    self.reads_singly.store(true, Ordering::Relaxed);
                }
                read => return read,
            }
        }
        let reads = paths.iter().map(async |path| match self.get(path).await {
            Err(Error::Refused(refused)) => Ok(Err(Error::Refused(refused))),
            read => read.map(Ok),
        });
        let reads = futures_util::stream::iter(reads.collect::<Vec<_>>()).buffered(READS_AT_ONCE);
        reads.try_collect().await
    }

    async fn multi_read(&self, paths: &[String]) -> Result<Vec<Result<Option<Node>, Error>>, Error> {
        let mut reader = self.client.new_multi_reader();
        for path in paths {
            reader.add_get_data(path)?;
        }
        let results = self.bounded(reader.commit()).await?;
        let node = |result| match result {
            zk::MultiReadResult::Data { data, stat } => Ok(Node { data, stat }),
            zk::MultiReadResult::Error { err } => Err(Error::from(err)),
            // Only data was asked for.
            other => Err(Error::Unknown(Unanswered::Lost(zk::Error::UnexpectedError(
                format!("{other:?}"),
            )))),
        };
        let each = results.into_iter().map(|result| absent_is_none(node(result)));
        Ok(each.collect())
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
        let watch = |watcher| Watch::new(watcher, self.serving.clone());
        absent_is_none(read.map(|(children, watcher)| (children, watch(watcher))))
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
                Write::Overwrite { path, data } => writer.add_set_data(path, data, None),
                Write::Delete { path } => writer.add_delete(path, None),
            };
            added.map_err(|refused| MultiError {
                at: Some(at),
                source: refused.into(),
            })?;
        }
        let failed = |source| MultiError { at: None, source };
        let answer = self.answer(writer.commit()).await.map_err(failed)?;
        let results = answer?;
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

    async fn bounded<T>(&self, operation: impl Future<Output = Result<T, zk::Error>>) -> Result<T, Error> {
        self.answer(operation).await?.map_err(Error::from)
    }

    /// The answer to an operation, if it comes while this handle is good and patience lasts.
    async fn answer<T>(&self, operation: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            // Without its task the library answers by itself, with no better reason than that it does not know.
            biased;
            () = self.serving.abandoned() => Err(Error::Expired),
            answer = operation => Ok(answer),
            () = tokio::time::sleep(self.patience) => Err(Error::Unknown(Unanswered::TimedOut(self.patience))),
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

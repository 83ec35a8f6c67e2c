//! What a session reads and writes: a znode, one step of many, and a watch. It asks no server for anything.

use zookeeper_client as zk;

use crate::zookeeper::serving::Serving;

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

/// One step of [`Session::multi`](super::Session::multi).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    /// Creates a znode; refused with [`Error::NodeExists`](crate::zookeeper::Error::NodeExists) or, without a parent, [`Error::NoNode`](crate::zookeeper::Error::NoNode).
    Create {
        /// The path below the chroot.
        path: &'a str,
        /// Its content.
        data: &'a [u8],
        /// How long it lives.
        lifetime: Lifetime,
    },
    /// Replaces the content if the znode has this version; refused with [`Error::BadVersion`](crate::zookeeper::Error::BadVersion).
    Set {
        /// The path below the chroot.
        path: &'a str,
        /// The new content.
        data: &'a [u8],
        /// The version it must have.
        version: i32,
    },
    /// Replaces the content whatever the version: only beside a step that fences. Refused with [`Error::NoNode`](crate::zookeeper::Error::NoNode).
    Overwrite {
        /// The path below the chroot.
        path: &'a str,
        /// The new content.
        data: &'a [u8],
    },
    /// Deletes a znode that has no children.
    Delete {
        /// The path below the chroot.
        path: &'a str,
    },
}

/// A one-shot watch.
#[derive(Debug)]
pub struct Watch {
    watcher: zk::OneshotWatcher,
    serving: Serving,
}

impl Watch {
    pub(super) fn new(watcher: zk::OneshotWatcher, serving: Serving) -> Self {
        Self { watcher, serving }
    }

    /// Waits until the znode may have changed, or the session or this client of it has ended. Read again in any case.
    ///
    /// # Cancel safety
    /// Dropping the future drops the watch.
    pub async fn changed(self) {
        tokio::select! {
            // The library panics when its task is gone.
            biased;
            () = self.serving.abandoned() => {}
            _event = self.watcher.changed() => {}
        }
    }
}

impl Lifetime {
    pub(super) fn options(self) -> zk::CreateOptions<'static> {
        let mode = match self {
            Self::Persistent => zk::CreateMode::Persistent,
            Self::Ephemeral => zk::CreateMode::Ephemeral,
        };
        // As the classic tools do, who have to read and write the same znodes.
        mode.with_acls(zk::Acls::anyone_all())
    }
}

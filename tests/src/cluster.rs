//! The cluster a test runs against: the shared one from the environment, or one of its own.

mod files;
mod jars;
mod local;
mod process;
pub mod ready;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

pub use files::{CHROOT, Front};
pub use jars::KAFKA_3;
pub use local::{Local, Options};
pub use process::Process;

use crate::{Proxy, paths};

/// The environment variable with the brokers, `host:port` separated by commas.
pub const BROKERS: &str = "KTESTS_BROKERS";
/// The environment variable with ZooKeeper's address and chroot, `host:port/a/b`.
pub const ZOOKEEPER: &str = "KTESTS_ZOOKEEPER";
/// The environment variable with the directory for the clusters that tests start for themselves.
pub const OWN_CLUSTERS: &str = "KTESTS_OWN_CLUSTERS";

/// Addresses of a cluster, wherever it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// `host:port` without the chroot, several separated by commas.
    pub zookeeper: String,
    /// The path below which Kafka keeps its znodes, or "" for none.
    pub chroot: String,
}

impl Cluster {
    /// From a list of brokers and `host:port/chroot`.
    #[must_use]
    pub fn at(brokers: &str, zookeeper: &str) -> Self {
        let (hosts, chroot) = match zookeeper.find('/') {
            Some(slash) => zookeeper.split_at(slash),
            None => (zookeeper, ""),
        };
        Self {
            brokers: brokers.to_owned(),
            zookeeper: hosts.to_owned(),
            chroot: chroot.trim_end_matches('/').to_owned(),
        }
    }

    /// The variables that tell tests about this cluster, as name and value.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [
            (BROKERS, self.brokers.clone()),
            (ZOOKEEPER, format!("{}{}", self.zookeeper, self.chroot)),
        ]
    }
}

/// The shared cluster of a test run.
///
/// # Panics
/// With one line that says how to start one, when the environment names none.
#[must_use]
pub fn cluster() -> Cluster {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (variable(BROKERS), variable(ZOOKEEPER)) {
        (Some(brokers), Some(zookeeper)) => Cluster::at(&brokers, &zookeeper),
        #[expect(
            clippy::panic,
            reason = "a scenario without a cluster must fail, with this one line"
        )]
        _ => panic!("no Kafka to test against: run `cargo xtask test`, which starts one"),
    }
}

/// The directory for the clusters that tests start for themselves; `cargo xtask test` names it and sweeps it at its end.
fn own_clusters() -> PathBuf {
    let named = std::env::var_os(OWN_CLUSTERS).map(PathBuf::from);
    named.unwrap_or_else(|| {
        paths::target()
            .join("test-clusters")
            .join(std::process::id().to_string())
    })
}

/// A private cluster for a test that stops servers. It ends with this handle.
#[derive(Debug)]
pub struct OwnCluster {
    /// None only inside an operation.
    local: Option<Local>,
    /// The addresses, which stay the same over stops and starts.
    pub cluster: Cluster,
    /// The second listeners of its brokers, if they were asked for.
    pub fronts: Vec<Front>,
}

/// Starts a private cluster of one broker, with a small heap.
///
/// # Panics
/// When it cannot be started; the message says why.
pub async fn own_cluster() -> OwnCluster {
    own_cluster_with(Options {
        heap_mb: 512,
        ..Options::default()
    })
    .await
}

/// Starts a private cluster as `options` say.
///
/// # Panics
/// When it cannot be started; the message says why.
pub async fn own_cluster_with(options: Options) -> OwnCluster {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = own_clusters().join(format!("{}-{number}", std::process::id()));
    let local = blocking(move || Local::up(&dir, &options))
        .await
        .expect("a private cluster starts");
    OwnCluster {
        cluster: local.cluster(),
        fronts: local.fronts(),
        local: Some(local),
    }
}

impl OwnCluster {
    /// A proxy before each of its brokers, and the cluster as whoever comes through them sees it.
    ///
    /// # Panics
    /// When a port was taken meanwhile.
    pub async fn through_proxies(&self) -> (Cluster, Vec<Proxy>) {
        let mut proxies = Vec::new();
        for front in &self.fronts {
            let target = format!("127.0.0.1:{}", front.listens);
            proxies.push(Proxy::start_at(front.says, &target).await);
        }
        let addresses: Vec<_> = proxies.iter().map(Proxy::address).collect();
        let cluster = Cluster {
            brokers: addresses.join(","),
            ..self.cluster.clone()
        };
        (cluster, proxies)
    }

    /// Stops ZooKeeper in good order.
    ///
    /// # Errors
    /// It survives.
    pub async fn stop_zookeeper(&mut self) -> Result<()> {
        self.with(Local::stop_zookeeper).await
    }

    /// Starts ZooKeeper again on its data and waits until it answers.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn start_zookeeper(&mut self) -> Result<()> {
        self.with(Local::start_zookeeper).await
    }

    /// Stops the first broker in good order.
    ///
    /// # Errors
    /// It survives.
    pub async fn stop_broker(&mut self) -> Result<()> {
        self.with(|local| local.stop_broker(0)).await
    }

    /// Kills the first broker.
    ///
    /// # Errors
    /// It survives.
    pub async fn kill_broker(&mut self) -> Result<()> {
        self.with(|local| local.kill_broker(0)).await
    }

    /// Kills the broker with this id, the first one's being 0.
    ///
    /// # Errors
    /// It survives.
    pub async fn kill_broker_of_id(&mut self, id: usize) -> Result<()> {
        self.with(move |local| local.kill_broker(id)).await
    }

    /// Stops the broker with this id in good order: it hands over what it leads, and others stop counting on it.
    ///
    /// # Errors
    /// It survives.
    pub async fn stop_broker_of_id(&mut self, id: usize) -> Result<()> {
        self.with(move |local| local.stop_broker(id)).await
    }

    /// Starts the broker with this id again on its data and waits until it answers.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn start_broker_of_id(&mut self, id: usize) -> Result<()> {
        self.with(move |local| local.start_broker(id)).await
    }

    /// Starts the first broker again on its data and waits until it answers.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn start_broker(&mut self) -> Result<()> {
        self.with(|local| local.start_broker(0)).await
    }

    /// The first broker stands still: it takes connections and requests, and answers nothing.
    ///
    /// # Errors
    /// It does not run.
    pub async fn freeze_broker(&mut self) -> Result<()> {
        self.with(|local| local.signal_broker(0, Signal::STOP)).await
    }

    /// The first broker goes on.
    ///
    /// # Errors
    /// It does not run.
    pub async fn thaw_broker(&mut self) -> Result<()> {
        self.with(|local| local.signal_broker(0, Signal::CONT)).await
    }

    async fn with(&mut self, work: impl FnOnce(&mut Local) -> Result<()> + Send + 'static) -> Result<()> {
        let mut local = self.local.take().context("an earlier operation panicked")?;
        let (local, result) = blocking(move || {
            let result = work(&mut local);
            (local, result)
        })
        .await;
        self.local = Some(local);
        result
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        if let Some(local) = self.local.take()
            && let Err(error) = local.down()
        {
            eprintln!("a private cluster is left behind: {error:#}");
        }
    }
}

/// Stops every cluster recorded below `dir`, for a run that was interrupted.
///
/// # Errors
/// One of them survives.
pub fn sweep(dir: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Ok(());
    };
    for entry in entries {
        if let Some(local) = Local::load(&entry?.path())? {
            local.down()?;
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("the work does not panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_chroot_is_split() {
        let cluster = Cluster::at("b:1", "z:1,y:1/mq/test_cluster");
        assert_eq!(
            (cluster.zookeeper.as_str(), cluster.chroot.as_str()),
            ("z:1,y:1", "/mq/test_cluster")
        );
        assert_eq!(Cluster::at("b:1", "z:1").chroot, "");
        assert_eq!(Cluster::at("b:1", "z:1/").chroot, "");
    }
}

//! What every scenario of coordination begins with.

use std::time::Duration;

use kcommon::zookeeper::Settings;
use ktests::{Cluster, NewRecord, Proxy, Znodes, cluster, unique};

use super::instance::{Instance, SESSION, Start};

/// How to reach the ZooKeeper of `cluster`.
pub(super) fn settings(cluster: &Cluster) -> Settings {
    Settings {
        hosts: vec![cluster.zookeeper.clone()],
        chroot: cluster.chroot.clone(),
        session_timeout: SESSION,
        auth: None,
    }
}

/// A topic, a module of the same name, and an operator's view of the znodes.
pub(super) struct Scene {
    pub(super) cluster: Cluster,
    pub(super) name: String,
    pub(super) znodes: Znodes,
}

impl Scene {
    pub(super) async fn new(name: &str, partitions: i32) -> Self {
        let (cluster, name) = (cluster(), unique(name));
        cluster.create_topic(&name, partitions).await.unwrap();
        let znodes = cluster.znodes().await.unwrap();
        Self {
            cluster,
            name,
            znodes,
        }
    }

    pub(super) fn start(&self, member: &'static str) -> Instance {
        Start::new(member, &self.name, &self.name).on(&self.cluster)
    }

    /// An instance that reaches ZooKeeper through the proxy only.
    pub(super) async fn start_behind(&self, member: &'static str, session: Duration) -> (Proxy, Instance) {
        let proxy = Proxy::start(&self.cluster.zookeeper).await;
        let mut start = Start::new(member, &self.name, &self.name);
        start.zookeeper = Some(proxy.address());
        start.session_timeout = session;
        (proxy, start.on(&self.cluster))
    }

    /// What the offset znode of a partition holds.
    pub(super) async fn offset(&self, partition: i32) -> Option<String> {
        self.znodes.get(&self.offset_path(partition)).await.unwrap()
    }

    /// Which member owns a partition.
    pub(super) async fn owner(&self, partition: i32) -> Option<String> {
        self.znodes.get(&self.owner_path(partition)).await.unwrap()
    }

    pub(super) fn path(&self, below: &str) -> String {
        format!("/consumers/{}/{below}", self.name)
    }

    pub(super) fn offset_path(&self, partition: i32) -> String {
        self.path(&format!("offsets/{}/{partition}", self.name))
    }

    pub(super) fn owner_path(&self, partition: i32) -> String {
        self.path(&format!("owners/{}/{partition}", self.name))
    }

    pub(super) fn acks_path(&self, partition: i32) -> String {
        self.path(&format!("acks/{}/{partition}", self.name))
    }

    pub(super) async fn produce(&self, partition: i32, count: usize) {
        let records = (0..count).map(|_| NewRecord::keyed("k", "v").in_partition(partition));
        self.cluster.produce(&self.name, records).await.unwrap();
    }

    pub(super) async fn ids(&self) -> Vec<String> {
        self.znodes
            .children(&self.path("ids"))
            .await
            .unwrap()
            .unwrap_or_default()
    }

    pub(super) async fn owner_count(&self) -> usize {
        self.znodes.owners(&self.name, &self.name).await.unwrap().len()
    }
}

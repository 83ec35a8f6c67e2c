//! What every scenario of coordination begins with.

use ktests::{Cluster, NewRecord, Znodes, cluster, unique};

use super::instance::{Instance, Start};

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

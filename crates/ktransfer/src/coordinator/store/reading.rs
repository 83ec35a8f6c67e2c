//! Reading again what we hold: after a while without a commit, and after the session was attached to anew.

use kcommon::kafka::{CommitOffset, PartitionId};
use kcommon::zookeeper::Error;

use super::{State, Store};
use crate::claims::{Confirmed, Stored};
use crate::coordinator::servers::{Brokers, ZooKeeper};

/// A partition to look at: which look it is, and what to create its offset znode with if that is gone.
pub(crate) type Look = (PartitionId, u64, Option<Vec<u8>>);

impl<Z: ZooKeeper, B: Brokers<Z>> Store<Z, B> {
    /// Whether a partition is ours still, and its offset.
    pub(crate) async fn confirm(&self, partition: PartitionId) -> Confirmed {
        match self.state(partition).await {
            Ok(State { ours: true, offset }) => Confirmed::Ours(offset.as_ref().map(Stored::from)),
            Ok(State { ours: false, .. }) => Confirmed::NotOurs,
            Err(error) => {
                if !matches!(error, Error::Expired) {
                    self.warn(
                        partition,
                        &error,
                        "a claim could not be confirmed; its records wait",
                    );
                }
                Confirmed::Unknown
            }
        }
    }

    /// [`Store::look`] at many, in as few requests as possible.
    pub(crate) async fn look_all(&self, looks: Vec<Look>) -> Vec<(PartitionId, u64, Option<Stored>)> {
        let paths: Vec<String> = looks
            .iter()
            .map(|(partition, ..)| self.offset(*partition))
            .collect();
        let nodes = self.session.get_many(&paths).await.unwrap_or_else(|error| {
            tracing::debug!(module = self.module, %error, "the offsets could not be read");
            Vec::new()
        });
        let mut nodes = nodes.into_iter();
        let mut found = Vec::with_capacity(looks.len());
        for (partition, look, known) in looks {
            let stored = match nodes.next() {
                Some(Some(node)) => Some(Stored::from(&node)),
                Some(None) => self.look(partition, known).await,
                None => None,
            };
            found.push((partition, look, stored));
        }
        found
    }

    /// What the offset znode holds now; one that is gone is created with `known`, or with the log's start.
    async fn look(&self, partition: PartitionId, known: Option<Vec<u8>>) -> Option<Stored> {
        let looked = async {
            if let Some(node) = self.session.get(&self.offset(partition)).await? {
                return Ok(Some(Stored::from(&node)));
            }
            let start = match known {
                Some(bytes) => Some(bytes),
                None => self.log_start(partition).await.map(CommitOffset::to_znode),
            };
            let Some(bytes) = start else { return Ok(None) };
            self.create_offset(partition, &bytes).await?;
            Ok(Some(Stored { bytes, version: 0 }))
        };
        looked.await.unwrap_or_else(|error: Error| {
            tracing::debug!(module = self.module, %partition, %error, "the offset could not be read");
            None
        })
    }
}

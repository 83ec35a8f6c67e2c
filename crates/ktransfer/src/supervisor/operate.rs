//! What operators see of modules and do to them while they run.
//!
//! Who owns what and what is stored is read from ZooKeeper, so that every instance can tell it of all; how a partition stands is told
//! by the module's own thread, for the partitions of this process. A seek is a write of the offset at the version that was read
//! before: the owner, whichever instance it is, adopts it as it adopts every operator's write, and a commit of its own in between
//! makes the write fail, which is then tried again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kcommon::kafka::{CommitOffset, PartitionId, TopicName};
use kcommon::readiness::Readiness;
use kcommon::zookeeper::{self, Node, Session, layout};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::states::{Runs, States};
use super::{Cluster, Shared};
use crate::coordinator;
use crate::dispatcher::Standing;
use crate::watermarks::{LogEnd, WatermarkError};

/// How long a module's thread may take to say how it stands.
const PATIENCE: Duration = Duration::from_secs(2);
/// Tries of a seek between which the owner commits.
const TRIES: usize = 20;

/// A module in the list of all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Its name.
    pub module: String,
    /// Whether its file is right and it runs.
    pub running: bool,
    /// Its topic, while it runs.
    pub topic: Option<String>,
    /// Its cluster, if it has a name.
    pub cluster: Option<String>,
    /// What speaks against its being well, as in `/readyz`.
    pub reasons: Vec<String>,
}

/// A module with its partitions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Detail {
    /// As in the list.
    #[serde(flatten)]
    pub summary: Summary,
    /// The ids of its instances.
    pub members: Vec<String>,
    /// Its partitions that have an offset, by number.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Partition {
    /// Its number.
    pub partition: i32,
    /// The id of its owner.
    pub owner: Option<String>,
    /// The stored offset, the next to deliver; none when the znode holds no number.
    pub stored: Option<i64>,
    /// Where its log ends, if a broker says so.
    pub log_end: Option<i64>,
    /// Records from the stored offset to the end.
    pub lag: Option<i64>,
    /// How it stands in this process, if this is its owner.
    pub standing: Option<Standing>,
}

/// Where a partition is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// At the oldest record that is kept.
    Earliest,
    /// At the next record to be written.
    Latest,
    /// At this offset.
    Offset(i64),
    /// At the first record of this time, in milliseconds since 1970, or after it.
    TimeMs(i64),
}

/// A partition that was moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Its number.
    pub partition: i32,
    /// What was stored before, as it was.
    pub from: String,
    /// The offset that is stored now.
    pub to: i64,
    /// Who owns it and adopts the offset within five seconds; none: whoever claims it begins there.
    pub owner: Option<String>,
}

/// Why an operator's wish is not done.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// There is no such module here.
    #[error("no module {0} is enabled in this process")]
    Unknown(String),
    /// It does not run here.
    #[error("module {0} does not run in this process; /readyz says why")]
    NotRunning(String),
    /// It would do harm, or nothing.
    #[error("{0}")]
    Refused(String),
    /// ZooKeeper or Kafka is away.
    #[error("{0}; try again later")]
    Away(String),
}

impl From<zookeeper::Error> for OperateError {
    fn from(error: zookeeper::Error) -> Self {
        Self::Away(format!("ZooKeeper: {error}"))
    }
}

impl From<WatermarkError> for OperateError {
    fn from(error: WatermarkError) -> Self {
        Self::Away(kcommon::daemon::Failure::from_error(&error).to_string())
    }
}

/// An operator's hand in this process.
#[derive(Clone)]
pub struct Operator {
    states: States,
    clusters: Arc<BTreeMap<Option<String>, Cluster>>,
    readiness: Readiness,
}

/// A module that runs, and the session of its cluster.
struct Found {
    summary: Summary,
    topic: TopicName,
    runs: Runs,
    cluster: Cluster,
    session: Session,
}

impl Operator {
    pub(super) fn new(shared: &Shared) -> Self {
        Self {
            states: shared.states.clone(),
            clusters: Arc::clone(&shared.clusters),
            readiness: shared.readiness.clone(),
        }
    }

    /// All modules of this process, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Summary> {
        let modules = self.states.all();
        modules
            .into_iter()
            .map(|(name, runs)| self.summary(name, runs.as_ref()))
            .collect()
    }

    fn summary(&self, module: String, runs: Option<&Runs>) -> Summary {
        let (whole, part) = (format!("module {module}"), format!("module {module} "));
        let reasons = self.readiness.reasons().into_iter();
        let ours = reasons.filter(|(name, _)| *name == whole || name.starts_with(&part));
        Summary {
            running: runs.is_some(),
            topic: runs.map(|runs| runs.topic.to_string()),
            cluster: runs.and_then(|runs| runs.cluster.clone()),
            reasons: ours.map(|(name, reason)| format!("{name}: {reason}")).collect(),
            module,
        }
    }

    fn find(&self, module: &str) -> Result<Found, OperateError> {
        let runs = self.states.all().remove(module);
        let runs = runs.ok_or_else(|| OperateError::Unknown(module.to_owned()))?;
        let runs = runs.ok_or_else(|| OperateError::NotRunning(module.to_owned()))?;
        let cluster = self.clusters.get(&runs.cluster).cloned();
        let mut cluster = cluster.ok_or_else(|| OperateError::NotRunning(module.to_owned()))?;
        let session = cluster.process.sessions.current();
        Ok(Found {
            summary: self.summary(module.to_owned(), Some(&runs)),
            topic: runs.topic.clone(),
            session: session.ok_or_else(|| OperateError::Away("there is no ZooKeeper session".to_owned()))?,
            runs,
            cluster,
        })
    }

    /// A module with its partitions, those of other instances too.
    ///
    /// # Errors
    /// It is unknown or does not run here, or ZooKeeper is away. Without Kafka the lags are missing.
    pub async fn show(&self, module: &str) -> Result<Detail, OperateError> {
        let found = self.find(module)?;
        let (members, _classic) = found.members().await?;
        let partitions = found.partitions().await?;
        let offsets = found.read(&partitions, layout::offset).await?;
        let owners = found.read(&partitions, layout::owner).await?;
        let watermarks = &found.cluster.process.watermarks;
        let ends = watermarks
            .offsets(&found.session, &found.topic, &partitions, LogEnd::End)
            .await
            .ok();
        let standings = found.standings().await;
        let partitions = partitions.iter().enumerate().map(|(nth, partition)| {
            let stored = offsets[nth]
                .as_ref()
                .and_then(|node| CommitOffset::from_znode(&node.data).ok());
            let log_end = ends.as_ref().and_then(|ends| ends.get(nth)).map(|end| end.get());
            Partition {
                partition: partition.0,
                owner: owners[nth].as_ref().map(text),
                stored: stored.map(CommitOffset::get),
                log_end,
                lag: log_end
                    .zip(stored)
                    .map(|(end, stored)| (end - stored.get()).max(0)),
                standing: standings
                    .iter()
                    .find(|standing| standing.partition == partition.0)
                    .cloned(),
            }
        });
        Ok(Detail {
            partitions: partitions.collect(),
            summary: found.summary,
            members,
        })
    }

    /// Lets a partition, or all of them, go on elsewhere, on whichever instance owns them.
    ///
    /// # Errors
    /// As [`Operator::show`], and [`OperateError::Refused`] beside classic members, which would write over it, and for an offset
    /// that the log does not have.
    pub async fn seek(
        &self,
        module: &str,
        partition: Option<PartitionId>,
        to: To,
    ) -> Result<Vec<Moved>, OperateError> {
        let found = self.find(module)?;
        if found.members().await?.1 {
            return Err(OperateError::Refused(
                "a classic member is in the group, which would write its own offset again: stop it first"
                    .to_owned(),
            ));
        }
        let mut partitions = found.partitions().await?;
        if let Some(partition) = partition {
            if !partitions.contains(&partition) {
                return Err(OperateError::Refused(format!(
                    "partition {partition} has no stored offset"
                )));
            }
            partitions = vec![partition];
        }
        let targets = found.targets(&partitions, to).await?;
        let mut moved = Vec::with_capacity(partitions.len());
        for (partition, target) in partitions.into_iter().zip(targets) {
            let done = found.write(partition, target).await?;
            tracing::info!(
                command = "seek",
                module,
                partition = done.partition,
                from = done.from,
                to = done.to,
                owner = done.owner,
                "operator command"
            );
            moved.push(done);
        }
        Ok(moved)
    }
}

impl Found {
    /// The ids of all members, and whether one of them is classic.
    async fn members(&self) -> Result<(Vec<String>, bool), OperateError> {
        let module = &self.summary.module;
        let mut ids = self
            .session
            .children(&layout::ids(module))
            .await?
            .unwrap_or_default();
        ids.sort();
        let paths: Vec<String> = ids.iter().map(|id| layout::id(module, id)).collect();
        let nodes = self.session.get_many(&paths).await?;
        let classic = |node: &Node| coordinator::is_classic(&node.data, &self.topic);
        Ok((ids, nodes.iter().flatten().any(classic)))
    }

    /// The partitions that have an offset, in order.
    async fn partitions(&self) -> Result<Vec<PartitionId>, OperateError> {
        let path = layout::offsets(&self.summary.module, self.topic.as_str());
        let children = self.session.children(&path).await?.unwrap_or_default();
        let mut partitions: Vec<_> = children
            .iter()
            .filter_map(|child| layout::partition_of(child))
            .collect();
        partitions.sort_unstable();
        Ok(partitions)
    }

    async fn read(
        &self,
        partitions: &[PartitionId],
        path: fn(&str, &str, PartitionId) -> String,
    ) -> Result<Vec<Option<Node>>, OperateError> {
        let (module, topic) = (&self.summary.module, self.topic.as_str());
        let paths: Vec<String> = partitions
            .iter()
            .map(|partition| path(module, topic, *partition))
            .collect();
        Ok(self.session.get_many(&paths).await?)
    }

    /// How the partitions of this process stand; empty when the module's thread does not say.
    async fn standings(&self) -> Vec<Standing> {
        let (answer, standings) = oneshot::channel();
        if self.runs.questions.try_send(answer).is_err() {
            return Vec::new();
        }
        let standings = tokio::time::timeout(PATIENCE, standings).await;
        standings.ok().and_then(Result::ok).unwrap_or_default()
    }

    async fn targets(&self, partitions: &[PartitionId], to: To) -> Result<Vec<CommitOffset>, OperateError> {
        let watermarks = &self.cluster.process.watermarks;
        let ends = async |end| {
            watermarks
                .offsets(&self.session, &self.topic, partitions, end)
                .await
        };
        Ok(match to {
            To::Earliest => ends(LogEnd::Start).await?,
            To::Latest => ends(LogEnd::End).await?,
            To::TimeMs(time) => {
                watermarks
                    .at_time(&self.session, &self.topic, partitions, time)
                    .await?
            }
            To::Offset(offset) => {
                let (first, last) = (ends(LogEnd::Start).await?, ends(LogEnd::End).await?);
                let outside = first
                    .iter()
                    .zip(&last)
                    .zip(partitions)
                    .find(|((first, last), _)| offset < first.get() || offset > last.get());
                if let Some(((first, last), partition)) = outside {
                    return Err(OperateError::Refused(format!(
                        "offset {offset} is not in the log of partition {partition}; allowed: {first} to {last}"
                    )));
                }
                let offset = CommitOffset::try_from(offset)
                    .map_err(|error| OperateError::Refused(error.to_string()))?;
                vec![offset; partitions.len()]
            }
        })
    }

    /// Writes the offset of a partition, whatever its owner commits meanwhile.
    async fn write(&self, partition: PartitionId, to: CommitOffset) -> Result<Moved, OperateError> {
        let (module, topic) = (&self.summary.module, self.topic.as_str());
        let path = layout::offset(module, topic, partition);
        for _ in 0..TRIES {
            self.session.sync(&path).await?;
            let Some(node) = self.session.get(&path).await? else {
                return Err(OperateError::Refused(format!(
                    "partition {partition} has no stored offset any more"
                )));
            };
            match self.session.set(&path, &to.to_znode(), node.stat.version).await {
                Ok(_stat) => {
                    let owner = self.session.get(&layout::owner(module, topic, partition)).await?;
                    return Ok(Moved {
                        partition: partition.0,
                        from: text(&node),
                        to: to.get(),
                        owner: owner.as_ref().map(text),
                    });
                }
                Err(zookeeper::Error::BadVersion) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(OperateError::Away(format!(
            "the owner of partition {partition} commits faster than it can be moved"
        )))
    }
}

fn text(node: &Node) -> String {
    String::from_utf8_lossy(&node.data).trim().to_owned()
}

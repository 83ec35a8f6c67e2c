//! One round: what ZooKeeper holds, then what Kafka says, then the lag of every partition of a cluster.
//!
//! The order is the point: commits first, log starts second, log ends last. A round fails only when ZooKeeper does not
//! answer; everything else that is wrong leaves a partition, a module or Kafka's part of the numbers unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kcommon::kafka::raw::groups::Group;
use kcommon::zookeeper::{self, Error, Session};
use tokio::time::Instant;

use crate::config::Cluster;
use crate::follow::Wanted;
use crate::groups;
use crate::logs::{Logs, Read};
use crate::members::Roll;
use crate::module::{Module, OffsetNode, Offsets};
use crate::snapshot::{Found, Snapshot};
use crate::topics::{TopicPartition, Topics};
use crate::tree::{self, Tree};

/// What is kept from round to round: the connections, and the parts that are read less often than offsets.
#[derive(Debug)]
pub(crate) struct Sources {
    cluster: Cluster,
    tree_interval: Duration,
    session: Option<Session>,
    logs: Option<Logs>,
    tree: Option<Tree>,
    /// When the tree and the metadata were read.
    refreshed: Option<Instant>,
    roll: Roll,
    /// [`Topics::default`] until Kafka has told once.
    topics: Topics,
    /// The topics that these metadata are about.
    asked: BTreeSet<String>,
    /// The names of Kafka's groups when they were last told.
    groups: BTreeSet<String>,
    /// Whether the last round got everything from Kafka that it asked for.
    kafka_was_up: bool,
}

/// The numbers of a round.
#[derive(Debug)]
pub(crate) struct Round {
    /// The lags.
    pub(crate) snapshot: Snapshot,
    /// What was wrong with Kafka's part of them.
    pub(crate) kafka: Result<(), KafkaTrouble>,
    /// The offset znodes that hold no offset, as module, topic and partition.
    pub(crate) garbage: BTreeSet<(String, String, i32)>,
    /// Children in the tree that are no topic or partition, in its last scan.
    pub(crate) stray: u64,
}

/// Why a round ended without numbers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// ZooKeeper does not answer, the session has ended, or the chroot is missing.
    #[error(transparent)]
    ZooKeeper(#[from] Error),
    /// No session was made in time.
    #[error("no ZooKeeper session within {0:?}: check zk_hosts and zk_connect_timeout_ms")]
    ConnectTimeout(Duration),
    /// The round took too long as a whole.
    #[error("the round took longer than {0:?}")]
    RoundTimeout(Duration),
}

/// Why numbers of Kafka are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KafkaTrouble {
    /// Nobody is registered, and the file names nobody.
    #[error("no usable broker is registered in ZooKeeper: start one, or set broker_hosts")]
    NoBroker,
    /// The addresses are refused by the client library.
    #[error("the broker addresses cannot be used: check broker_hosts")]
    BadAddress,
    /// No broker answered a metadata request.
    #[error("no broker answers")]
    NoAnswer,
    /// Some broker does not tell its groups.
    #[error("some broker does not tell its consumer groups")]
    Groups,
    /// Some partitions with a leader were not answered for.
    #[error("some partitions' log ends are not told")]
    Incomplete,
}

impl Sources {
    /// Nothing connected and nothing read yet.
    #[must_use]
    pub(crate) fn new(cluster: Cluster, tree_interval: Duration) -> Self {
        Self {
            cluster,
            tree_interval,
            session: None,
            logs: None,
            tree: None,
            refreshed: None,
            roll: Roll::default(),
            topics: Topics::default(),
            asked: BTreeSet::new(),
            groups: BTreeSet::new(),
            kafka_was_up: false,
        }
    }

    /// Gives up the session and what was read through it. A session that is alive and does not answer is no better than
    /// one that has ended.
    pub(crate) fn forget_zookeeper(&mut self) {
        self.session = None;
        self.tree = None;
        self.roll.forget();
    }

    /// Makes a round. It may be dropped at any time.
    ///
    /// # Errors
    /// ZooKeeper could not be read; call [`Sources::forget_zookeeper`] before the next round.
    pub(crate) async fn round(&mut self) -> Result<Round, Failed> {
        let due = self.is_due();
        let session = match self.cluster.zookeeper.clone() {
            Some(settings) => Some(self.session(&settings).await?),
            None => None,
        };
        if let Some(session) = &session {
            self.scan(session, due).await?;
        }
        let due = due || !self.kafka_was_up;
        let mut kafka = Ok(());
        if due {
            kafka = self.refresh_client(session.as_ref()).await?;
        }
        let groups = self.groups().await;
        kafka = kafka.and(groups.as_ref().map(|_| ()).map_err(|error| *error));
        let groups = self.known_groups(groups.ok());
        if due
            || groups
                .values()
                .flatten()
                .any(|found| !self.knows_topics_of(found))
        {
            kafka = kafka.and(self.refresh_topics(&groups).await);
        }
        let mut found = match &session {
            Some(session) => self.found(session).await?,
            None => BTreeMap::new(),
        };
        found.extend(groups);
        let wanted = found
            .values()
            .flatten()
            .flat_map(|found| found.logs(&self.topics))
            .collect();
        let read = match &self.logs {
            Some(logs) => logs.read(&self.topics, &wanted).await,
            None => Read::default(),
        };
        if kafka.is_ok() && !read.complete {
            kafka = Err(KafkaTrouble::Incomplete);
        }
        self.kafka_was_up = kafka.is_ok();
        Ok(self.finish(found, &read, kafka))
    }

    /// Whether the parts that are read less often are to be read in this round.
    fn is_due(&mut self) -> bool {
        let missing = self.tree.is_none() && self.cluster.zookeeper.is_some();
        let old = |at: Instant| at.elapsed() >= self.tree_interval;
        let due = missing || self.refreshed.is_none_or(old);
        if due {
            self.refreshed = Some(Instant::now());
        }
        due
    }

    async fn scan(&mut self, session: &Session, due: bool) -> Result<(), Failed> {
        if due {
            self.tree = Some(tree::scan(session).await?);
            self.roll.forget();
        }
        if let Some(tree) = &mut self.tree {
            self.roll.refresh(session, &mut tree.modules).await?;
        }
        Ok(())
    }

    /// Kafka's own groups as far as they are asked for.
    async fn groups(&self) -> Result<BTreeMap<String, Group>, KafkaTrouble> {
        match &self.logs {
            Some(logs) if self.cluster.kafka_groups => logs.groups().await.map_err(|error| {
                tracing::debug!(cluster = self.cluster.name, %error, "groups are not told");
                KafkaTrouble::Groups
            }),
            _ => Ok(BTreeMap::new()),
        }
    }

    /// The groups under the names under which they are shown. While nobody tells of any, those that were known before cannot
    /// be read, which is not the same as gone.
    fn known_groups(&mut self, told: Option<BTreeMap<String, Group>>) -> BTreeMap<String, Option<Found>> {
        let Some(told) = told else {
            return self.groups.iter().map(|name| (name.clone(), None)).collect();
        };
        let modules = self.tree.iter().flat_map(|tree| tree.modules.keys());
        let modules: BTreeSet<&str> = modules.map(String::as_str).collect();
        let shown =
            |(name, group): (&String, &Group)| (groups::shown_as(name, &modules), groups::found(group));
        let found: BTreeMap<String, Option<Found>> = told.iter().map(shown).collect();
        self.groups = found.keys().cloned().collect();
        found
    }

    fn knows_topics_of(&self, found: &Found) -> bool {
        found.module.subscribed.is_subset(&self.asked)
    }

    /// When the wanted records were written, in Unix time in milliseconds, as far as Kafka tells in time; the others are
    /// missing.
    pub(crate) async fn written(&self, wanted: Vec<Wanted>) -> Vec<(Wanted, i64)> {
        let Some(logs) = &self.logs else {
            return Vec::new();
        };
        let key = |one: &Wanted| TopicPartition {
            topic: one.topic.to_string(),
            partition: one.partition,
        };
        let asked = wanted.iter().map(|one| (key(one), (one.offset, one.before_ms)));
        let told = logs.written(&self.topics, asked.collect()).await;
        let known = wanted.into_iter().filter_map(|one| {
            let written_ms = *told.get(&key(&one))?;
            Some((one, written_ms))
        });
        known.collect()
    }

    fn finish(
        &self,
        found: BTreeMap<String, Option<Found>>,
        read: &Read,
        kafka: Result<(), KafkaTrouble>,
    ) -> Round {
        let garbage = garbage(&found);
        let facts = |found: Found| found.facts(&self.topics, &read.ranges);
        let modules = found.into_iter().map(|(name, found)| (name, found.map(facts)));
        Round {
            snapshot: Snapshot {
                modules: modules.collect(),
            },
            kafka,
            garbage,
            stray: self.tree.as_ref().map_or(0, |tree| tree.stray),
        }
    }

    async fn session(&mut self, settings: &zookeeper::Settings) -> Result<Session, Failed> {
        if let Some(session) = &self.session
            && !session.is_expired()
        {
            return Ok(session.clone());
        }
        self.forget_zookeeper();
        let within = self.cluster.connect_timeout;
        let connected = tokio::time::timeout(within, Session::connect(settings)).await;
        let session = connected.map_err(|_elapsed| Failed::ConnectTimeout(within))??;
        tracing::info!(cluster = self.cluster.name, "zookeeper session made");
        self.session = Some(session.clone());
        Ok(session)
    }

    /// Makes the Kafka client, or another one when the brokers it knows fail and others are registered.
    async fn refresh_client(
        &mut self,
        session: Option<&Session>,
    ) -> Result<Result<(), KafkaTrouble>, Failed> {
        let brokers = match session {
            Some(session) if self.cluster.broker_hosts.is_empty() => zookeeper::brokers(session).await?,
            _ => self.cluster.broker_hosts.clone(),
        };
        if let Some(logs) = &self.logs
            && (self.kafka_was_up || brokers.is_empty() || logs.brokers() == brokers)
        {
            return Ok(Ok(()));
        }
        if brokers.is_empty() {
            return Ok(Err(KafkaTrouble::NoBroker));
        }
        match Logs::new(brokers, &self.cluster.options) {
            Ok(logs) => {
                self.logs = Some(logs);
                Ok(Ok(()))
            }
            Err(error) => {
                tracing::debug!(cluster = self.cluster.name, %error, "kafka client cannot be made");
                Ok(Err(KafkaTrouble::BadAddress))
            }
        }
    }

    /// Reads Kafka's metadata of the topics in the tree and of the groups. When nobody answers, the earlier ones stay.
    async fn refresh_topics(&mut self, groups: &BTreeMap<String, Option<Found>>) -> Result<(), KafkaTrouble> {
        let Some(logs) = &self.logs else {
            return Ok(());
        };
        let of_tree = self.tree.iter().flat_map(|tree| tree.modules.values().flatten());
        let of_groups = groups.values().flatten().map(|found| &found.module);
        let modules = of_tree.chain(of_groups);
        let interest = modules.flat_map(|module| module.subscribed.iter().chain(module.offsets.keys()));
        let interest: BTreeSet<String> = interest.cloned().collect();
        match logs.topics(interest.clone()).await {
            Ok(topics) => {
                self.topics = topics;
                self.asked = interest;
                Ok(())
            }
            Err(error) => {
                tracing::debug!(cluster = self.cluster.name, %error, "metadata are not told");
                Err(KafkaTrouble::NoAnswer)
            }
        }
    }

    /// Reads every offset that counts.
    async fn found(&self, session: &Session) -> Result<BTreeMap<String, Option<Found>>, Failed> {
        let Some(tree) = &self.tree else {
            return Ok(BTreeMap::new());
        };
        let named = |(name, module): (&String, &Option<Module>)| {
            let wanted = module
                .as_ref()
                .map(|module| module.to_read(&self.topics))
                .unwrap_or_default();
            let name = name.clone();
            wanted
                .into_iter()
                .map(move |(topic, partition)| (name.clone(), topic, partition))
        };
        let wanted: Vec<_> = tree.modules.iter().flat_map(named).collect();
        let mut offsets = tree::offsets(session, &wanted).await?;
        let found = tree.modules.iter().map(|(name, module)| {
            let offsets: Offsets = offsets.remove(name).unwrap_or_default();
            let found = module.clone().map(|module| Found {
                module,
                offsets,
                owners: self.roll.owners_of(name),
            });
            (name.clone(), found)
        });
        Ok(found.collect())
    }
}

fn garbage(found: &BTreeMap<String, Option<Found>>) -> BTreeSet<(String, String, i32)> {
    let mut garbage = BTreeSet::new();
    for (name, found) in found {
        let topics = found.iter().flat_map(|found| &found.offsets);
        for (topic, nodes) in topics {
            let bad = nodes
                .iter()
                .filter(|(_, node)| matches!(node, OffsetNode::Garbage { .. }));
            garbage.extend(bad.map(|(partition, _)| (name.clone(), topic.clone(), *partition)));
        }
    }
    garbage
}

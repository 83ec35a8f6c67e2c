//! Reading the tree of modules and their offsets. Reads only, sets no watch.
//!
//! Polling is deliberate: a busy module writes every offset in each interval anyway, and watches multiply, get lost and
//! have to be set again after each reconnect. What one znode holds or lacks concerns its module only; an answer that
//! does not come ends the reading, because the next one would not come either.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use kcommon::kafka::{CommitOffset, PartitionId, TopicName};
use kcommon::zookeeper::{Error, Node, Session, layout};

use crate::module::{Module, OffsetNode, Offsets};
use crate::subscription;

/// Requests on the wire at a time.
const IN_FLIGHT: usize = 128;

/// Instances whose registrations are read; a module with more is judged by these.
const MAX_INSTANCES: usize = 1000;

/// What a scan found.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// By name; `None` for a module whose znodes the server refused to show.
    pub(crate) modules: BTreeMap<String, Option<Module>>,
    /// Children that are no topic or no partition. They are passed over.
    pub(crate) stray: u64,
}

/// Lists all modules with their topics, partitions and live subscriptions.
///
/// # Errors
/// ZooKeeper does not answer, or the session has ended.
pub(crate) async fn scan(session: &Session) -> Result<Tree, Error> {
    let names = session.children(layout::consumers()).await?.unwrap_or_default();
    let scans = names.into_iter().map(async |name| {
        let found = refused_is_none(module(session, &name).await)?;
        Ok::<_, Error>((name, found))
    });
    // A module takes several requests at a time.
    let mut found = stream::iter(scans.collect::<Vec<_>>()).buffer_unordered(IN_FLIGHT / 4);
    let mut tree = Tree::default();
    while let Some((name, scanned)) = found.try_next().await? {
        let module = scanned.map(|(module, stray)| {
            tree.stray += stray;
            module
        });
        tree.modules.insert(name, module);
    }
    Ok(tree)
}

async fn module(session: &Session, name: &str) -> Result<(Module, u64), Error> {
    let subscribed = subscriptions(session, name).await?;
    let mut stray = 0;
    let mut offsets = BTreeMap::new();
    let directory = format!("{}/offsets", layout::group(name));
    for topic in session.children(&directory).await?.unwrap_or_default() {
        if TopicName::check(&topic).is_err() {
            stray += 1;
            continue;
        }
        let children = session.children(&layout::offsets(name, &topic)).await?;
        let children = children.unwrap_or_default();
        let partitions: BTreeSet<i32> = children
            .iter()
            .filter_map(|child| layout::partition_of(child))
            .map(|partition| partition.0)
            .collect();
        stray += (children.len() - partitions.len()) as u64;
        offsets.insert(topic, partitions);
    }
    Ok((Module { subscribed, offsets }, stray))
}

/// The topics that live instances name. An instance that ends meanwhile, or whose znode is garbage, names none.
async fn subscriptions(session: &Session, module: &str) -> Result<BTreeSet<String>, Error> {
    let mut topics = BTreeSet::new();
    let instances = session.children(&layout::ids(module)).await?.unwrap_or_default();
    for instance in instances.iter().take(MAX_INSTANCES) {
        let registration = session.get(&layout::id(module, instance)).await?;
        if let Some(Node { data, .. }) = registration {
            topics.extend(subscription::topics(&data));
        }
    }
    Ok(topics)
}

/// Reads offset znodes. `wanted` names each by module, topic and partition.
///
/// # Errors
/// ZooKeeper does not answer, or the session has ended.
pub(crate) async fn offsets(
    session: &Session,
    wanted: Vec<(String, String, i32)>,
) -> Result<BTreeMap<String, Offsets>, Error> {
    let reads = wanted.into_iter().map(async |(module, topic, partition)| {
        let path = layout::offset(&module, &topic, PartitionId(partition));
        // Parsed here, so that a znode of a megabyte is gone before the next ones arrive.
        let node = match session.get(&path).await {
            Ok(None) => OffsetNode::Absent,
            Ok(Some(node)) => judge(&path, &node),
            Err(Error::Refused(error)) => {
                tracing::debug!(znode = path, %error, "offset cannot be read");
                OffsetNode::Failed
            }
            Err(error) => return Err(error),
        };
        Ok((module, topic, partition, node))
    });
    let mut found = stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(IN_FLIGHT);
    let mut by_module: BTreeMap<String, Offsets> = BTreeMap::new();
    while let Some((module, topic, partition, node)) = found.try_next().await? {
        let of_module = by_module.entry(module).or_default();
        of_module.entry(topic).or_default().insert(partition, node);
    }
    Ok(by_module)
}

fn judge(path: &str, node: &Node) -> OffsetNode {
    let changed_ms = node.stat.mtime;
    match CommitOffset::from_znode(&node.data) {
        Ok(committed) => OffsetNode::Offset {
            committed,
            changed_ms,
        },
        Err(error) => {
            tracing::debug!(znode = path, %error, "znode holds no offset");
            OffsetNode::Garbage { changed_ms }
        }
    }
}

fn refused_is_none<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(Error::Refused(_) | Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

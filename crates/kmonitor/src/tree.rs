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

/// Requests on the wire at a time.
const IN_FLIGHT: usize = 32;

/// Znodes that are read in one request.
pub(crate) const READS_AT_ONCE: usize = 128;

/// What a scan found.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// By name; `None` for a module whose znodes the server refused to show.
    pub(crate) modules: BTreeMap<String, Option<Module>>,
    /// Children that are no topic or no partition. They are passed over.
    pub(crate) stray: u64,
}

/// Lists all modules with the topics and partitions that they have committed in; who runs them is for
/// [`crate::members`].
///
/// # Errors
/// ZooKeeper does not answer, or the session has ended.
pub(crate) async fn scan(session: &Session) -> Result<Tree, Error> {
    let names = session.children(layout::consumers()).await?.unwrap_or_default();
    let scans = names.into_iter().map(async |name| {
        let found = refused_is_none(module(session, &name).await)?;
        Ok::<_, Error>((name, found))
    });
    let mut found = stream::iter(scans.collect::<Vec<_>>()).buffer_unordered(IN_FLIGHT);
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
    let mut stray = 0;
    let mut module = Module::default();
    let directory = format!("{}/offsets", layout::group(name));
    for topic in session.children(&directory).await?.unwrap_or_default() {
        if TopicName::check(&topic).is_err() {
            stray += 1;
            continue;
        }
        let children = session.children(&layout::offsets(name, &topic)).await?;
        let children = children.unwrap_or_default();
        let partitions = partitions(&children);
        stray += (children.len() - partitions.len()) as u64;
        module.offsets.insert(topic, partitions);
    }
    Ok((module, stray))
}

/// The partitions among the names of znodes.
#[must_use]
pub(crate) fn partitions(children: &[String]) -> BTreeSet<i32> {
    let known = children.iter().filter_map(|child| layout::partition_of(child));
    known.map(|partition| partition.0).collect()
}

/// Reads offset znodes. `wanted` names each by module, topic and partition.
///
/// # Errors
/// ZooKeeper does not answer, or the session has ended.
pub(crate) async fn offsets(
    session: &Session,
    wanted: &[(String, String, i32)],
) -> Result<BTreeMap<String, Offsets>, Error> {
    let mut by_module: BTreeMap<String, Offsets> = BTreeMap::new();
    let path = |(module, topic, partition): &(String, String, i32)| {
        layout::offset(module, topic, PartitionId(*partition))
    };
    for chunk in wanted.chunks(READS_AT_ONCE) {
        let paths: Vec<String> = chunk.iter().map(path).collect();
        let read = session.get_each(&paths).await?;
        // Parsed here, so that znodes of a megabyte are gone before the next ones arrive.
        for (((module, topic, partition), path), node) in chunk.iter().zip(&paths).zip(read) {
            let node = match node {
                Ok(None) => OffsetNode::Absent,
                Ok(Some(node)) => judge(path, &node),
                Err(error) => {
                    tracing::debug!(znode = path, %error, "offset cannot be read");
                    OffsetNode::Failed
                }
            };
            let of_module = by_module.entry(module.clone()).or_default();
            of_module
                .entry(topic.clone())
                .or_default()
                .insert(*partition, node);
        }
    }
    Ok(by_module)
}

fn judge(path: &str, node: &Node) -> OffsetNode {
    let changed_ms = node.stat.mtime;
    match CommitOffset::from_znode(&node.data) {
        Ok(committed) => OffsetNode::Offset {
            committed,
            changed_ms: Some(changed_ms),
        },
        Err(error) => {
            tracing::debug!(znode = path, %error, "znode holds no offset");
            OffsetNode::Garbage { changed_ms }
        }
    }
}

/// What the server does not show concerns that part alone.
///
/// # Errors
/// Any other.
pub(crate) fn refused_is_none<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(Error::Refused(_) | Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

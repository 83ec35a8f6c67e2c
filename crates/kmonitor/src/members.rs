//! Who runs the modules: live instances, what they subscribe to, and which partitions they own. Reads only, sets no watch.
//!
//! Instances come and go within seconds, so this is looked at in every round; but one small read for each directory tells by
//! its stamp whether anything in it came or went, and only then is it read. A whole reading is due with each scan of the tree.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use kcommon::kafka::PartitionId;
use kcommon::zookeeper::{Error, Node, Session, layout};

use crate::module::{Module, Owners};
use crate::subscription;
use crate::tree;

/// Requests on the wire at a time.
const IN_FLIGHT: usize = 64;

/// Instances whose registrations are read; a module with more is judged by these.
const MAX_INSTANCES: usize = 1000;

/// The longest id of an instance, in bytes; the rest of a longer one is cut off.
const MAX_ID: usize = 300;

/// Who owns each partition of a topic.
type Owned = BTreeMap<i32, Arc<str>>;

/// What is known about the members of one module.
#[derive(Clone, Debug, Default)]
struct Members {
    /// The stamp under which the instances were read; `None` if there is no such directory.
    stamp: Option<i64>,
    instances: BTreeSet<String>,
    subscribed: BTreeSet<String>,
    /// By topic, each with the stamp under which they were read.
    owners: HashMap<String, (Option<i64>, Owned)>,
}

/// The members of all modules of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    modules: HashMap<String, Members>,
}

impl Roll {
    /// Everything is read anew at the next [`Roll::refresh`].
    pub(crate) fn forget(&mut self) {
        self.modules.clear();
    }

    /// Brings `modules` up to date. A module whose znodes the server refuses to show becomes `None`.
    ///
    /// # Errors
    /// ZooKeeper does not answer, or the session has ended.
    pub(crate) async fn refresh(
        &mut self,
        session: &Session,
        modules: &mut BTreeMap<String, Option<Module>>,
    ) -> Result<(), Error> {
        self.modules.retain(|name, _| modules.contains_key(name));
        self.instances(session, modules).await?;
        for (name, module) in modules.iter_mut() {
            if let (Some(module), Some(members)) = (module, self.modules.get(name)) {
                module.instances.clone_from(&members.instances);
                module.subscribed.clone_from(&members.subscribed);
            }
        }
        self.owners(session, modules).await
    }

    /// Who owns what in a module.
    #[must_use]
    pub(crate) fn owners_of(&self, module: &str) -> Owners {
        let members = self.modules.get(module);
        let topics = members.iter().flat_map(|members| &members.owners);
        topics
            .map(|(topic, (_stamp, owners))| (topic.clone(), owners.clone()))
            .collect()
    }

    async fn instances(
        &mut self,
        session: &Session,
        modules: &mut BTreeMap<String, Option<Module>>,
    ) -> Result<(), Error> {
        let present = modules.iter().filter(|(_, module)| module.is_some());
        let names: Vec<String> = present.map(|(name, _)| name.clone()).collect();
        let stamps = stamps(session, names.iter().map(|name| layout::ids(name)).collect()).await?;
        let changed = names.into_iter().zip(stamps).filter(|(name, stamp)| {
            let known = self.modules.get(name);
            known.is_none_or(|known| known.stamp != *stamp)
        });
        let reads = changed.map(async |(name, stamp)| {
            let read = match stamp {
                Some(_) => tree::refused_is_none(instances(session, &name).await)?,
                None => Some(Members::default()),
            };
            Ok::<_, Error>((name, stamp, read))
        });
        let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(IN_FLIGHT);
        while let Some((name, stamp, read)) = reads.try_next().await? {
            match read {
                Some(read) => {
                    let known = self.modules.entry(name).or_default();
                    known.stamp = stamp;
                    known.instances = read.instances;
                    known.subscribed = read.subscribed;
                }
                None => {
                    modules.insert(name, None);
                }
            }
        }
        Ok(())
    }

    async fn owners(
        &mut self,
        session: &Session,
        modules: &BTreeMap<String, Option<Module>>,
    ) -> Result<(), Error> {
        let mut directories = Vec::new();
        for (name, module) in modules {
            let (Some(module), Some(members)) = (module, self.modules.get_mut(name)) else {
                continue;
            };
            let candidates = module.candidates();
            members.owners.retain(|topic, _| candidates.contains(topic));
            directories.extend(candidates.into_iter().map(|topic| (name.clone(), topic.clone())));
        }
        let paths = directories
            .iter()
            .map(|(name, topic)| layout::owners(name, topic));
        let stamps = stamps(session, paths.collect()).await?;
        let changed = directories
            .into_iter()
            .zip(stamps)
            .filter(|((name, topic), stamp)| {
                let known = self.modules.get(name).and_then(|known| known.owners.get(topic));
                known.is_none_or(|(known, _)| known != stamp)
            });
        let lists = changed.map(async |((name, topic), stamp)| {
            let path = layout::owners(&name, &topic);
            let children = tree::refused_is_none(session.children(&path).await)?.flatten();
            Ok::<_, Error>((
                name,
                topic,
                stamp,
                tree::partitions(&children.unwrap_or_default()),
            ))
        });
        let lists: Vec<_> = stream::iter(lists.collect::<Vec<_>>())
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await?;
        for (name, topic, stamp, partitions) in lists {
            let owners = read_owners(session, &name, &topic, &partitions).await?;
            if let Some(known) = self.modules.get_mut(&name) {
                known.owners.insert(topic, (stamp, owners));
            }
        }
        Ok(())
    }
}

/// For each directory a number that changes when a child comes or goes; `None` where there is no directory, or none that the
/// server shows.
async fn stamps(session: &Session, paths: Vec<String>) -> Result<Vec<Option<i64>>, Error> {
    let mut stamps = Vec::with_capacity(paths.len());
    for chunk in paths.chunks(tree::READS_AT_ONCE) {
        let read = session.get_each(chunk).await?.into_iter();
        stamps.extend(read.map(|node| Some(node.ok()??.stat.pzxid)));
    }
    Ok(stamps)
}

/// The live instances and the topics that they name. An instance that ends meanwhile, or whose znode is garbage, names none.
async fn instances(session: &Session, module: &str) -> Result<Members, Error> {
    let ids = session.children(&layout::ids(module)).await?.unwrap_or_default();
    let mut members = Members::default();
    for instance in ids.into_iter().take(MAX_INSTANCES) {
        if let Some(Node { data, .. }) = session.get(&layout::id(module, &instance)).await? {
            members.subscribed.extend(subscription::topics(&data));
            members.instances.insert(instance);
        }
    }
    Ok(members)
}

async fn read_owners(
    session: &Session,
    module: &str,
    topic: &str,
    partitions: &BTreeSet<i32>,
) -> Result<Owned, Error> {
    let partitions: Vec<i32> = partitions.iter().copied().collect();
    let mut owners: Owned = BTreeMap::new();
    let mut names: BTreeSet<Arc<str>> = BTreeSet::new();
    for chunk in partitions.chunks(tree::READS_AT_ONCE) {
        let path = |partition: &i32| layout::owner(module, topic, PartitionId(*partition));
        let paths: Vec<String> = chunk.iter().map(path).collect();
        for (partition, node) in chunk.iter().zip(session.get_each(&paths).await?) {
            // The znode is the claim, whatever it holds.
            let id = match node {
                Ok(None) => continue,
                Ok(Some(node)) => owner_id(&node.data),
                Err(_refused) => "?".to_owned(),
            };
            let shared = match names.get(id.as_str()) {
                Some(known) => Arc::clone(known),
                None => Arc::from(id),
            };
            names.insert(Arc::clone(&shared));
            owners.insert(*partition, shared);
        }
    }
    Ok(owners)
}

fn owner_id(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(&data[..data.len().min(MAX_ID)]);
    let shown: String = text.chars().filter(|character| !character.is_control()).collect();
    if shown.is_empty() { "?".to_owned() } else { shown }
}

//! One look at the group in ZooKeeper: who is a member, who owns what; and our own `ids` znode.
//!
//! Watches are one-shot and only a hint: whatever fires, everything is read again, and a full read on a timer
//! makes up for events that never came. Between full reads only what is new is read: an `ids` znode never changes
//! while it exists, and an owner znode is read once, until the partition is forgotten because we touched it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use kcommon::kafka::PartitionId;
use kcommon::zookeeper::{Error, Lifetime, Node, Session, layout};

use super::member::{self, Member};
use super::servers::{Brokers, ZooKeeper};
use super::store::Store;
use crate::claims::Classic;
use crate::watermarks::Watermarks;

/// What is known of the group from the last look.
pub(crate) struct Group<Z = Session, B = Watermarks> {
    store: Store<Z, B>,
    /// Every member.
    members: BTreeMap<String, Member>,
    /// The leaders of the topic's partitions, as of a change of the group; see [`Classic`].
    leaders: Option<(i32, Vec<(PartitionId, i32)>)>,
    /// The session that each owner znode belongs to.
    owners: BTreeMap<PartitionId, i64>,
    ids_changed: Option<BoxFuture<'static, ()>>,
    owners_changed: Option<BoxFuture<'static, ()>>,
}

/// How one look is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Whether our own `ids` znode shall exist.
    pub(crate) present: bool,
    /// Read everything, not only what is new.
    pub(crate) full: bool,
}

/// What a look found; `None` from [`Group::look`] when the module's znodes are gone as a whole.
pub(crate) struct Seen {
    /// The ids of the members that subscribe to our topic, sorted.
    pub(crate) members: Vec<String>,
    /// What the classic plan is made from, if a classic member is in the group.
    pub(crate) classic: Option<Classic>,
    /// The owner znodes with their sessions.
    pub(crate) owners: BTreeMap<PartitionId, i64>,
}

impl<Z: ZooKeeper, B: Brokers<Z>> Group<Z, B> {
    pub(crate) fn new(store: Store<Z, B>) -> Self {
        Self {
            store,
            members: BTreeMap::new(),
            leaders: None,
            owners: BTreeMap::new(),
            ids_changed: None,
            owners_changed: None,
        }
    }

    /// What was read of the partition before is worth nothing.
    pub(crate) fn forget(&mut self, partition: PartitionId) {
        self.owners.remove(&partition);
    }

    /// Waits until a watch fires; pends for ever while there is none.
    ///
    /// # Cancel safety
    /// Safe: a watch that has not fired stays.
    pub(crate) async fn changed(&mut self) {
        tokio::select! {
            // Either is taken up sooner or later; an order makes a simulated run repeatable.
            biased;
            () = fired(&mut self.ids_changed) => self.ids_changed = None,
            () = fired(&mut self.owners_changed) => self.owners_changed = None,
        }
    }

    /// Reads the group, and creates or deletes our `ids` znode as wanted.
    pub(crate) async fn look(&mut self, look: Look) -> Result<Option<Seen>, Error> {
        if look.full {
            self.members.clear();
            self.owners.clear();
        }
        let (module, topic) = (self.store.module.clone(), self.store.topic.as_str().to_owned());
        let Some(ids) = children(&self.store, &layout::ids(&module), &mut self.ids_changed).await? else {
            return Ok(None);
        };
        self.register(look.present, &ids).await?;
        self.read_members(ids).await?;
        if look.present {
            self.members.insert(self.store.member.clone(), Member::US);
        } else {
            self.members.remove(&self.store.member);
        }
        let classic = self.classic().await?;
        let owners = layout::owners(&module, &topic);
        let Some(owners) = children(&self.store, &owners, &mut self.owners_changed).await? else {
            return Ok(None);
        };
        self.read_owners(&owners).await?;
        let subscribed = self.members.iter().filter(|(_id, member)| member.subscribes);
        let members = subscribed.map(|(id, _member)| id.clone()).collect();
        Ok(Some(Seen {
            members,
            classic,
            owners: self.owners.clone(),
        }))
    }

    /// Deletes our `ids` znode and every owner znode of our session.
    pub(crate) async fn sweep(&mut self) {
        self.store.deregister().await;
        match self
            .look(Look {
                present: false,
                full: true,
            })
            .await
        {
            Ok(Some(seen)) => {
                let ours = self.store.session.id().0;
                for (partition, _session) in seen.owners.into_iter().filter(|(_, session)| *session == ours) {
                    self.store.sweep(partition).await;
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(module = self.store.module, %error, "claims could not be swept"),
        }
    }

    async fn register(&mut self, present: bool, ids: &[String]) -> Result<(), Error> {
        let Store {
            session,
            module,
            topic,
            member,
            ..
        } = &self.store;
        let registered = ids.contains(member);
        if present && !registered {
            let data = member::registration(topic, SystemTime::now());
            match session
                .create(&layout::id(module, member), &data, Lifetime::Ephemeral)
                .await
            {
                Ok(_stat) => tracing::info!(module, %topic, member, "registered"),
                Err(Error::NodeExists) => {}
                Err(error) => return Err(error),
            }
        } else if !present && registered {
            self.store.deregister().await;
        }
        Ok(())
    }

    async fn read_members(&mut self, ids: Vec<String>) -> Result<(), Error> {
        let ids: BTreeSet<String> = ids.into_iter().collect();
        self.members.retain(|id, _member| ids.contains(id));
        let new: Vec<String> = ids
            .into_iter()
            .filter(|id| !self.members.contains_key(id))
            .collect();
        let paths: Vec<String> = new.iter().map(|id| layout::id(&self.store.module, id)).collect();
        let nodes = self.store.session.get_many(&paths).await?;
        for (id, node) in new.into_iter().zip(nodes) {
            let Some(Node { data, .. }) = node else { continue };
            let member = member::read(&data, &self.store.topic).unwrap_or_else(|error| {
                tracing::warn!(module = self.store.module, member = id, %error, "ids znode is malformed; not counted");
                Member::UNKNOWN
            });
            self.members.insert(id, member);
        }
        Ok(())
    }

    /// What the classic plan is made from; `None` without a classic member.
    async fn classic(&mut self) -> Result<Option<Classic>, Error> {
        if !self.members.values().any(|member| member.classic) {
            self.leaders = None;
            return Ok(None);
        }
        let changes = self
            .store
            .session
            .changes(&layout::ids(&self.store.module))
            .await?;
        // A leader that moves later changes no plan: the others read them when the group changes, and only then.
        let known = self.leaders.take().filter(|(as_of, _leaders)| *as_of == changes);
        let leaders = match known {
            Some((_as_of, leaders)) => leaders,
            None => leaders(&self.store).await?,
        };
        self.leaders = Some((changes, leaders.clone()));
        Ok(Some(Classic {
            changes,
            members: self.members.keys().cloned().collect(),
            leaders,
        }))
    }

    async fn read_owners(&mut self, children: &[String]) -> Result<(), Error> {
        let owned: BTreeSet<PartitionId> = children
            .iter()
            .filter_map(|name| layout::partition_of(name))
            .collect();
        self.owners
            .retain(|partition, _session| owned.contains(partition));
        let new: Vec<PartitionId> = owned
            .into_iter()
            .filter(|partition| !self.owners.contains_key(partition))
            .collect();
        let topic = self.store.topic.as_str();
        let path = |partition: &PartitionId| layout::owner(&self.store.module, topic, *partition);
        let nodes = self
            .store
            .session
            .get_many(&new.iter().map(path).collect::<Vec<_>>())
            .await?;
        for (partition, node) in new.into_iter().zip(nodes) {
            if let Some(Node { stat, .. }) = node {
                self.owners.insert(partition, stat.ephemeral_owner);
            }
        }
        Ok(())
    }
}

async fn children<Z: ZooKeeper, B: Brokers<Z>>(
    store: &Store<Z, B>,
    path: &str,
    changed: &mut Option<BoxFuture<'static, ()>>,
) -> Result<Option<Vec<String>>, Error> {
    if changed.is_some() {
        return store.session.children(path).await;
    }
    let Some((children, watch)) = store.session.watch_children(path).await? else {
        return Ok(None);
    };
    *changed = Some(watch);
    Ok(Some(children))
}

/// The leader of each partition, as ZooKeeper has it; -1 where it has none.
async fn leaders<Z: ZooKeeper, B: Brokers<Z>>(store: &Store<Z, B>) -> Result<Vec<(PartitionId, i32)>, Error> {
    #[derive(serde::Deserialize)]
    struct State {
        leader: i32,
    }
    let topic = store.topic.as_str();
    let children = store.session.children(&layout::topic_partitions(topic)).await?;
    let partitions: Vec<PartitionId> = children
        .unwrap_or_default()
        .iter()
        .filter_map(|name| layout::partition_of(name))
        .collect();
    let path = |partition: &PartitionId| layout::partition_state(topic, *partition);
    let states = store
        .session
        .get_many(&partitions.iter().map(path).collect::<Vec<_>>())
        .await?;
    let leader = |node: Option<Node>| {
        node.and_then(|node| serde_json::from_slice::<State>(&node.data).ok())
            .map_or(-1, |state| state.leader)
    };
    Ok(partitions
        .into_iter()
        .zip(states.into_iter().map(leader))
        .collect())
}

async fn fired(watch: &mut Option<BoxFuture<'static, ()>>) {
    match watch {
        Some(watch) => watch.await,
        None => std::future::pending().await,
    }
}

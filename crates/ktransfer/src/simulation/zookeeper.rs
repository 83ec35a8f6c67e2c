//! The server's side of ZooKeeper: znodes with their history, sessions, watches. Writes are atomic and in one order;
//! a read may be served by a server that lags, but never behind what its session has seen, nor behind a `sync`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kcommon::zookeeper::{Error, MultiError, Node, Stat, layout};

use super::coordination::TOPIC;
use super::dice::{Dice, Time};
use super::mutation::{Mutation, mutated};
use super::session::{Change, Flag, Outcome, Reply, Request, failure};

/// How many transactions a server may lag behind.
const LAG: i64 = 40;

/// The session of whoever is none of ours: operators and tools.
pub(super) const OPERATOR: i64 = 0;

#[derive(Clone, Debug)]
pub(super) struct Znode {
    pub(super) data: Vec<u8>,
    pub(super) czxid: i64,
    pub(super) mzxid: i64,
    pub(super) version: i32,
    /// The session of an ephemeral one, else 0.
    pub(super) owner: i64,
}

/// A change that took effect.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) session: i64,
    pub(super) path: String,
    pub(super) before: Option<Znode>,
    pub(super) after: Option<Znode>,
}

impl Applied {
    pub(super) fn text(&self) -> String {
        let text = |node: &Option<Znode>| match node {
            Some(node) => format!("{:?} v{}", String::from_utf8_lossy(&node.data), node.version),
            None => "nothing".to_owned(),
        };
        let (before, after) = (text(&self.before), text(&self.after));
        format!("session {}: {} from {before} to {after}", self.session, self.path)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct SessionState {
    pub(super) timeout: Time,
    /// When the servers last heard of it.
    pub(super) heard: Time,
    /// The newest transaction that it has seen.
    seen: i64,
}

#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) down: bool,
    zxid: i64,
    sessions_made: i64,
    pub(super) sessions: BTreeMap<i64, SessionState>,
    /// Every znode with the transactions that changed it; none for a deletion.
    nodes: BTreeMap<String, Vec<(i64, Option<Znode>)>>,
    watches: Vec<(String, Flag)>,
    /// How often children were created and deleted.
    changes: BTreeMap<String, i32>,
    /// What changed since this was last emptied.
    pub(super) applied: Vec<Applied>,
}

impl Server {
    pub(super) fn connect(&mut self, timeout: Time, now: Time) -> i64 {
        self.sessions_made += 1;
        let seen = self.zxid;
        self.sessions.insert(
            self.sessions_made,
            SessionState {
                timeout,
                heard: now,
                seen,
            },
        );
        self.sessions_made
    }

    /// Ends a session, as its time-out or its owner does it.
    pub(super) fn expire(&mut self, session: i64) {
        if self.sessions.remove(&session).is_none() {
            return;
        }
        self.zxid += 1;
        let ephemeral: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_path, history)| newest(history).is_some_and(|node| node.owner == session))
            .map(|(path, _history)| path.clone())
            .collect();
        for path in ephemeral {
            self.put(session, &path, None);
        }
    }

    /// After an outage every session gets its whole time again.
    pub(super) fn restart(&mut self, now: Time) {
        self.down = false;
        for session in self.sessions.values_mut() {
            session.heard = now;
        }
    }

    pub(super) fn node(&self, path: &str) -> Option<&Znode> {
        self.nodes.get(path).and_then(|history| newest(history))
    }

    /// Carries out a request of a session that lives.
    pub(super) fn carry_out(&mut self, session: i64, request: &Request, dice: &mut Dice) -> Outcome {
        let view = self.view(session, dice);
        let reply = match request {
            Request::Get(path) => Reply::Node(self.read(path, view)),
            Request::GetMany(paths) => Reply::Nodes(paths.iter().map(|path| self.read(path, view)).collect()),
            Request::Children(path, watch) => Reply::Names(self.names(path, view, watch.as_ref())),
            Request::Create(change) | Request::Set(change) | Request::Delete(change) => {
                let stats = self.transact(session, std::slice::from_ref(change));
                Reply::Stats(stats.map_err(|error| failure(error.source))?)
            }
            Request::Multi(changes) => Reply::Stats(self.transact(session, changes)?),
            Request::Ensure(path) => {
                self.ensure(session, path);
                Reply::Done
            }
            Request::Sync => {
                self.catch_up(session);
                Reply::Done
            }
            Request::Heartbeat => Reply::Done,
            Request::Changes(path) => Reply::Count(self.changes.get(path).copied().unwrap_or(0)),
            Request::Pause(_) => panic!("a wait is no request"),
        };
        Ok(reply)
    }

    /// All changes or none.
    pub(super) fn transact(
        &mut self,
        session: i64,
        changes: &[Change],
    ) -> Result<Vec<Option<Stat>>, MultiError> {
        for (at, change) in changes.iter().enumerate() {
            self.refuse(session, change)
                .map_err(|source| MultiError { at: Some(at), source })?;
        }
        self.zxid += 1;
        let stats = changes
            .iter()
            .map(|change| self.change(session, change))
            .collect();
        self.see(session, self.zxid);
        Ok(stats)
    }

    /// The session is served by a server that is not behind.
    pub(super) fn catch_up(&mut self, session: i64) {
        self.see(session, self.zxid);
    }

    fn see(&mut self, session: i64, zxid: i64) {
        if let Some(state) = self.sessions.get_mut(&session) {
            state.seen = state.seen.max(zxid);
        }
    }

    /// Up to which transaction the server that serves this read has come.
    fn view(&mut self, session: i64, dice: &mut Dice) -> i64 {
        let seen = self.sessions.get(&session).map_or(self.zxid, |state| state.seen);
        let oldest = seen.max(self.zxid - LAG);
        let lag = if dice.one_in(4) { self.zxid - oldest } else { 0 };
        let view = self.zxid - i64::try_from(dice.below(u64::try_from(lag).unwrap() + 1)).unwrap();
        self.see(session, view);
        view
    }

    fn read(&self, path: &str, view: i64) -> Option<Node> {
        let node = at(self.nodes.get(path)?, view)?;
        let mut stat = stat(node);
        if mutated(Mutation::AnyMapHolds)
            && path.contains("/acks/")
            && let Some(offset) = self.node(&path.replace("/acks/", "/offsets/"))
        {
            stat.mzxid = offset.mzxid;
        }
        let mut data = node.data.clone();
        if mutated(Mutation::TopicsAreTheirNames) && path == layout::broker_topic(TOPIC) {
            data = b"{}".to_vec();
            stat.czxid = 1;
        }
        Some(Node { data, stat })
    }

    fn names(&mut self, path: &str, view: i64, watch: Option<&Flag>) -> Option<Vec<String>> {
        at(self.nodes.get(path)?, view)?;
        let names = |zxid: i64| -> BTreeSet<String> {
            let below = format!("{path}/");
            self.nodes
                .range(below.clone()..)
                .take_while(|(child, _history)| child.starts_with(&below))
                .filter(|(child, history)| !child[below.len()..].contains('/') && at(history, zxid).is_some())
                .map(|(child, _history)| child[below.len()..].to_owned())
                .collect()
        };
        let found = names(view);
        if let Some(watch) = watch {
            if view < self.zxid && found != names(self.zxid) {
                watch.store(true, Ordering::Relaxed);
            } else {
                self.watches.push((path.to_owned(), Arc::clone(watch)));
            }
        }
        Some(found.into_iter().collect())
    }

    fn refuse(&self, session: i64, change: &Change) -> Result<(), Error> {
        match change {
            Change::Create { path, .. } if self.node(path).is_some() => Err(Error::NodeExists),
            Change::Create { path, .. } => {
                let parent = &path[..path.rfind('/').unwrap()];
                if parent.is_empty() || self.node(parent).is_some() {
                    Ok(())
                } else {
                    Err(Error::NoNode)
                }
            }
            Change::Set { path, version, .. } => {
                let node = self.node(path).ok_or(Error::NoNode)?;
                let unfenced = mutated(Mutation::UnfencedCommit) && session != OPERATOR;
                match version {
                    Some(version) if node.version != *version && !unfenced => Err(Error::BadVersion),
                    _ => Ok(()),
                }
            }
            Change::Delete { path } => self.node(path).map(|_node| ()).ok_or(Error::NoNode),
        }
    }

    fn change(&mut self, session: i64, change: &Change) -> Option<Stat> {
        let (path, node) = match change {
            Change::Create {
                path,
                data,
                ephemeral,
            } => {
                let node = Znode {
                    data: data.clone(),
                    czxid: self.zxid,
                    mzxid: self.zxid,
                    version: 0,
                    owner: if *ephemeral { session } else { 0 },
                };
                (path, Some(node))
            }
            Change::Set { path, data, .. } => {
                let before = self.node(path).unwrap();
                let node = Znode {
                    data: data.clone(),
                    mzxid: self.zxid,
                    version: before.version + 1,
                    ..before.clone()
                };
                (path, Some(node))
            }
            Change::Delete { path } => (path, None),
        };
        let stat = node.as_ref().map(stat);
        self.put(session, path, node);
        stat
    }

    fn put(&mut self, session: i64, path: &str, node: Option<Znode>) {
        let oldest = self.zxid - LAG;
        let history = self.nodes.entry(path.to_owned()).or_default();
        let before = newest(history).cloned();
        let appears = before.is_some() != node.is_some();
        history.push((self.zxid, node.clone()));
        // Nobody looks further back than the transaction that was the newest then.
        let kept = history
            .partition_point(|(zxid, _node)| *zxid <= oldest)
            .saturating_sub(1);
        history.drain(..kept);
        if appears {
            let parent = &path[..path.rfind('/').unwrap()];
            *self.changes.entry(parent.to_owned()).or_default() += 1;
            self.watches.retain(|(watched, flag)| {
                let fires = watched == parent;
                if fires {
                    flag.store(true, Ordering::Relaxed);
                }
                !fires
            });
        }
        self.applied.push(Applied {
            session,
            path: path.to_owned(),
            before,
            after: node,
        });
    }

    pub(super) fn ensure(&mut self, session: i64, path: &str) {
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .skip(1)
            .chain([path.len()]);
        for end in ends.collect::<Vec<_>>() {
            if self.node(&path[..end]).is_none() {
                self.zxid += 1;
                let change = Change::Create {
                    path: path[..end].to_owned(),
                    data: Vec::new(),
                    ephemeral: false,
                };
                self.change(session, &change);
            }
        }
        self.see(session, self.zxid);
    }
}

fn newest(history: &[(i64, Option<Znode>)]) -> Option<&Znode> {
    history.last().and_then(|(_zxid, node)| node.as_ref())
}

/// What was there after a transaction.
fn at(history: &[(i64, Option<Znode>)], zxid: i64) -> Option<&Znode> {
    let after = history.partition_point(|(changed, _node)| *changed <= zxid);
    history[..after].last().and_then(|(_zxid, node)| node.as_ref())
}

fn stat(node: &Znode) -> Stat {
    Stat {
        czxid: node.czxid,
        mzxid: node.mzxid,
        pzxid: node.czxid,
        ctime: 0,
        mtime: 0,
        version: node.version,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: node.owner,
        data_length: i32::try_from(node.data.len()).unwrap(),
        num_children: 0,
    }
}

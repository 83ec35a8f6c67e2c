//! From round to round: what one round found, and what earlier ones have shown, become what is shown.
//!
//! Keeps, for each log, when it ended where; for each partition of a module its judge, its rates and its history. What a
//! round no longer finds is forgotten at once; while ZooKeeper cannot be read nothing is. Pure.

mod module;
mod partition;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::history::{Axis, Step};
use crate::now::Now;
use crate::rate::Rate;
use crate::ring::Ring;
use crate::snapshot::{ModuleFacts, Snapshot};
use crate::state::{Limits, State};
use crate::view::{ClusterView, Lines, ModuleView, SourceView, SourcesView, Standing, Sums};

use self::module::{Followed, instances, remember};
use self::partition::{Memory, Scene};

/// Partitions whose oldest waiting record is asked for at a time.
const MOST_WANTED: usize = 64;

/// A record whose time would make a time lag exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The module that waits for it.
    pub(crate) module: String,
    /// Its topic.
    pub(crate) topic: Arc<str>,
    /// Its partition.
    pub(crate) partition: i32,
    /// Its offset.
    pub(crate) offset: i64,
    /// It was written before this: Unix time in milliseconds.
    pub(crate) before_ms: i64,
}

/// What does not change about a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    /// Its name.
    pub(crate) name: String,
    /// From when on something is called wrong.
    pub(crate) limits: Limits,
    /// From the end of a round to the start of the next, in seconds.
    pub(crate) interval_seconds: f64,
    /// Whether it has a ZooKeeper.
    pub(crate) has_zookeeper: bool,
}

impl Fixed {
    /// What is shown before the first round has ended.
    #[must_use]
    pub(crate) fn unseen(&self, now: Now) -> ClusterView {
        let mut follower = Follower::new(self.clone());
        let why = "its first round has not ended yet";
        let mut view = follower.follow(Outcome::Failed { why }, 0.0, now);
        view.round = 0;
        view
    }
}

/// How a round ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome<'a> {
    /// With numbers; `kafka` says why some are missing.
    Found {
        /// The numbers.
        snapshot: &'a Snapshot,
        /// What was wrong with Kafka's part.
        kafka: Option<&'a str>,
    },
    /// Without, because ZooKeeper could not be read.
    Failed {
        /// What was wrong.
        why: &'a str,
    },
}

/// Follows one cluster.
#[derive(Debug)]
pub(crate) struct Follower {
    fixed: Fixed,
    logs: BTreeMap<String, BTreeMap<i32, Log>>,
    modules: BTreeMap<String, Followed>,
    axis: Axis,
    lines: Lines,
    zookeeper: Source,
    kafka: Source,
    round: u64,
}

/// What is remembered about one log, whoever reads it.
#[derive(Clone, Debug, Default)]
struct Log {
    ring: Ring,
    rate: Rate,
    seen: u64,
}

#[derive(Clone, Debug, Default)]
struct Source {
    error: Option<String>,
    since_ms: Option<i64>,
}

impl Source {
    fn is(&mut self, error: Option<&str>, now: Now) {
        if self.since_ms.is_none() || self.error.is_some() != error.is_some() {
            self.since_ms = Some(now.mono_ms);
        }
        self.error = error.map(str::to_owned);
    }

    fn view(&self, now: Now) -> SourceView {
        SourceView {
            up: self.since_ms.is_some() && self.error.is_none(),
            since_ms: now.wall_of(self.since_ms.unwrap_or(now.mono_ms)),
            error: self.error.clone(),
        }
    }
}

impl Follower {
    /// Nothing was seen yet.
    #[must_use]
    pub(crate) fn new(fixed: Fixed) -> Self {
        Self {
            fixed,
            logs: BTreeMap::new(),
            modules: BTreeMap::new(),
            axis: Axis::default(),
            lines: Lines::default(),
            zookeeper: Source::default(),
            kafka: Source::default(),
            round: 0,
        }
    }

    /// A round has ended, after so many seconds.
    pub(crate) fn follow(&mut self, outcome: Outcome<'_>, round_seconds: f64, now: Now) -> ClusterView {
        self.round += 1;
        let step = self.axis.step(now.mono_ms);
        let by_module = match outcome {
            Outcome::Found { snapshot, kafka } => {
                self.zookeeper.is(None, now);
                self.kafka.is(kafka, now);
                self.look_at_logs(snapshot, now);
                self.found(snapshot, step, now)
            }
            Outcome::Failed { why } => {
                self.zookeeper.is(Some(why), now);
                self.blind(why, step, now)
            }
        };
        let sums = Sums::over(by_module.values().map(|module| &module.sums));
        remember(&mut self.lines, step, &sums);
        ClusterView {
            cluster: self.fixed.name.clone(),
            standing: self.standing(&by_module, now),
            round: self.round,
            at_ms: now.wall_ms,
            round_seconds,
            interval_seconds: self.fixed.interval_seconds,
            sources: SourcesView {
                zookeeper: self.fixed.has_zookeeper.then(|| self.zookeeper.view(now)),
                kafka: self.kafka.view(now),
            },
            modules: by_module.len() as u64,
            sums,
            history_at_ms: self.axis.times().iter().map(|at| now.wall_of(*at)).collect(),
            history: self.lines.clone(),
            by_module,
        }
    }

    /// The records whose times would make time lags exact, the most needed first. Each is told once a minute at most.
    pub(crate) fn wanted(&mut self, now: Now) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for (module, followed) in &mut self.modules {
            for (topic, partitions) in &mut followed.topics {
                for (partition, memory) in partitions {
                    if let Some((urgency, offset, before_ms)) = memory.wants(now) {
                        let one = Wanted {
                            module: module.clone(),
                            topic: Arc::clone(topic),
                            partition: *partition,
                            offset,
                            before_ms,
                        };
                        wanted.push((urgency, one));
                    }
                }
            }
        }
        wanted.sort_by_key(|(urgency, _)| *urgency);
        // One question about a partition at a time, whoever reads it.
        let mut named: BTreeSet<(Arc<str>, i32)> = BTreeSet::new();
        wanted.retain(|(_, one)| {
            named.len() < MOST_WANTED && named.insert((Arc::clone(&one.topic), one.partition))
        });
        for (_, one) in &wanted {
            if let Some(memory) = self.memory(one) {
                memory.asked(now);
            }
        }
        wanted.into_iter().map(|(_, one)| one).collect()
    }

    /// A wanted record was written at `written_ms`, in Unix time.
    pub(crate) fn learn(&mut self, record: &Wanted, written_ms: i64, now: Now) {
        if let Some(memory) = self.memory(record) {
            memory.learn(record.offset, now.mono_of(written_ms));
        }
    }

    fn memory(&mut self, record: &Wanted) -> Option<&mut Memory> {
        let topics = &mut self.modules.get_mut(&record.module)?.topics;
        topics.get_mut(&record.topic)?.get_mut(&record.partition)
    }

    fn look_at_logs(&mut self, snapshot: &Snapshot, now: Now) {
        let topics = snapshot
            .modules
            .values()
            .flatten()
            .flat_map(|module| &module.topics);
        for (topic, partitions) in topics {
            if !self.logs.contains_key(topic) {
                self.logs.insert(topic.clone(), BTreeMap::new());
            }
            let Some(logs) = self.logs.get_mut(topic) else {
                continue;
            };
            for (partition, facts) in partitions {
                let log = logs.entry(*partition).or_default();
                if let (Some(range), true) = (facts.log, log.seen != self.round) {
                    log.ring.look(range.end, now.mono_ms);
                    log.rate.look(range.end, now.mono_ms);
                }
                log.seen = self.round;
            }
        }
        for logs in self.logs.values_mut() {
            logs.retain(|_, log| log.seen == self.round);
        }
        self.logs.retain(|_, logs| !logs.is_empty());
    }

    fn found(&mut self, snapshot: &Snapshot, step: Step, now: Now) -> BTreeMap<String, ModuleView> {
        let mut before = std::mem::take(&mut self.modules);
        let mut views = BTreeMap::new();
        for (name, facts) in &snapshot.modules {
            let mut followed = before.remove(name).unwrap_or_default();
            let view = match facts {
                Some(facts) => self.module(name, facts, &mut followed, (step, now)),
                None => followed.blind(name, "its commits or its owners cannot be read", step, now),
            };
            views.insert(name.clone(), view);
            self.modules.insert(name.clone(), followed);
        }
        views
    }

    fn blind(&mut self, why: &str, step: Step, now: Now) -> BTreeMap<String, ModuleView> {
        let why = format!("ZooKeeper cannot be read: {why}");
        let modules = self.modules.iter_mut();
        modules
            .map(|(name, followed)| (name.clone(), followed.blind(name, &why, step, now)))
            .collect()
    }

    fn module(
        &self,
        name: &str,
        facts: &ModuleFacts,
        followed: &mut Followed,
        (step, now): (Step, Now),
    ) -> ModuleView {
        followed.unreadable_ms = None;
        let mut before = std::mem::take(&mut followed.topics);
        let mut views = Vec::with_capacity(facts.topics.values().map(BTreeMap::len).sum());
        for (topic, partitions) in &facts.topics {
            let (shared, mut known) = before
                .remove_entry(topic.as_str())
                .unwrap_or_else(|| (Arc::from(topic.as_str()), BTreeMap::new()));
            let logs = self.logs.get(topic);
            let mut kept = BTreeMap::new();
            for (partition, facts) in partitions {
                let mut memory = known.remove(partition).unwrap_or_else(|| Memory::new(now));
                let log = logs.and_then(|logs| logs.get(partition));
                let scene = Scene {
                    topic: &shared,
                    partition: *partition,
                    facts,
                    ring: log.map(|log| &log.ring),
                    rate_in: log.and_then(|log| log.rate.per_second()),
                    kafka: self.kafka.error.as_deref(),
                    limits: self.fixed.limits,
                };
                views.push(memory.look(&scene, step, now));
                kept.insert(*partition, memory);
            }
            followed.topics.insert(shared, kept);
        }
        let mut view = followed.view(name, views, step);
        view.instances = instances(facts);
        if view.partitions.is_empty() {
            let reason = "no topic is known: no instance tells one, and nothing is committed".to_owned();
            view.standing = Standing::new(State::NoOffset, now.wall_ms, reason);
        }
        view
    }

    fn standing(&self, modules: &BTreeMap<String, ModuleView>, now: Now) -> Standing {
        if let Some(why) = &self.zookeeper.error {
            let since_ms = now.wall_of(self.zookeeper.since_ms.unwrap_or(now.mono_ms));
            return Standing::new(
                State::Unknown,
                since_ms,
                format!("ZooKeeper cannot be read: {why}"),
            );
        }
        let each = modules
            .iter()
            .map(|(name, module)| (name, module.standing.clone()));
        Standing::worst(each).unwrap_or_else(|| Standing::new(State::Ok, now.wall_ms, String::new()))
    }
}

#[cfg(test)]
mod tests;

//! When an event opens, is told again, and closes.
//!
//! A condition has to hold for some rounds and some time before its event opens, and to be seen gone for some rounds and some
//! time before it closes. A round that cannot tell counts for neither: it opens nothing and closes nothing. Pure.

use std::collections::BTreeMap;

use crate::now::Now;
use crate::state::State;
use crate::view::ClusterView;

use super::looks::{self, Facts, Key, Look};

/// For how long something has to be seen: both count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Rounds that can tell, the first one included; at least 1.
    pub(crate) rounds: u32,
    /// Milliseconds from the first of them.
    pub(crate) ms: i64,
}

/// What is worth an event in one module, or in the sources of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// States that are told. `unknown` also stands for a source that is away.
    pub(crate) states: Vec<State>,
    /// Waiting records of a module that are too many.
    pub(crate) lag_records: Option<u64>,
    /// Age of the oldest waiting record that is too much, in seconds.
    pub(crate) lag_seconds: Option<u64>,
    /// Until an event opens.
    pub(crate) open: Hold,
    /// Until it closes.
    pub(crate) close: Hold,
    /// After this an open event is told again, in milliseconds; `None` = never.
    pub(crate) repeat_ms: Option<i64>,
    /// Who is told: places in the list of receivers.
    pub(crate) receivers: Vec<usize>,
}

/// The rules of all clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Where nothing else is said.
    pub(crate) general: Rule,
    /// By cluster.
    pub(crate) clusters: BTreeMap<String, ClusterRules>,
}

/// The rules of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClusterRules {
    /// Of its sources, and of modules without a rule of their own.
    pub(crate) rule: Rule,
    /// By module.
    pub(crate) modules: BTreeMap<String, Rule>,
}

impl Rules {
    /// The rule for a module, or with `None` for the cluster's sources.
    #[must_use]
    pub(crate) fn of(&self, cluster: &str, module: Option<&str>) -> &Rule {
        let Some(cluster) = self.clusters.get(cluster) else {
            return &self.general;
        };
        let own = module.and_then(|module| cluster.modules.get(module));
        own.unwrap_or(&cluster.rule)
    }
}

/// What happened to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It has begun.
    Open,
    /// It is told again.
    Remind,
    /// It is over.
    Close,
}

/// What receivers are told about one condition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    /// What happened.
    pub(crate) step: Step,
    /// The same from opening to closing, and of no other event of this process.
    pub(crate) id: String,
    /// The cluster.
    pub(crate) cluster: String,
    /// What it is about.
    pub(crate) key: Key,
    /// The numbers of this round. `since_ms` is when the condition began.
    pub(crate) facts: Facts,
    /// Who is told.
    pub(crate) receivers: Vec<usize>,
}

/// What is remembered about the conditions of one cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracker {
    tracked: BTreeMap<Key, Tracked>,
}

#[derive(Clone, Debug)]
struct Tracked {
    id: String,
    /// When it was first seen, in Unix time.
    since_ms: i64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Seen, and not yet for long enough.
    Pending(Streak),
    /// Told to the receivers.
    Open {
        told_ms: i64,
        /// Seen gone, and not yet for long enough.
        gone: Option<Streak>,
    },
}

/// Rounds in a row that say the same, and when the first one was.
#[derive(Clone, Copy, Debug)]
struct Streak {
    rounds: u32,
    from_ms: i64,
}

impl Streak {
    fn longer(before: Option<Self>, now: Now) -> Self {
        Self {
            rounds: before.map_or(0, |streak| streak.rounds).saturating_add(1),
            from_ms: before.map_or(now.mono_ms, |streak| streak.from_ms),
        }
    }

    const fn is_enough(self, hold: Hold, now: Now) -> bool {
        self.rounds >= hold.rounds && now.mono_ms - self.from_ms >= hold.ms
    }
}

impl Tracker {
    /// How many events are open.
    #[must_use]
    pub(crate) fn open(&self) -> usize {
        let phases = self.tracked.values().map(|tracked| tracked.phase);
        phases.filter(|phase| matches!(phase, Phase::Open { .. })).count()
    }

    /// A round has ended: what is to be told.
    pub(crate) fn follow(&mut self, view: &ClusterView, rules: &Rules, now: Now) -> Vec<Event> {
        let cluster = view.cluster.as_str();
        let mut looks = looks::of_sources(view, rules.of(cluster, None));
        for (name, module) in &view.by_module {
            looks.extend(looks::of_module(view, module, rules.of(cluster, Some(name))));
        }
        let zookeeper = view.sources.zookeeper.as_ref();
        if zookeeper.is_none_or(|source| source.up) {
            looks.extend(self.vanished(view));
        }
        let mut events = Vec::new();
        for (key, look) in looks {
            let rule = rules.of(cluster, key.module.as_deref());
            if let Some((step, id, facts)) = self.consider(cluster, &key, look, (rule, now)) {
                events.push(Event {
                    step,
                    id,
                    cluster: cluster.to_owned(),
                    key,
                    facts,
                    receivers: rule.receivers.clone(),
                });
            }
        }
        events
    }

    /// What is remembered of modules that do not exist any more.
    fn vanished(&self, view: &ClusterView) -> Vec<(Key, Look)> {
        let is_gone = |key: &&Key| {
            let module = key.module.as_ref();
            module.is_some_and(|module| !view.by_module.contains_key(module))
        };
        let gone = self.tracked.keys().filter(is_gone);
        let facts = Facts {
            reason: "the module does not exist any more".to_owned(),
            since_ms: view.at_ms,
            ..Facts::default()
        };
        gone.map(|key| (key.clone(), Look::Absent(facts.clone())))
            .collect()
    }

    fn consider(
        &mut self,
        cluster: &str,
        key: &Key,
        look: Look,
        (rule, now): (&Rule, Now),
    ) -> Option<(Step, String, Facts)> {
        let tracked = self.tracked.get(key).cloned();
        let (step, next, facts) = match (look, tracked) {
            (Look::Untold, _) | (Look::Absent(_), None) => return None,
            (Look::Holds(facts), tracked) => held(
                tracked.unwrap_or_else(|| begin(cluster, key, &facts, now)),
                facts,
                rule,
                now,
            ),
            (Look::Absent(facts), Some(tracked)) => gone(tracked, facts, rule, now),
        };
        match &next {
            Some(tracked) => self.tracked.insert(key.clone(), tracked.clone()),
            None => self.tracked.remove(key),
        };
        let (step, tracked) = step?;
        let since_ms = tracked.since_ms;
        Some((step, tracked.id, Facts { since_ms, ..facts }))
    }
}

/// What follows from a look: what is told, with the memory it is told from; the memory that is left; the numbers.
type Verdict = (Option<(Step, Tracked)>, Option<Tracked>, Facts);

fn begin(cluster: &str, key: &Key, facts: &Facts, now: Now) -> Tracked {
    let since_ms = match facts.since_ms {
        0 => now.wall_ms,
        known => known,
    };
    let module = key.module.as_deref().unwrap_or_default();
    Tracked {
        id: format!("{cluster}/{module}/{}/{}", key.condition, now.wall_ms),
        since_ms,
        phase: Phase::Pending(Streak {
            rounds: 0,
            from_ms: now.mono_ms,
        }),
    }
}

fn held(mut tracked: Tracked, facts: Facts, rule: &Rule, now: Now) -> Verdict {
    let step = match tracked.phase {
        Phase::Pending(before) => {
            let streak = Streak::longer(Some(before), now);
            tracked.phase = Phase::Pending(streak);
            streak.is_enough(rule.open, now).then_some(Step::Open)
        }
        Phase::Open { told_ms, .. } => {
            tracked.phase = Phase::Open { told_ms, gone: None };
            let is_due = |repeat_ms| now.mono_ms - told_ms >= repeat_ms;
            rule.repeat_ms.is_some_and(is_due).then_some(Step::Remind)
        }
    };
    if step.is_some() {
        tracked.phase = Phase::Open {
            told_ms: now.mono_ms,
            gone: None,
        };
    }
    (step.map(|step| (step, tracked.clone())), Some(tracked), facts)
}

fn gone(mut tracked: Tracked, facts: Facts, rule: &Rule, now: Now) -> Verdict {
    let Phase::Open { told_ms, gone } = tracked.phase else {
        return (None, None, facts);
    };
    let streak = Streak::longer(gone, now);
    if streak.is_enough(rule.close, now) {
        return (Some((Step::Close, tracked)), None, facts);
    }
    tracked.phase = Phase::Open {
        told_ms,
        gone: Some(streak),
    };
    (None, Some(tracked), facts)
}

#[cfg(test)]
mod tests;

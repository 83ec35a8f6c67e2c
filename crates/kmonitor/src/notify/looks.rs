//! What one round says about the conditions that events are made of: each holds, does not, or cannot be told. Pure.

use std::fmt;

use crate::state::State;
use crate::view::{ClusterView, ModuleView, PartitionView, SourceView};

use super::rules::Rule;

/// What is wrong, in the words of the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Condition {
    /// The cluster's ZooKeeper cannot be read.
    ZooKeeper,
    /// The cluster's Kafka does not tell everything that it is asked.
    Kafka,
    /// A partition of the module is in this state.
    State(State),
    /// `lag_records` is reached.
    LagRecords,
    /// `lag_seconds` is reached.
    LagSeconds,
}

/// What a condition is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The module; `None` for a source of the cluster.
    pub(crate) module: Option<String>,
    /// What is wrong with it.
    pub(crate) condition: Condition,
}

/// What one round says about a condition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Look {
    /// It holds.
    Holds(Facts),
    /// It was seen not to hold.
    Absent(Facts),
    /// What would tell it cannot be read.
    Untold,
}

/// The numbers that belong to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// The module's state, or that of the cluster.
    pub(crate) state: State,
    /// The topic of the partition that is meant.
    pub(crate) topic: Option<String>,
    /// Its number.
    pub(crate) partition: Option<i32>,
    /// In one sentence.
    pub(crate) reason: String,
    /// Records that wait in the whole module.
    pub(crate) lag: Option<u64>,
    /// The age of the oldest.
    pub(crate) lag_seconds: Option<f64>,
    /// Since when, in Unix time (ms).
    pub(crate) since_ms: i64,
}

/// The states with their words.
const WORDS: [(State, &str); 9] = [
    (State::Ok, "ok"),
    (State::Lagging, "lagging"),
    (State::NoOffset, "no_offset"),
    (State::Stalled, "stalled"),
    (State::Stopped, "stopped"),
    (State::Rewound, "rewound"),
    (State::Ahead, "ahead"),
    (State::Lost, "lost"),
    (State::Unknown, "unknown"),
];

/// The word for a state, as the JSON interface has it.
#[must_use]
pub(crate) fn word(state: State) -> &'static str {
    let found = WORDS.iter().find(|(one, _)| *one == state);
    found.map_or("", |(_, word)| word)
}

/// The state of a word; only of those that are trouble.
#[must_use]
pub(crate) fn trouble(written: &str) -> Option<State> {
    let found = WORDS.iter().skip(1).find(|(_, word)| *word == written);
    found.map(|(state, _)| *state)
}

/// The words for all trouble, for messages.
#[must_use]
pub(crate) fn troubles() -> String {
    let words: Vec<&str> = WORDS.iter().skip(1).map(|(_, word)| *word).collect();
    words.join(", ")
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZooKeeper => "zookeeper_away",
            Self::Kafka => "kafka_away",
            Self::State(state) => word(*state),
            Self::LagRecords => "lag_records",
            Self::LagSeconds => "lag_seconds",
        })
    }
}

/// The conditions of a cluster's sources. While ZooKeeper is away nobody asks Kafka.
#[must_use]
pub(crate) fn of_sources(view: &ClusterView, rule: &Rule) -> Vec<(Key, Look)> {
    if !rule.states.contains(&State::Unknown) {
        return Vec::new();
    }
    let key = |condition| Key {
        module: None,
        condition,
    };
    let zookeeper = view.sources.zookeeper.as_ref();
    let kafka = match zookeeper {
        Some(source) if !source.up => Look::Untold,
        _ => source(view, &view.sources.kafka, "Kafka"),
    };
    let mut looks = vec![(key(Condition::Kafka), kafka)];
    if let Some(one) = zookeeper {
        looks.push((key(Condition::ZooKeeper), source(view, one, "ZooKeeper")));
    }
    looks
}

fn source(view: &ClusterView, source: &SourceView, name: &str) -> Look {
    let facts = |reason| Facts {
        state: view.standing.state,
        reason,
        lag: view.sums.lag,
        lag_seconds: view.sums.lag_seconds,
        since_ms: source.since_ms,
        ..Facts::default()
    };
    match &source.error {
        Some(error) => Look::Holds(facts(format!("{name} cannot be read: {error}"))),
        None if source.up => Look::Absent(facts(String::new())),
        None => Look::Untold,
    }
}

/// The conditions of a module under its rule.
#[must_use]
pub(crate) fn of_module(view: &ClusterView, module: &ModuleView, rule: &Rule) -> Vec<(Key, Look)> {
    let zookeeper = view.sources.zookeeper.as_ref();
    let is_blind = zookeeper.is_some_and(|source| !source.up);
    let looked = |condition| {
        let look = match condition {
            _ if is_blind => Look::Untold,
            Condition::State(State::Unknown) if !view.sources.kafka.up => Look::Untold,
            Condition::State(state) => in_state(module, state),
            Condition::LagRecords => records(module, rule),
            Condition::LagSeconds => seconds(module, rule),
            Condition::ZooKeeper | Condition::Kafka => Look::Untold,
        };
        let module = Some(module.module.clone());
        (Key { module, condition }, look)
    };
    let states = rule.states.iter().map(|state| Condition::State(*state));
    let records = rule.lag_records.map(|_| Condition::LagRecords);
    let seconds = rule.lag_seconds.map(|_| Condition::LagSeconds);
    states.chain(records).chain(seconds).map(looked).collect()
}

/// A partition whose state says nothing about this round: a state is kept for one look after its sources went away.
fn is_untold(one: &PartitionView) -> bool {
    let without_lag = matches!(one.standing.state, State::NoOffset | State::Ahead);
    one.standing.state == State::Unknown || (one.lag.is_none() && !without_lag)
}

fn in_state(module: &ModuleView, state: State) -> Look {
    let is_so = |one: &&PartitionView| match state {
        // With a lag it is only not judged yet.
        State::Unknown => one.standing.state == state && one.lag.is_none(),
        _ => one.standing.state == state && !is_untold(one),
    };
    let mut so = module.partitions.iter().filter(is_so);
    if let Some(first) = so.next() {
        let since_ms = so.clone().map(|one| one.standing.since_ms).min();
        let since_ms = since_ms.map_or(first.standing.since_ms, |since| {
            since.min(first.standing.since_ms)
        });
        let more = match so.count() {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        let (topic, partition) = (&first.topic, first.partition);
        return Look::Holds(Facts {
            topic: Some(topic.to_string()),
            partition: Some(partition),
            reason: format!("{topic}/{partition}: {}{more}", first.standing.reason),
            since_ms,
            ..facts(module)
        });
    }
    let itself = module.partitions.is_empty() && module.standing.state == state;
    if itself {
        return Look::Holds(facts(module));
    }
    absent_unless(state != State::Unknown && is_untold_anywhere(module), module)
}

/// Whether something of the module cannot be told, so that what was not found may still be.
fn is_untold_anywhere(module: &ModuleView) -> bool {
    let itself = module.partitions.is_empty() && module.standing.state == State::Unknown;
    itself || module.partitions.iter().any(is_untold)
}

fn absent_unless(is_untold: bool, module: &ModuleView) -> Look {
    if is_untold {
        Look::Untold
    } else {
        Look::Absent(facts(module))
    }
}

/// What is known of the lag is a part of it: it may reach the limit although not all is known.
fn records(module: &ModuleView, rule: &Rule) -> Look {
    let limit = rule.lag_records.unwrap_or(u64::MAX);
    match module.sums.lag {
        Some(lag) if lag >= limit => {
            let partitions = module.partitions.iter();
            let worst = partitions.max_by_key(|one| one.lag);
            let reason = format!("{lag} records wait; the limit is {limit}");
            Look::Holds(reached(module, worst, reason))
        }
        _ => absent_unless(is_untold_anywhere(module), module),
    }
}

fn seconds(module: &ModuleView, rule: &Rule) -> Look {
    let limit = rule.lag_seconds.unwrap_or(u64::MAX);
    match module.sums.lag_seconds {
        Some(age) if age >= approximate(limit) => {
            let age_of = |one: &PartitionView| one.lag_seconds.unwrap_or(-1.0);
            let partitions = module.partitions.iter();
            let worst = partitions.max_by(|a, b| age_of(a).total_cmp(&age_of(b)));
            let reason = format!("the oldest waiting record is {age:.0} s old; the limit is {limit} s");
            Look::Holds(reached(module, worst, reason))
        }
        _ => {
            let is_undated =
                |one: &PartitionView| one.lag.is_some_and(|lag| lag > 0) && one.lag_seconds.is_none();
            let undated = module.partitions.iter().any(is_undated);
            absent_unless(undated || is_untold_anywhere(module), module)
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a limit of days in seconds is exact")]
const fn approximate(seconds: u64) -> f64 {
    seconds as f64
}

/// `since_ms` is not known: the rules fill in when it was first seen.
fn reached(module: &ModuleView, worst: Option<&PartitionView>, reason: String) -> Facts {
    Facts {
        topic: worst.map(|one| one.topic.to_string()),
        partition: worst.map(|one| one.partition),
        reason,
        since_ms: 0,
        ..facts(module)
    }
}

fn facts(module: &ModuleView) -> Facts {
    Facts {
        state: module.standing.state,
        topic: None,
        partition: None,
        reason: module.standing.reason.clone(),
        lag: module.sums.lag,
        lag_seconds: module.sums.lag_seconds,
        since_ms: module.standing.since_ms,
    }
}

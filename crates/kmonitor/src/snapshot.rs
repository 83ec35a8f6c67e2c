//! What one round found about one cluster: the numbers of every partition at one moment. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::lag::{self, Committed, Lag, LogRange, Unknown};
use crate::module::{self, Module, Offsets, Owners};
use crate::topics::{Existence, TopicPartition, Topics};

/// What one round found about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// What is committed.
    pub(crate) committed: Committed,
    /// When the commit was last written: Unix time in milliseconds, by the server's clock.
    pub(crate) changed_ms: Option<i64>,
    /// The log, if it could be read.
    pub(crate) log: Option<LogRange>,
    /// The lag that follows.
    pub(crate) lag: Lag,
    /// The instance that owns it.
    pub(crate) owner: Option<Arc<str>>,
}

/// What one round found about one module, by topic and partition. Retired topics and partitions are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModuleFacts {
    /// The topics that count.
    pub(crate) topics: BTreeMap<String, BTreeMap<i32, Facts>>,
    /// The ids of its live instances.
    pub(crate) instances: BTreeSet<String>,
}

/// What one round found about one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// By module; `None` for a module whose znodes could not be read.
    pub(crate) modules: BTreeMap<String, Option<ModuleFacts>>,
}

/// One module as this round found it, before anybody asked Kafka for the ends of its logs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Its place in the tree.
    pub(crate) module: Module,
    /// Its offset znodes.
    pub(crate) offsets: Offsets,
    /// Who owns what.
    pub(crate) owners: Owners,
}

impl Found {
    /// The topics that count, with what is committed in each partition that exists or may exist.
    fn committed(&self, topics: &Topics) -> BTreeMap<String, BTreeMap<i32, Committed>> {
        let mut counted = BTreeMap::new();
        for topic in self.module.live_topics(&self.offsets) {
            let nodes = self.offsets.get(&topic);
            let mut partitions = nodes.map(module::committed).unwrap_or_default();
            let subscribed = self.module.subscribed.contains(&topic);
            partitions.retain(|partition, _| match topics.existence(&topic, *partition) {
                Existence::Exists | Existence::Untold => true,
                Existence::NoTopic => subscribed,
                Existence::NoPartition => false,
            });
            counted.insert(topic, partitions);
        }
        counted
    }

    /// The partitions whose log ends are needed.
    #[must_use]
    pub(crate) fn logs(&self, topics: &Topics) -> BTreeSet<TopicPartition> {
        let counted = self.committed(topics);
        let keys = |(topic, partitions): (String, BTreeMap<i32, Committed>)| {
            let key = move |partition| TopicPartition {
                topic: topic.clone(),
                partition,
            };
            partitions.into_keys().map(key)
        };
        counted.into_iter().flat_map(keys).collect()
    }

    /// The module's numbers, given the logs that could be read.
    #[must_use]
    pub(crate) fn facts(&self, topics: &Topics, logs: &HashMap<TopicPartition, LogRange>) -> ModuleFacts {
        let mut facts = ModuleFacts {
            instances: self.module.instances.clone(),
            ..ModuleFacts::default()
        };
        for (topic, partitions) in self.committed(topics) {
            let nodes = self.offsets.get(&topic);
            let owners = self.owners.get(&topic);
            let mut of_topic = BTreeMap::new();
            for (partition, committed) in partitions {
                let key = TopicPartition {
                    topic: topic.clone(),
                    partition,
                };
                let log = logs.get(&key).copied();
                let node = nodes.and_then(|nodes| nodes.get(&partition));
                let one = Facts {
                    committed,
                    changed_ms: node.and_then(module::changed_ms),
                    log,
                    lag: lag::lag(committed, log),
                    owner: owners.and_then(|owners| owners.get(&partition)).map(Arc::clone),
                };
                of_topic.insert(partition, one);
            }
            facts.topics.insert(topic, of_topic);
        }
        facts
    }
}

impl ModuleFacts {
    /// One value per partition number, as the seed's form has it: the largest over the topics that count. When one of
    /// them is unknown so is the value, because a number that leaves a topic out would be too small.
    #[must_use]
    pub(crate) fn by_partition(&self) -> BTreeMap<i32, Lag> {
        let mut merged: BTreeMap<i32, Lag> = BTreeMap::new();
        for (partition, facts) in self.topics.values().flatten() {
            merged
                .entry(*partition)
                .and_modify(|so_far| *so_far = larger(*so_far, facts.lag))
                .or_insert(facts.lag);
        }
        merged
    }
}

fn larger(one: Lag, other: Lag) -> Lag {
    Ok(one?.max(other?))
}

impl Snapshot {
    /// How many partitions have no lag, by reason. A module that could not be read counts as one `OffsetUnreadable`.
    #[must_use]
    pub(crate) fn unknown(&self) -> BTreeMap<Unknown, u64> {
        let mut counts: BTreeMap<Unknown, u64> = Unknown::ALL.map(|reason| (reason, 0)).into();
        let mut count = |reason: Unknown| *counts.entry(reason).or_default() += 1;
        for module in self.modules.values() {
            let Some(module) = module else {
                count(Unknown::OffsetUnreadable);
                continue;
            };
            let partitions = module.topics.values().flat_map(BTreeMap::values);
            partitions
                .filter_map(|facts| facts.lag.err())
                .for_each(&mut count);
        }
        counts
    }

    /// The largest and the summed known lag; `None` when there are partitions and not one lag is known.
    #[must_use]
    pub(crate) fn extent(&self) -> Option<(u64, u64)> {
        let modules = self.modules.values().flatten();
        let partitions = modules.flat_map(|module| module.topics.values().flat_map(BTreeMap::values));
        let mut any = false;
        let mut extent = None;
        for facts in partitions {
            any = true;
            if let Ok(lag) = facts.lag {
                let (largest, sum): (u64, u64) = extent.unwrap_or_default();
                extent = Some((largest.max(lag), sum.saturating_add(lag)));
            }
        }
        if any { extent } else { Some((0, 0)) }
    }
}

/// Facts that hold nothing but a lag, for tests.
#[cfg(test)]
impl From<Lag> for Facts {
    fn from(lag: Lag) -> Self {
        Self {
            committed: Committed::Never,
            changed_ms: None,
            log: None,
            lag,
            owner: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use kcommon::kafka::CommitOffset;

    use super::*;
    use crate::module::OffsetNode;

    fn found(subscribed: &[&str], offsets: &[(&str, &[(i32, i64)])]) -> Found {
        let node = |offset: i64| OffsetNode::Offset {
            committed: CommitOffset::try_from(offset).unwrap(),
            changed_ms: Some(offset),
        };
        let mut found = Found { ..Found::default() };
        found.module.subscribed = subscribed.iter().map(ToString::to_string).collect();
        for (topic, partitions) in offsets {
            let numbers = partitions.iter().map(|(partition, _)| *partition).collect();
            found.module.offsets.insert((*topic).to_owned(), numbers);
            let nodes = partitions
                .iter()
                .map(|(partition, offset)| (*partition, node(*offset)));
            found.offsets.insert((*topic).to_owned(), nodes.collect());
        }
        found
    }

    fn logs(ranges: &[(&str, i32, i64, i64)]) -> HashMap<TopicPartition, LogRange> {
        let entry = |(topic, partition, start, end): &(&str, i32, i64, i64)| {
            let key = TopicPartition {
                topic: (*topic).to_owned(),
                partition: *partition,
            };
            let range = LogRange {
                start: *start,
                end: *end,
            };
            (key, range)
        };
        ranges.iter().map(entry).collect()
    }

    #[test]
    fn each_partition_gets_its_own_lag_or_its_own_reason() {
        let found = found(&["t"], &[("t", &[(0, 5), (1, 7)])]);
        let topics = Topics::from_counts(&[("t", 2)]);
        let lags = found.facts(&topics, &logs(&[("t", 0, 0, 9)]));
        assert_eq!(lags.topics["t"][&0].lag, Ok(4));
        assert_eq!(lags.topics["t"][&1].lag, Err(Unknown::LogUnreadable));
    }

    #[test]
    fn leftovers_of_a_topic_that_is_gone_or_smaller_are_retired() {
        let topics = Topics::from_counts(&[("t", 1)]);
        let smaller = found(&["t"], &[("t", &[(0, 5), (9, 7)])]);
        assert_eq!(smaller.logs(&topics).len(), 1);
        let gone = found(&[], &[("gone", &[(0, 5)])]);
        assert!(gone.logs(&topics).is_empty());
        assert_eq!(
            gone.facts(&topics, &HashMap::new()).by_partition(),
            BTreeMap::new()
        );
    }

    #[test]
    fn a_topic_that_is_gone_while_instances_read_it_is_unknown() {
        let found = found(&["gone"], &[("gone", &[(0, 5)])]);
        let lags = found.facts(&Topics::from_counts(&[]), &HashMap::new());
        assert_eq!(lags.topics["gone"][&0].lag, Err(Unknown::LogUnreadable));
    }

    #[test]
    fn without_metadata_nothing_is_retired() {
        let found = found(&[], &[("t", &[(0, 5)])]);
        let lags = found.facts(&Topics::default(), &HashMap::new());
        assert_eq!(lags.topics["t"][&0].lag, Err(Unknown::LogUnreadable));
    }

    #[test]
    fn two_live_topics_show_the_larger_lag_and_nothing_when_one_is_unknown() {
        let found = found(&["a", "b"], &[("a", &[(0, 5), (1, 5)]), ("b", &[(0, 5), (2, 5)])]);
        let topics = Topics::from_counts(&[("a", 2), ("b", 3)]);
        let ranges = [("a", 0, 0, 6), ("a", 1, 0, 6), ("b", 0, 0, 9)];
        let merged = found.facts(&topics, &logs(&ranges)).by_partition();
        assert_eq!(merged[&0], Ok(4), "the larger of 1 and 4");
        assert_eq!(merged[&1], Ok(1), "nobody asked about partition 1 of b");
        assert_eq!(merged[&2], Err(Unknown::LogUnreadable));
        let without_b = found.facts(&topics, &logs(&ranges[..2])).by_partition();
        assert_eq!(without_b[&0], Err(Unknown::LogUnreadable));
    }

    #[test]
    fn where_nothing_is_known_the_largest_lag_is_unknown_too() {
        let lags = BTreeMap::from([(0, Facts::from(Err(Unknown::LogUnreadable)))]);
        let topics = BTreeMap::from([("t".to_owned(), lags)]);
        let modules = BTreeMap::from([(
            "m".to_owned(),
            Some(ModuleFacts {
                topics,
                ..ModuleFacts::default()
            }),
        )]);
        assert_eq!(Snapshot { modules }.extent(), None);
        assert_eq!(Snapshot::default().extent(), Some((0, 0)));
    }

    #[test]
    fn unknown_partitions_and_unreadable_modules_are_counted() {
        let lags = BTreeMap::from(
            [(0, Ok(3)), (1, Err(Unknown::Ahead)), (2, Ok(4))]
                .map(|(partition, lag)| (partition, Facts::from(lag))),
        );
        let module = ModuleFacts {
            topics: BTreeMap::from([("t".to_owned(), lags)]),
            ..ModuleFacts::default()
        };
        let snapshot = Snapshot {
            modules: BTreeMap::from([("m".to_owned(), Some(module)), ("n".to_owned(), None)]),
        };
        let unknown = snapshot.unknown();
        assert_eq!(unknown[&Unknown::Ahead], 1);
        assert_eq!(unknown[&Unknown::OffsetUnreadable], 1);
        assert_eq!(unknown[&Unknown::NoOffset], 0);
        assert_eq!(snapshot.extent(), Some((4, 7)));
    }
}

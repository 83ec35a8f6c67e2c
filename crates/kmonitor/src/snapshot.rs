//! The lag of every partition of one cluster at one moment: what a round ends with, and all that answers are made of.
//! Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::lag::{self, LogRange, Unknown};
use crate::module::{self, Module, Offsets};
use crate::topics::{Existence, TopicPartition, Topics};

/// The lag of one partition, or why there is none.
pub(crate) type Lag = Result<u64, Unknown>;

/// The lags of one module, by topic and partition. Retired topics and partitions are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModuleLag {
    /// The topics that count.
    pub(crate) topics: BTreeMap<String, BTreeMap<i32, Lag>>,
}

/// The lags of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// By module; `None` for a module whose znodes could not be read.
    pub(crate) modules: BTreeMap<String, Option<ModuleLag>>,
}

/// One module as this round found it, before anybody asked Kafka for the ends of its logs.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Its place in the tree.
    pub(crate) module: Module,
    /// Its offset znodes.
    pub(crate) offsets: Offsets,
}

impl Found {
    /// The topics that count, with what is committed in each partition that exists or may exist.
    fn committed(&self, topics: &Topics) -> BTreeMap<String, BTreeMap<i32, lag::Committed>> {
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
        let keys = |(topic, partitions): (String, BTreeMap<i32, lag::Committed>)| {
            let key = move |partition| TopicPartition {
                topic: topic.clone(),
                partition,
            };
            partitions.into_keys().map(key)
        };
        counted.into_iter().flat_map(keys).collect()
    }

    /// The module's lags, given the logs that could be read.
    #[must_use]
    pub(crate) fn lags(&self, topics: &Topics, logs: &HashMap<TopicPartition, LogRange>) -> ModuleLag {
        let mut lags = ModuleLag::default();
        for (topic, partitions) in self.committed(topics) {
            let mut of_topic = BTreeMap::new();
            for (partition, committed) in partitions {
                let key = TopicPartition {
                    topic: topic.clone(),
                    partition,
                };
                of_topic.insert(partition, lag::lag(committed, logs.get(&key).copied()));
            }
            lags.topics.insert(topic, of_topic);
        }
        lags
    }
}

impl ModuleLag {
    /// One value per partition number, as the seed's form has it: the largest over the topics that count. When one of
    /// them is unknown so is the value, because a number that leaves a topic out would be too small.
    #[must_use]
    pub(crate) fn by_partition(&self) -> BTreeMap<i32, Lag> {
        let mut merged: BTreeMap<i32, Lag> = BTreeMap::new();
        for (partition, lag) in self.topics.values().flatten() {
            merged
                .entry(*partition)
                .and_modify(|so_far| *so_far = larger(*so_far, *lag))
                .or_insert(*lag);
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
            let lags = module.topics.values().flat_map(BTreeMap::values);
            lags.filter_map(|lag| lag.err()).for_each(&mut count);
        }
        counts
    }

    /// The largest and the summed known lag; `None` when there are partitions and not one lag is known.
    #[must_use]
    pub(crate) fn extent(&self) -> Option<(u64, u64)> {
        let modules = self.modules.values().flatten();
        let lags: Vec<Lag> = modules
            .flat_map(|module| module.topics.values().flat_map(BTreeMap::values))
            .copied()
            .collect();
        let known = lags.iter().filter_map(|lag| lag.ok());
        if !lags.is_empty() && known.clone().next().is_none() {
            return None;
        }
        Some(known.fold((0, 0), |(largest, sum): (u64, u64), lag| {
            (largest.max(lag), sum.saturating_add(lag))
        }))
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
            changed_ms: offset,
        };
        let mut found = Found {
            module: Module::default(),
            offsets: Offsets::new(),
        };
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
        let lags = found.lags(&topics, &logs(&[("t", 0, 0, 9)]));
        assert_eq!(lags.topics["t"][&0], Ok(4));
        assert_eq!(lags.topics["t"][&1], Err(Unknown::LogUnreadable));
    }

    #[test]
    fn leftovers_of_a_topic_that_is_gone_or_smaller_are_retired() {
        let topics = Topics::from_counts(&[("t", 1)]);
        let smaller = found(&["t"], &[("t", &[(0, 5), (9, 7)])]);
        assert_eq!(smaller.logs(&topics).len(), 1);
        let gone = found(&[], &[("gone", &[(0, 5)])]);
        assert!(gone.logs(&topics).is_empty());
        assert_eq!(
            gone.lags(&topics, &HashMap::new()).by_partition(),
            BTreeMap::new()
        );
    }

    #[test]
    fn a_topic_that_is_gone_while_instances_read_it_is_unknown() {
        let found = found(&["gone"], &[("gone", &[(0, 5)])]);
        let lags = found.lags(&Topics::from_counts(&[]), &HashMap::new());
        assert_eq!(lags.topics["gone"][&0], Err(Unknown::LogUnreadable));
    }

    #[test]
    fn without_metadata_nothing_is_retired() {
        let found = found(&[], &[("t", &[(0, 5)])]);
        let lags = found.lags(&Topics::default(), &HashMap::new());
        assert_eq!(lags.topics["t"][&0], Err(Unknown::LogUnreadable));
    }

    #[test]
    fn two_live_topics_show_the_larger_lag_and_nothing_when_one_is_unknown() {
        let found = found(&["a", "b"], &[("a", &[(0, 5), (1, 5)]), ("b", &[(0, 5), (2, 5)])]);
        let topics = Topics::from_counts(&[("a", 2), ("b", 3)]);
        let ranges = [("a", 0, 0, 6), ("a", 1, 0, 6), ("b", 0, 0, 9)];
        let merged = found.lags(&topics, &logs(&ranges)).by_partition();
        assert_eq!(merged[&0], Ok(4), "the larger of 1 and 4");
        assert_eq!(merged[&1], Ok(1), "nobody asked about partition 1 of b");
        assert_eq!(merged[&2], Err(Unknown::LogUnreadable));
        let without_b = found.lags(&topics, &logs(&ranges[..2])).by_partition();
        assert_eq!(without_b[&0], Err(Unknown::LogUnreadable));
    }

    #[test]
    fn where_nothing_is_known_the_largest_lag_is_unknown_too() {
        let lags = BTreeMap::from([(0, Err(Unknown::LogUnreadable))]);
        let topics = BTreeMap::from([("t".to_owned(), lags)]);
        let modules = BTreeMap::from([("m".to_owned(), Some(ModuleLag { topics }))]);
        assert_eq!(Snapshot { modules }.extent(), None);
        assert_eq!(Snapshot::default().extent(), Some((0, 0)));
    }

    #[test]
    fn unknown_partitions_and_unreadable_modules_are_counted() {
        let lags = BTreeMap::from([(0, Ok(3)), (1, Err(Unknown::Ahead)), (2, Ok(4))]);
        let module = ModuleLag {
            topics: BTreeMap::from([("t".to_owned(), lags)]),
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

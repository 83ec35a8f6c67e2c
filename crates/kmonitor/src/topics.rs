//! What Kafka's metadata says about the topics of interest: which partitions there are, and who leads them.
//!
//! Three answers that must not be mixed up: "these partitions", "no such topic" and "nobody told". Pure.

use std::collections::{BTreeMap, BTreeSet};

/// One partition of a topic, as a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TopicPartition {
    /// The topic's name.
    pub(crate) topic: String,
    /// The partition's number.
    pub(crate) partition: i32,
}

/// The topics of one cluster. The default is "nobody told", about every topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topics {
    known: bool,
    topics: BTreeMap<String, Topic>,
}

/// One topic in the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// The partitions, each with the id of the broker that leads it.
    Partitions(BTreeMap<i32, Option<i32>>),
    /// It is listed with an error: it may have any partitions.
    Untold,
}

/// Whether a partition exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existence {
    /// It does.
    Exists,
    /// The topic exists and has no such partition: the znode is a leftover of an earlier topic of that name.
    NoPartition,
    /// There is no such topic.
    NoTopic,
    /// Nobody told.
    Untold,
}

impl Topics {
    /// The topics of an answered metadata request; one that is not in `topics` does not exist.
    #[must_use]
    pub(crate) const fn told(topics: BTreeMap<String, Topic>) -> Self {
        Self { known: true, topics }
    }

    /// The partitions of `topic`; `None` when there is no such topic or nobody told.
    #[must_use]
    pub(crate) fn partitions(&self, topic: &str) -> Option<BTreeSet<i32>> {
        match self.topics.get(topic) {
            Some(Topic::Partitions(partitions)) => Some(partitions.keys().copied().collect()),
            Some(Topic::Untold) | None => None,
        }
    }

    /// Whether the partition exists.
    #[must_use]
    pub(crate) fn existence(&self, topic: &str, partition: i32) -> Existence {
        match self.topics.get(topic) {
            Some(Topic::Partitions(partitions)) if partitions.contains_key(&partition) => Existence::Exists,
            Some(Topic::Partitions(_)) => Existence::NoPartition,
            Some(Topic::Untold) => Existence::Untold,
            None if self.known => Existence::NoTopic,
            None => Existence::Untold,
        }
    }

    /// The partitions of `wanted` that have a leader, by leader: each group is one request to one broker, so that a
    /// broker that does not answer takes nobody else's numbers with it.
    #[must_use]
    pub(crate) fn by_leader(&self, wanted: &BTreeSet<TopicPartition>) -> BTreeMap<i32, Vec<TopicPartition>> {
        let mut groups: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        for one in wanted {
            let Some(Topic::Partitions(partitions)) = self.topics.get(&one.topic) else {
                continue;
            };
            if let Some(Some(leader)) = partitions.get(&one.partition) {
                groups.entry(*leader).or_default().push(one.clone());
            }
        }
        groups
    }

    /// Topics `0..n` all led by broker 1, for tests.
    #[cfg(test)]
    pub(crate) fn from_counts(counts: &[(&str, i32)]) -> Self {
        let topic =
            |count: i32| Topic::Partitions((0..count).map(|partition| (partition, Some(1))).collect());
        Self::told(
            counts
                .iter()
                .map(|(name, count)| ((*name).to_owned(), topic(*count)))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_told_is_not_nothing_there() {
        let silent = Topics::default();
        assert_eq!(silent.existence("t", 0), Existence::Untold);
        assert_eq!(silent.partitions("t"), None);
        let told = Topics::from_counts(&[("t", 2)]);
        assert_eq!(told.existence("t", 1), Existence::Exists);
        assert_eq!(told.existence("t", 2), Existence::NoPartition);
        assert_eq!(told.existence("u", 0), Existence::NoTopic);
    }

    #[test]
    fn a_topic_with_an_error_may_have_any_partition() {
        let topics = Topics::told(BTreeMap::from([("t".to_owned(), Topic::Untold)]));
        assert_eq!(topics.existence("t", 5), Existence::Untold);
        assert_eq!(topics.partitions("t"), None);
    }

    #[test]
    fn partitions_are_asked_of_their_leaders_and_leaderless_ones_of_nobody() {
        let partitions = BTreeMap::from([(0, Some(1)), (1, Some(2)), (2, None), (3, Some(1))]);
        let topics = Topics::told(BTreeMap::from([("t".to_owned(), Topic::Partitions(partitions))]));
        let wanted = [("t", 0), ("t", 1), ("t", 2), ("t", 3), ("t", 4), ("u", 0)]
            .map(|(topic, partition)| TopicPartition {
                topic: topic.to_owned(),
                partition,
            })
            .into_iter()
            .collect();
        let groups = topics.by_leader(&wanted);
        let numbers = |leader: i32| {
            groups[&leader]
                .iter()
                .map(|one| one.partition)
                .collect::<Vec<_>>()
        };
        assert_eq!(groups.len(), 2);
        assert_eq!(numbers(1), [0, 3]);
        assert_eq!(numbers(2), [1]);
    }
}

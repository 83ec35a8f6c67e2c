//! One module as ZooKeeper shows it, and which of its topics count.
//!
//! A module reads one topic, but its znodes keep every topic that it ever read: old topics stay when its file changes.
//! The original let them overwrite each other. Here the topics that live instances name count; when nobody is alive to
//! name one, the topic with the newest commit does. The others are retired and not shown. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kcommon::kafka::CommitOffset;

use crate::lag::Committed;
use crate::topics::Topics;

/// What a scan of the tree found for one module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Module {
    /// Topics that its live instances say they read; empty when none is alive or none tells.
    pub(crate) subscribed: BTreeSet<String>,
    /// The topics that have a directory of offsets, and the partitions in it.
    pub(crate) offsets: BTreeMap<String, BTreeSet<i32>>,
    /// The ids of its live instances.
    pub(crate) instances: BTreeSet<String>,
}

/// Which instance owns which partition of a module, by topic.
pub(crate) type Owners = BTreeMap<String, BTreeMap<i32, Arc<str>>>;

/// What reading one offset znode gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffsetNode {
    /// The znode holds an offset; `changed_ms` is when it was last written, by the server's clock.
    Offset {
        /// The offset in it.
        committed: CommitOffset,
        /// Unix time in milliseconds; `None` where nobody tells.
        changed_ms: Option<i64>,
    },
    /// The znode is there and holds something else.
    Garbage {
        /// Unix time in milliseconds.
        changed_ms: i64,
    },
    /// Somebody owns the partition and has committed nothing in it, and where it will start is its own setting: only of
    /// Kafka's own groups.
    Unset,
    /// There is no such znode.
    Absent,
    /// The read failed.
    Failed,
}

/// The offset znodes of one module that were read in one round, by topic and partition.
pub(crate) type Offsets = BTreeMap<String, BTreeMap<i32, OffsetNode>>;

impl Module {
    /// The topics whose offsets and owners have to be read to know which of them count.
    pub(crate) fn candidates(&self) -> BTreeSet<&String> {
        if self.subscribed.is_empty() {
            self.offsets.keys().collect()
        } else {
            self.subscribed.iter().collect()
        }
    }

    /// Every offset znode to read this round: those the scan saw, and those of partitions that only Kafka knows, because
    /// they may have been created since.
    #[must_use]
    pub(crate) fn to_read(&self, topics: &Topics) -> Vec<(String, i32)> {
        let mut wanted = Vec::new();
        for topic in self.candidates() {
            let mut partitions = self.offsets.get(topic).cloned().unwrap_or_default();
            partitions.extend(topics.partitions(topic).unwrap_or_default());
            wanted.extend(partitions.into_iter().map(|partition| (topic.clone(), partition)));
        }
        wanted
    }

    /// The topics that count.
    #[must_use]
    pub(crate) fn live_topics(&self, offsets: &Offsets) -> BTreeSet<String> {
        if !self.subscribed.is_empty() {
            return self.subscribed.clone();
        }
        let newest = |nodes: &BTreeMap<i32, OffsetNode>| nodes.values().filter_map(changed_ms).max();
        let latest = offsets
            .iter()
            .filter_map(|(topic, nodes)| newest(nodes).map(|changed| (changed, topic)))
            .max();
        latest
            .map(|(_changed, topic)| topic.clone())
            .into_iter()
            .collect()
    }
}

/// What the offset znodes of one topic say about each partition.
#[must_use]
pub(crate) fn committed(nodes: &BTreeMap<i32, OffsetNode>) -> BTreeMap<i32, Committed> {
    let present = |node: &OffsetNode| matches!(node, OffsetNode::Offset { .. } | OffsetNode::Garbage { .. });
    let any = nodes.values().any(present);
    let failed = nodes.values().any(|node| *node == OffsetNode::Failed);
    let judge = |node: &OffsetNode| match node {
        OffsetNode::Offset { committed, .. } => Committed::At(*committed),
        OffsetNode::Garbage { .. } | OffsetNode::Failed => Committed::Unreadable,
        OffsetNode::Unset => Committed::Never,
        OffsetNode::Absent if any => Committed::LogStart,
        OffsetNode::Absent if failed => Committed::Unreadable,
        OffsetNode::Absent => Committed::Never,
    };
    nodes
        .iter()
        .map(|(partition, node)| (*partition, judge(node)))
        .collect()
}

/// When the znode was last written, by the server's clock.
#[must_use]
pub(crate) const fn changed_ms(node: &OffsetNode) -> Option<i64> {
    match node {
        OffsetNode::Offset { changed_ms, .. } => *changed_ms,
        OffsetNode::Garbage { changed_ms } => Some(*changed_ms),
        OffsetNode::Unset | OffsetNode::Absent | OffsetNode::Failed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64, changed_ms: i64) -> OffsetNode {
        OffsetNode::Offset {
            committed: CommitOffset::try_from(offset).unwrap(),
            changed_ms: Some(changed_ms),
        }
    }

    fn module(subscribed: &[&str], offsets: &[(&str, &[i32])]) -> Module {
        Module {
            subscribed: subscribed.iter().map(ToString::to_string).collect(),
            offsets: offsets
                .iter()
                .map(|(topic, partitions)| ((*topic).to_owned(), partitions.iter().copied().collect()))
                .collect(),
            instances: BTreeSet::new(),
        }
    }

    fn read(offsets: &[(&str, &[OffsetNode])]) -> Offsets {
        let numbered = |nodes: &[OffsetNode]| (0..).zip(nodes.iter().copied()).collect();
        offsets
            .iter()
            .map(|(topic, nodes)| ((*topic).to_owned(), numbered(nodes)))
            .collect()
    }

    fn names(topics: BTreeSet<String>) -> Vec<String> {
        topics.into_iter().collect()
    }

    #[test]
    fn the_topic_of_a_live_instance_counts_whatever_else_was_read_before() {
        let module = module(&["now"], &[("now", &[0]), ("before", &[0])]);
        let offsets = read(&[("now", &[at(1, 10)]), ("before", &[at(9, 99)])]);
        assert_eq!(names(module.live_topics(&offsets)), ["now"]);
        assert_eq!(
            module.to_read(&Topics::default()),
            [("now".to_owned(), 0)],
            "a retired topic is not even read"
        );
    }

    #[test]
    fn of_a_dead_module_the_topic_with_the_newest_commit_counts() {
        let module = module(&[], &[("a", &[0, 1]), ("b", &[0])]);
        let offsets = read(&[("a", &[at(1, 10), at(1, 30)]), ("b", &[at(9, 20)])]);
        assert_eq!(names(module.live_topics(&offsets)), ["a"]);
        assert_eq!(module.to_read(&Topics::default()).len(), 3);
    }

    #[test]
    fn a_dead_module_without_any_readable_znode_has_no_topic() {
        let module = module(&[], &[("a", &[0])]);
        assert!(
            module
                .live_topics(&read(&[("a", &[OffsetNode::Failed])]))
                .is_empty()
        );
        assert!(module.live_topics(&Offsets::new()).is_empty());
    }

    #[test]
    fn partitions_that_only_kafka_knows_are_read_too() {
        let module = module(&["t"], &[("t", &[0, 7])]);
        let topics = Topics::from_counts(&[("t", 3)]);
        let partitions: Vec<i32> = module.to_read(&topics).into_iter().map(|(_, p)| p).collect();
        assert_eq!(partitions, [0, 1, 2, 7]);
    }

    #[test]
    fn an_absent_znode_beside_others_is_a_new_partition() {
        let nodes = BTreeMap::from([(0, at(5, 1)), (1, OffsetNode::Absent)]);
        assert_eq!(committed(&nodes)[&1], Committed::LogStart);
        let garbage = BTreeMap::from([
            (0, OffsetNode::Garbage { changed_ms: 1 }),
            (1, OffsetNode::Absent),
        ]);
        assert_eq!(committed(&garbage)[&0], Committed::Unreadable);
        assert_eq!(committed(&garbage)[&1], Committed::LogStart);
    }

    #[test]
    fn without_any_commit_nobody_knows_where_the_module_will_start() {
        let nodes = BTreeMap::from([(0, OffsetNode::Absent), (1, OffsetNode::Absent)]);
        assert_eq!(committed(&nodes)[&0], Committed::Never);
        let failed = BTreeMap::from([(0, OffsetNode::Failed), (1, OffsetNode::Absent)]);
        assert_eq!(
            committed(&failed)[&1],
            Committed::Unreadable,
            "the failed one may hold a commit"
        );
    }
}

//! Which topic it is, beyond its name: one that was deleted and created anew is another. Pure.

use serde::Deserialize;

/// The longest id that is kept; Kafka's have 22 characters.
pub(super) const MAX_ID_BYTES: usize = 64;

/// What ZooKeeper says of a topic. Clusters that grew up before topics had ids give them one later, so both marks are
/// kept, and the id decides where both sides have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicIdentity {
    /// The transaction that created the topic's znode.
    pub(super) created: i64,
    /// Kafka's own id of the topic; none before Kafka 2.8.
    pub(super) id: Option<String>,
}

#[derive(Deserialize)]
struct TopicNode {
    topic_id: Option<String>,
}

impl TopicIdentity {
    /// From the content of `brokers/topics/<topic>` and the transaction that created it. Content that is not Kafka's
    /// has no id.
    #[must_use]
    pub fn from_znode(data: &[u8], created: i64) -> Self {
        let node: Option<TopicNode> = serde_json::from_slice(data).ok();
        let id = node
            .and_then(|node| node.topic_id)
            .filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()));
        Self { created, id }
    }

    /// Whether both are the same topic.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.id, &other.id) {
            (Some(one), Some(other)) => one == other,
            _ => self.created == other.created,
        }
    }
}

impl std::fmt::Display for TopicIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.id {
            Some(id) => f.write_str(id),
            None => write!(f, "created by transaction {:#x}", self.created),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(data: &str, created: i64) -> TopicIdentity {
        TopicIdentity::from_znode(data.as_bytes(), created)
    }

    #[test]
    fn the_id_decides_where_both_have_one_and_the_creation_elsewhere() {
        let kafka_3 =
            r#"{"removing_replicas":{},"partitions":{"0":[1]},"topic_id":"Yl7hTa4wT0yZcQ","version":3}"#;
        let other_id = r#"{"partitions":{"0":[1]},"topic_id":"AAAAAAAAAAAAAA","version":3}"#;
        let kafka_2 = r#"{"version":1,"partitions":{"0":[1]}}"#;
        assert!(
            identity(kafka_3, 7).is_same(&identity(kafka_3, 9)),
            "moved to another ZooKeeper"
        );
        assert!(!identity(kafka_3, 7).is_same(&identity(other_id, 7)));
        assert!(
            identity(kafka_2, 7).is_same(&identity(kafka_3, 7)),
            "Kafka was upgraded"
        );
        assert!(!identity(kafka_2, 7).is_same(&identity(kafka_2, 8)));
        assert!(!identity(kafka_2, 7).is_same(&identity(kafka_3, 8)));
    }

    #[test]
    fn garbage_has_no_id() {
        let long = format!(r#"{{"topic_id":"{}"}}"#, "x".repeat(MAX_ID_BYTES + 1));
        for data in ["", "[", "{}", r#"{"topic_id":7}"#, r#"{"topic_id":""}"#, &long] {
            assert_eq!(identity(data, 7).id, None, "{data}");
        }
    }
}

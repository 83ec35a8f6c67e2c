//! The paths of the classic consumer layout, all below the chroot.
//!
//! | path | kind | content |
//! |---|---|---|
//! | `/consumers/<module>/ids/<member>` | ephemeral | JSON: what the member subscribes to |
//! | `/consumers/<module>/owners/<topic>/<p>` | ephemeral | the member's id |
//! | `/consumers/<module>/offsets/<topic>/<p>` | persistent | the next offset to deliver, in decimal digits |
//! | `/consumers/<module>/acks/<topic>/<p>` | persistent | which records above that offset are delivered; only ours know it |
//! | `/brokers/ids/<id>` | Kafka's own | JSON |
//! | `/brokers/topics/<topic>` | Kafka's own | JSON |
//! | `/brokers/topics/<topic>/partitions/<p>/state` | Kafka's own | JSON |

use crate::kafka::PartitionId;

/// The parent of all groups.
#[must_use]
pub const fn consumers() -> &'static str {
    "/consumers"
}

/// Everything of one module, which is a consumer group.
#[must_use]
pub fn group(module: &str) -> String {
    format!("/consumers/{module}")
}

/// The parent of a module's members.
#[must_use]
pub fn ids(module: &str) -> String {
    format!("/consumers/{module}/ids")
}

/// One member of a module.
#[must_use]
pub fn id(module: &str, member: &str) -> String {
    format!("/consumers/{module}/ids/{member}")
}

/// The parent of a topic's owner znodes.
#[must_use]
pub fn owners(module: &str, topic: &str) -> String {
    format!("/consumers/{module}/owners/{topic}")
}

/// Who owns a partition.
#[must_use]
pub fn owner(module: &str, topic: &str, partition: PartitionId) -> String {
    format!("/consumers/{module}/owners/{topic}/{partition}")
}

/// The parent of a topic's offset znodes.
#[must_use]
pub fn offsets(module: &str, topic: &str) -> String {
    format!("/consumers/{module}/offsets/{topic}")
}

/// The commit offset of a partition.
#[must_use]
pub fn offset(module: &str, topic: &str, partition: PartitionId) -> String {
    format!("/consumers/{module}/offsets/{topic}/{partition}")
}

/// The parent of a topic's acks znodes.
#[must_use]
pub fn all_acks(module: &str, topic: &str) -> String {
    format!("/consumers/{module}/acks/{topic}")
}

/// What is delivered above the commit offset of a partition.
#[must_use]
pub fn acks(module: &str, topic: &str, partition: PartitionId) -> String {
    format!("/consumers/{module}/acks/{topic}/{partition}")
}

/// What Kafka says of a topic.
#[must_use]
pub fn broker_topic(topic: &str) -> String {
    format!("/brokers/topics/{topic}")
}

/// The parent of the live brokers.
#[must_use]
pub const fn brokers_ids() -> &'static str {
    "/brokers/ids"
}

/// The parent of what Kafka says of each partition of a topic.
#[must_use]
pub fn topic_partitions(topic: &str) -> String {
    format!("/brokers/topics/{topic}/partitions")
}

/// What Kafka says of a partition: its leader.
#[must_use]
pub fn partition_state(topic: &str, partition: PartitionId) -> String {
    format!("/brokers/topics/{topic}/partitions/{partition}/state")
}

/// The partition that a child of an `owners` or `offsets` znode names; `None` for anything that is not
/// the plain decimal number Kafka would write, such as `01` or `lock`.
#[must_use]
pub fn partition_of(child: &str) -> Option<PartitionId> {
    let number: i32 = child.parse().ok()?;
    (number >= 0 && number.to_string() == child).then_some(PartitionId(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_are_those_of_the_classic_layout() {
        let p = PartitionId(7);
        assert_eq!(consumers(), "/consumers");
        assert_eq!(group("mail"), "/consumers/mail");
        assert_eq!(id("mail", "h:1"), "/consumers/mail/ids/h:1");
        assert_eq!(id("mail", "h:1"), format!("{}/h:1", ids("mail")));
        assert_eq!(owner("mail", "t", p), "/consumers/mail/owners/t/7");
        assert_eq!(owner("mail", "t", p), format!("{}/7", owners("mail", "t")));
        assert_eq!(offset("mail", "t", p), "/consumers/mail/offsets/t/7");
        assert_eq!(offset("mail", "t", p), format!("{}/7", offsets("mail", "t")));
        assert_eq!(acks("mail", "t", p), "/consumers/mail/acks/t/7");
        assert_eq!(acks("mail", "t", p), format!("{}/7", all_acks("mail", "t")));
        assert_eq!(broker_topic("t"), "/brokers/topics/t");
        assert_eq!(brokers_ids(), "/brokers/ids");
        assert_eq!(
            partition_state("t", p),
            format!("{}/7/state", topic_partitions("t"))
        );
        assert_eq!(topic_partitions("t"), "/brokers/topics/t/partitions");
    }

    #[test]
    fn a_child_is_a_partition_only_if_kafka_could_have_written_it() {
        assert_eq!(partition_of("0"), Some(PartitionId(0)));
        assert_eq!(partition_of("12"), Some(PartitionId(12)));
        for other in ["", "-1", "+1", "01", "lock", "2147483648", "1 "] {
            assert_eq!(partition_of(other), None, "{other:?}");
        }
    }
}

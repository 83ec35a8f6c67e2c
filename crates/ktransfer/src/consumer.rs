//! The Kafka client of a module: partitions are assigned by hand at known offsets, each read through a queue of its own;
//! nothing is ever committed to Kafka, and an offset out of range is an error that we decide on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{Consumer as _, ConsumerContext, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use kcommon::kafka::options::{Options, Owned};
use kcommon::kafka::{CommitOffset, PartitionId, client_log};

/// The client. Shared by the fetch tasks of the module and by blocking calls on other threads.
pub type Consumer = StreamConsumer<Events>;

/// Takes librdkafka's log lines and errors into ours. They concern brokers and connections, never a record.
#[derive(Debug)]
pub struct Events {
    /// Where the last log ended that was found truncated; negative when it was taken, or there was none.
    truncation: AtomicI64,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            truncation: AtomicI64::new(-1),
        }
    }
}

impl Events {
    /// Where the log ended whose loss of records came to light with the error that was taken last from the queue of its
    /// partition: from there on it may hold other records than those that were read. `None` for any other error. To be
    /// asked by the thread that took the error, before it takes another.
    pub fn take_truncation(&self) -> Option<i64> {
        let end = self.truncation.swap(-1, Ordering::Relaxed);
        (end >= 0).then_some(end)
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client_log::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The error itself comes to whoever reads the queue, but not its text.
        if let Some(end) = truncation(reason) {
            self.truncation.store(end, Ordering::Relaxed);
        }
        // The client recovers by itself; an offset out of range also comes to its partition's queue, which acts on it.
        tracing::warn!(error = &error as &dyn std::error::Error, reason, "Kafka client");
    }
}

impl ConsumerContext for Events {}

/// Where a log ends of which librdkafka found, asking the new leader for the end of the epoch that it had read from, that
/// it was truncated. It says so only in the text of the error "offset out of range".
fn truncation(reason: &str) -> Option<i64> {
    let (_, told) = reason.split_once("log truncation detected")?;
    let (_, end) = told.split_once("broker end offset is ")?;
    end.split_once(' ')?.0.parse().ok().filter(|end| *end >= 0)
}

/// How much the client holds of each partition beyond what was taken from its queue, and how long a broker may hold a fetch
/// without records. librdkafka takes both at the client's creation only, before anybody knows how many partitions the instance
/// will own. So they go by the partitions of the topic, which is the most that it can come to own; of a topic that grows they
/// stay as they are until the module's next life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefetch {
    kib: u32,
    records: u32,
    wait_ms: u32,
}

impl Prefetch {
    /// What all partitions of a topic hold together, as long as each has its least.
    const TOGETHER_KIB: u32 = 16 << 10;
    /// A partition holds so much at most: a busy one beside idle ones keeps every worker busy from one fetch to the next.
    const MOST_KIB: u32 = 2 << 10;
    /// And so much at least, however many there are.
    const LEAST_KIB: u32 = 256;

    /// For a topic of so many partitions; `None`: nobody knows, which counts as many.
    #[must_use]
    pub fn of(partitions: Option<usize>) -> Self {
        let partitions = partitions.and_then(|known| u32::try_from(known).ok());
        let kib = partitions.map_or(Self::LEAST_KIB, |known| Self::TOGETHER_KIB / known.max(1));
        let kib = kib.clamp(Self::LEAST_KIB, Self::MOST_KIB);
        // One fetch is under way for each broker, so a busy partition whose queue is full when it is sent waits until the idle
        // ones' ends. Of a topic of one partition nobody waits, and each fetch without records costs some 50 µs of CPU.
        let wait_ms = if partitions == Some(1) { 500 } else { 100 };
        Self {
            kib,
            // Of records of some 200 bytes: with smaller ones their number is the limit.
            records: kib * 5,
            wait_ms,
        }
    }
}

/// Options of librdkafka that a configuration may not set, with what to do instead.
pub const OWNED: Owned = &[
    (
        &[
            "group.id",
            "group.instance.id",
            "group.protocol",
            "group.remote.assignor",
        ],
        "a module's name is its group, and partitions are assigned by hand",
    ),
    (
        &[
            "partition.assignment.strategy",
            "rebalance_cb",
            "session.timeout.ms",
            "heartbeat.interval.ms",
            "max.poll.interval.ms",
        ],
        "ZooKeeper says who reads what",
    ),
    (
        &[
            "enable.auto.commit",
            "auto.commit.interval.ms",
            "auto.commit.enable",
            "enable.auto.offset.store",
            "offset.store.method",
            "offset.store.path",
            "offset.store.sync.interval.ms",
            "offset_commit_cb",
        ],
        "offsets are kept in ZooKeeper, by ktransfer; see zk_offset_update_interval_sec",
    ),
    (
        &["auto.offset.reset"],
        "set initial_offset; an offset that is out of range is decided on by ktransfer",
    ),
    (
        &["enable.partition.eof", "consume_cb"],
        "the end of a partition and its records are taken by ktransfer",
    ),
    (
        &["queued.max.messages.kbytes", "queued.min.messages"],
        "they follow from the number of partitions, so that memory has a bound",
    ),
];

/// How the brokers are reached.
#[derive(Clone, Debug, Default)]
pub struct Brokers {
    /// `host:port` of those to begin with.
    pub hosts: Vec<String>,
    /// librdkafka's options from the configuration.
    pub options: Options,
}

/// Makes the client of a module, which holds so much of each partition.
///
/// # Errors
/// librdkafka refuses a setting or cannot start its threads.
pub fn connect(module: &str, brokers: &Brokers, prefetch: Prefetch) -> Result<Arc<Consumer>, KafkaError> {
    let config = config(module, brokers, prefetch);
    config.create_with_context(Events::default()).map(Arc::new)
}

/// Makes the client that reads bodies again: it reads short ranges that end before the log does, of one partition after
/// the other, and wants to know of a log that ends early.
///
/// # Errors
/// As [`connect`].
pub fn connect_reader(module: &str, brokers: &Brokers) -> Result<Arc<Consumer>, KafkaError> {
    // Of one partition at a time.
    let mut config = config(module, brokers, Prefetch::of(Some(1)));
    config
        .set("client.id", format!("ktransfer-{module}-again"))
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50");
    config.create_with_context(Events::default()).map(Arc::new)
}

fn config(module: &str, brokers: &Brokers, prefetch: Prefetch) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers.hosts.join(","))
        .set("client.id", format!("ktransfer-{module}"))
        // Only assignments by hand are made, but librdkafka wants a group all the same.
        .set("group.id", module)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "false")
        .set("enable.metrics.push", "false")
        // Per partition, because each has a queue of its own: the default of 64 MiB would be half a gigabyte for eight.
        .set("queued.max.messages.kbytes", prefetch.kib.to_string())
        .set("queued.min.messages", prefetch.records.to_string())
        .set("fetch.message.max.bytes", "1048576")
        // An answer is held until its last record is taken; the default is 50 MiB for each broker.
        .set("fetch.max.bytes", "8388608")
        // A full queue makes the fetcher pause for so long; the default is a whole second.
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.wait.max.ms", prefetch.wait_ms.to_string())
        .set_log_level(RDKafkaLogLevel::Warning);
    brokers.options.apply(&mut config);
    config
}

/// One assigned partition; unassigned when dropped. Drop the partition's queue first: an old queue would take records of
/// a later assignment.
pub struct Assigned {
    consumer: Arc<Consumer>,
    topic: String,
    partition: PartitionId,
}

impl Assigned {
    /// Begins to fetch the partition at `from`.
    ///
    /// # Errors
    /// The partition is assigned already, or the client is broken.
    pub fn new(
        consumer: &Arc<Consumer>,
        topic: &str,
        partition: PartitionId,
        from: CommitOffset,
    ) -> Result<Self, KafkaError> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, partition.0, Offset::Offset(from.get()))?;
        consumer.incremental_assign(&list)?;
        Ok(Self {
            consumer: Arc::clone(consumer),
            topic: topic.to_owned(),
            partition,
        })
    }
}

impl Drop for Assigned {
    fn drop(&mut self) {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&self.topic, self.partition.0);
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::warn!(
                topic = self.topic,
                partition = self.partition.0,
                error = &error as &dyn std::error::Error,
                "cannot unassign a partition"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUNCATED: &str = "Partition log truncation detected at offset 60 (leader epoch 0): broker end offset is 30 (offset \
                             leader epoch 0). Reset to INVALID.: Local: Partition log truncation detected (broker 1)";
    const OUT_OF_RANGE: &str = "fetch failed due to requested offset not available on the broker: Broker: Offset out of range \
                                (broker 1)";

    #[test]
    fn the_end_of_a_truncated_log_is_taken_once_from_the_text_of_its_error() {
        let events = Events::default();
        assert_eq!(events.take_truncation(), None);
        let error = |reason| {
            let code = rdkafka::error::RDKafkaErrorCode::AutoOffsetReset;
            events.error(KafkaError::Global(code), reason);
        };
        error(TRUNCATED);
        assert_eq!(events.take_truncation(), Some(30));
        assert_eq!(events.take_truncation(), None);
        error(OUT_OF_RANGE);
        assert_eq!(events.take_truncation(), None);
    }

    #[test]
    fn options_of_the_configuration_win_and_what_the_design_rests_on_is_refused() {
        let mut options = Options::default();
        options.add(OWNED, "fetch.wait.max.ms", "7").unwrap();
        options.add(OWNED, "isolation.level", "read_uncommitted").unwrap();
        for owned in ["group.id", "auto.offset.reset", "bootstrap.servers"] {
            assert!(
                options
                    .add(OWNED, owned, "x")
                    .unwrap_err()
                    .starts_with("is not taken here")
            );
        }
        let brokers = Brokers {
            hosts: vec!["a:1".into()],
            options,
        };
        let config = config("m", &brokers, Prefetch::of(None));
        assert_eq!(config.get("fetch.wait.max.ms"), Some("7"));
        assert_eq!(config.get("isolation.level"), Some("read_uncommitted"));
        assert_eq!(config.get("bootstrap.servers"), Some("a:1"));
        assert_eq!(kcommon::kafka::options::unknown_names(OWNED), Vec::<&str>::new());
    }

    #[test]
    fn what_is_held_of_a_partition_is_less_where_there_are_many() {
        let held = |partitions| {
            let config = config("m", &Brokers::default(), Prefetch::of(partitions));
            let number = |key| config.get(key).unwrap().parse::<usize>().unwrap();
            (
                number("queued.max.messages.kbytes"),
                number("queued.min.messages"),
            )
        };
        assert_eq!(held(Some(1)), (2048, 10_240));
        assert_eq!(held(Some(8)), (2048, 10_240));
        assert_eq!(held(Some(16)), (1024, 5_120));
        for many in [Some(64), Some(1_000), None] {
            assert_eq!(held(many), (256, 1_280));
        }
        for partitions in 1..=64 {
            let (kib, _) = held(Some(partitions));
            assert!(kib * partitions <= 16 << 10, "{partitions} partitions");
        }
    }

    #[test]
    fn an_idle_fetch_is_held_long_only_where_no_other_partition_waits_for_it() {
        let wait = |partitions| {
            let config = config("m", &Brokers::default(), Prefetch::of(partitions));
            config.get("fetch.wait.max.ms").unwrap().to_owned()
        };
        assert_eq!(wait(Some(1)), "500");
        for several in [Some(2), Some(16), Some(17), None] {
            assert_eq!(wait(several), "100");
        }
    }

    #[test]
    fn a_text_without_a_number_tells_no_end() {
        for reason in [
            "",
            OUT_OF_RANGE,
            "Partition log truncation detected at offset 60",
            "log truncation detected: broker end offset is -1 (none)",
            "log truncation detected: broker end offset is many (none)",
        ] {
            assert_eq!(truncation(reason), None, "{reason}");
        }
        assert_eq!(truncation(TRUNCATED), Some(30));
    }
}

//! The ends of the logs, asked of Kafka. Joins no group, commits nothing, fetches no record.
//!
//! Log starts are asked before log ends, and both after the commits were read: then a commit is never beyond the end and
//! a start never beyond either. One request per broker, so that a broker that hangs costs its own partitions only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use kcommon::kafka::options::{Options, Owned};
use kcommon::kafka::raw::groups::{self, Group};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::lag::LogRange;
use crate::log_batch::{self, Outcome};
use crate::search::Search;
use crate::topics::{Topic, TopicPartition, Topics};

/// How long one broker may take to tell all the ends of one kind that a round needs.
const PATIENCE: Duration = Duration::from_secs(3);

/// Brokers asked at a time.
const BROKERS_AT_A_TIME: usize = 16;

/// Events that are taken from the client's queue in one round.
const EVENTS: usize = 100;

/// A client of one Kafka cluster.
#[derive(Clone)]
pub(crate) struct Logs {
    client: Arc<BaseConsumer<Quiet>>,
    brokers: Vec<String>,
}

/// What the brokers told in one round.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// The logs whose both ends are known.
    pub(crate) ranges: HashMap<TopicPartition, LogRange>,
    /// Whether every partition that has a leader was answered for.
    pub(crate) complete: bool,
}

struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, detail = message, "kafka client");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client error");
    }
}

impl ConsumerContext for Quiet {}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs")
            .field("brokers", &self.brokers)
            .finish_non_exhaustive()
    }
}

/// Options of librdkafka that a configuration may not set, with what to do instead.
pub(crate) const OWNED: Owned = &[
    (
        &[
            "group.id",
            "group.instance.id",
            "enable.auto.commit",
            "enable.auto.offset.store",
        ],
        "kmonitor is in no group and commits nothing",
    ),
    (
        &["isolation.level"],
        "a lag counts what was written, as ktransfer's offsets do",
    ),
    (
        &["enable.partition.eof"],
        "records are read where they are looked for",
    ),
];

impl Logs {
    /// A client that starts from `brokers`. Connects later, by itself.
    ///
    /// # Errors
    /// librdkafka refuses the addresses.
    pub(crate) fn new(brokers: Vec<String>, options: &Options) -> Result<Self, KafkaError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers.join(","))
            .set("client.id", "kmonitor")
            // Without a group the client never looks for a coordinator, which could make the broker create a topic.
            .set("enable.auto.commit", "false")
            .set("allow.auto.create.topics", "false")
            .set("enable.metrics.push", "false")
            // What counts is what was written, as for ktransfer, not what transactions have made visible.
            .set("isolation.level", "read_uncommitted")
            .set("socket.timeout.ms", "10000")
            .set("socket.connection.setup.timeout.ms", "5000")
            .set("reconnect.backoff.max.ms", "2000")
            .set_log_level(RDKafkaLogLevel::Warning);
        options.apply(&mut config);
        let client = config.create_with_context(Quiet)?;
        Ok(Self {
            client: Arc::new(client),
            brokers,
        })
    }

    /// The addresses that it was started from.
    #[must_use]
    pub(crate) fn brokers(&self) -> &[String] {
        &self.brokers
    }

    /// What Kafka says about the topics of `interest`.
    ///
    /// # Errors
    /// No broker answered.
    pub(crate) async fn topics(&self, interest: BTreeSet<String>) -> Result<Topics, KafkaError> {
        let client = Arc::clone(&self.client);
        blocking(move || {
            let metadata = client.fetch_metadata(None, PATIENCE)?;
            let listed = metadata
                .topics()
                .iter()
                .filter(|topic| interest.contains(topic.name()));
            let told: BTreeMap<String, Topic> = listed
                .map(|topic| {
                    let leader = |id: i32| (id >= 0).then_some(id);
                    let partitions = topic.partitions().iter();
                    let told = if topic.error().is_some() {
                        Topic::Untold
                    } else {
                        Topic::Partitions(partitions.map(|one| (one.id(), leader(one.leader()))).collect())
                    };
                    (topic.name().to_owned(), told)
                })
                .collect();
            Ok(Topics::told(told))
        })
        .await
    }

    /// Kafka's own consumer groups. Nothing is joined: the brokers are asked.
    ///
    /// # Errors
    /// Some broker does not tell its groups.
    pub(crate) async fn groups(&self) -> Result<BTreeMap<String, Group>, RDKafkaErrorCode> {
        let client = Arc::clone(&self.client);
        blocking(move || groups::groups(client.client(), PATIENCE)).await
    }

    /// The log ranges of `wanted`, as far as the leaders tell them in time.
    pub(crate) async fn read(&self, topics: &Topics, wanted: &BTreeSet<TopicPartition>) -> Read {
        let mut groups = topics.by_leader(wanted);
        let asked: usize = groups.values().map(Vec::len).sum();
        let starts = self.ends(&groups, Offset::Beginning).await;
        // Who did not tell the one will not tell the other, and would be waited for again.
        groups
            .values_mut()
            .for_each(|group| group.retain(|key| starts.contains_key(key)));
        groups.retain(|_, group| !group.is_empty());
        let ends = self.ends(&groups, Offset::End).await;
        let client = Arc::clone(&self.client);
        blocking(move || serve_events(&client)).await;
        let ranges: HashMap<TopicPartition, LogRange> = ends
            .into_iter()
            .filter_map(|(key, end)| {
                let start = *starts.get(&key)?;
                Some((key, LogRange { start, end }))
            })
            .collect();
        let complete = ranges.len() == asked;
        Read { ranges, complete }
    }

    /// When the wanted records were written, in Unix time in milliseconds, by their own timestamps, as far as that can be found
    /// in time. `wanted` holds an offset for each partition, and a time before which it should have been written.
    pub(crate) async fn written(
        &self,
        topics: &Topics,
        wanted: BTreeMap<TopicPartition, (i64, i64)>,
    ) -> HashMap<TopicPartition, i64> {
        let deadline = Instant::now() + PATIENCE;
        let begin = |(key, (offset, before_ms))| (key, Search::new(offset, before_ms));
        let mut open: BTreeMap<TopicPartition, Search> = wanted.into_iter().map(begin).collect();
        let mut found = HashMap::new();
        while !open.is_empty() && Instant::now() < deadline {
            let next = |(key, search): (&TopicPartition, &Search)| Some((key.clone(), search.next()?));
            let times: HashMap<TopicPartition, i64> = open.iter().filter_map(next).collect();
            let groups = topics.by_leader(&times.keys().cloned().collect());
            let told = self.first_since(&groups, &times).await;
            for (key, search) in std::mem::take(&mut open) {
                let Some(asked_ms) = times.get(&key) else {
                    found.extend(search.found().map(|written_ms| (key, written_ms)));
                    continue;
                };
                // What is not answered for is given up.
                if let Some(first) = told.get(&key) {
                    let mut search = search;
                    search.told(*asked_ms, *first);
                    open.insert(key, search);
                }
            }
        }
        found
    }

    /// The first record at or after each time; `None` where there is none.
    async fn first_since(
        &self,
        groups: &BTreeMap<i32, Vec<TopicPartition>>,
        times: &HashMap<TopicPartition, i64>,
    ) -> HashMap<TopicPartition, Option<i64>> {
        let time = |key: &TopicPartition| times.get(key).map_or(Offset::Invalid, |ms| Offset::Offset(*ms));
        let told = self.ask(groups, time).await;
        let first = |(key, offset): (TopicPartition, Offset)| match offset {
            // One that was not answered still holds what was asked.
            Offset::Offset(offset) if times.get(&key) != Some(&offset) => Some((key, Some(offset))),
            Offset::End => Some((key, None)),
            _ => None,
        };
        told.into_iter().filter_map(first).collect()
    }

    /// The starts or ends of the logs.
    async fn ends(
        &self,
        groups: &BTreeMap<i32, Vec<TopicPartition>>,
        which: Offset,
    ) -> HashMap<TopicPartition, i64> {
        let told = self.ask(groups, |_| which).await;
        // One that was not answered still holds what was asked, which is no plain offset.
        let number = |(key, offset): (TopicPartition, Offset)| match offset {
            Offset::Offset(offset) => Some((key, offset)),
            _ => None,
        };
        told.into_iter().filter_map(number).collect()
    }

    async fn ask(
        &self,
        groups: &BTreeMap<i32, Vec<TopicPartition>>,
        which: impl Fn(&TopicPartition) -> Offset,
    ) -> Vec<(TopicPartition, Offset)> {
        let asked = groups.values().map(|group| {
            let client = Arc::clone(&self.client);
            let group: Vec<_> = group.iter().map(|one| (one.clone(), which(one))).collect();
            blocking(move || ask_group(&client, &group))
        });
        let answers = stream::iter(asked.collect::<Vec<_>>()).buffer_unordered(BROKERS_AT_A_TIME);
        answers.flat_map(stream::iter).collect().await
    }
}

/// librdkafka's calls block until a broker answers or their time ends, which is at most [`PATIENCE`].
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(call).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is ending, and the task that waits here with it.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}

fn ask_group(
    client: &BaseConsumer<Quiet>,
    group: &[(TopicPartition, Offset)],
) -> Vec<(TopicPartition, Offset)> {
    let deadline = Instant::now() + PATIENCE;
    log_batch::ask(group, |batch| {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Outcome::NoAnswer;
        }
        request(client, batch, left)
    })
}

fn request(
    client: &BaseConsumer<Quiet>,
    batch: &[(TopicPartition, Offset)],
    patience: Duration,
) -> Outcome<(TopicPartition, Offset)> {
    let mut list = TopicPartitionList::with_capacity(batch.len());
    for (one, which) in batch {
        if let Err(error) = list.add_partition_offset(&one.topic, one.partition, *which) {
            tracing::warn!(topic = one.topic, partition = one.partition, %error, "partition cannot be asked for");
        }
    }
    let answered = match client.offsets_for_times(list, patience) {
        Ok(answered) => answered,
        Err(error) => {
            tracing::debug!(%error, partitions = batch.len(), "log ends are not told");
            return if is_no_answer(&error) {
                Outcome::NoAnswer
            } else {
                Outcome::PartFailed
            };
        }
    };
    let told = answered.elements();
    let good = told.iter().filter(|element| element.error().is_ok());
    let answer = good.map(|element| {
        let key = TopicPartition {
            topic: element.topic().to_owned(),
            partition: element.partition(),
        };
        (key, element.offset())
    });
    Outcome::Answered(answer.collect())
}

/// Whether the failure is the broker's and not a partition's.
fn is_no_answer(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::RequestTimedOut
        )
    )
}

/// Errors and log lines wait in the client's queue until somebody takes them. `None` does not tell an empty queue from an
/// event that was served, so the number of looks is fixed.
fn serve_events(client: &BaseConsumer<Quiet>) {
    for _ in 0..EVENTS {
        if let Some(Err(error)) = client.poll(Duration::ZERO) {
            tracing::debug!(%error, "kafka client event");
        }
    }
}

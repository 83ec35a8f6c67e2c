//! What the brokers know of a topic: its partitions, and where each partition's log starts and ends.
//!
//! Coordination needs these few numbers; records are fetched elsewhere. One rdkafka client for the process, made
//! when it is first needed and again after a failure, because the brokers may all have moved. librdkafka's calls
//! block, so they run on Tokio's blocking threads. An answer that failed is never taken for "no partitions" or
//! for an offset.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kcommon::kafka::{CommitOffset, PartitionId, TopicName};
use kcommon::zookeeper::{self, Session};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;

/// How long one question to the brokers may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Log lines and errors of the client that are thrown away before each question; nobody else polls it.
const DISCARDED_EVENTS: usize = 1_000;

/// Which end of a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// The oldest record that is kept.
    Start,
    /// The next record to be written.
    End,
}

/// Why the brokers could not be asked, or did not say.
#[derive(Debug, thiserror::Error)]
pub enum WatermarkError {
    /// No broker is registered in ZooKeeper, and none is configured.
    #[error("no broker: none is registered below brokers/ids, and broker_hosts is not set")]
    NoBrokers,
    /// The brokers' addresses could not be read.
    #[error("reading the brokers' addresses")]
    Addresses(#[source] zookeeper::Error),
    /// The brokers did not answer, or answered with an error.
    #[error("asking the brokers")]
    Kafka(#[source] KafkaError),
    /// The blocking thread ended before its answer, because the process ends.
    #[error("the question to the brokers was cut off")]
    CutOff,
}

/// The client. Clones share it.
#[derive(Clone)]
pub struct Watermarks {
    /// `host:port` each; empty: those registered in ZooKeeper.
    broker_hosts: Arc<[String]>,
    client: Arc<Mutex<Option<Arc<BaseConsumer>>>>,
}

impl std::fmt::Debug for Watermarks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watermarks")
            .field("broker_hosts", &self.broker_hosts)
            .finish_non_exhaustive()
    }
}

impl Watermarks {
    /// Asks `broker_hosts` (`host:port` each) or, if there are none, the brokers that are registered in ZooKeeper.
    #[must_use]
    pub fn new(broker_hosts: &[String]) -> Self {
        Self {
            broker_hosts: broker_hosts.into(),
            client: Arc::default(),
        }
    }

    /// The partitions of a topic, in order; `None` if the brokers know no such topic.
    ///
    /// # Errors
    /// [`WatermarkError`]; ask again later.
    pub async fn partitions(
        &self,
        session: &Session,
        topic: &TopicName,
    ) -> Result<Option<Vec<PartitionId>>, WatermarkError> {
        let topic = topic.clone();
        self.ask(session, move |client| {
            let metadata = client.fetch_metadata(Some(topic.as_str()), PATIENCE)?;
            let found = metadata
                .topics()
                .iter()
                .find(|found| found.name() == topic.as_str());
            match found.map(|found| (found.error(), found.partitions())) {
                None | Some((Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART), _)) => Ok(None),
                Some((Some(error), _)) => Err(KafkaError::MetadataFetch(error.into())),
                Some((None, partitions)) => {
                    let mut partitions: Vec<_> =
                        partitions.iter().map(|found| PartitionId(found.id())).collect();
                    partitions.sort_unstable();
                    Ok(Some(partitions))
                }
            }
        })
        .await
    }

    /// One end of the log of each of `partitions`, in their order. All or nothing.
    ///
    /// # Errors
    /// [`WatermarkError`]; ask again later.
    pub async fn offsets(
        &self,
        session: &Session,
        topic: &TopicName,
        partitions: &[PartitionId],
        end: LogEnd,
    ) -> Result<Vec<CommitOffset>, WatermarkError> {
        let (topic, partitions) = (topic.clone(), partitions.to_vec());
        self.ask(session, move |client| {
            let offset = |partition: &PartitionId| {
                let (start, next) = client.fetch_watermarks(topic.as_str(), partition.0, PATIENCE)?;
                let number = match end {
                    LogEnd::Start => start,
                    LogEnd::End => next,
                };
                CommitOffset::try_from(number)
                    .map_err(|_sentinel| KafkaError::OffsetFetch(rdkafka::error::RDKafkaErrorCode::NoOffset))
            };
            partitions.iter().map(offset).collect()
        })
        .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        session: &Session,
        question: impl FnOnce(&BaseConsumer) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, WatermarkError> {
        let known = lock(&self.client).clone();
        let bootstrap = if known.is_some() {
            String::new()
        } else {
            self.bootstrap(session).await?
        };
        let shared = Arc::clone(&self.client);
        let asking = tokio::task::spawn_blocking(move || {
            let client = match known {
                Some(client) => client,
                None => Arc::new(connect(&bootstrap)?),
            };
            for _ in 0..DISCARDED_EVENTS {
                if client.poll(Duration::ZERO).is_none() {
                    break;
                }
            }
            let answer = question(&client);
            // Dropping blocks for a moment, so it happens here too.
            *lock(&shared) = answer.is_ok().then_some(client);
            answer
        });
        asking
            .await
            .map_err(|_ended| WatermarkError::CutOff)?
            .map_err(WatermarkError::Kafka)
    }

    async fn bootstrap(&self, session: &Session) -> Result<String, WatermarkError> {
        if !self.broker_hosts.is_empty() {
            return Ok(self.broker_hosts.join(","));
        }
        let brokers = zookeeper::brokers(session)
            .await
            .map_err(WatermarkError::Addresses)?;
        if brokers.is_empty() {
            return Err(WatermarkError::NoBrokers);
        }
        Ok(brokers.join(","))
    }
}

fn connect(bootstrap: &str) -> Result<BaseConsumer, KafkaError> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("client.id", "ktransfer-watermarks")
        // Never joined and never committed to; librdkafka wants one to poll.
        .set("group.id", "ktransfer-watermarks")
        .set("enable.auto.commit", "false")
        .create()
}

/// A panic while the slot was held leaves a whole value in it.
fn lock(slot: &Mutex<Option<Arc<BaseConsumer>>>) -> std::sync::MutexGuard<'_, Option<Arc<BaseConsumer>>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

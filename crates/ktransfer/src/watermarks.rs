//! What the brokers know of a topic: its partitions, and where each partition's log starts and ends.
//!
//! Coordination needs these few numbers; records are fetched elsewhere. One rdkafka client for the process, made
//! when it is first needed and again after a failure, because the brokers may all have moved; modules that ask at the
//! same time, as all do at the start, wait for it to be made once. librdkafka's calls block, so they run on Tokio's
//! blocking threads. An answer that failed is never taken for "no partitions" or for an offset.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::consumer::Brokers;
use kcommon::kafka::options::Options;
use kcommon::kafka::{CommitOffset, PartitionId, TopicName};
use kcommon::zookeeper::{self, Session};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

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
    brokers: Arc<Brokers>,
    client: Arc<Mutex<Option<Arc<BaseConsumer>>>>,
}

impl std::fmt::Debug for Watermarks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watermarks")
            .field("brokers", &self.brokers)
            .finish_non_exhaustive()
    }
}

impl Watermarks {
    /// Asks these brokers or, if they have no hosts, those that are registered in ZooKeeper.
    #[must_use]
    pub fn new(brokers: Brokers) -> Self {
        Self {
            brokers: Arc::new(brokers),
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
            ends(client, topic.as_str(), &partitions, end)
        })
        .await
    }

    /// The first offset of each of `partitions` whose record is of `time`, in milliseconds since 1970, or after it; where there is none, the
    /// end of the log. All or nothing.
    ///
    /// # Errors
    /// [`WatermarkError`]; ask again later.
    pub async fn at_time(
        &self,
        session: &Session,
        topic: &TopicName,
        partitions: &[PartitionId],
        time: i64,
    ) -> Result<Vec<CommitOffset>, WatermarkError> {
        let (topic, partitions) = (topic.clone(), partitions.to_vec());
        self.ask(session, move |client| {
            let ends = offsets(client, topic.as_str(), &partitions, Offset::End)?;
            let found = offsets(client, topic.as_str(), &partitions, Offset::Offset(time))?;
            let found = found.into_iter().zip(ends).map(|(found, end)| found.or(end));
            let no_offset = KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset);
            found
                .map(|found| found.ok_or_else(|| no_offset.clone()))
                .collect()
        })
        .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        session: &Session,
        question: impl FnOnce(&BaseConsumer) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, WatermarkError> {
        let bootstrap = if lock(&self.client).is_some() {
            None
        } else {
            Some(self.bootstrap(session).await?)
        };
        let (shared, brokers) = (Arc::clone(&self.client), Arc::clone(&self.brokers));
        let asking = tokio::task::spawn_blocking(move || {
            let client = present(&shared, bootstrap.as_deref(), &brokers.options)?;
            for _ in 0..DISCARDED_EVENTS {
                if client.poll(Duration::ZERO).is_none() {
                    break;
                }
            }
            let answer = question(&client);
            if answer.is_err() {
                let failed = lock(&shared).take_if(|shared| Arc::ptr_eq(shared, &client));
                // Dropping blocks for a moment, so it happens here too, and without the lock.
                drop(failed);
            }
            answer
        });
        asking
            .await
            .map_err(|_ended| WatermarkError::CutOff)?
            .map_err(WatermarkError::Kafka)
    }

    async fn bootstrap(&self, session: &Session) -> Result<String, WatermarkError> {
        if !self.brokers.hosts.is_empty() {
            return Ok(self.brokers.hosts.join(","));
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

/// The client of all, made at `bootstrap` if there is none.
fn present(
    slot: &Mutex<Option<Arc<BaseConsumer>>>,
    bootstrap: Option<&str>,
    options: &Options,
) -> Result<Arc<BaseConsumer>, KafkaError> {
    let mut slot = lock(slot);
    if let Some(client) = &*slot {
        return Ok(Arc::clone(client));
    }
    // The one that was there when we looked has failed since.
    let bootstrap = bootstrap.ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::AllBrokersDown))?;
    let client = Arc::new(connect(bootstrap, options)?);
    *slot = Some(Arc::clone(&client));
    Ok(client)
}

/// One end of each log, by one request to each leader. (`fetch_watermarks` asks for both ends of one partition, with two
/// requests and a round trip for each partition.) librdkafka puts the "offsets for times" as they are into the request, and
/// these two times mean the ends in Kafka's protocol.
fn ends(
    client: &BaseConsumer,
    topic: &str,
    partitions: &[PartitionId],
    end: LogEnd,
) -> Result<Vec<CommitOffset>, KafkaError> {
    let time = match end {
        LogEnd::Start => Offset::Beginning,
        LogEnd::End => Offset::End,
    };
    let no_offset = KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset);
    let found = offsets(client, topic, partitions, time)?.into_iter();
    found
        .map(|found| found.ok_or_else(|| no_offset.clone()))
        .collect()
}

/// The offset of each partition at `time`, by one request to each leader; `None` where there is none.
fn offsets(
    client: &BaseConsumer,
    topic: &str,
    partitions: &[PartitionId],
    time: Offset,
) -> Result<Vec<Option<CommitOffset>>, KafkaError> {
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        asked.add_partition_offset(topic, partition.0, time)?;
    }
    let answered = client.offsets_for_times(asked, PATIENCE)?;
    let offset = |partition: &PartitionId| {
        let no_offset = KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset);
        let found = answered.find_partition(topic, partition.0).ok_or(no_offset)?;
        found.error()?;
        Ok(match found.offset() {
            Offset::Offset(number) => CommitOffset::try_from(number).ok(),
            _ => None,
        })
    };
    partitions.iter().map(offset).collect()
}

fn connect(bootstrap: &str, options: &Options) -> Result<BaseConsumer, KafkaError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("client.id", "ktransfer-watermarks")
        // Never joined and never committed to; librdkafka wants one to poll.
        .set("group.id", "ktransfer-watermarks")
        .set("enable.auto.commit", "false");
    options.apply(&mut config);
    config.create()
}

/// A panic while the slot was held leaves a whole value in it.
fn lock(slot: &Mutex<Option<Arc<BaseConsumer>>>) -> std::sync::MutexGuard<'_, Option<Arc<BaseConsumer>>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

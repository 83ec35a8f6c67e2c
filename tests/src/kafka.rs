//! What scenarios do to Kafka besides the daemons: create topics, write records, read a topic back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::Cluster;

/// How long Kafka may take over one step.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a topic that was created may be without leaders before it is asked for again.
const CREATION_PATIENCE: Duration = Duration::from_secs(5);

/// The time between two looks at Kafka.
const LOOK_SPACING: Duration = Duration::from_millis(20);

/// A record to write.
#[derive(Clone, Debug, Default)]
pub struct NewRecord {
    /// None lets librdkafka choose by the key's hash, as kproxy does.
    pub partition: Option<i32>,
    /// None for a record without key.
    pub key: Option<Bytes>,
    /// The body.
    pub value: Bytes,
    /// Its headers.
    pub headers: Vec<(String, Bytes)>,
}

impl NewRecord {
    /// A record with a key.
    pub fn keyed(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            partition: None,
            key: Some(key.into()),
            value: value.into(),
            headers: Vec::new(),
        }
    }

    /// The same record with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The same record in this partition.
    #[must_use]
    pub fn in_partition(self, partition: i32) -> Self {
        Self {
            partition: Some(partition),
            ..self
        }
    }
}

/// A record as it stands in Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where.
    pub partition: i32,
    /// At which offset.
    pub offset: i64,
    /// None for a record without key.
    pub key: Option<Vec<u8>>,
    /// The body; empty for a tombstone too.
    pub value: Vec<u8>,
    /// Whether it has no value at all.
    pub is_tombstone: bool,
    /// Milliseconds since 1970, the producer's.
    pub timestamp: Option<i64>,
    /// Names and values, in their order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Cluster {
    /// Creates a topic with one replica and waits until its partitions have leaders. One that exists stays.
    ///
    /// # Errors
    /// Kafka refuses or is away.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        self.create_replicated_topic(name, partitions, 1).await
    }

    /// Creates a topic with `replication` replicas and waits until its partitions have leaders. One that exists stays.
    ///
    /// # Errors
    /// Kafka refuses or is away.
    pub async fn create_replicated_topic(&self, name: &str, partitions: i32, replication: i32) -> Result<()> {
        self.create_topic_with(name, partitions, replication, &[]).await
    }

    /// The same with settings of the topic, such as `min.insync.replicas`.
    ///
    /// # Errors
    /// Kafka refuses or is away.
    pub async fn create_topic_with(
        &self,
        name: &str,
        partitions: i32,
        replication: i32,
        settings: &[(&str, &str)],
    ) -> Result<()> {
        let (admin, consumer) = (self.admin()?, Arc::new(self.consumer()?));
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
        let topic = settings
            .iter()
            .fold(topic, |topic, (key, value)| topic.set(key, value));
        let end = Instant::now() + PATIENCE;
        loop {
            let results = admin.create_topics([&topic], &options()).await?;
            match results.into_iter().next().context("no result")? {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => bail!("cannot create the topic {name}: {code}"),
            }
            // One that is still being deleted counts as existing, and is gone a moment later: asked for again then.
            let asked_again = end.min(Instant::now() + CREATION_PATIENCE);
            while Instant::now() < asked_again {
                if has_leaders(&consumer, name).await {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_SPACING).await;
            }
            if Instant::now() >= end {
                bail!("the topic {name} has no leaders {PATIENCE:?} after it was created");
            }
        }
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// Kafka refuses or is away.
    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        let results = self.admin()?.delete_topics(&[name], &options()).await?;
        match results.into_iter().next().context("no result")? {
            Ok(_) => Ok(()),
            Err((_, code)) => bail!("cannot delete the topic {name}: {code}"),
        }
    }

    /// Grows a topic to `partitions` partitions.
    ///
    /// # Errors
    /// Kafka refuses or is away.
    pub async fn grow_topic(&self, name: &str, partitions: usize) -> Result<()> {
        let grown = NewPartitions::new(name, partitions);
        let results = self.admin()?.create_partitions([&grown], &options()).await?;
        match results.into_iter().next().context("no result")? {
            Ok(_) => self.wait_for_leaders(name).await,
            Err((_, code)) => bail!("cannot grow the topic {name}: {code}"),
        }
    }

    /// Writes records in their order and gives each one's partition and offset in the same order.
    ///
    /// # Errors
    /// One of them is not acknowledged.
    pub async fn produce(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = NewRecord>,
    ) -> Result<Vec<(i32, i64)>> {
        self.writer()?.produce(topic, records).await
    }

    /// A producer to be used again, for those who write often.
    ///
    /// # Errors
    /// librdkafka refuses the addresses.
    pub fn writer(&self) -> Result<Writer> {
        Ok(Writer {
            producer: self.producer()?,
        })
    }

    /// Every record of a topic from its start to the end it has now, partition after partition.
    ///
    /// # Errors
    /// Kafka is away, or the records do not come within a minute.
    pub async fn read_topic(&self, topic: &str) -> Result<Vec<Stored>> {
        self.wait_for_leaders(topic).await?;
        let (consumer, topic) = (self.consumer()?, topic.to_owned());
        tokio::task::spawn_blocking(move || read_all(&consumer, &topic)).await?
    }

    /// The values of [`Cluster::read_topic`].
    ///
    /// # Errors
    /// As there.
    pub async fn read_values(&self, topic: &str) -> Result<Vec<Vec<u8>>> {
        let records = self.read_topic(topic).await?;
        Ok(records.into_iter().map(|record| record.value).collect())
    }

    /// Log start and log end offset of each partition.
    ///
    /// # Errors
    /// Kafka is away.
    pub async fn watermarks(&self, topic: &str) -> Result<Vec<(i64, i64)>> {
        self.wait_for_leaders(topic).await?;
        let (consumer, topic) = (self.consumer()?, topic.to_owned());
        tokio::task::spawn_blocking(move || watermarks(&consumer, &topic)).await?
    }

    /// The id of the broker that leads a partition.
    ///
    /// # Errors
    /// Kafka is away, or nobody leads it.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<usize> {
        let (consumer, topic) = (self.consumer()?, topic.to_owned());
        let leader = move || -> Result<i32> {
            let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE)?;
            let topic = metadata.topics().first().context("no such topic")?;
            let mut partitions = topic.partitions().iter();
            let found = partitions.find(|found| found.id() == partition);
            Ok(found.context("no such partition")?.leader())
        };
        let leader = tokio::task::spawn_blocking(leader).await??;
        usize::try_from(leader).context("nobody leads it")
    }

    /// A broker that has just started answers before it knows its topics.
    async fn wait_for_leaders(&self, topic: &str) -> Result<()> {
        let consumer = Arc::new(self.consumer()?);
        crate::eventually(
            &format!("every partition of {topic} has a leader"),
            PATIENCE,
            async || has_leaders(&consumer, topic).await,
        )
        .await;
        Ok(())
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.brokers)
            .set("reconnect.backoff.max.ms", "500");
        client
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        self.client().create().context("make an admin client")
    }

    fn producer(&self) -> Result<FutureProducer> {
        // The same partition for a key as kproxy and the original.
        let mut client = self.client();
        client
            .set("partitioner", "fnv1a_random")
            .set("enable.idempotence", "true")
            // A broker that comes back denies its topics for a while; that is believed until the next look, by default for minutes.
            .set("topic.metadata.refresh.interval.ms", "1000")
            // Longer than a broker of the scenarios is away.
            .set("message.timeout.ms", "30000")
            .set("linger.ms", "5");
        client.create().context("make a producer")
    }

    fn consumer(&self) -> Result<BaseConsumer> {
        let mut client = self.client();
        client
            .set("group.id", "ktests")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "false");
        client.create().context("make a consumer")
    }
}

/// A producer that is made once.
#[derive(Clone)]
pub struct Writer {
    producer: FutureProducer,
}

impl Writer {
    /// Writes records in their order and gives each one's partition and offset in the same order.
    ///
    /// # Errors
    /// One of them is not acknowledged.
    pub async fn produce(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = NewRecord>,
    ) -> Result<Vec<(i32, i64)>> {
        let mut acknowledged = Vec::new();
        let mut waiting = std::collections::VecDeque::new();
        for record in records {
            // Bounded, so that a long iterator does not fill the producer's queue.
            if waiting.len() == 10_000 {
                acknowledged.push(delivery(waiting.pop_front().context("not empty")?).await?);
            }
            waiting.push_back(send(&self.producer, topic, &record).await?);
        }
        for future in waiting {
            acknowledged.push(delivery(future).await?);
        }
        Ok(acknowledged)
    }
}

impl Writer {
    /// Writes a few records, and gives those that were not acknowledged with the reason; they may be stored all the same.
    pub async fn try_produce(&self, topic: &str, records: Vec<NewRecord>) -> Vec<(NewRecord, anyhow::Error)> {
        let mut waiting = Vec::new();
        for record in records {
            let sent = send(&self.producer, topic, &record).await;
            waiting.push((record, sent));
        }
        let mut failed = Vec::new();
        for (record, sent) in waiting {
            let outcome = match sent {
                Ok(future) => delivery(future).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                failed.push((record, error));
            }
        }
        failed
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(PATIENCE))
        .request_timeout(Some(PATIENCE))
}

async fn send(producer: &FutureProducer, topic: &str, record: &NewRecord) -> Result<DeliveryFuture> {
    loop {
        let mut message = FutureRecord::<[u8], [u8]>::to(topic).payload(&record.value);
        if let Some(key) = &record.key {
            message = message.key(key);
        }
        if let Some(partition) = record.partition {
            message = message.partition(partition);
        }
        if !record.headers.is_empty() {
            let headers = record.headers.iter();
            message = message.headers(headers.fold(OwnedHeaders::new(), |all, (key, value)| {
                all.insert(Header {
                    key,
                    value: Some(&value[..]),
                })
            }));
        }
        match producer.send_result(message) {
            Ok(future) => return Ok(future),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

async fn delivery(future: DeliveryFuture) -> Result<(i32, i64)> {
    match future.await? {
        Ok(delivery) => Ok((delivery.partition, delivery.offset)),
        Err((error, _)) => Err(error.into()),
    }
}

/// Whether the topic exists and every partition of it is led.
async fn has_leaders(consumer: &Arc<BaseConsumer>, topic: &str) -> bool {
    let (consumer, name) = (Arc::clone(consumer), topic.to_owned());
    let led = move || {
        let metadata = consumer.fetch_metadata(Some(&name), Duration::from_secs(5)).ok();
        metadata.is_some_and(|metadata| {
            let partitions = metadata
                .topics()
                .first()
                .map_or(&[][..], |topic| topic.partitions());
            !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0)
        })
    };
    tokio::task::spawn_blocking(led).await.unwrap_or(false)
}

fn watermarks(consumer: &BaseConsumer, topic: &str) -> Result<Vec<(i64, i64)>> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let partitions = metadata
        .topics()
        .first()
        .context("no such topic")?
        .partitions()
        .len();
    (0..i32::try_from(partitions)?)
        .map(|partition| Ok(consumer.fetch_watermarks(topic, partition, PATIENCE)?))
        .collect()
}

fn read_all(consumer: &BaseConsumer, topic: &str) -> Result<Vec<Stored>> {
    let mut stored = Vec::new();
    for (partition, (start, end)) in (0..).zip(watermarks(consumer, topic)?) {
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(topic, partition, Offset::Offset(start))?;
        consumer.assign(&assignment)?;
        let mut next = start;
        while next < end {
            let message = consumer.poll(PATIENCE).context("the records do not come")??;
            next = message.offset() + 1;
            stored.push(owned(&message.detach()));
        }
    }
    Ok(stored)
}

fn owned(message: &OwnedMessage) -> Stored {
    Stored {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().unwrap_or_default().to_vec(),
        is_tombstone: message.payload().is_none(),
        timestamp: message.timestamp().to_millis(),
        headers: message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter())
            .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
            .collect(),
    }
}

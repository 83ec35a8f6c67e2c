//! What kproxy knows of the Kafka cluster: whether a broker answers, and which topics exist.
//!
//! One client of its own asks; the decisions are `health` and `topics`. Questions about unknown names share one
//! request to Kafka, so a client that makes names up can neither load the brokers nor grow anything here.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use kcommon::readiness::Latch;
use kcommon::shutdown::Stop;
use rdkafka::error::KafkaError;
use rdkafka::metadata::MetadataTopic;
use tokio::sync::Notify;

use crate::client::{Client, Signals};
use crate::config;
use crate::failure::Failure;
use crate::health::{Change, Health, Stall};
use crate::meters::Meters;
use crate::producer::{Producers, base_config};
use crate::topics::{Known, Topics};

/// How long a probe waits for any broker.
const PROBE: Duration = Duration::from_millis(500);
/// How long a list of all topics may take.
const LIST: Duration = Duration::from_secs(3);

/// The cluster as far as it is known.
pub(crate) struct Cluster {
    client: Arc<Client>,
    signals: Arc<Signals>,
    meters: Meters,
    away: AtomicBool,
    /// How long records may wait without any confirmation.
    patience: Duration,
    topics: RwLock<Topics>,
    /// Told when the first probe has ended.
    probed: Notify,
    /// Held while a list is fetched; when the last attempt failed, its end.
    asking: tokio::sync::Mutex<Option<Instant>>,
}

impl Cluster {
    /// Starts the client. Until [`Cluster::watch`] has reached a broker, the cluster counts as away.
    ///
    /// # Errors
    /// librdkafka refuses a setting, or a thread cannot be made.
    pub(crate) fn start(
        config: &config::Kafka,
        signals: &Arc<Signals>,
        meters: Meters,
    ) -> Result<Self, KafkaError> {
        Ok(Self {
            client: Arc::new(Client::start(
                "metadata",
                &base_config(config),
                signals,
                &meters.late,
            )?),
            signals: Arc::clone(signals),
            meters,
            away: AtomicBool::new(true),
            patience: config.stall,
            topics: RwLock::default(),
            probed: Notify::new(),
            asking: tokio::sync::Mutex::default(),
        })
    }

    /// Waits for the end of the first probe, at most `patience`: whoever posts to a fresh proxy need not be refused.
    pub(crate) async fn first_probe(&self, patience: Duration) {
        // Either way the daemon goes on: a cluster that is away is answered with 503.
        tokio::time::timeout(patience, self.probed.notified()).await.ok();
    }

    /// Whether no broker can be reached.
    #[must_use]
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Whether the topic exists, asking Kafka when the last list is too old to tell.
    ///
    /// # Errors
    /// The topic does not exist, or nobody can be asked.
    pub(crate) async fn check_topic(&self, name: &str) -> Result<(), Failure> {
        match self.known(name) {
            Known::Yes => Ok(()),
            Known::No => Err(Failure::UnknownTopic),
            Known::Away => Err(Failure::TopicAway),
            Known::Ask => self.ask(name).await,
        }
    }

    /// Kafka said that the topic does not exist.
    pub(crate) fn forget_topic(&self, name: &str) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.forget(name, Instant::now());
    }

    fn known(&self, name: &str) -> Known {
        self.topics().known(name, Instant::now())
    }

    fn topics(&self) -> RwLockReadGuard<'_, Topics> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, name: &str) -> Result<(), Failure> {
        self.refresh(|topics, now| topics.known(name, now) != Known::Ask)
            .await?;
        match self.known(name) {
            Known::Yes => Ok(()),
            Known::Away => Err(Failure::TopicAway),
            Known::No | Known::Ask => Err(Failure::UnknownTopic),
        }
    }

    /// The names of all topics but Kafka's own, sorted; at most a second old, or as old as an unknown name's answer may be.
    ///
    /// # Errors
    /// Nobody can be asked.
    pub(crate) async fn topic_names(&self) -> Result<Vec<String>, Failure> {
        self.refresh(Topics::is_fresh).await?;
        Ok(self.topics().sorted())
    }

    /// Fetches the list of topics, one request at a time, unless it is `good` when this one's turn comes.
    ///
    /// # Errors
    /// Nobody can be asked. Whoever waited meanwhile is told so without another try: each would last seconds.
    async fn refresh(&self, good: impl Fn(&Topics, Instant) -> bool) -> Result<(), Failure> {
        let came = Instant::now();
        let mut failed = self.asking.lock().await;
        if good(&self.topics(), Instant::now()) {
            return Ok(());
        }
        if failed.is_some_and(|failed| failed > came) {
            return Err(Failure::BrokersAway);
        }
        let listed = self.list_topics().await;
        *failed = listed.is_err().then(Instant::now);
        listed.map_err(|error| {
            tracing::warn!(%error, "the topics of the cluster could not be listed");
            Failure::BrokersAway
        })
    }

    /// A topic's partitions, as of now.
    ///
    /// # Errors
    /// It does not exist, or nobody can be asked.
    pub(crate) async fn describe(&self, name: &str) -> Result<TopicDescription, Failure> {
        let (client, topic) = (Arc::clone(&self.client), name.to_owned());
        let described = blocking(move || {
            let metadata = client.kafka().fetch_metadata(Some(&topic), LIST)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            Ok(found
                .filter(|found| found.error().is_none())
                .map(TopicDescription::of))
        });
        let described = described.await.map_err(|_error| Failure::BrokersAway)?;
        described.ok_or(Failure::UnknownTopic)
    }

    async fn list_topics(&self) -> Result<(), KafkaError> {
        let began = Instant::now();
        let client = Arc::clone(&self.client);
        let names = blocking(move || {
            let metadata = client.kafka().fetch_metadata(None, LIST)?;
            let existing = metadata.topics().iter().filter(|topic| topic.error().is_none());
            Ok(existing
                .map(|topic| topic.name().into())
                .collect::<HashSet<Box<str>>>())
        })
        .await?;
        self.meters.topic_lists.increment(1);
        let now = Instant::now();
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.list(names, now, now.duration_since(began));
        Ok(())
    }

    /// Asks any broker for anything: for one known topic, because a list of all can be large.
    async fn probe(&self) -> bool {
        let topic: Option<String> = self.topics().any().map(str::to_owned);
        let Some(topic) = topic else {
            return self.list_topics().await.is_ok();
        };
        let client = Arc::clone(&self.client);
        blocking(move || client.kafka().fetch_metadata(Some(&topic), PROBE).map(drop))
            .await
            .is_ok()
    }

    /// Watches the brokers and the producers until the process stops.
    pub(crate) async fn watch(self: Arc<Self>, producers: Arc<Producers>, latch: Latch, stop: Stop) {
        let (mut health, mut stall) = (Health::default(), Stall::default());
        latch.not_ready("no Kafka broker has answered yet");
        while !stop.is_requested() {
            if self.signals.suspected.swap(false, Ordering::Relaxed) {
                health.suspect();
            }
            let answered = self.probe().await;
            let delivered = self.signals.delivered.swap(false, Ordering::Relaxed);
            let waiting = producers.in_flight() > 0;
            self.apply(health.probed(answered, delivered), &latch);
            if stall.look(waiting, delivered, Instant::now(), self.patience) {
                self.apply(health.stalled(), &latch);
                // Whoever waits gets the true answer now: not stored, or possibly stored.
                producers.purge();
                self.meters.stalls.increment(1);
            }
            self.probed.notify_one();
            self.replace_dead(&producers).await;
            let look = if waiting { Stall::LOOK } else { Duration::MAX };
            tokio::select! {
                () = self.signals.changed.notified() => {}
                () = tokio::time::sleep(health.pause().min(look)) => {}
                () = stop.requested() => {}
            }
        }
    }

    fn apply(&self, change: Change, latch: &Latch) {
        match change {
            Change::None => {}
            Change::Away => {
                tracing::error!(
                    "no Kafka broker can be reached; records are refused with 503 until one answers"
                );
                latch.not_ready("no Kafka broker can be reached");
                self.meters.brokers_up.set(0.0);
                self.away.store(true, Ordering::Relaxed);
            }
            Change::Back => {
                tracing::info!("a Kafka broker answers; records are taken");
                latch.ready();
                self.meters.brokers_up.set(1.0);
                self.away.store(false, Ordering::Relaxed);
            }
        }
    }

    async fn replace_dead(&self, producers: &Arc<Producers>) {
        if !producers.any_dead() {
            return;
        }
        let producers = Arc::clone(producers);
        match blocking(move || producers.replace_dead()).await {
            Ok(replaced) => {
                tracing::warn!(replaced, "producers hit a fatal error and were replaced");
                self.meters.producers_replaced.increment(replaced);
            }
            Err(error) => {
                tracing::error!(%error, "a dead producer could not be replaced; trying again in a second");
            }
        }
    }
}

/// A topic as Kafka describes it.
#[derive(Debug)]
pub(crate) struct TopicDescription {
    pub(crate) name: String,
    pub(crate) partitions: Vec<PartitionDescription>,
}

/// One of its partitions; brokers by their ids.
#[derive(Debug)]
pub(crate) struct PartitionDescription {
    pub(crate) id: i32,
    pub(crate) leader: i32,
    pub(crate) replicas: Vec<i32>,
    pub(crate) in_sync: Vec<i32>,
}

impl TopicDescription {
    fn of(topic: &MetadataTopic) -> Self {
        let partitions = topic.partitions().iter().map(|partition| PartitionDescription {
            id: partition.id(),
            leader: partition.leader(),
            replicas: partition.replicas().to_vec(),
            in_sync: partition.isr().to_vec(),
        });
        Self {
            name: topic.name().to_owned(),
            partitions: partitions.collect(),
        }
    }
}

/// Runs a call that blocks where it may.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    tokio::task::spawn_blocking(call)
        .await
        .unwrap_or(Err(KafkaError::Canceled))
}

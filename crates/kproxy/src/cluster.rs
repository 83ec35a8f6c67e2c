//! What kproxy knows of the Kafka cluster: whether a broker answers, and which topics exist.
//!
//! One client of its own asks; the decisions are `health` and `topics`. Questions about unknown names share one
//! request to Kafka, so a client that makes names up can neither load the brokers nor grow anything here.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use kcommon::readiness::Latch;
use kcommon::shutdown::Stop;
use rdkafka::error::KafkaError;
use tokio::sync::Notify;

use crate::client::{Client, Signals};
use crate::config;
use crate::failure::Failure;
use crate::health::{Change, Health};
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
                "kafka-metadata",
                &base_config(config),
                signals,
                &meters.late,
            )?),
            signals: Arc::clone(signals),
            meters,
            away: AtomicBool::new(true),
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
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.known(name, Instant::now())
    }

    async fn ask(&self, name: &str) -> Result<(), Failure> {
        let came = Instant::now();
        let mut failed = self.asking.lock().await;
        // Somebody else may have asked while this request waited for its turn.
        match self.known(name) {
            Known::Yes => return Ok(()),
            Known::No => return Err(Failure::UnknownTopic),
            Known::Away => return Err(Failure::TopicAway),
            Known::Ask if failed.is_some_and(|failed| failed > came) => return Err(Failure::BrokersAway),
            Known::Ask => {}
        }
        match self.list_topics().await {
            Ok(()) => *failed = None,
            Err(error) => {
                tracing::warn!(%error, "the topics of the cluster could not be listed");
                *failed = Some(Instant::now());
                return Err(Failure::BrokersAway);
            }
        }
        match self.known(name) {
            Known::Yes => Ok(()),
            Known::Away => Err(Failure::TopicAway),
            Known::No | Known::Ask => Err(Failure::UnknownTopic),
        }
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
        let topic: Option<String> = {
            let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
            topics.any().map(str::to_owned)
        };
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
        let mut health = Health::default();
        latch.not_ready("no Kafka broker has answered yet");
        while !stop.is_requested() {
            if self.signals.suspected.swap(false, Ordering::Relaxed) {
                health.suspect();
            }
            let answered = self.probe().await;
            let delivered = self.signals.delivered.swap(false, Ordering::Relaxed);
            self.apply(health.probed(answered, delivered), &latch);
            self.probed.notify_one();
            self.replace_dead(&producers).await;
            tokio::select! {
                () = self.signals.changed.notified() => {}
                () = tokio::time::sleep(health.pause()) => {}
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

/// Runs a call that blocks where it may.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    tokio::task::spawn_blocking(call)
        .await
        .unwrap_or(Err(KafkaError::Canceled))
}

//! The producers: librdkafka's clients, one set per acknowledgement level, and the way back of their reports.
//!
//! `acks` belongs to a client in librdkafka, so each level has its own. `send` never waits; the body is copied once, into
//! librdkafka's queue. The place of a request (its [`Permit`]) travels with the record and is given back by the
//! delivery report, whatever became of the client.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use metrics::Counter;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig, ThreadedProducer,
};
use tokio::sync::{Notify, oneshot};

use crate::admission::Permit;
use crate::config;
use crate::failure::Failure;
use crate::request::{Acks, Commit};

/// Where a record was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its partition.
    pub(crate) partition: i32,
    /// Its offset; unknown with `acks=0`.
    pub(crate) offset: Option<i64>,
    /// Its timestamp in milliseconds, as Kafka keeps it.
    pub(crate) timestamp: Option<i64>,
}

/// What became of a record.
pub(crate) type Report = Result<Stored, Failure>;

/// A record on its way; librdkafka carries it and gives it back with the report.
pub(crate) struct Waiting {
    report: oneshot::Sender<Report>,
    _permit: Permit,
}

/// What librdkafka's threads tell the rest of the process.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Something below changed.
    pub(crate) changed: Notify,
    /// A client has lost every broker.
    pub(crate) suspected: AtomicBool,
    /// Kafka confirmed a record.
    pub(crate) delivered: AtomicBool,
}

/// The callbacks of one client. They run on its polling thread and only pass on.
pub(crate) struct Callbacks {
    signals: Arc<Signals>,
    late: Counter,
    dead: AtomicBool,
}

/// A client with its thread.
pub(crate) type Client = ThreadedProducer<Callbacks>;

/// Every producer of the process.
pub(crate) struct Producers {
    levels: [Level; 3],
    signals: Arc<Signals>,
    late: Counter,
}

struct Level {
    config: ClientConfig,
    clients: Box<[RwLock<Client>]>,
    next: AtomicUsize,
}

impl Callbacks {
    /// Callbacks that report to `signals` and count reports that nobody waits for in `late`.
    #[must_use]
    pub(crate) const fn new(signals: Arc<Signals>, late: Counter) -> Self {
        Self {
            signals,
            late,
            dead: AtomicBool::new(false),
        }
    }
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                tracing::warn!(facility, message, "librdkafka");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(facility, message, "librdkafka");
            }
            RDKafkaLogLevel::Debug => {
                tracing::debug!(facility, message, "librdkafka");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "a Kafka client reports an error");
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.signals.suspected.store(true, Ordering::Relaxed),
            Some(RDKafkaErrorCode::Fatal) => self.dead.store(true, Ordering::Relaxed),
            _ => return,
        }
        self.signals.changed.notify_one();
    }
}

impl ProducerContext for Callbacks {
    type DeliveryOpaque = Box<Waiting>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Box<Waiting>) {
        let report = match result {
            Ok(message) => {
                self.signals.delivered.store(true, Ordering::Relaxed);
                Ok(Stored {
                    partition: message.partition(),
                    offset: Some(message.offset()).filter(|&offset| offset >= 0),
                    timestamp: message.timestamp().to_millis(),
                })
            }
            Err((error, _message)) => Err(Failure::of_delivery(error)),
        };
        if let Err(unheard) = waiting.report.send(report)
            && unheard.is_ok()
        {
            self.late.increment(1);
        }
    }
}

impl Level {
    fn start(
        config: ClientConfig,
        producers: &config::Kafka,
        callbacks: impl Fn() -> Callbacks,
    ) -> Result<Self, KafkaError> {
        let clients: Result<Vec<_>, _> = (0..producers.producers)
            .map(|_| config.create_with_context(callbacks()).map(RwLock::new))
            .collect();
        Ok(Self {
            config,
            clients: clients?.into_boxed_slice(),
            next: AtomicUsize::new(0),
        })
    }

    /// The next client in turn: records of requests that are open together have no order between them.
    fn client(&self) -> &RwLock<Client> {
        let turn = if self.clients.len() == 1 {
            0
        } else {
            self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len()
        };
        &self.clients[turn]
    }
}

impl Producers {
    /// Starts every client. None of them needs a broker for it.
    ///
    /// # Errors
    /// librdkafka refuses a setting, or a thread cannot be made.
    pub(crate) fn start(
        config: &config::Kafka,
        signals: &Arc<Signals>,
        late: &Counter,
    ) -> Result<Self, KafkaError> {
        let level = |acks| {
            Level::start(level_config(config, acks), config, || {
                Callbacks::new(Arc::clone(signals), late.clone())
            })
        };
        Ok(Self {
            levels: [level(Acks::Zero)?, level(Acks::One)?, level(Acks::All)?],
            signals: Arc::clone(signals),
            late: late.clone(),
        })
    }

    /// Hands a record over. The report comes through the receiver; it also comes when nobody waits for it.
    ///
    /// # Errors
    /// The record was not taken, so nothing was sent; the permit is given back.
    pub(crate) fn send(
        &self,
        commit: &Commit<'_>,
        body: &[u8],
        permit: Permit,
    ) -> Result<oneshot::Receiver<Report>, Failure> {
        let (sender, receiver) = oneshot::channel();
        let waiting = Box::new(Waiting {
            report: sender,
            _permit: permit,
        });
        let mut record = BaseRecord::with_opaque_to(&commit.topic, waiting).payload(body);
        if let Some(key) = &commit.key {
            record = record.key(&**key);
        }
        let client = self.levels[commit.acks.index()].client();
        let client = client.read().unwrap_or_else(PoisonError::into_inner);
        match client.send(record) {
            Ok(()) => Ok(receiver),
            Err((error, _record)) => Err(Failure::of_refusal(&error)),
        }
    }

    /// Whether a client hit an error it cannot survive.
    #[must_use]
    pub(crate) fn any_dead(&self) -> bool {
        let mut clients = self.levels.iter().flat_map(|level| &level.clients);
        clients.any(|client| is_dead(&client.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Puts a new client in the place of every one that hit an error it cannot survive. Returns how many. The old ones
    /// report on what they still hold, which takes up to half a second: not for a thread that serves requests.
    ///
    /// # Errors
    /// A new client could not be made; the old one stays and is tried again.
    pub(crate) fn replace_dead(&self) -> Result<u64, KafkaError> {
        let mut replaced = 0;
        for level in &self.levels {
            for place in &level.clients {
                if !is_dead(&place.read().unwrap_or_else(PoisonError::into_inner)) {
                    continue;
                }
                let callbacks = Callbacks::new(Arc::clone(&self.signals), self.late.clone());
                let fresh = level.config.create_with_context(callbacks)?;
                let old =
                    std::mem::replace(&mut *place.write().unwrap_or_else(PoisonError::into_inner), fresh);
                drop(old);
                replaced += 1;
            }
        }
        Ok(replaced)
    }

    /// Waits until Kafka has reported on every record, at most until `deadline`; then gives up what is left and
    /// returns how many records that is. Blocks.
    #[must_use]
    pub(crate) fn flush(&self, deadline: Instant) -> usize {
        let mut left = 0;
        for client in self.levels.iter().flat_map(|level| &level.clients) {
            let client = client.read().unwrap_or_else(PoisonError::into_inner);
            let patience = deadline.saturating_duration_since(Instant::now());
            if client.flush(patience).is_err() {
                left += usize::try_from(client.in_flight_count()).unwrap_or(0);
                client.purge(PurgeConfig::default().queue().inflight());
            }
        }
        left
    }
}

fn is_dead(client: &Client) -> bool {
    client.client().context().dead.load(Ordering::Relaxed)
}

/// What every client of the process has in common.
#[must_use]
pub(crate) fn base_config(config: &config::Kafka) -> ClientConfig {
    let millis = |duration: Duration| duration.as_millis().to_string();
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", "kproxy")
        .set("socket.timeout.ms", millis(config.timeout))
        // A broker that comes back is found within half a second.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("topic.metadata.propagation.max.ms", "1000")
        // A name that a client makes up must never become a topic.
        .set("allow.auto.create.topics", "false")
        .set("log.connection.close", "false")
        .set("enable.metrics.push", "false")
        .set_log_level(RDKafkaLogLevel::Notice);
    client
}

fn level_config(config: &config::Kafka, acks: Acks) -> ClientConfig {
    let idempotent = acks == Acks::All && config.idempotence;
    let in_flight = if idempotent {
        config.in_flight.min(5)
    } else {
        config.in_flight
    };
    // Kafka's own report of a time-out is truer than ours, so it has to come first. librdkafka looks once a second.
    let delivery = config.timeout * 4 / 5;
    // The bodies are bounded by the permits; keys and librdkafka's own records come on top.
    let kilobytes = (config.max_bytes / 1024 * 2).clamp(1024, 2_000_000_000);
    let mut client = base_config(config);
    client
        .set("acks", acks.as_str())
        .set("partitioner", "fnv1a_random")
        .set("linger.ms", config.linger.as_millis().to_string())
        .set("max.in.flight", in_flight.to_string())
        .set("enable.idempotence", idempotent.to_string())
        .set("message.timeout.ms", delivery.as_millis().to_string())
        .set("request.timeout.ms", delivery.as_millis().to_string())
        .set("message.max.bytes", (config.max_body + 65_536).to_string())
        .set("queue.buffering.max.messages", config.max_records.to_string())
        .set("queue.buffering.max.kbytes", kilobytes.to_string())
        // Records without key go to a random partition each, as in the original.
        .set("sticky.partitioning.linger.ms", "0");
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kafka() -> config::Kafka {
        config::Kafka {
            brokers: "127.0.0.1:1".to_owned(),
            producers: 2,
            timeout: Duration::from_secs(5),
            linger: Duration::ZERO,
            in_flight: 8,
            idempotence: true,
            max_body: 10_485_760,
            max_records: 10_240,
            max_bytes: 268_435_456,
        }
    }

    #[test]
    fn librdkafka_takes_every_level() {
        let signals = Arc::new(Signals::default());
        for idempotence in [true, false] {
            let config = config::Kafka {
                idempotence,
                ..kafka()
            };
            assert!(Producers::start(&config, &signals, &Counter::noop()).is_ok());
        }
    }

    #[test]
    fn the_smallest_and_largest_settings_are_taken_too() {
        let signals = Arc::new(Signals::default());
        let small = config::Kafka {
            timeout: Duration::from_millis(500),
            in_flight: 1,
            max_body: 1,
            max_records: 1,
            max_bytes: 1_048_576,
            ..kafka()
        };
        let large = config::Kafka {
            timeout: Duration::from_secs(300),
            linger: Duration::from_secs(1),
            in_flight: 1000,
            max_body: 900_000_000,
            max_records: 10_000_000,
            max_bytes: 1_099_511_627_776,
            ..kafka()
        };
        for config in [small, large] {
            assert!(Producers::start(&config, &signals, &Counter::noop()).is_ok());
        }
    }

    #[test]
    fn kafka_gives_up_before_the_request_does() {
        let client = level_config(&kafka(), Acks::One);
        assert_eq!(client.get("message.timeout.ms"), Some("4000"));
    }

    #[test]
    fn an_idempotent_producer_keeps_to_five_in_flight() {
        assert_eq!(level_config(&kafka(), Acks::All).get("max.in.flight"), Some("5"));
        assert_eq!(level_config(&kafka(), Acks::One).get("max.in.flight"), Some("8"));
        assert_eq!(
            level_config(&kafka(), Acks::One).get("enable.idempotence"),
            Some("false")
        );
    }
}

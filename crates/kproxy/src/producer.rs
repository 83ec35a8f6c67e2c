//! The producers: for each acknowledgement level one set of clients per [`Gear`], and their settings.
//!
//! `acks` and the linger belong to a client in librdkafka, so each level and each gear has its own. `send` never waits; the
//! body is copied once, into librdkafka's queue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use kcommon::kafka::options;
use metrics::Counter;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use tokio::sync::oneshot;

use crate::admission::Permit;
use crate::client::{Client, Report, Signals};
use crate::config;
use crate::failure::Failure;
use crate::gear::{self, Gear};
use crate::record::Record;
use crate::request::Acks;
use crate::statistics;

/// How often a flush looks whether it is done.
const FLUSH_STEP: Duration = Duration::from_millis(5);
/// How long the reports on purged records may take.
const PURGE: Duration = Duration::from_millis(500);

/// Every producer of the process.
pub(crate) struct Producers {
    levels: [Level; 3],
    signals: Arc<Signals>,
    late: Counter,
}

struct Level {
    gears: Box<[Geared]>,
    next: AtomicUsize,
}

/// The clients of one gear.
struct Geared {
    gear: Gear,
    config: ClientConfig,
    clients: Box<[RwLock<Client>]>,
}

/// One client, chosen: what is sent through it is sent in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    level: usize,
    gear: usize,
    turn: usize,
}

impl Level {
    /// The gear and the client for a request that comes while so many are open, itself included: the next in turn of the
    /// gear's, because requests that are open together have no order between them.
    fn choose(&self, open: usize) -> (usize, usize) {
        let highest = self.gears.len() - 1;
        let mut lower = self.gears[..highest].iter();
        let gear = lower
            .position(|geared| open <= geared.gear.up_to)
            .unwrap_or(highest);
        let clients = self.gears[gear].clients.len();
        let turn = if clients == 1 {
            0
        } else {
            self.next.fetch_add(1, Ordering::Relaxed) % clients
        };
        (gear, turn)
    }
}

impl Producers {
    /// Starts every client, in a Tokio runtime. None of them needs a broker for it.
    ///
    /// # Errors
    /// librdkafka refuses a setting, or a thread cannot be made.
    pub(crate) fn start(
        config: &config::Kafka,
        signals: &Arc<Signals>,
        late: &Counter,
    ) -> Result<Self, KafkaError> {
        let geared = |acks: Acks, gear: Gear| {
            let settings = level_config(config, acks, gear);
            let clients: Result<Vec<_>, _> = (0..config.producers)
                .map(|number| {
                    let name = format!("acks{acks}-{}ms-{number}", gear.linger.as_millis());
                    Client::start(&name, &settings, signals, late).map(RwLock::new)
                })
                .collect();
            Ok::<_, KafkaError>(Geared {
                gear,
                config: settings,
                clients: clients?.into_boxed_slice(),
            })
        };
        let level = |acks: Acks| {
            let gears = gear::gears(config.linger);
            let gears: Result<Box<[_]>, _> = gears.into_iter().map(|gear| geared(acks, gear)).collect();
            Ok::<_, KafkaError>(Level {
                gears: gears?,
                next: AtomicUsize::new(0),
            })
        };
        Ok(Self {
            levels: [level(Acks::Zero)?, level(Acks::One)?, level(Acks::All)?],
            signals: Arc::clone(signals),
            late: late.clone(),
        })
    }

    /// The client for a request that holds `permit`. Records that belong together go through one, in order.
    #[must_use]
    pub(crate) fn lane(&self, acks: Acks, permit: &Permit) -> Lane {
        let level = acks.index();
        let (gear, turn) = self.levels[level].choose(permit.open_requests());
        Lane { level, gear, turn }
    }

    /// Hands a record over, as [`Client::send`].
    ///
    /// # Errors
    /// As [`Client::send`].
    pub(crate) fn send(
        &self,
        lane: Lane,
        record: Record<'_>,
        permit: Permit,
    ) -> Result<oneshot::Receiver<Report>, Failure> {
        let client = &self.levels[lane.level].gears[lane.gear].clients[lane.turn];
        read(client).send(record, permit)
    }

    /// Whether a client hit an error it cannot survive.
    #[must_use]
    pub(crate) fn any_dead(&self) -> bool {
        self.clients().any(|client| read(client).is_dead())
    }

    /// Puts a new client in the place of every dead one. Returns how many. Takes up to a second for each: not for a thread
    /// that serves requests.
    ///
    /// # Errors
    /// A new client could not be made; the old one stays and is tried again.
    pub(crate) fn replace_dead(&self) -> Result<u64, KafkaError> {
        let mut replaced = 0;
        for level in &self.levels {
            let places = level
                .gears
                .iter()
                .flat_map(|geared| geared.clients.iter().map(|place| (&geared.config, place)));
            for (config, place) in places {
                if !read(place).is_dead() {
                    continue;
                }
                let name = read(place).name().to_owned();
                let fresh = Client::start(&name, config, &self.signals, &self.late)?;
                let old =
                    std::mem::replace(&mut *place.write().unwrap_or_else(PoisonError::into_inner), fresh);
                drop(old);
                replaced += 1;
            }
        }
        Ok(replaced)
    }

    /// Waits until Kafka has reported on every record, at most until `deadline`; then gives up what is left and returns
    /// how many records that is. Blocks.
    #[must_use]
    pub(crate) fn flush(&self, deadline: Instant) -> usize {
        if self.drained(deadline) {
            return 0;
        }
        let left = self.in_flight();
        self.purge();
        // Whoever still waits for an answer gets a true one.
        self.drained(Instant::now() + PURGE);
        left
    }

    fn drained(&self, deadline: Instant) -> bool {
        while self.in_flight() > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(FLUSH_STEP);
        }
        true
    }

    /// Gives up every record without a report; their reports follow, each with what is known of it.
    pub(crate) fn purge(&self) {
        for client in self.clients() {
            read(client).purge();
        }
    }

    /// Records without a report.
    pub(crate) fn in_flight(&self) -> usize {
        self.clients().map(|client| read(client).in_flight()).sum()
    }

    fn clients(&self) -> impl Iterator<Item = &RwLock<Client>> {
        let gears = self.levels.iter().flat_map(|level| &level.gears);
        gears.flat_map(|geared| &geared.clients)
    }
}

/// A client cannot be left half changed, so a panic elsewhere changes nothing.
fn read(client: &RwLock<Client>) -> RwLockReadGuard<'_, Client> {
    client.read().unwrap_or_else(PoisonError::into_inner)
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
    config.options.apply(&mut client);
    client
}

/// Tries the configured options with every acknowledgement level, without a broker; costs nothing when there are none.
///
/// # Errors
/// Why librdkafka makes no client of them.
pub(crate) fn try_out(config: &config::Kafka) -> Result<(), String> {
    if config.options.is_empty() {
        return Ok(());
    }
    for acks in Acks::EVERY {
        options::try_producer(level_config(config, acks, gear::BY_LOAD[0]))?;
    }
    Ok(())
}

fn level_config(config: &config::Kafka, acks: Acks, gear: Gear) -> ClientConfig {
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
    // So are the records; librdkafka counts one until a moment after its report.
    let records = config.max_records + 1000;
    let mut client = base_config(config);
    client
        .set("acks", acks.as_str())
        .set("partitioner", "fnv1a_random")
        .set("statistics.interval.ms", statistics::EVERY_MS)
        .set("linger.ms", gear.linger.as_millis().to_string())
        .set("max.in.flight", in_flight.to_string())
        .set("enable.idempotence", idempotent.to_string())
        .set("message.timeout.ms", delivery.as_millis().to_string())
        .set("request.timeout.ms", delivery.as_millis().to_string())
        .set("message.max.bytes", (config.max_body + 65_536).to_string())
        .set("queue.buffering.max.messages", records.to_string())
        .set("queue.buffering.max.kbytes", kilobytes.to_string())
        // Records without key go to a random partition each, as in the original.
        .set("sticky.partitioning.linger.ms", "0");
    config.options.apply(&mut client);
    client
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcommon::kafka::options::Options;

    fn kafka() -> config::Kafka {
        config::Kafka {
            brokers: "127.0.0.1:1".to_owned(),
            producers: 2,
            timeout: Duration::from_secs(5),
            stall: Duration::from_secs(3),
            linger: None,
            in_flight: 8,
            idempotence: true,
            max_body: 10_485_760,
            max_records: 10_240,
            max_bytes: 268_435_456,
            options: Options::default(),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn librdkafka_takes_every_level() {
        let signals = Arc::new(Signals::default());
        for idempotence in [true, false] {
            let config = config::Kafka {
                idempotence,
                ..kafka()
            };
            assert!(Producers::start(&config, &signals, &Counter::noop()).is_ok());
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn the_smallest_and_largest_settings_are_taken_too() {
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
            linger: Some(Duration::from_secs(1)),
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
        let client = level_config(&kafka(), Acks::One, gear::BY_LOAD[0]);
        assert_eq!(client.get("message.timeout.ms"), Some("4000"));
    }

    #[test]
    fn an_idempotent_producer_keeps_to_five_in_flight() {
        assert_eq!(
            level_config(&kafka(), Acks::All, gear::BY_LOAD[0]).get("max.in.flight"),
            Some("5")
        );
        assert_eq!(
            level_config(&kafka(), Acks::One, gear::BY_LOAD[0]).get("max.in.flight"),
            Some("8")
        );
        assert_eq!(
            level_config(&kafka(), Acks::One, gear::BY_LOAD[0]).get("enable.idempotence"),
            Some("false")
        );
    }
}

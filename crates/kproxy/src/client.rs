//! One client of librdkafka: its task, its callbacks, and the way back of a record's report.
//!
//! The task only passes on: it never waits for anything of ours. The place of a request (its [`Permit`]) travels with the
//! record and is given back by the report, whatever became of the HTTP client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kcommon::kafka::client_log;
use kcommon::kafka::raw::{Deliveries, Delivery, Persisted};
use metrics::Counter;
use rdkafka::client::{Client as KafkaClient, ClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig,
};
use tokio::sync::{Notify, oneshot};

use crate::admission::Permit;
use crate::failure::Failure;
use crate::record::Record;
use crate::request::Acks;
use crate::statistics::ClientMeters;

/// How often a client's task looks for reports of which it was not told.
const LOOK: Duration = Duration::from_secs(1);
/// How long a client's task may take to end.
const END: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(1);
/// After so many events in a row the task lets others run. An event has the reports of a whole batch.
const EVENTS: usize = 16;

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
    since: Instant,
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
    /// How many it has confirmed since somebody asked.
    confirmed: AtomicUsize,
    /// The longest that one of them had waited, in microseconds.
    longest: AtomicU64,
}

impl Signals {
    /// How many records were confirmed since the last call, and the longest that one of them had waited.
    pub(crate) fn take_confirmed(&self) -> (usize, Duration) {
        let confirmed = self.confirmed.swap(0, Ordering::Relaxed);
        let longest = Duration::from_micros(self.longest.swap(0, Ordering::Relaxed));
        (confirmed, longest)
    }

    fn confirmed(&self, waited: Duration) {
        self.delivered.store(true, Ordering::Relaxed);
        self.confirmed.fetch_add(1, Ordering::Relaxed);
        let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        if waited > self.longest.load(Ordering::Relaxed) {
            self.longest.fetch_max(waited, Ordering::Relaxed);
        }
    }
}

/// The callbacks of one client.
struct Callbacks {
    signals: Arc<Signals>,
    late: Counter,
    meters: ClientMeters,
    dead: AtomicBool,
    /// Whether records wait for all replicas.
    replicated: bool,
}

/// A client with the task that takes its reports.
pub(crate) struct Client {
    name: String,
    producer: Arc<BaseProducer<Callbacks>>,
    ended: Arc<AtomicBool>,
    /// Wakes the task.
    wake: Arc<Notify>,
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client_log::log(level, facility, message);
    }

    fn stats_raw(&self, told: &[u8]) {
        self.meters.take(told);
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

    /// Only the producer's own end comes here: reports on what was purged, without librdkafka's memory of it.
    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Box<Waiting>) {
        let code = match result {
            Ok(_) => RDKafkaErrorCode::PurgeInflight,
            Err((error, _message)) => error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown),
        };
        self.tell(
            Err(Failure::of_delivery(code, Persisted::Possibly, self.replicated)),
            *waiting,
        );
    }
}

impl Callbacks {
    fn delivered(&self, delivery: &Delivery, waiting: Waiting) {
        let report = match delivery.error {
            None => {
                self.signals.confirmed(waiting.since.elapsed());
                Ok(Stored {
                    partition: delivery.partition,
                    offset: Some(delivery.offset).filter(|&offset| offset >= 0),
                    timestamp: Some(delivery.timestamp).filter(|&timestamp| timestamp >= 0),
                })
            }
            Some(code) => Err(Failure::of_delivery(code, delivery.persisted, self.replicated)),
        };
        self.tell(report, waiting);
    }

    fn tell(&self, report: Report, waiting: Waiting) {
        if let Err(unheard) = waiting.report.send(report)
            && unheard.is_ok()
        {
            self.late.increment(1);
        }
    }
}

impl Client {
    /// Starts a client and its task; needs a Tokio runtime and no broker. `name`, one of few, is its name in metrics. Errors go to
    /// `signals`; confirmations that nobody waits for are counted in `late`.
    ///
    /// # Errors
    /// librdkafka refuses a setting, or a thread cannot be made.
    pub(crate) fn start(
        name: &str,
        config: &ClientConfig,
        signals: &Arc<Signals>,
        late: &Counter,
    ) -> Result<Self, KafkaError> {
        let callbacks = Callbacks {
            signals: Arc::clone(signals),
            late: late.clone(),
            meters: ClientMeters::register(name),
            dead: AtomicBool::new(false),
            replicated: config.get("acks") == Some(Acks::All.as_str()),
        };
        let producer: Arc<BaseProducer<Callbacks>> = Arc::new(config.create_with_context(callbacks)?);
        let ended = Arc::new(AtomicBool::new(false));
        let deliveries = Deliveries::new(Arc::clone(&producer));
        let wake = Arc::clone(deliveries.arrived());
        tokio::spawn(take(deliveries, Arc::clone(&ended)));
        Ok(Self {
            name: name.to_owned(),
            producer,
            ended,
            wake,
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// For questions about the cluster.
    pub(crate) fn kafka(&self) -> &KafkaClient<impl ClientContext + use<>> {
        self.producer.client()
    }

    /// Hands a record over; never waits. The report comes through the receiver; it is also made when nobody waits for it.
    ///
    /// # Errors
    /// The record was not taken, so nothing was sent; the permit is given back.
    pub(crate) fn send(
        &self,
        record: Record<'_>,
        mut permit: Permit,
    ) -> Result<oneshot::Receiver<Report>, Failure> {
        let (sender, receiver) = oneshot::channel();
        permit.hand_over();
        let waiting = Box::new(Waiting {
            report: sender,
            since: Instant::now(),
            _permit: permit,
        });
        let mut taken = BaseRecord::with_opaque_to(record.topic, waiting);
        taken.key = record.key;
        taken.payload = record.value;
        taken.partition = record.partition;
        taken.timestamp = record.timestamp;
        taken.headers = record.headers;
        match self.producer.send(taken) {
            Ok(()) => Ok(receiver),
            Err((error, _record)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                Err(Failure::of_refusal(code))
            }
        }
    }

    /// Records without a report.
    pub(crate) fn in_flight(&self) -> usize {
        usize::try_from(self.producer.in_flight_count()).unwrap_or(0)
    }

    /// Gives up every record without a report; their reports follow.
    pub(crate) fn purge(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
    }

    /// Whether the client hit an error that it cannot survive.
    pub(crate) fn is_dead(&self) -> bool {
        self.producer.context().dead.load(Ordering::Relaxed)
    }
}

impl Drop for Client {
    /// Takes up to [`END`] and librdkafka's half second for what is still in flight: not for a thread that serves requests.
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        // Whoever lets the producer go last ends it, which blocks: not the task.
        let end = Instant::now() + END;
        while Arc::strong_count(&self.producer) > 1 && Instant::now() < end {
            std::thread::sleep(STEP);
        }
    }
}

/// Takes reports as they come, in the runtime that waits for them: whoever is woken by one is in the same thread's queue.
async fn take(mut deliveries: Deliveries<Callbacks>, ended: Arc<AtomicBool>) {
    let callbacks = Arc::clone(deliveries.context());
    let arrived = Arc::clone(deliveries.arrived());
    while !ended.load(Ordering::Relaxed) {
        let mut events = 0;
        while deliveries.poll(|delivery, waiting| callbacks.delivered(&delivery, *waiting)) {
            events += 1;
            if events % EVENTS == 0 {
                tokio::task::yield_now().await;
            }
        }
        // A look now and then costs nothing, and nobody waits for ever for a word that was lost.
        tokio::time::timeout(LOOK, arrived.notified()).await.ok();
    }
}

//! The metrics of kmonitor: how it is itself, and two gauges of lag per cluster. Names are constants here only.
//!
//! Labels are bounded by the configuration (`cluster`, `receiver`) or by this file (`source`, `result`, `reason`): a module's or a
//! topic's name is never a label here, because a series in the recorder stays; those are in [`crate::exposition`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) mod help;

use metrics::{Counter, Gauge, Histogram};

use crate::lag::Unknown;
use crate::round::Round;

/// 1 while the source `zookeeper` or `kafka` of a cluster answered in the last round, else 0.
pub(crate) const SOURCE_UP: &str = "kmonitor_source_up";
/// Unix time of the end of the last round that read ZooKeeper; 0 before the first.
pub(crate) const LAST_SUCCESS: &str = "kmonitor_last_success_timestamp_seconds";
/// Wall time of a round.
pub(crate) const COLLECTION: &str = "kmonitor_collection_seconds";
/// Rounds by `result`: `ok`, `failed`.
pub(crate) const COLLECTIONS: &str = "kmonitor_collections_total";
/// Modules in the last round.
pub(crate) const MODULES: &str = "kmonitor_modules";
/// Partitions without a lag in the last round, by `reason`.
pub(crate) const UNKNOWN: &str = "kmonitor_unknown_partitions";
/// Children of a znode that are no partition or topic, in the last scan of the tree.
pub(crate) const STRAY: &str = "kmonitor_stray_znodes";
/// The known lags of a cluster, summed; NaN while none is known, so that no rule takes it for a zero.
pub(crate) const LAG_SUM: &str = "kmonitor_lag_records";
/// The largest known lag of a partition of a cluster; NaN while none is known.
pub(crate) const LAG_MAX: &str = "kmonitor_lag_max_records";
/// Requests for `/delay`, by `code`: `200`, `400`.
pub(crate) const REQUESTS: &str = "kmonitor_requests_total";
/// Pushes to Falcon, by `result`: `ok`, `failed`.
pub(crate) const PUSHES: &str = "kmonitor_falcon_pushes_total";
/// Open connections to the public server.
pub(crate) const CONNECTIONS: &str = "kmonitor_connections";
/// Messages to a `receiver`, by `result`: `delivered`, `failed` (given up), `dropped` (the queue was full).
pub(crate) const NOTIFICATIONS: &str = "kmonitor_notifications_total";
/// Attempts beyond the first to deliver a message to a `receiver`.
pub(crate) const NOTIFICATION_RETRIES: &str = "kmonitor_notification_retries_total";
/// Messages that wait for a `receiver`.
pub(crate) const NOTIFICATION_QUEUE: &str = "kmonitor_notification_queue";
/// Open events of a cluster, whether or not this kmonitor sends.
pub(crate) const OPEN_EVENTS: &str = "kmonitor_open_events";

/// What one cluster's task records.
#[derive(Debug)]
pub(crate) struct ClusterMeters {
    zookeeper_up: Gauge,
    kafka_up: Gauge,
    last_success: Gauge,
    collection: Histogram,
    succeeded: Counter,
    failed: Counter,
    modules: Gauge,
    unknown: Vec<(Unknown, Gauge)>,
    stray: Gauge,
    lag_sum: Gauge,
    lag_max: Gauge,
}

impl ClusterMeters {
    /// Registers the cluster's series, so that they are there before its first round ends.
    #[must_use]
    pub(crate) fn new(cluster: &str) -> Self {
        let cluster = || cluster.to_owned();
        let unknown = |reason: Unknown| {
            let gauge = metrics::gauge!(UNKNOWN, "cluster" => cluster(), "reason" => reason.label());
            (reason, gauge)
        };
        let meters = Self {
            zookeeper_up: metrics::gauge!(SOURCE_UP, "cluster" => cluster(), "source" => "zookeeper"),
            kafka_up: metrics::gauge!(SOURCE_UP, "cluster" => cluster(), "source" => "kafka"),
            last_success: metrics::gauge!(LAST_SUCCESS, "cluster" => cluster()),
            collection: metrics::histogram!(COLLECTION, "cluster" => cluster()),
            succeeded: metrics::counter!(COLLECTIONS, "cluster" => cluster(), "result" => "ok"),
            failed: metrics::counter!(COLLECTIONS, "cluster" => cluster(), "result" => "failed"),
            modules: metrics::gauge!(MODULES, "cluster" => cluster()),
            unknown: Unknown::ALL.map(unknown).into(),
            stray: metrics::gauge!(STRAY, "cluster" => cluster()),
            lag_sum: metrics::gauge!(LAG_SUM, "cluster" => cluster()),
            lag_max: metrics::gauge!(LAG_MAX, "cluster" => cluster()),
        };
        meters.lags(f64::NAN, f64::NAN);
        meters
    }

    /// A round ended with numbers.
    pub(crate) fn succeeded(&self, round: &Round, took: Duration) {
        let snapshot = &round.snapshot;
        self.succeeded.increment(1);
        self.collection.record(took.as_secs_f64());
        self.zookeeper_up.set(1.0);
        self.kafka_up.set(f64::from(u8::from(round.kafka.is_ok())));
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_success.set(since_epoch.as_secs_f64());
        self.modules.set(approximate(snapshot.modules.len() as u64));
        let counts = snapshot.unknown();
        for (reason, gauge) in &self.unknown {
            gauge.set(approximate(counts.get(reason).copied().unwrap_or_default()));
        }
        match snapshot.extent() {
            Some((largest, sum)) => self.lags(approximate(largest), approximate(sum)),
            None => self.lags(f64::NAN, f64::NAN),
        }
        self.stray.set(approximate(round.stray));
    }

    /// A round ended without numbers, because ZooKeeper could not be read.
    ///
    /// The lags are unknown from now on. The counts of the last good round stay: [`SOURCE_UP`] and [`LAST_SUCCESS`] say how
    /// old they are.
    pub(crate) fn failed(&self, took: Duration) {
        self.failed.increment(1);
        self.collection.record(took.as_secs_f64());
        self.zookeeper_up.set(0.0);
        self.lags(f64::NAN, f64::NAN);
    }

    fn lags(&self, largest: f64, sum: f64) {
        self.lag_max.set(largest);
        self.lag_sum.set(sum);
    }
}

/// What the public server records.
#[derive(Clone, Debug)]
pub(crate) struct HttpMeters {
    /// Answered questions.
    pub(crate) answered: Counter,
    /// Refused questions.
    pub(crate) refused: Counter,
    /// Open connections.
    pub(crate) connections: Gauge,
}

impl HttpMeters {
    /// Registers the series.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            answered: metrics::counter!(REQUESTS, "code" => "200"),
            refused: metrics::counter!(REQUESTS, "code" => "400"),
            connections: metrics::gauge!(CONNECTIONS),
        }
    }
}

impl Default for HttpMeters {
    fn default() -> Self {
        Self::new()
    }
}

/// What the pushes to Falcon record.
#[derive(Debug)]
pub(crate) struct PushMeters {
    succeeded: Counter,
    failed: Counter,
}

impl PushMeters {
    /// Registers the series.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            succeeded: metrics::counter!(PUSHES, "result" => "ok"),
            failed: metrics::counter!(PUSHES, "result" => "failed"),
        }
    }

    /// A push of everything has ended.
    pub(crate) fn pushed(&self, well: bool) {
        let counter = if well { &self.succeeded } else { &self.failed };
        counter.increment(1);
    }
}

/// What one receiver's task records.
#[derive(Clone, Debug)]
pub(crate) struct ReceiverMeters {
    /// Messages that the receiver has taken.
    pub(crate) delivered: Counter,
    /// Messages that were given up.
    pub(crate) failed: Counter,
    /// Messages that made room for newer ones.
    pub(crate) dropped: Counter,
    /// Further attempts.
    pub(crate) retried: Counter,
    /// Messages that wait.
    pub(crate) queue: Gauge,
}

impl ReceiverMeters {
    /// Registers the series.
    #[must_use]
    pub(crate) fn new(receiver: &str) -> Self {
        let receiver = || receiver.to_owned();
        let result = |result| metrics::counter!(NOTIFICATIONS, "receiver" => receiver(), "result" => result);
        Self {
            delivered: result("delivered"),
            failed: result("failed"),
            dropped: result("dropped"),
            retried: metrics::counter!(NOTIFICATION_RETRIES, "receiver" => receiver()),
            queue: metrics::gauge!(NOTIFICATION_QUEUE, "receiver" => receiver()),
        }
    }
}

/// So many events of a cluster are open.
pub(crate) fn open_events(cluster: &str, count: usize) {
    metrics::gauge!(OPEN_EVENTS, "cluster" => cluster.to_owned()).set(approximate(count as u64));
}

/// The exporter's numbers are floating point, exact up to 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "a lag above 2^53 records may lose its last digits in a metric"
)]
fn approximate(count: u64) -> f64 {
    count as f64
}

//! The metrics of kproxy: every name once, handles registered once and held.
//!
//! Labels are bounded: results and codes are constants of the program; topics, keys and addresses never appear.

pub(crate) mod help;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::patience::Cut;
use crate::request::Acks;

/// Requests by `result` (`stored`, or the code of the failure) and, where it is known, `acks`.
pub const REQUESTS: &str = "kproxy_requests_total";
/// From the first byte of a request to its answer, stored records only, seconds.
pub const REQUEST_SECONDS: &str = "kproxy_request_seconds";
/// From the first byte of a request to the hand-over of its record to the producer, stored records only, seconds.
pub const READ_SECONDS: &str = "kproxy_read_seconds";
/// From the hand-over to the producer to the broker's confirmation, stored records only, seconds.
pub const KAFKA_SECONDS: &str = "kproxy_kafka_seconds";
/// Bytes of the bodies of stored records.
pub const BODY_BYTES: &str = "kproxy_body_bytes_total";
/// Requests that hold a place now.
pub const IN_FLIGHT: &str = "kproxy_in_flight_requests";
/// Bytes of the budget for bodies that are taken now.
pub const IN_FLIGHT_BYTES: &str = "kproxy_in_flight_bytes";
/// Open connections.
pub const CONNECTIONS: &str = "kproxy_connections";
/// Connections refused at `max_connections`.
pub const CONNECTIONS_REFUSED: &str = "kproxy_connections_refused_total";
/// Connections cut by a time-out, by `reason`.
pub const CONNECTIONS_CUT: &str = "kproxy_connections_cut_total";
/// 1 while a broker answers, else 0.
pub const BROKERS_UP: &str = "kproxy_brokers_up";
/// Records confirmed after their request had been given up.
pub const LATE: &str = "kproxy_late_confirmations_total";
/// Lists of the cluster's topics that were fetched.
pub const TOPIC_LISTS: &str = "kproxy_topic_lists_total";
/// Producers replaced after an error that they cannot survive.
pub const PRODUCERS_REPLACED: &str = "kproxy_producers_replaced_total";
/// Times that records waited for `stall_timeout_ms` without any confirmation.
pub const STALLS: &str = "kproxy_stalls_total";
/// Requests of each principal that were let in, by `principal`.
pub const PRINCIPAL_REQUESTS: &str = "kproxy_principal_requests_total";
/// Requests of each principal that were refused for what it may do, by `principal` and `code`.
pub const PRINCIPAL_REFUSED: &str = "kproxy_principal_refused_total";
/// Requests of callers that showed nothing, or the wrong thing, by `code`.
pub const LOGINS_REFUSED: &str = "kproxy_logins_refused_total";
/// 1 while a file that is reloaded is wrong and the one before goes on, else 0, by `file`.
pub const FILE_REFUSED: &str = "kproxy_file_refused";

/// TLS handshakes that failed, by `reason`: `slow`, `refused`.
pub const HANDSHAKES_FAILED: &str = "kproxy_tls_handshakes_failed_total";
/// When the certificate of `tls` expires, in seconds since 1970.
pub const CERTIFICATE_EXPIRES: &str = "kproxy_tls_certificate_expires_timestamp_seconds";

/// A file that is read again when it changes.
#[derive(Clone, Copy, Debug)]
pub enum ReloadedFile {
    /// `credentials_file`.
    Credentials,
    /// The files of `tls`.
    Tls,
}

impl ReloadedFile {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Tls => "tls",
        }
    }
}

/// The counter of what a principal was let in for. Its name comes from the credentials file, so there are few.
pub(crate) fn principal_admitted(name: &str) -> Counter {
    counter!(PRINCIPAL_REQUESTS, "principal" => name.to_owned())
}

/// A principal may not do what it asked for, or not now.
pub(crate) fn principal_refused(name: &str, code: &'static str) {
    counter!(PRINCIPAL_REFUSED, "principal" => name.to_owned(), "code" => code).increment(1);
}

/// A caller is not known.
pub(crate) fn login_refused(code: &'static str) {
    counter!(LOGINS_REFUSED, "code" => code).increment(1);
}

/// A TLS handshake failed.
pub(crate) fn handshake_failed(reason: &'static str) {
    counter!(HANDSHAKES_FAILED, "reason" => reason).increment(1);
}

/// The certificate that is shown to clients holds until then, in seconds since 1970.
pub(crate) fn certificate_expires(at: Option<i64>) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float; times stay far below 2^53"
    )]
    gauge!(CERTIFICATE_EXPIRES).set(at.map_or(f64::NAN, |at| at as f64));
}

/// The gauge of a file.
pub(crate) fn file_refused(file: ReloadedFile) -> Gauge {
    let gauge = gauge!(FILE_REFUSED, "file" => file.as_str());
    gauge.set(0.0);
    gauge
}

/// The handles.
#[derive(Clone)]
pub struct Meters {
    stored: [Counter; 3],
    /// See [`REQUEST_SECONDS`].
    pub request_seconds: Histogram,
    /// See [`READ_SECONDS`].
    pub read_seconds: Histogram,
    /// See [`KAFKA_SECONDS`].
    pub kafka_seconds: Histogram,
    /// See [`BODY_BYTES`].
    pub body_bytes: Counter,
    /// See [`IN_FLIGHT`].
    pub in_flight: Gauge,
    /// See [`IN_FLIGHT_BYTES`].
    pub in_flight_bytes: Gauge,
    /// See [`CONNECTIONS`].
    pub connections: Gauge,
    /// See [`CONNECTIONS_REFUSED`].
    pub connections_refused: Counter,
    /// See [`BROKERS_UP`].
    pub brokers_up: Gauge,
    /// See [`LATE`].
    pub late: Counter,
    /// See [`TOPIC_LISTS`].
    pub topic_lists: Counter,
    /// See [`PRODUCERS_REPLACED`].
    pub producers_replaced: Counter,
    /// See [`STALLS`].
    pub stalls: Counter,
}

impl Meters {
    /// Registers every handle at the process's recorder.
    #[must_use]
    pub fn register() -> Self {
        Self {
            stored: Acks::EVERY.map(|acks| counter!(REQUESTS, "result" => "stored", "acks" => acks.as_str())),
            request_seconds: histogram!(REQUEST_SECONDS),
            read_seconds: histogram!(READ_SECONDS),
            kafka_seconds: histogram!(KAFKA_SECONDS),
            body_bytes: counter!(BODY_BYTES),
            in_flight: gauge!(IN_FLIGHT),
            in_flight_bytes: gauge!(IN_FLIGHT_BYTES),
            connections: gauge!(CONNECTIONS),
            connections_refused: counter!(CONNECTIONS_REFUSED),
            brokers_up: gauge!(BROKERS_UP),
            late: counter!(LATE),
            topic_lists: counter!(TOPIC_LISTS),
            producers_replaced: counter!(PRODUCERS_REPLACED),
            stalls: counter!(STALLS),
        }
    }

    /// A record was stored.
    pub fn stored(&self, acks: Acks) {
        self.stored[acks.index()].increment(1);
    }

    /// A request failed. Looks the handle up: failures are rare, or cheap anyway.
    pub fn failed(&self, code: &'static str, acks: Option<Acks>) {
        let acks = acks.map_or("", Acks::as_str);
        counter!(REQUESTS, "result" => code, "acks" => acks).increment(1);
    }

    /// A connection was cut.
    pub fn cut(&self, reason: Cut) {
        counter!(CONNECTIONS_CUT, "reason" => reason.as_str()).increment(1);
    }
}

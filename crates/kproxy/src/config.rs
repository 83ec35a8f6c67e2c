//! `kproxy.yaml`: its table of keys, the file as written, and the settings the daemon may rely on.
//!
//! Every key that the original demanded stays demanded; every other key has a default. A time-out of 0 is none.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use hyper::header::HeaderName;
use kcommon::config::{self, ADMIN_KEYS, HostPort, Invalid, Key, Kind, LOG_KEYS, Need, Schema};
use kcommon::daemon::Base;
use serde::Deserialize;

use crate::patience::Limits;

/// The longest time-out that can be set: a day.
const DAY_MS: i64 = 86_400_000;

/// A time-out in milliseconds, 0 for none.
const TIMEOUT: Kind = Kind::Int { min: 0, max: DAY_MS };

/// The keys of `kproxy.yaml`.
pub const SCHEMA: Schema = Schema {
    name: "kproxy.yaml",
    groups: &[
        ("", LOG_KEYS),
        ("", ADMIN_KEYS),
        ("", HTTP_KEYS),
        ("", KAFKA_KEYS),
    ],
};

const HTTP_KEYS: &[Key] = &[
    Key {
        path: "port",
        kind: Kind::Int { min: 1, max: 65_535 },
        need: Need::Required,
        meaning: "Port that takes `POST /commit`.",
        changed: "",
    },
    Key {
        path: "listen_address",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "IP address to listen on. Without it: every address of the machine, IPv4 and IPv6.",
        changed: "New; without it as in the original.",
    },
    Key {
        path: "read_timeout_ms",
        kind: TIMEOUT,
        need: Need::Required,
        meaning: "Longest time without a byte while a request is received. 0 is none.",
        changed: "Covered the whole request, from the connection's start.",
    },
    Key {
        path: "write_timeout_ms",
        kind: TIMEOUT,
        need: Need::Required,
        meaning: "Longest time without a byte taken by the client while an answer is sent. 0 is none.",
        changed: "Covered the wait for Kafka too, so that stored records looked failed.",
    },
    Key {
        path: "header_timeout_ms",
        kind: TIMEOUT,
        need: Need::Default("10000"),
        meaning: "From the first byte of a request to the end of its head. 0 is none.",
        changed: "New.",
    },
    Key {
        path: "request_timeout_ms",
        kind: TIMEOUT,
        need: Need::Default("30000"),
        meaning: "From the first byte of a request to the last of its body. 0 is none.",
        changed: "New.",
    },
    Key {
        path: "idle_timeout_ms",
        kind: TIMEOUT,
        need: Need::Default("60000"),
        meaning: "Longest time between two requests of a connection, and before its first. 0 is none.",
        changed: "New; the original cut idle connections after `read_timeout_ms`.",
    },
    Key {
        path: "min_body_rate_bytes",
        kind: Kind::Int {
            min: 0,
            max: 1_000_000_000,
        },
        need: Need::Default("1000"),
        meaning: "Least average rate of a body in bytes per second, counted after 5 s. 0 is none.",
        changed: "New.",
    },
    Key {
        path: "max_connections",
        kind: Kind::Int {
            min: 1,
            max: 1_000_000,
        },
        need: Need::Default("20000"),
        meaning: "Connections open at once. A connection beyond it is answered 503 and closed.",
        changed: "New.",
    },
    Key {
        path: "req_pool_size",
        kind: Kind::Int {
            min: 1,
            max: 10_000_000,
        },
        need: Need::Default("10240"),
        meaning: "Requests in flight at once, from their head to Kafka's confirmation. One beyond it is answered 503.",
        changed: "Was the size of a pool of objects, and no limit.",
    },
    Key {
        path: "max_request_size_bytes",
        kind: Kind::Int {
            min: 1,
            max: 900_000_000,
        },
        need: Need::Required,
        meaning: "Largest body in bytes; a larger one is answered 413 before it is read. Best at most the `max.message.bytes` \
                  of the topics.",
        changed: "Limited only the record, after the whole body was in memory.",
    },
    Key {
        path: "max_batch_bytes",
        kind: Kind::Int {
            min: 1024,
            max: 1_099_511_627_776,
        },
        need: Need::Default("67108864"),
        meaning: "Largest body of `POST /commit/batch` in bytes, all its records together; each of them has to keep \
                  `max_request_size_bytes`. It is never in memory as a whole.",
        changed: "New.",
    },
    Key {
        path: "max_inflight_bytes",
        kind: Kind::Int {
            min: 1_048_576,
            max: 1_099_511_627_776,
        },
        need: Need::Default("268435456"),
        meaning: "Bytes of bodies in memory at once. A request that does not fit is answered 503 before its body is read. Has to \
                  be at least `max_request_size_bytes`.",
        changed: "New.",
    },
    Key {
        path: "legacy_acks",
        kind: Kind::Bool,
        need: Need::Default("false"),
        meaning: "Take an unknown `acks` as 1, as the original did, in place of a 400.",
        changed: "New; the original always did.",
    },
    Key {
        path: "header_prefix",
        kind: Kind::Text,
        need: Need::Default("X-Kafka-Header-"),
        meaning: "A request's headers whose names begin with it become headers of the record, under the rest of their name.",
        changed: "New.",
    },
    Key {
        path: "drain_timeout_ms",
        kind: Kind::Int {
            min: 100,
            max: 600_000,
        },
        need: Need::Default("10000"),
        meaning: "After SIGTERM: how long to wait for the confirmation of what is in flight. What is left then is counted, logged, \
                  and makes the exit status 1.",
        changed: "New; the original lost what was in flight.",
    },
];

const KAFKA_KEYS: &[Key] = &[
    Key {
        path: "broker_hosts",
        kind: Kind::HostPorts { min: 1 },
        need: Need::Required,
        meaning: "Some of the cluster's brokers as `host:port`; the others are found through them.",
        changed: "",
    },
    Key {
        path: "producer_num",
        kind: Kind::Int { min: 1, max: 16 },
        need: Need::Default("1"),
        meaning: "Producers per acknowledgement level, each with connections of its own. One is enough for most.",
        changed: "Was read by nobody.",
    },
    Key {
        path: "produce_timeout_ms",
        kind: Kind::Int {
            min: 500,
            max: 300_000,
        },
        need: Need::Default("5000"),
        meaning: "Longest wait for Kafka's confirmation; after it the answer is 504. The producer itself gives up after four \
                  fifths of it.",
        changed: "New.",
    },
    Key {
        path: "stall_timeout_ms",
        kind: Kind::Int {
            min: 500,
            max: 300_000,
        },
        need: Need::Default("3000"),
        meaning: "Longest time without any confirmation while records wait. Then what waits is answered 504, or 503 where it was \
                  never sent, and the brokers count as away until one answers.",
        changed: "New.",
    },
    Key {
        path: "linger_ms",
        kind: Kind::Int { min: 0, max: 1000 },
        need: Need::Optional,
        meaning: "How long a record waits for others to share a request to Kafka. Without it the wait follows the load: none for up \
                  to 8 open requests, 1 ms for up to 128, 2 ms beyond. A number holds for every load, and delays a lone client \
                  by just that.",
        changed: "New; the original's records waited only while a request was in flight.",
    },
    Key {
        path: "kafka_requests_in_flight",
        kind: Kind::Int { min: 1, max: 1000 },
        need: Need::Default("8"),
        meaning: "Requests open at once on a connection to a broker. The bound makes records share requests under load; far \
                  brokers want more. With `acks=-1` and `idempotence` at most 5.",
        changed: "New; the original had one.",
    },
    Key {
        path: "idempotence",
        kind: Kind::Bool,
        need: Need::Default("true"),
        meaning: "For `acks=-1`: the broker drops what a producer's own repetition would double or reorder.",
        changed: "New.",
    },
];

/// `kproxy.yaml` as it is written, defaults filled in.
#[derive(Debug, Deserialize)]
struct File {
    #[serde(flatten)]
    log: kcommon::logging::File,
    admin: Option<kcommon::admin::File>,
    port: u16,
    listen_address: Option<String>,
    read_timeout_ms: u64,
    write_timeout_ms: u64,
    header_timeout_ms: u64,
    request_timeout_ms: u64,
    idle_timeout_ms: u64,
    min_body_rate_bytes: u64,
    max_connections: usize,
    req_pool_size: usize,
    max_request_size_bytes: usize,
    max_batch_bytes: usize,
    max_inflight_bytes: usize,
    legacy_acks: bool,
    header_prefix: String,
    drain_timeout_ms: u64,
    broker_hosts: Vec<HostPort>,
    producer_num: usize,
    produce_timeout_ms: u64,
    stall_timeout_ms: u64,
    linger_ms: Option<u64>,
    kafka_requests_in_flight: usize,
    idempotence: bool,
}

/// Settings that were checked.
#[derive(Debug)]
pub struct Config {
    /// Logging and the admin server.
    pub base: Base,
    /// Who is let in, and for how long.
    pub http: Http,
    /// How records get to Kafka.
    pub kafka: Kafka,
}

/// The HTTP side.
#[derive(Clone, Debug)]
pub struct Http {
    /// Port to listen on.
    pub port: u16,
    /// Address to listen on; `None` is every one.
    pub address: Option<IpAddr>,
    /// Patience with clients.
    pub limits: Limits,
    /// Connections at once.
    pub max_connections: usize,
    /// Requests in flight at once.
    pub max_requests: usize,
    /// Bytes of one body.
    pub max_body: usize,
    /// Bytes of the body of one batch.
    pub max_batch: usize,
    /// Bytes of all bodies at once; at least `max_body`.
    pub max_bytes: usize,
    /// Unknown `acks` are 1.
    pub legacy_acks: bool,
    /// What names of headers begin with that the record gets; small letters.
    pub header_prefix: String,
    /// Patience with Kafka at the end of the process.
    pub drain: Duration,
}

/// The Kafka side.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// Brokers to begin with, separated by commas.
    pub brokers: String,
    /// Producers per acknowledgement level.
    pub producers: usize,
    /// Patience with Kafka for one request.
    pub timeout: Duration,
    /// Patience with brokers that take records and confirm none.
    pub stall: Duration,
    /// librdkafka's `linger.ms`; `None` follows the load.
    pub linger: Option<Duration>,
    /// librdkafka's `max.in.flight`.
    pub in_flight: usize,
    /// Idempotence for `acks=-1`.
    pub idempotence: bool,
    /// Largest record; librdkafka's limits follow from it.
    pub max_body: usize,
    /// Most records in the producers' queues.
    pub max_records: usize,
    /// Most bytes in the producers' queues.
    pub max_bytes: usize,
}

impl AsRef<Base> for Config {
    fn as_ref(&self) -> &Base {
        &self.base
    }
}

/// Reads and checks `kproxy.yaml`.
///
/// # Errors
/// Every problem of the file.
pub fn load(path: &Path) -> Result<Config, Invalid> {
    let document = config::load::<File>(path, &SCHEMA)?;
    let file = &document.file;
    let mut problems = Vec::new();
    if file.max_inflight_bytes < file.max_request_size_bytes {
        problems.push(document.problem(
            "max_inflight_bytes",
            format!(
                "{} is below max_request_size_bytes ({}), so that the largest body could never be taken; raise it",
                file.max_inflight_bytes, file.max_request_size_bytes
            ),
        ));
    }
    let address = file.listen_address.as_deref().map(str::parse).transpose();
    if address.is_err() {
        problems.push(document.problem(
            "listen_address",
            "is no IP address; allowed: such as 127.0.0.1 or ::1",
        ));
    }
    if HeaderName::from_bytes(file.header_prefix.as_bytes()).is_err() {
        problems.push(document.problem(
            "header_prefix",
            "is no beginning of a header's name; allowed: letters, digits and -, such as X-Kafka-Header-",
        ));
    }
    Invalid::check(problems)?;
    Ok(Config::new(document.file, address.ok().flatten()))
}

impl Config {
    fn new(file: File, address: Option<IpAddr>) -> Self {
        let timeout = |ms| (ms > 0).then(|| Duration::from_millis(ms));
        let brokers: Vec<String> = file.broker_hosts.iter().map(ToString::to_string).collect();
        Self {
            http: Http {
                port: file.port,
                address,
                limits: Limits {
                    silence: timeout(file.read_timeout_ms),
                    write: timeout(file.write_timeout_ms),
                    head: timeout(file.header_timeout_ms),
                    whole: timeout(file.request_timeout_ms),
                    idle: timeout(file.idle_timeout_ms),
                    body_rate: file.min_body_rate_bytes,
                },
                max_connections: file.max_connections,
                max_requests: file.req_pool_size,
                max_body: file.max_request_size_bytes,
                max_batch: file.max_batch_bytes,
                max_bytes: file.max_inflight_bytes,
                legacy_acks: file.legacy_acks,
                header_prefix: file.header_prefix.to_ascii_lowercase(),
                drain: Duration::from_millis(file.drain_timeout_ms),
            },
            kafka: Kafka {
                brokers: brokers.join(","),
                producers: file.producer_num,
                timeout: Duration::from_millis(file.produce_timeout_ms),
                stall: Duration::from_millis(file.stall_timeout_ms),
                linger: file.linger_ms.map(Duration::from_millis),
                in_flight: file.kafka_requests_in_flight,
                idempotence: file.idempotence,
                max_body: file.max_request_size_bytes,
                max_records: file.req_pool_size,
                max_bytes: file.max_inflight_bytes,
            },
            base: Base::new(file.log, file.admin.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The original's example, keys and values as its users have them.
    const SEED: &str = "
log_dir: ./log
log_level: 4
port: 5030
read_timeout_ms: 100
write_timeout_ms: 100
req_pool_size: 10240
producer_num: 1
max_request_size_bytes: 10485760
broker_hosts:
 - 10.1.4.17:5031
 - 10.1.5.17:5031
";

    fn load_text(text: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kproxy.yaml");
        std::fs::write(&path, text).unwrap();
        load(&path).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn the_originals_file_works_unchanged() {
        let config = load_text(SEED).unwrap();
        assert_eq!(config.http.port, 5030);
        assert_eq!(config.http.limits.silence, Some(Duration::from_millis(100)));
        assert_eq!(config.http.limits.idle, Some(Duration::from_secs(60)));
        assert_eq!(config.kafka.brokers, "10.1.4.17:5031,10.1.5.17:5031");
        assert_eq!((config.kafka.linger, config.kafka.in_flight), (None, 8));
    }

    #[test]
    fn the_documented_file_says_the_defaults() {
        let shipped = load(Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../conf/kproxy.yaml"
        )))
        .unwrap();
        // The original's 100 ms of patience would cut clients whose packet is lost once; there is no default for them.
        let bare = load_text(&SEED.replace("timeout_ms: 100", "timeout_ms: 5000")).unwrap();
        let told = |config: &Config| format!("{:?} {:?}", config.http, config.kafka);
        let brokers = |text: String, config: &Config| text.replace(&config.kafka.brokers, "BROKERS");
        assert_eq!(brokers(told(&shipped), &shipped), brokers(told(&bare), &bare));
    }

    #[test]
    fn a_key_that_the_original_demands_is_demanded() {
        for key in [
            "log_dir",
            "log_level",
            "port",
            "read_timeout_ms",
            "write_timeout_ms",
            "max_request_size_bytes",
        ] {
            let without: String = SEED
                .lines()
                .filter(|line| !line.starts_with(key))
                .map(|line| format!("{line}\n"))
                .collect();
            let message = load_text(&without).unwrap_err();
            assert!(message.contains(key), "{message}");
        }
    }

    #[test]
    fn zero_is_no_time_out() {
        let text = SEED.replace("timeout_ms: 100", "timeout_ms: 0");
        let limits = load_text(&text).unwrap().http.limits;
        assert_eq!((limits.silence, limits.write), (None, None));
    }

    #[test]
    fn settings_that_contradict_are_refused_together() {
        let text = format!("{SEED}max_inflight_bytes: 1048576\nlisten_address: here\n");
        let message = load_text(&text).unwrap_err();
        assert!(
            message.contains("max_inflight_bytes") && message.contains("listen_address"),
            "{message}"
        );
    }
}

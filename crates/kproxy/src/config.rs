//! `kproxy.yaml`: the file as written, and the settings the daemon may rely on.
//!
//! Every key that the original demanded stays demanded; every other key has a default. A time-out of 0 is none.

mod access;
mod keys;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::HeaderName;
use kcommon::config::{self, HostPort, Invalid, Problem};
use kcommon::daemon::Base;
use serde::Deserialize;

pub use keys::SCHEMA;

use crate::access::{CredentialsFile, TopicRules};
use crate::patience::Limits;
use crate::producer;
use crate::tls;
use kcommon::kafka::options::Options;

/// `kproxy.yaml` as it is written, defaults filled in.
#[derive(Debug, Deserialize)]
struct File {
    #[serde(flatten)]
    log: kcommon::logging::File,
    admin: Option<kcommon::admin::File>,
    port: u16,
    listen_address: Option<String>,
    unix_socket: Option<PathBuf>,
    unix_socket_mode: String,
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
    #[serde(flatten)]
    access: access::File,
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
    /// Which topics may be named.
    pub topics: TopicRules,
    /// Who may ask; `None` is everybody.
    pub credentials: Option<CredentialsFile>,
}

/// The HTTP side.
#[derive(Clone, Debug)]
pub struct Http {
    /// Port to listen on.
    pub port: u16,
    /// Address to listen on; `None` is every one.
    pub address: Option<IpAddr>,
    /// A Unix socket to listen on besides.
    pub unix_socket: Option<UnixSocket>,
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
    /// TLS on every TCP socket; `None` is plain HTTP.
    pub tls: Option<tls::Settings>,
    /// What names of headers begin with that the record gets; small letters.
    pub header_prefix: String,
    /// Patience with Kafka at the end of the process.
    pub drain: Duration,
}

/// A Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    /// Its file.
    pub path: PathBuf,
    /// The file's rights, as for `chmod`.
    pub mode: u32,
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
    /// librdkafka's options beyond these.
    pub options: Options,
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
    let mode = rights(&file.unix_socket_mode);
    if mode.is_none() {
        problems.push(document.problem(
            "unix_socket_mode",
            "is no set of rights; allowed: three octal digits such as 660",
        ));
    }
    let topics = access::topics(&file.access, &document, &mut problems);
    let options = access::options(&file.access, &document, &mut problems);
    let credentials = access::credentials(&document.file.access, &mut problems);
    let tls = access::tls(&document.file.access, &document, &mut problems);
    Invalid::check(problems)?;
    let tried = document.problem("librdkafka", "");
    let read = Read {
        address: address.ok().flatten(),
        mode: mode.unwrap_or_default(),
        topics,
        credentials,
        tls,
        options,
    };
    let config = Config::new(document.file, read);
    producer::try_out(&config.kafka).map_err(|message| Problem { message, ..tried })?;
    Ok(config)
}

/// Rights as octal digits, with or without leading zeros.
fn rights(text: &str) -> Option<u32> {
    let mode = u32::from_str_radix(text, 8).ok()?;
    (mode <= 0o777).then_some(mode)
}

/// What of a file has a form of its own, read.
struct Read {
    address: Option<IpAddr>,
    mode: u32,
    topics: TopicRules,
    credentials: Option<CredentialsFile>,
    tls: Option<tls::Settings>,
    options: Options,
}

impl Config {
    fn new(file: File, read: Read) -> Self {
        let timeout = |ms| (ms > 0).then(|| Duration::from_millis(ms));
        let brokers: Vec<String> = file.broker_hosts.iter().map(ToString::to_string).collect();
        Self {
            http: Http {
                port: file.port,
                address: read.address,
                unix_socket: file.unix_socket.map(|path| UnixSocket {
                    path,
                    mode: read.mode,
                }),
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
                tls: read.tls,
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
                options: read.options,
            },
            topics: read.topics,
            credentials: read.credentials,
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
    fn options_of_librdkafka_are_passed_on_and_their_problems_have_their_lines() {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("password");
        std::fs::write(&secret, "s3cret\n").unwrap();
        let good = format!(
            "{SEED}librdkafka:\n  compression.type: zstd\n  security.protocol: sasl_plaintext\n  sasl.mechanisms: PLAIN\n  \
             sasl.username: me\nlibrdkafka_files:\n  sasl.password: {}\n",
            secret.display()
        );
        let config = load_text(&good).unwrap();
        let mut client = rdkafka::ClientConfig::new();
        config.kafka.options.apply(&mut client);
        assert_eq!(client.get("compression.type"), Some("zstd"));
        assert_eq!(client.get("sasl.password"), Some("s3cret"));
        assert!(!format!("{config:?}").contains("s3cret"));

        let wrong = format!(
            "{SEED}librdkafka:\n  acks: all\n  no.such: 1\n  compression.type: zip\n  client.rack: a\n  client.rack: b\n\
             librdkafka_files:\n  ssl.key.pem: /no/such/file\n"
        );
        let message = load_text(&wrong).unwrap_err();
        for (line, word) in [
            (14, "librdkafka.acks: is not taken here"),
            (15, "librdkafka.no.such: is refused by librdkafka"),
            (16, "librdkafka.compression.type: is refused by librdkafka"),
            (18, "librdkafka.client.rack: is given twice"),
            (20, "librdkafka_files.ssl.key.pem: /no/such/file cannot be read"),
        ] {
            let found = message
                .lines()
                .find(|found| found.contains(word))
                .unwrap_or_else(|| panic!("{word}: {message}"));
            assert!(found.contains(&format!("kproxy.yaml:{line}:")), "{found}");
        }
        let together =
            format!("{SEED}librdkafka:\n  security.protocol: ssl\n  ssl.ca.location: /no/such/file\n");
        let message = load_text(&together).unwrap_err();
        assert!(
            message.contains("kproxy.yaml:13:") && message.contains("ssl.ca.location"),
            "{message}"
        );
    }

    #[test]
    fn rules_of_topics_are_read_and_a_wrong_one_is_refused() {
        let rules = load_text(&format!("{SEED}topics_allowed: [\"a*\"]\ntopics_denied: [ab]\n"))
            .unwrap()
            .topics;
        assert!(rules.allow("aa") && !rules.allow("ab") && !rules.allow("b"));
        let message = load_text(&format!("{SEED}topics_denied: [\"a/*\"]\n")).unwrap_err();
        assert!(
            message.contains("topics_denied") && message.contains("fits no topic"),
            "{message}"
        );
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

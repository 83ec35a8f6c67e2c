//! A module file, `modules/<name>.yaml`: its keys, and the struct it is read into.

mod auth;
mod balance;
mod content;
mod form;
mod order;
mod outcome;
mod pace;
mod tls;

use kcommon::config::{HostPort, Key, Kind, Need, Schema};
use serde::Deserialize;

use super::cluster::{self, LibrdkafkaFile};
pub(super) use auth::AuthFile;
pub(super) use balance::BalanceFile;
use content::ContentFile;
pub(super) use form::FormFile;
use order::OrderFile;
pub(super) use outcome::{AnswerFile, Backoff, LastFile, RetryFile, SuccessJsonFile};
use pace::PaceFile;
pub(super) use tls::TlsFile;

/// The keys of a module file.
pub const MODULE_SCHEMA: Schema = Schema {
    name: "modules/<name>.yaml",
    groups: &[
        ("", WHAT),
        ("", cluster::LIBRDKAFKA),
        ("protocol", PROTOCOL),
        ("protocol", outcome::ANSWER),
        ("protocol", form::KEYS),
        ("protocol", auth::KEYS),
        ("protocol", tls::KEYS),
        ("", HOW),
        ("", balance::KEYS),
        ("", outcome::FAILURE),
        ("", outcome::LAST),
        ("", pace::KEYS),
        ("", order::KEYS),
        ("", content::KEYS),
    ],
};

/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// What is pushed.
const WHAT: &[Key] = &[
    Key {
        path: "cluster",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "The Kafka cluster that has the topic, one of `clusters` in the main file. Without it: that of the main file's \
                  top-level keys.",
        changed: "New.",
    },
    Key {
        path: "topic",
        kind: Kind::Text,
        need: Need::Required,
        meaning: "The topic whose records this module pushes.",
        changed: "",
    },
    Key {
        path: "methods",
        kind: Kind::TextList { min: 1 },
        need: Need::Optional,
        meaning: "Push only records whose body is a MessagePack map with one of these texts under `method`. Without it every record \
                  is pushed and no body is read.",
        changed: "Records that are filtered out are committed.",
    },
    Key {
        path: "on_undecodable",
        kind: Kind::OneOf(&["skip", "push", "stop"]),
        need: Need::Default("skip"),
        meaning: "With `methods`, what happens to a record whose body is no MessagePack map with a text under `method`: `skip` it \
                  (counted and logged), `push` it all the same, or `stop` its partition there.",
        changed: "New; the original stopped the whole module silently.",
    },
    Key {
        path: "initial_offset",
        kind: Kind::OneOf(&["earliest", "latest"]),
        need: Need::Default("earliest"),
        meaning: "Where a module without any stored offset begins: with the oldest record that the topic still has, or with the next \
                  one to arrive. Partitions that are added later always begin with their oldest record.",
        changed: "New; the original knew only `earliest`.",
    },
    Key {
        path: "protocol",
        kind: Kind::Section,
        need: Need::Required,
        meaning: "How a record is pushed.",
        changed: "",
    },
];

/// How a record becomes a request; below `protocol`.
const PROTOCOL: &[Key] = &[
    Key {
        path: "name",
        kind: Kind::OneOf(&["http", "https"]),
        need: Need::Required,
        meaning: "The protocol of the backends. Each push is a request of `method` with the record's value as its body, unless `form` says otherwise.",
        changed: "`https` is new.",
    },
    Key {
        path: "uri",
        kind: Kind::Text,
        need: Need::Required,
        meaning: "Path and query of the push. `{#TOPIC}`, `{#KEY}`, `{#TRANSID}` (the record's offset), `{#METHOD}` and \
                  `{#PARTITION}` are replaced, percent-encoded.",
        changed: "`{#KEY}` works; values are percent-encoded; an unknown placeholder is refused.",
    },
    Key {
        path: "headers",
        kind: Kind::Headers,
        need: Need::Default("[]"),
        meaning: "Headers added to each push. `Host` replaces the server's own address.",
        changed: "",
    },
    Key {
        path: "conn_timeout_ms",
        kind: Kind::Int { min: 0, max: DAY_MS },
        need: Need::Required,
        meaning: "Longest time in milliseconds to open a connection, the handshake of `https` included; 0 = no limit.",
        changed: "",
    },
    Key {
        path: "write_timeout_ms",
        kind: Kind::Int { min: 0, max: DAY_MS },
        need: Need::Required,
        meaning: "Longest time in milliseconds to send the request; 0 = no limit.",
        changed: "0 lifts only this limit; in the original it lifted all of them.",
    },
    Key {
        path: "read_timeout_ms",
        kind: Kind::Int { min: 0, max: DAY_MS },
        need: Need::Required,
        meaning: "Longest time in milliseconds from the last byte of the request to the last byte of the answer; 0 = no limit.",
        changed: "0 lifts only this limit; in the original it lifted all of them.",
    },
    Key {
        path: "max_response_bytes",
        kind: Kind::Int {
            min: 0,
            max: 1_073_741_824,
        },
        need: Need::Default("1048576"),
        meaning: "Bytes of an answer's body that are read. A longer answer counts by its status and ends its connection.",
        changed: "New.",
    },
];

/// How many at once, and what happens after a failure.
const HOW: &[Key] = &[
    Key {
        path: "backend_servers",
        kind: Kind::HostPorts { min: 1 },
        need: Need::Required,
        meaning: "The servers that take the pushes, by turns unless `balance` says otherwise.",
        changed: "A failed push is tried again on the next server.",
    },
    Key {
        path: "worker_num",
        kind: Kind::Int { min: 1, max: 10_000 },
        need: Need::Required,
        meaning: "Pushes that run at the same time, each on a connection of its own.",
        changed: "Any free worker takes the next key that is ready; keys are no longer tied to workers.",
    },
    Key {
        path: "window_size",
        kind: Kind::Int {
            min: 1,
            max: 1_000_000,
        },
        need: Need::Required,
        meaning: "Pushes in flight at most, so that the smaller of this and `worker_num` counts.",
        changed: "Records that wait for a retry no longer count.",
    },
    Key {
        path: "max_uncommitted",
        kind: Kind::Int {
            min: 1,
            max: 1_000_000,
        },
        need: Need::Default("100000"),
        meaning: "Records of one partition between its stored offset and the newest that was taken in. A key that fails for long \
                  holds the offset back; its partition stops when this many records have passed it.",
        changed: "New.",
    },
    Key {
        path: "max_retry_times",
        kind: Kind::Int {
            min: -1,
            max: 4_294_967_295,
        },
        need: Need::Required,
        meaning: "How often a failed push is repeated; -1 = without end. After the last one the record is dropped, counted and \
                  logged.",
        changed: "",
    },
    Key {
        path: "fail_retry_interval_ms",
        kind: Kind::Int { min: 0, max: DAY_MS },
        need: Need::Required,
        meaning: "Milliseconds between two attempts; less than 10 acts as 10. Only the record's own key waits.",
        changed: "The wait holds no worker and no other key.",
    },
    Key {
        path: "zk_offset_update_interval_sec",
        kind: Kind::Int { min: 1, max: 3600 },
        need: Need::Default("10"),
        meaning: "Seconds between two writes of a partition's offset to ZooKeeper; 1,000 new acknowledgements write it earlier.",
        changed: "",
    },
    Key {
        path: "drain_timeout_ms",
        kind: Kind::Int { min: 0, max: 30_000 },
        need: Need::Default("10000"),
        meaning: "Milliseconds that running pushes get to end when their partition is handed over or the daemon stops; then they \
                  are cut, and the next owner repeats them.",
        changed: "New.",
    },
    Key {
        path: "expected_processing_time_ms",
        kind: Kind::Int { min: 0, max: DAY_MS },
        need: Need::Default("100"),
        meaning: "Accepted, without effect.",
        changed: "Tuned the original's Kafka client.",
    },
    Key {
        path: "waiting_queue_size",
        kind: Kind::Int {
            min: 0,
            max: 1_000_000_000,
        },
        need: Need::Default("256"),
        meaning: "Accepted, without effect: `body_budget_bytes` and `max_uncommitted` bound what waits.",
        changed: "Tuned the original's Kafka client.",
    },
];

/// A module file as written, defaults filled in.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ModuleFile {
    pub(super) cluster: Option<String>,
    #[serde(flatten)]
    pub(super) librdkafka: LibrdkafkaFile,
    pub(super) topic: String,
    pub(super) methods: Option<Vec<String>>,
    pub(super) on_undecodable: OnUndecodable,
    pub(super) initial_offset: InitialOffset,
    #[serde(flatten)]
    pub(super) content: ContentFile,
    pub(super) protocol: ProtocolFile,
    pub(super) backend_servers: Vec<HostPort>,
    pub(super) dns_refresh_ms: u64,
    pub(super) balance: Option<BalanceFile>,
    pub(super) worker_num: usize,
    pub(super) window_size: usize,
    pub(super) max_uncommitted: usize,
    pub(super) max_retry_times: i64,
    pub(super) fail_retry_interval_ms: u64,
    pub(super) retry: Option<RetryFile>,
    #[serde(flatten)]
    pub(super) last: LastFile,
    #[serde(flatten)]
    pub(super) order: OrderFile,
    #[serde(flatten)]
    pub(super) pace: PaceFile,
    pub(super) zk_offset_update_interval_sec: u64,
    pub(super) drain_timeout_ms: u64,
}

/// The section `protocol`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ProtocolFile {
    pub(super) name: Scheme,
    pub(super) tls: Option<TlsFile>,
    pub(super) auth: Option<AuthFile>,
    #[serde(flatten)]
    pub(super) form: FormFile,
    pub(super) uri: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) conn_timeout_ms: u64,
    pub(super) write_timeout_ms: u64,
    pub(super) read_timeout_ms: u64,
    #[serde(flatten)]
    pub(super) answer: AnswerFile,
    pub(super) max_response_bytes: usize,
}

/// How connections are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scheme {
    Http,
    Https,
}

/// What happens to a record that the method filter cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUndecodable {
    /// It is done without a push: counted, logged once per partition and minute.
    Skip,
    /// It is pushed, with an empty method.
    Push,
    /// Its partition stops there, with a reason in `/readyz`, until the file is changed or the offset is moved.
    Stop,
}

/// Where a module without any stored offset begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitialOffset {
    /// The log start.
    Earliest,
    /// The log end.
    Latest,
}

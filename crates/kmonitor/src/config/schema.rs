//! The keys of `kmonitor.yaml`.

use kcommon::config::{ADMIN_KEYS, Key, Kind, LOG_KEYS, Need, Schema};

/// The longest time-out or interval that a file may name, in milliseconds: a day.
const MAX_MS: i64 = 86_400_000;

/// Every key of `kmonitor.yaml`.
pub const SCHEMA: Schema = Schema {
    name: "kmonitor.yaml",
    groups: &[
        ("", BASE),
        ("base", LOG_KEYS),
        ("base", BASE_KEYS),
        ("", HTTP_KEYS),
        ("", CLUSTER_KEYS),
        ("", ADMIN_KEYS),
    ],
};

const BASE: &[Key] = &[Key {
    path: "base",
    kind: Kind::Section,
    need: Need::Required,
    meaning: "What concerns all clusters.",
    changed: "",
}];

const BASE_KEYS: &[Key] = &[
    Key {
        path: "clusters",
        kind: Kind::TextList { min: 1 },
        need: Need::Required,
        meaning: "Names of the clusters to watch. Each needs a section of this name; the names are the first keys of `/delay`.",
        changed: "A section that no name asks for is a problem, and so is a name twice.",
    },
    Key {
        path: "offset_interval_ms",
        kind: Kind::Int {
            min: 100,
            max: MAX_MS,
        },
        need: Need::Default("10000"),
        meaning: "How often committed offsets and log ends are read, from the end of one round to the start of the next (ms).",
        changed: "New; the original read log ends every 10 s and learned of commits by watches.",
    },
    Key {
        path: "tree_interval_ms",
        kind: Kind::Int {
            min: 100,
            max: MAX_MS,
        },
        need: Need::Default("30000"),
        meaning: "How often the lists of modules, topics and partitions are read (ms). A new module shows after at most \
                  this and `offset_interval_ms`.",
        changed: "New.",
    },
    Key {
        path: "lagging_after_ms",
        kind: Kind::Int {
            min: 1000,
            max: MAX_MS,
        },
        need: Need::Default("60000"),
        meaning: "A partition whose oldest waiting record is older is called `lagging` (ms).",
        changed: "New.",
    },
    Key {
        path: "stalled_after_ms",
        kind: Kind::Int {
            min: 1000,
            max: MAX_MS,
        },
        need: Need::Default("60000"),
        meaning: "A partition that somebody owns, where records wait and the commit has not moved for so long, is called \
                  `stalled` (ms).",
        changed: "New.",
    },
    Key {
        path: "stopped_after_ms",
        kind: Kind::Int {
            min: 100,
            max: MAX_MS,
        },
        need: Need::Default("10000"),
        meaning: "A partition that nobody owns for so long, while the commit does not move, is called `stopped` (ms).",
        changed: "New.",
    },
];

const HTTP_KEYS: &[Key] = &[
    Key {
        path: "http_server",
        kind: Kind::Section,
        need: Need::Required,
        meaning: "Where `/delay` and `/api/v1` are answered.",
        changed: "",
    },
    Key {
        path: "http_server.port",
        kind: Kind::Int { min: 1, max: 65_535 },
        need: Need::Required,
        meaning: "TCP port, on all addresses of the machine.",
        changed: "",
    },
    Key {
        path: "http_server.read_timeout_ms",
        kind: Kind::Int { min: 0, max: MAX_MS },
        need: Need::Required,
        meaning: "Longest time without a byte while a request is received (ms); 0 = none. An idle connection is kept for 60 s.",
        changed: "The original counted from the start of the connection and so closed idle ones.",
    },
    Key {
        path: "http_server.write_timeout_ms",
        kind: Kind::Int { min: 0, max: MAX_MS },
        need: Need::Required,
        meaning: "Longest time without progress while an answer is sent (ms); 0 = none.",
        changed: "The original limited the whole answer and so cut large ones on slow links.",
    },
];

const CLUSTER_KEYS: &[Key] = &[
    Key {
        path: "*",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "One section per name in `base.clusters`.",
        changed: "",
    },
    Key {
        path: "*.chroot",
        kind: Kind::TextOrEmpty,
        need: Need::Required,
        meaning: "The Kafka cluster's own chroot in ZooKeeper, such as `/mq/test_cluster`; empty = none.",
        changed: "",
    },
    Key {
        path: "*.zk_hosts",
        kind: Kind::Hosts { min: 1, port: 2181 },
        need: Need::Required,
        meaning: "The ZooKeeper servers of the cluster.",
        changed: "",
    },
    Key {
        path: "*.zk_connect_timeout_ms",
        kind: Kind::Int { min: 1, max: MAX_MS },
        need: Need::Required,
        meaning: "How long an attempt to make a session may take for each server in `zk_hosts` (ms).",
        changed: "",
    },
    Key {
        path: "*.zk_session_timeout_ms",
        kind: Kind::Int { min: 1, max: MAX_MS },
        need: Need::Required,
        meaning: "Session time-out that is asked for (ms); the server keeps it between 2 and 20 of its ticks.",
        changed: "",
    },
    Key {
        path: "*.broker_hosts",
        kind: Kind::HostPorts { min: 1 },
        need: Need::Optional,
        meaning: "Kafka brokers to start from. Without it they are read from `brokers/ids` below the chroot.",
        changed: "New: for clusters without ZooKeeper, and where the brokers' registered addresses cannot be used.",
    },
];

//! The keys of `kmonitor.yaml`.

use kcommon::config::{ADMIN_KEYS, Key, Kind, LOG_KEYS, Need, Schema};

use crate::notify;

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
        ("", FALCON_KEYS),
        ("", CLUSTER_KEYS),
        ("", ADMIN_KEYS),
        ("", notify::KEYS),
        ("notifiers.clusters.*", notify::RULE_KEYS),
        ("notifiers.clusters.*.modules.*", notify::RULE_KEYS),
        ("notifiers", notify::RECEIVER_KEYS),
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

const FALCON_KEYS: &[Key] = &[
    Key {
        path: "falcon",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "The numbers are pushed to an agent of Open-Falcon, or to Nightingale. Not without this section.",
        changed: "New.",
    },
    Key {
        path: "falcon.url",
        kind: Kind::Text,
        need: Need::Required,
        meaning: "Where to, such as `http://127.0.0.1:1988/v1/push`. HTTP only.",
        changed: "New.",
    },
    Key {
        path: "falcon.endpoint",
        kind: Kind::Text,
        need: Need::Required,
        meaning: "The name under which the numbers are kept: that of this machine, as a rule.",
        changed: "New.",
    },
    Key {
        path: "falcon.interval_ms",
        kind: Kind::Int {
            min: 1000,
            max: MAX_MS,
        },
        need: Need::Default("60000"),
        meaning: "From one push to the next (ms), rounded down to seconds. Falcon calls it the step; do not change it lightly.",
        changed: "New.",
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
        need: Need::Optional,
        meaning: "The Kafka cluster's own chroot in ZooKeeper, such as `/mq/test_cluster`; empty = none. Needed with `zk_hosts`.",
        changed: "",
    },
    Key {
        path: "*.zk_hosts",
        kind: Kind::Hosts { min: 1, port: 2181 },
        need: Need::Optional,
        meaning: "The ZooKeeper servers of the cluster. A section without them needs `broker_hosts` and `kafka_groups: true`.",
        changed: "Required there.",
    },
    Key {
        path: "*.zk_connect_timeout_ms",
        kind: Kind::Int { min: 1, max: MAX_MS },
        need: Need::Optional,
        meaning: "How long an attempt to make a session may take for each server in `zk_hosts` (ms). Needed with them.",
        changed: "",
    },
    Key {
        path: "*.zk_session_timeout_ms",
        kind: Kind::Int { min: 1, max: MAX_MS },
        need: Need::Optional,
        meaning: "Session time-out that is asked for (ms); the server keeps it between 2 and 20 of its ticks. Needed with `zk_hosts`.",
        changed: "",
    },
    Key {
        path: "*.broker_hosts",
        kind: Kind::HostPorts { min: 1 },
        need: Need::Optional,
        meaning: "Kafka brokers to start from. Without it they are read from `brokers/ids` below the chroot.",
        changed: "New: for clusters without ZooKeeper, and where the brokers' registered addresses cannot be used.",
    },
    Key {
        path: "*.zk_auth_file",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "File with `user:password`, which is shown to ZooKeeper (scheme `digest`), for znodes that not everybody may read.",
        changed: "New.",
    },
    Key {
        path: "*.librdkafka",
        kind: Kind::Headers,
        need: Need::Optional,
        meaning: "Options of librdkafka that are passed through, such as `security.protocol: sasl_ssl`. Checked at the start; what \
                  kmonitor sets itself is refused.",
        changed: "New.",
    },
    Key {
        path: "*.librdkafka_files",
        kind: Kind::Headers,
        need: Need::Optional,
        meaning: "The same for secrets, each as the path of the file that has the value: `sasl.password: /run/secrets/kafka`.",
        changed: "New.",
    },
    Key {
        path: "*.kafka_groups",
        kind: Kind::Bool,
        need: Need::Default("false"),
        meaning: "Whether consumer groups that commit to Kafka are shown beside ZooKeeper's modules. A group that has the name of a \
                  module is shown as `NAME (kafka)`.",
        changed: "New.",
    },
];

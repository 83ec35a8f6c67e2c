//! The main file, `ktransfer.yaml`: its keys, and the struct it is read into.

use kcommon::config::{ADMIN_KEYS, HostPort, Key, Kind, LOG_KEYS, Need, Schema};
use kcommon::{admin, logging};
use serde::Deserialize;

/// The keys of `ktransfer.yaml`.
pub const MAIN_SCHEMA: Schema = Schema {
    name: "ktransfer.yaml",
    groups: &[("", LOG_KEYS), ("", KEYS), ("", ADMIN_KEYS)],
};

const KEYS: &[Key] = &[
    Key {
        path: "zk_hosts",
        kind: Kind::Hosts { min: 1, port: 2181 },
        need: Need::Required,
        meaning: "ZooKeeper's servers.",
        changed: "",
    },
    Key {
        path: "zk_chroot",
        kind: Kind::Chroot,
        need: Need::Default("\"\""),
        meaning: "The path below which this Kafka cluster keeps its data in ZooKeeper, such as `/mq/test_cluster`. The modules' \
                  members, owners and offsets are kept below it too.",
        changed: "",
    },
    Key {
        path: "zk_timeout_ms",
        kind: Kind::Int {
            min: 100,
            max: 3_600_000,
        },
        need: Need::Default("30000"),
        meaning: "Session time-out in milliseconds that is asked for; the server has its own limits. The partitions of an instance \
                  that is killed are taken over after it.",
        changed: "",
    },
    Key {
        path: "zk_fail_retry_interval_ms",
        kind: Kind::Int {
            min: 0,
            max: 86_400_000,
        },
        need: Need::Default("30000"),
        meaning: "Accepted, without effect.",
        changed: "Was the fixed wait after a failed ZooKeeper operation; lost sessions are now resumed at once, with a back-off.",
    },
    Key {
        path: "broker_hosts",
        kind: Kind::HostPorts { min: 1 },
        need: Need::Optional,
        meaning: "Kafka brokers to start from. Without it: those that are registered below `zk_chroot`. Needed for clusters without \
                  ZooKeeper and for brokers without a plain-text listener.",
        changed: "New.",
    },
    Key {
        path: "module_conf_dir",
        kind: Kind::Text,
        need: Need::Required,
        meaning: "Directory of the module files, relative to the working directory.",
        changed: "",
    },
    Key {
        path: "module_enabled",
        kind: Kind::TextList { min: 1 },
        need: Need::Required,
        meaning: "The modules to run: each is the file `<module_conf_dir>/<name>.yaml`, and its name is its consumer group in \
                  ZooKeeper.",
        changed: "A module whose file is missing or wrong, or that is listed twice, no longer stops the others.",
    },
    Key {
        path: "body_budget_bytes",
        kind: Kind::Int {
            min: 1_048_576,
            max: 1_099_511_627_776,
        },
        need: Need::Default("134217728"),
        meaning: "Bytes that the records of all modules together hold in memory: key, body, and 256 each for their place. Half of \
                  it is shared out equally, the rest is lent to whoever needs it; one record per partition is always admitted. \
                  When it is used up, bodies behind others of a key that does not move are dropped, and read from Kafka again \
                  when it does.",
        changed: "New.",
    },
];

/// The main file as written, defaults filled in.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct MainFile {
    #[serde(flatten)]
    pub(super) log: logging::File,
    pub(super) admin: Option<admin::File>,
    pub(super) zk_hosts: Vec<HostPort>,
    pub(super) zk_chroot: String,
    pub(super) zk_timeout_ms: u64,
    pub(super) broker_hosts: Option<Vec<HostPort>>,
    pub(super) module_conf_dir: String,
    pub(super) module_enabled: Vec<String>,
    pub(super) body_budget_bytes: usize,
}

//! The main file, `ktransfer.yaml`: its keys, and the struct it is read into.

use std::collections::BTreeMap;

use kcommon::config::{ADMIN_KEYS, Key, Kind, LOG_KEYS, Need, Schema};
use kcommon::{admin, logging};
use serde::Deserialize;

use super::cluster::{self, ClusterFile};

/// The keys of `ktransfer.yaml`.
pub const MAIN_SCHEMA: Schema = Schema {
    name: "ktransfer.yaml",
    groups: &[
        ("", LOG_KEYS),
        ("", KEYS),
        ("", cluster::LIBRDKAFKA),
        ("", cluster::ZK_AUTH),
        ("", cluster::CLUSTERS),
        ("", ADMIN_KEYS),
        ("", TOKEN),
    ],
};

const KEYS: &[Key] = &[
    Key {
        path: "zk_hosts",
        kind: Kind::Hosts { min: 1, port: 2181 },
        need: Need::Optional,
        meaning: "ZooKeeper's servers. Required unless `clusters` names others.",
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
        kind: Kind::TextListOr { min: 1, word: "all" },
        need: Need::Required,
        meaning: "The modules to run: each is the file `<module_conf_dir>/<name>.yaml`, and its name is its consumer group in \
                  ZooKeeper. `all`: every `*.yaml` of that directory whose name does not begin with a dot.",
        changed: "A module whose file is missing or wrong, or that is listed twice, no longer stops the others. Followed while \
                  ktransfer runs, as the module files are; `all` is new.",
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
    pub(super) admin: Option<AdminFile>,
    #[serde(flatten)]
    pub(super) cluster: ClusterFile,
    #[serde(default)]
    pub(super) clusters: BTreeMap<String, ClusterFile>,
    pub(super) zk_timeout_ms: u64,
    pub(super) module_conf_dir: String,
    pub(super) module_enabled: Wanted,
    pub(super) body_budget_bytes: usize,
}

/// The keys that two files have otherwise, of those that a process takes at its start only.
pub(super) fn fixed_keys_changed(before: &MainFile, after: &MainFile) -> Vec<&'static str> {
    let keys = [
        ("log_*", before.log != after.log),
        ("admin", before.admin != after.admin),
        ("zk_hosts", before.cluster.zk_hosts != after.cluster.zk_hosts),
        ("zk_chroot", before.cluster.zk_chroot != after.cluster.zk_chroot),
        (
            "zk_auth_file",
            before.cluster.zk_auth_file != after.cluster.zk_auth_file,
        ),
        ("zk_timeout_ms", before.zk_timeout_ms != after.zk_timeout_ms),
        (
            "broker_hosts",
            before.cluster.broker_hosts != after.cluster.broker_hosts,
        ),
        (
            "librdkafka",
            before.cluster.librdkafka != after.cluster.librdkafka,
        ),
        ("clusters", before.clusters != after.clusters),
        (
            "body_budget_bytes",
            before.body_budget_bytes != after.body_budget_bytes,
        ),
    ];
    let changed = keys.into_iter().filter(|(_key, changed)| *changed);
    changed.map(|(key, _changed)| key).collect()
}

/// Beside what the admin server of every daemon has.
const TOKEN: &[Key] = &[Key {
    path: "admin.token_file",
    kind: Kind::Text,
    need: Need::Optional,
    meaning: "File with the token that whoever changes anything over the admin server sends as `Authorization: Bearer ...`, at least 16 \
              characters. Without it nothing can be changed there.",
    changed: "New.",
}];

/// The section `admin`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct AdminFile {
    #[serde(flatten)]
    pub(super) file: admin::File,
    pub(super) token_file: Option<String>,
}

/// What `module_enabled` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Wanted {
    /// These.
    Listed(Vec<String>),
    /// The word `all`: whatever the directory holds.
    All(String),
}

//! The Kafka clusters that modules read from: the one of the main file's top-level keys, or several with names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kcommon::config::{Document, HostPort, Key, Kind, Need, Problem};
use kcommon::kafka::options::{self, Options};
use kcommon::zookeeper;
use serde::Deserialize;

use super::main_file::MainFile;
use crate::consumer;

/// Where a cluster is, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Where its ZooKeeper is.
    pub zookeeper: zookeeper::Settings,
    /// Kafka brokers to start from, `host:port`; empty = those registered in ZooKeeper.
    pub broker_hosts: Vec<String>,
    /// librdkafka's options for all of its clients.
    pub options: Options,
}

/// The clusters by name; the one of the top-level keys has no name.
pub type Clusters = BTreeMap<Option<String>, Cluster>;

/// `librdkafka` and `librdkafka_files`, at the top level, in a cluster and in a module.
pub(super) const LIBRDKAFKA: &[Key] = &[
    Key {
        path: "librdkafka",
        kind: Kind::Headers,
        need: Need::Optional,
        meaning: "Options of librdkafka that are passed through to the clients that read, such as `security.protocol: sasl_ssl` or \
                  `isolation.level: read_uncommitted`. Checked at the start; what ktransfer sets itself is refused. Those of a \
                  module win over those of its cluster.",
        changed: "New.",
    },
    Key {
        path: "librdkafka_files",
        kind: Kind::Headers,
        need: Need::Optional,
        meaning: "The same for secrets, each as the path of the file that has the value: `sasl.password: /run/secrets/kafka`. A line \
                  break at its end is not part of it.",
        changed: "New.",
    },
];

/// Who ktransfer is to ZooKeeper.
pub(super) const ZK_AUTH: &[Key] = &[Key {
    path: "zk_auth_file",
    kind: Kind::Text,
    need: Need::Optional,
    meaning: "File with `user:password`, which is shown to ZooKeeper (scheme `digest`), for znodes that not everybody may read. What \
              ktransfer creates stays open to all.",
    changed: "New.",
}];

/// The section `clusters`.
pub(super) const CLUSTERS: &[Key] = &[
    Key {
        path: "clusters",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "Several Kafka clusters, each by a name that modules give as `cluster`. With the top-level keys there is one more \
                  without a name; without `zk_hosts` there every module names its own.",
        changed: "New.",
    },
    Key {
        path: "clusters.*",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "A cluster. Its keys mean what those of the same name at the top level do, and have no effect on other clusters.",
        changed: "New.",
    },
    Key {
        path: "clusters.*.zk_hosts",
        kind: Kind::Hosts { min: 1, port: 2181 },
        need: Need::Required,
        meaning: "ZooKeeper's servers.",
        changed: "New.",
    },
    Key {
        path: "clusters.*.zk_chroot",
        kind: Kind::Chroot,
        need: Need::Default("\"\""),
        meaning: "The path below which the cluster keeps its data in ZooKeeper.",
        changed: "New.",
    },
    Key {
        path: "clusters.*.broker_hosts",
        kind: Kind::HostPorts { min: 1 },
        need: Need::Optional,
        meaning: "Kafka brokers to start from.",
        changed: "New.",
    },
    Key {
        path: "clusters.*.zk_auth_file",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "File with `user:password` for ZooKeeper.",
        changed: "New.",
    },
    Key {
        path: "clusters.*.librdkafka",
        kind: Kind::Headers,
        need: Need::Optional,
        meaning: "Options of librdkafka for the clients of this cluster.",
        changed: "New.",
    },
    Key {
        path: "clusters.*.librdkafka_files",
        kind: Kind::Headers,
        need: Need::Optional,
        meaning: "The same as paths of files that have the values.",
        changed: "New.",
    },
];

/// A cluster as written; at the top level too.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct ClusterFile {
    pub(super) zk_hosts: Option<Vec<HostPort>>,
    pub(super) zk_chroot: String,
    pub(super) broker_hosts: Option<Vec<HostPort>>,
    pub(super) zk_auth_file: Option<PathBuf>,
    #[serde(flatten)]
    pub(super) librdkafka: LibrdkafkaFile,
}

/// librdkafka's options as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct LibrdkafkaFile {
    librdkafka: Option<Vec<(String, String)>>,
    librdkafka_files: Option<Vec<(String, PathBuf)>>,
}

impl LibrdkafkaFile {
    /// The options; what is wrong with them goes to `problems`. `section`: where they stand, with a dot at its end.
    pub(super) fn read<F>(
        &self,
        section: &str,
        document: &Document<F>,
        problems: &mut Vec<Problem>,
    ) -> Options {
        let mut refused = |key: &str, nth: usize, name: &str, message: String| {
            let problem = document.problem(&format!("{section}{key}.{nth}"), message);
            problems.push(Problem {
                key: format!("{section}{key}.{name}"),
                ..problem
            });
        };
        let (texts, files) = (self.librdkafka.as_deref(), self.librdkafka_files.as_deref());
        Options::read(consumer::OWNED, texts, files, &mut refused)
    }
}

/// Why these options do not go together, if they do not.
pub(super) fn tried(options: &Options) -> Result<(), String> {
    if options.is_empty() {
        return Ok(());
    }
    let mut client = rdkafka::ClientConfig::new();
    options.apply(&mut client);
    options::try_consumer(client)
}

/// All clusters of a main file.
pub(super) fn clusters(document: &Document<MainFile>, problems: &mut Vec<Problem>) -> Clusters {
    let file = &document.file;
    let mut clusters = Clusters::new();
    if let Some(hosts) = &file.cluster.zk_hosts {
        let cluster = cluster(&file.cluster, hosts, "", (document, problems));
        clusters.insert(None, cluster);
    } else if file.clusters.is_empty() {
        let message = "is missing; allowed: a list of host or host:port (port 2181 without), at least 1";
        problems.push(document.problem("zk_hosts", message));
    }
    for (name, file) in &file.clusters {
        // The table of keys requires them.
        let hosts = file.zk_hosts.as_deref().unwrap_or_default();
        let cluster = cluster(file, hosts, &format!("clusters.{name}."), (document, problems));
        clusters.insert(Some(name.clone()), cluster);
    }
    clusters
}

fn cluster(
    file: &ClusterFile,
    hosts: &[HostPort],
    section: &str,
    (document, problems): (&Document<MainFile>, &mut Vec<Problem>),
) -> Cluster {
    let options = file.librdkafka.read(section, document, problems);
    if let Err(message) = tried(&options) {
        problems.push(document.problem(&format!("{section}librdkafka"), message));
    }
    let auth = file.zk_auth_file.as_ref().and_then(|path| {
        let auth = zookeeper::Auth::in_file(path);
        auth.map_err(|message| problems.push(document.problem(&format!("{section}zk_auth_file"), message)))
            .ok()
    });
    Cluster {
        zookeeper: zookeeper::Settings {
            hosts: hosts.iter().map(ToString::to_string).collect(),
            chroot: file.zk_chroot.clone(),
            session_timeout: Duration::from_millis(document.file.zk_timeout_ms),
            auth,
        },
        broker_hosts: file
            .broker_hosts
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect(),
        options,
    }
}

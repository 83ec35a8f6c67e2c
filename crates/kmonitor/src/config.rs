//! `kmonitor.yaml`: the file as written, and what the program may rely on.

mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kcommon::config::{self, Document, HostPort, Invalid, Problem};
use kcommon::daemon::Base;
use kcommon::kafka::options::{self, Options};
use kcommon::{admin, logging, zookeeper};
use serde::Deserialize;

use crate::follow::Fixed;
use crate::logs;
use crate::notify;
use crate::state::Limits;

pub use schema::SCHEMA;

/// Everything kmonitor was told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Logging and the admin server.
    pub base: Base,
    /// The clusters, sorted by name; at least one.
    pub clusters: Vec<Cluster>,
    /// From the end of one reading of offsets to the start of the next.
    pub offset_interval: Duration,
    /// The age at which the lists of modules, topics and partitions are read again.
    pub tree_interval: Duration,
    /// Where `/delay` is answered.
    pub http: Http,
    /// Where numbers are pushed to; `None` = nowhere.
    pub falcon: Option<Falcon>,
    /// When the oldest waiting record is so old, a partition is called lagging.
    pub lagging_after: Duration,
    /// When the commit has not moved for so long while records wait, it is called stalled.
    pub stalled_after: Duration,
    /// When nobody has owned it for so long, it is called stopped.
    pub stopped_after: Duration,
    /// Who is told of trouble; `None` = nobody.
    pub(crate) notifiers: Option<notify::Settings>,
}

/// One cluster to watch.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its name in answers, logs and metrics.
    pub name: String,
    /// Its ZooKeeper; `None` = it has none, and only Kafka's own groups are watched.
    pub zookeeper: Option<zookeeper::Settings>,
    /// How long one attempt to make a session may take.
    pub connect_timeout: Duration,
    /// Brokers to start from; empty = those that are registered in ZooKeeper.
    pub broker_hosts: Vec<String>,
    /// librdkafka's options for its clients.
    pub options: Options,
    /// Whether Kafka's own consumer groups are watched too.
    pub kafka_groups: bool,
}

/// An agent of Open-Falcon.
#[derive(Clone, Debug)]
pub struct Falcon {
    /// Its host and port.
    pub authority: String,
    /// The path, with its query.
    pub path: String,
    /// The name of this machine in Falcon.
    pub endpoint: String,
    /// From one push to the next, in whole seconds.
    pub interval: Duration,
}

/// The public server.
#[derive(Clone, Copy, Debug)]
pub struct Http {
    /// TCP port, on all addresses.
    pub port: u16,
    /// Longest time without a byte while a request is received; `None` = no limit.
    pub read_timeout: Option<Duration>,
    /// Longest time without progress while an answer is sent; `None` = no limit.
    pub write_timeout: Option<Duration>,
}

impl Config {
    /// What does not change about one of its clusters.
    pub(crate) fn fixed(&self, cluster: &Cluster) -> Fixed {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Fixed {
            name: cluster.name.clone(),
            limits: Limits {
                lagging_ms: millis(self.lagging_after),
                stalled_ms: millis(self.stalled_after),
                stopped_ms: millis(self.stopped_after),
            },
            interval_seconds: self.offset_interval.as_secs_f64(),
            has_zookeeper: cluster.zookeeper.is_some(),
        }
    }
}

impl AsRef<Base> for Config {
    fn as_ref(&self) -> &Base {
        &self.base
    }
}

/// Reads and checks `path`.
///
/// # Errors
/// Every problem in it.
pub fn load(path: &Path) -> Result<Config, Invalid> {
    checked(config::load(path, &SCHEMA)?)
}

/// As [`load`], for a text that is already read; `path` is for the messages.
///
/// # Errors
/// Every problem in it.
pub fn parse(path: &Path, text: &str) -> Result<Config, Invalid> {
    checked(config::parse(path, text, &SCHEMA)?)
}

#[derive(Debug, Deserialize)]
struct File {
    base: BaseFile,
    http_server: HttpFile,
    falcon: Option<FalconFile>,
    admin: Option<admin::File>,
    notifiers: Option<notify::File>,
    #[serde(flatten)]
    clusters: BTreeMap<String, ClusterFile>,
}

#[derive(Debug, Deserialize)]
struct BaseFile {
    #[serde(flatten)]
    log: logging::File,
    clusters: Vec<String>,
    offset_interval_ms: u64,
    tree_interval_ms: u64,
    lagging_after_ms: u64,
    stalled_after_ms: u64,
    stopped_after_ms: u64,
}

#[derive(Debug, Deserialize)]
struct FalconFile {
    url: String,
    endpoint: String,
    interval_ms: u64,
}

#[derive(Debug, Deserialize)]
struct HttpFile {
    port: u16,
    read_timeout_ms: u64,
    write_timeout_ms: u64,
}

#[derive(Debug, Deserialize)]
struct ClusterFile {
    chroot: Option<String>,
    zk_hosts: Option<Vec<HostPort>>,
    zk_connect_timeout_ms: Option<u64>,
    zk_session_timeout_ms: Option<u64>,
    broker_hosts: Option<Vec<HostPort>>,
    kafka_groups: bool,
    zk_auth_file: Option<PathBuf>,
    librdkafka: Option<Vec<(String, String)>>,
    librdkafka_files: Option<Vec<(String, PathBuf)>>,
}

fn checked(document: Document<File>) -> Result<Config, Invalid> {
    let mut problems = problems(&document);
    let access = access(&document, &mut problems);
    let notifiers = notifiers(&document).unwrap_or_else(|found| {
        problems.extend(found);
        None
    });
    Invalid::check(problems)?;
    let File {
        base,
        http_server,
        falcon,
        admin,
        clusters,
        ..
    } = document.file;
    Ok(Config {
        base: Base::new(base.log, admin.as_ref()),
        clusters: clusters.into_iter().zip(access).map(Cluster::from).collect(),
        offset_interval: Duration::from_millis(base.offset_interval_ms),
        tree_interval: Duration::from_millis(base.tree_interval_ms),
        falcon: falcon.and_then(|file| Falcon::from_file(&file)),
        lagging_after: Duration::from_millis(base.lagging_after_ms),
        stalled_after: Duration::from_millis(base.stalled_after_ms),
        stopped_after: Duration::from_millis(base.stopped_after_ms),
        http: Http {
            port: http_server.port,
            read_timeout: limit(http_server.read_timeout_ms),
            write_timeout: limit(http_server.write_timeout_ms),
        },
        notifiers,
    })
}

fn notifiers(document: &Document<File>) -> Result<Option<notify::Settings>, Vec<Problem>> {
    let file = &document.file;
    let complain = |key: &str, message| document.problem(key, message);
    let read = |section| notify::read(section, &file.base.clusters, &complain);
    file.notifiers.as_ref().map(read).transpose()
}

/// What a cluster is shown of us: to ZooKeeper and to Kafka.
type Access = (Option<zookeeper::Auth>, Options);

/// For every cluster in its order; what is wrong goes to `problems`.
fn access(document: &Document<File>, problems: &mut Vec<Problem>) -> Vec<Access> {
    let clusters = document.file.clusters.iter();
    let read = clusters.map(|(name, file)| {
        let mut refused = |key: &str, nth: usize, option: &str, message: String| {
            let problem = document.problem(&format!("{name}.{key}.{nth}"), message);
            problems.push(Problem {
                key: format!("{name}.{key}.{option}"),
                ..problem
            });
        };
        let (texts, files) = (file.librdkafka.as_deref(), file.librdkafka_files.as_deref());
        let options = Options::read(logs::OWNED, texts, files, &mut refused);
        let mut client = rdkafka::ClientConfig::new();
        options.apply(&mut client);
        if !options.is_empty()
            && let Err(message) = options::try_consumer(client)
        {
            problems.push(document.problem(&format!("{name}.librdkafka"), message));
        }
        let auth = file
            .zk_auth_file
            .as_deref()
            .map(zookeeper::Auth::in_file)
            .transpose();
        let auth = auth.unwrap_or_else(|message| {
            problems.push(document.problem(&format!("{name}.zk_auth_file"), message));
            None
        });
        (auth, options)
    });
    read.collect()
}

/// What the table of keys cannot say: the two lists of clusters must agree, and a chroot is a path.
fn problems(document: &Document<File>) -> Vec<Problem> {
    let file = &document.file;
    let mut problems = Vec::new();
    for (nth, name) in file.base.clusters.iter().enumerate() {
        let key = format!("base.clusters.{nth}");
        if file.base.clusters.iter().take(nth).any(|earlier| earlier == name) {
            problems.push(document.problem(&key, format!("names {name} a second time")));
        } else if !file.clusters.contains_key(name) {
            let message =
                format!("has no section {name}: add one with chroot and zk_hosts, or remove the name");
            problems.push(document.problem(&key, message));
        }
    }
    if let Some(falcon) = &file.falcon
        && Falcon::from_file(falcon).is_none()
    {
        let message = "is no address of HTTP: write it as http://host:port/v1/push";
        problems.push(document.problem("falcon.url", message));
    }
    for (name, cluster) in &file.clusters {
        if !file.base.clusters.contains(name) {
            let message = "is no known section: add the name to base.clusters, or remove the section";
            problems.push(document.problem(name, message));
        }
        problems.extend(missing(document, name, cluster));
        if !cluster.chroot.as_deref().is_none_or(is_chroot) {
            let message = "is no path: it is empty, or starts with / and has no empty, \".\" or \"..\" part";
            problems.push(document.problem(&format!("{name}.chroot"), message));
        }
    }
    problems
}

/// What a section needs with a ZooKeeper, and what without.
fn missing(document: &Document<File>, name: &str, cluster: &ClusterFile) -> Vec<Problem> {
    let problem = |key: &str, message: &str| document.problem(&format!("{name}.{key}"), message);
    if cluster.zk_hosts.is_none() {
        let without = cluster.kafka_groups && cluster.broker_hosts.is_some();
        let message = "is missing: only a section with broker_hosts and kafka_groups: true may do without";
        return (!without)
            .then(|| problem("zk_hosts", message))
            .into_iter()
            .collect();
    }
    let needed = [
        ("chroot", cluster.chroot.is_some()),
        ("zk_connect_timeout_ms", cluster.zk_connect_timeout_ms.is_some()),
        ("zk_session_timeout_ms", cluster.zk_session_timeout_ms.is_some()),
    ];
    let absent = needed.into_iter().filter(|(_, there)| !there);
    absent
        .map(|(key, _)| problem(key, "is missing: it is needed with zk_hosts"))
        .collect()
}

impl Falcon {
    /// `None` if the address cannot be used.
    fn from_file(file: &FalconFile) -> Option<Self> {
        let url: hyper::Uri = file.url.parse().ok()?;
        let authority = url
            .authority()
            .filter(|authority| !authority.as_str().contains('@'))?;
        let host = authority.host();
        (url.scheme_str() == Some("http") && !host.is_empty()).then(|| Self {
            authority: format!("{host}:{}", authority.port_u16().unwrap_or(80)),
            path: url
                .path_and_query()
                .map_or("/", hyper::http::uri::PathAndQuery::as_str)
                .to_owned(),
            endpoint: file.endpoint.clone(),
            interval: Duration::from_secs(file.interval_ms / 1000),
        })
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{}", self.authority, self.path)
    }
}

fn is_chroot(chroot: &str) -> bool {
    let path = chroot.strip_suffix('/').unwrap_or(chroot);
    let legal = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    path.is_empty()
        || path
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(legal))
}

fn limit(milliseconds: u64) -> Option<Duration> {
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

fn texts(hosts: &[HostPort]) -> Vec<String> {
    hosts.iter().map(ToString::to_string).collect()
}

impl From<((String, ClusterFile), Access)> for Cluster {
    fn from(((name, file), (auth, options)): ((String, ClusterFile), Access)) -> Self {
        let hosts = file.zk_hosts.as_deref().unwrap_or_default();
        let servers = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        let per_server = Duration::from_millis(file.zk_connect_timeout_ms.unwrap_or_default());
        let chroot = file.chroot.as_deref().unwrap_or_default();
        let zookeeper = zookeeper::Settings {
            hosts: texts(hosts),
            chroot: chroot.strip_suffix('/').unwrap_or(chroot).to_owned(),
            session_timeout: Duration::from_millis(file.zk_session_timeout_ms.unwrap_or_default()),
            auth,
        };
        Self {
            name,
            zookeeper: (!hosts.is_empty()).then_some(zookeeper),
            connect_timeout: per_server.saturating_mul(servers),
            broker_hosts: texts(&file.broker_hosts.unwrap_or_default()),
            options,
            kafka_groups: file.kafka_groups,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seed's file, as its users have it.
    const SEED: &str = include_str!("../tests/seed.yaml");

    fn parse_text(text: &str) -> Result<Config, Invalid> {
        parse(Path::new("kmonitor.yaml"), text)
    }

    fn messages(text: &str) -> Vec<String> {
        let invalid = parse_text(text).unwrap_err();
        invalid.problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_seeds_file_works_unchanged() {
        let config = parse_text(SEED).unwrap();
        assert_eq!(config.http.port, 55325);
        assert_eq!(config.http.read_timeout, Some(Duration::from_millis(100)));
        assert_eq!(config.http.write_timeout, Some(Duration::from_millis(100)));
        assert_eq!(config.offset_interval, Duration::from_secs(10));
        assert_eq!(config.tree_interval, Duration::from_secs(30));
        let names: Vec<_> = config
            .clusters
            .iter()
            .map(|cluster| cluster.name.as_str())
            .collect();
        assert_eq!(names, ["common_cluster", "test_cluster"]);
        let test = &config.clusters[1];
        let zookeeper = test.zookeeper.as_ref().unwrap();
        assert_eq!(zookeeper.chroot, "/mq/test_cluster");
        assert_eq!(zookeeper.hosts.len(), 5);
        assert_eq!(zookeeper.hosts[0], "10.1.1.1:2181");
        assert_eq!(zookeeper.session_timeout, Duration::from_secs(6));
        assert_eq!(test.connect_timeout, Duration::from_secs(5));
        assert!(test.broker_hosts.is_empty());
    }

    #[test]
    fn the_shipped_file_is_valid_and_holds_the_defaults() {
        let shipped = parse_text(include_str!("../../../conf/kmonitor.yaml")).unwrap();
        let seed = parse_text(SEED).unwrap();
        assert_eq!(shipped.offset_interval, seed.offset_interval);
        assert_eq!(shipped.tree_interval, seed.tree_interval);
        assert_eq!(shipped.lagging_after, seed.lagging_after);
        assert_eq!(shipped.stalled_after, seed.stalled_after);
        assert_eq!(shipped.stopped_after, seed.stopped_after);
        assert_eq!(
            shipped.base.admin,
            admin::Listen::At(([127, 0, 0, 1], 5033).into())
        );
    }

    #[test]
    fn the_lists_of_clusters_must_agree() {
        let unnamed = SEED.replace("  - common_cluster\n", "");
        let found = messages(&unnamed);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("common_cluster: is no known section"),
            "{found:?}"
        );

        let twice = SEED.replace(
            "  - common_cluster\n",
            "  - common_cluster\n  - test_cluster\n  - absent\n",
        );
        let found = messages(&twice);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("names test_cluster a second time"), "{found:?}");
        assert!(found[1].contains("has no section absent"), "{found:?}");
    }

    #[test]
    fn every_problem_is_told_with_its_place() {
        let wrong = SEED
            .replace("port: 55325", "port: 99999")
            .replace("10.1.2.1:2181", "10.1.2.1")
            .replace("log_level: 4", "log_levle: 4");
        let found = messages(&wrong);
        assert!(found.len() >= 3, "{found:?}");
        assert!(
            found.iter().all(|message| message.starts_with("kmonitor.yaml:")),
            "{found:?}"
        );
    }

    #[test]
    fn every_required_key_is_missed() {
        for line in SEED
            .lines()
            .filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_lowercase()))
        {
            let (key, value) = line.split_once(':').unwrap();
            if value.trim().is_empty() {
                continue;
            }
            let without: String = SEED
                .lines()
                .filter(|other| *other != line)
                .map(|l| format!("{l}\n"))
                .collect();
            let found = messages(&without);
            assert!(
                found.iter().any(|message| message.contains(key.trim())),
                "{key}: {found:?}"
            );
        }
    }

    #[test]
    fn a_chroot_is_empty_or_a_path() {
        for legal in ["", "/", "/mq", "/mq/test_cluster/"] {
            assert!(is_chroot(legal), "{legal}");
        }
        for illegal in ["mq", "//", "/mq//a", "/./a", "/..", "/a\0"] {
            assert!(!is_chroot(illegal), "{illegal}");
        }
        let config =
            parse_text(&SEED.replace("chroot: /mq/test_cluster", "chroot: /mq/test_cluster/")).unwrap();
        let zookeeper = config.clusters[1].zookeeper.as_ref().unwrap();
        assert_eq!(zookeeper.chroot, "/mq/test_cluster");
        let found = messages(&SEED.replace("chroot: /mq/test_cluster", "chroot: mq"));
        assert!(found[0].contains("test_cluster.chroot: is no path"), "{found:?}");
    }

    #[test]
    fn a_cluster_without_zookeeper_names_its_brokers_and_asks_for_groups() {
        let with = |section: &str| {
            let text = SEED.replace("  - common_cluster\n", "  - common_cluster\n  - kraft\n");
            format!("{text}kraft:\n{section}")
        };
        let config = parse_text(&with(" broker_hosts: [10.1.1.2:9092]\n kafka_groups: true\n")).unwrap();
        assert!(config.clusters[1].zookeeper.is_none() && config.clusters[1].kafka_groups);
        assert!(!config.clusters[0].kafka_groups);
        for wrong in [" broker_hosts: [10.1.1.2:9092]\n", " kafka_groups: true\n"] {
            let found = messages(&with(wrong));
            assert!(
                found[0].contains("kraft.zk_hosts: is missing"),
                "{wrong}: {found:?}"
            );
        }
    }

    #[test]
    fn falcon_needs_an_address_of_http() {
        let with = |url: &str| format!("{SEED}falcon:\n url: {url}\n endpoint: host\n");
        let falcon = parse_text(&with("http://127.0.0.1:1988/v1/push"))
            .unwrap()
            .falcon
            .unwrap();
        assert_eq!(falcon.authority, "127.0.0.1:1988");
        assert_eq!(
            (falcon.path.as_str(), falcon.interval.as_secs()),
            ("/v1/push", 60)
        );
        for wrong in ["https://a/v1/push", "127.0.0.1:1988", "http://u@h/", "/v1/push"] {
            let found = messages(&with(wrong));
            assert!(
                found[0].contains("falcon.url: is no address of HTTP"),
                "{wrong}: {found:?}"
            );
        }
        assert!(parse_text(SEED).unwrap().falcon.is_none());
    }

    #[test]
    fn brokers_can_be_named() {
        let text = SEED.replace(
            "chroot: /mq/test_cluster\n",
            "chroot: /mq/test_cluster\n broker_hosts: [10.1.1.2:9092]\n",
        );
        assert_eq!(
            parse_text(&text).unwrap().clusters[1].broker_hosts,
            ["10.1.1.2:9092"]
        );
    }
}

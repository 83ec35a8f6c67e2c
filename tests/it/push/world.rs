//! What every scenario of ktransfer begins with: a topic, the files of a daemon, and an operator's view of the znodes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ktests::{Backend, Cluster, Daemon, NewRecord, Seen, Setup, Znodes, cluster, eventually, unique};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};

/// Ten times what anything here may take.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A topic of its own and a module of the same name.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) name: String,
    pub(crate) znodes: Znodes,
}

impl Scene {
    pub(crate) async fn new(what: &str, partitions: i32) -> Self {
        let scene = Self::without_topic(what).await;
        scene.cluster.create_topic(&scene.name, partitions).await.unwrap();
        scene
    }

    pub(crate) async fn without_topic(what: &str) -> Self {
        let cluster = cluster();
        let znodes = cluster.znodes().await.unwrap();
        Self {
            cluster,
            name: unique(what),
            znodes,
        }
    }

    /// A topic that takes records of up to 16 MiB.
    pub(crate) async fn of_large_records(what: &str) -> Self {
        let scene = Self::without_topic(what).await;
        let topic =
            NewTopic::new(&scene.name, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "16777216");
        let created = admin(&scene.cluster)
            .create_topics([&topic], &AdminOptions::new())
            .await;
        assert!(created.unwrap()[0].is_ok());
        // It exists: this waits for its leader.
        scene.cluster.create_topic(&scene.name, 1).await.unwrap();
        scene
    }

    /// The module's file: two workers, everything pushed to `servers`.
    pub(crate) fn module(&self, servers: &[String]) -> Value {
        module(&self.name, servers)
    }

    /// The daemon with one module, not waited for.
    pub(crate) fn spawn(&self, module: &Value) -> Daemon {
        daemon(&self.cluster, &[(&self.name, module)]).spawn()
    }

    /// The daemon with one module.
    pub(crate) async fn start(&self, module: &Value) -> Daemon {
        let mut daemon = self.spawn(module);
        daemon.wait_ready().await;
        daemon
    }

    pub(crate) async fn produce(&self, records: impl IntoIterator<Item = NewRecord>) {
        self.cluster.produce(&self.name, records).await.unwrap();
    }

    /// Deletes the records of partition 0 below this offset, as retention would.
    pub(crate) async fn delete_below(&self, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, 0, Offset::Offset(offset))
            .unwrap();
        let deleted = admin(&self.cluster)
            .delete_records(&list, &AdminOptions::new())
            .await;
        deleted.unwrap().elements()[0].error().unwrap();
    }

    pub(crate) fn offset_path(&self, partition: i32) -> String {
        format!("/consumers/{0}/offsets/{0}/{partition}", self.name)
    }

    pub(crate) async fn stored(&self) -> BTreeMap<i32, i64> {
        self.znodes.offsets(&self.name, &self.name).await.unwrap()
    }

    /// Waits until the offset of partition 0 is this.
    pub(crate) async fn stores(&self, offset: i64) {
        self.stores_all([(0, offset)]).await;
    }

    /// Waits until these are the offsets, and no others.
    pub(crate) async fn stores_all(&self, offsets: impl IntoIterator<Item = (i32, i64)>) {
        let wanted = BTreeMap::from_iter(offsets);
        eventually(&format!("the stored offsets are {wanted:?}"), SOON, async || {
            self.stored().await == wanted
        })
        .await;
    }
}

/// A module's file.
pub(crate) fn module(topic: &str, servers: &[String]) -> Value {
    json!({
        "topic": topic,
        "protocol": {
            "name": "http",
            "uri": "/push/{#PARTITION}/{#TRANSID}?key={#KEY}",
            "read_timeout_ms": 0,
            "write_timeout_ms": 30000,
            "conn_timeout_ms": 30000,
        },
        "worker_num": 2,
        "window_size": 200,
        "max_retry_times": -1,
        "fail_retry_interval_ms": 10,
        "backend_servers": servers,
        "zk_offset_update_interval_sec": 1,
    })
}

/// The main file with these modules.
pub(crate) fn main_file(cluster: &Cluster, modules: &[&str]) -> Value {
    json!({
        "log_dir": "./log",
        "log_level": 4,
        "zk_hosts": cluster.zookeeper.split(',').collect::<Vec<_>>(),
        "zk_chroot": cluster.chroot,
        "zk_timeout_ms": 4000,
        "module_conf_dir": "./conf/modules",
        "module_enabled": modules,
    })
}

/// A daemon with these modules, which are named like their files.
pub(crate) fn daemon(cluster: &Cluster, modules: &[(&str, &Value)]) -> Setup {
    let names: Vec<&str> = modules.iter().map(|(name, _)| *name).collect();
    let setup = setup(&main_file(cluster, &names));
    modules.iter().fold(setup, |setup, (name, module)| {
        setup.file(module_path(name), module.to_string())
    })
}

/// A daemon with this main file.
pub(crate) fn setup(main: &Value) -> Setup {
    // JSON is YAML; one key in each line, so that the harness can add the admin section.
    let lines: Vec<String> = main
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    Setup::new("ktransfer", lines.join("\n"))
}

pub(crate) fn module_path(name: &str) -> String {
    format!("conf/modules/{name}.yaml")
}

/// Waits until the backend has answered so many requests with 2xx.
pub(crate) async fn delivers(backend: &Backend, count: usize) {
    eventually(&format!("{count} records are delivered"), SOON, async || {
        backend.delivered() >= count
    })
    .await;
}

/// The requests for the record at `offset` of partition 0, for the URI of [`module`].
pub(crate) fn of_offset(requests: &[Seen], offset: i64) -> Vec<Seen> {
    let prefix = format!("/push/0/{offset}?");
    requests
        .iter()
        .filter(|seen| seen.uri.starts_with(prefix.as_bytes()))
        .cloned()
        .collect()
}

/// The most requests that were open at one time.
pub(crate) fn most_open(requests: &[Seen]) -> usize {
    let mut changes: Vec<_> = requests
        .iter()
        .flat_map(|seen| [(Some(seen.start), 1_isize), (seen.end, -1)])
        .filter_map(|(at, change)| at.map(|at| (at, change)))
        .collect();
    // An end before a start at the same instant.
    changes.sort();
    let sums = changes.iter().scan(0_isize, |open, (_, change)| {
        *open += change;
        Some(*open)
    });
    usize::try_from(sums.max().unwrap_or_default()).unwrap()
}

/// A record without key in partition 0.
pub(crate) fn unkeyed(body: impl Into<Bytes>) -> NewRecord {
    NewRecord {
        partition: Some(0),
        key: None,
        value: body.into(),
        headers: Vec::new(),
    }
}

/// A record with a key in partition 0.
pub(crate) fn keyed(key: impl Into<Bytes>, body: impl Into<Bytes>) -> NewRecord {
    NewRecord::keyed(key, body).in_partition(0)
}

/// `count` records of one key in partition 0, told apart by their bodies.
pub(crate) fn of_key(key: &str, count: usize) -> impl Iterator<Item = NewRecord> {
    (0..count).map(move |number| keyed(key.to_owned(), format!("{key}-{number}")))
}

/// Writes a record of any size, or a tombstone, to partition 0.
pub(crate) async fn produce_any(scene: &Scene, key: &str, body: Option<&[u8]>) {
    let mut config = client(&scene.cluster);
    config.set("message.max.bytes", "16777216");
    let producer: FutureProducer = config.create().unwrap();
    let mut record = FutureRecord::<str, [u8]>::to(&scene.name).key(key).partition(0);
    record.payload = body;
    producer.send(record, SOON).await.unwrap();
}

pub(crate) fn admin(cluster: &Cluster) -> AdminClient<DefaultClientContext> {
    client(cluster).create().unwrap()
}

pub(crate) fn client(cluster: &Cluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &cluster.brokers);
    config
}

/// Bytes that no compression or text handling leaves as they are by chance.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    })
    .take(length)
    .collect()
}

/// Resident memory of a process in MiB.
pub(crate) fn rss_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    kib / 1024
}

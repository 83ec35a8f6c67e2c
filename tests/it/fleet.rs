//! What the scenarios of ktransfer share: a topic, a module, a backend, and instances that push from one to the other.

use std::collections::BTreeMap;
use std::time::Duration;

use ktests::audit::PUSHER;
use ktests::{
    Backend, Cluster, Daemon, Produced, Proxy, Report, Seen, Setup, Znodes, check, eventually, numbered,
    unique,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Ten times what anything here should take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The ZooKeeper session time-out of an instance, unless a scenario says another.
pub(crate) const SESSION: Duration = Duration::from_secs(3);

/// One module with its topic and backend; every part has a name or port of its own.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) znodes: Znodes,
    pub(crate) topic: String,
    pub(crate) module: String,
    pub(crate) backend: Backend,
    /// The module's file; scenarios change it before they start an instance.
    pub(crate) file: Value,
}

impl World {
    pub(crate) async fn new(cluster: Cluster, what: &str, partitions: i32) -> Self {
        let world = Self::without_topic(cluster, what).await;
        world
            .cluster
            .create_topic(&world.topic, partitions)
            .await
            .unwrap();
        world
    }

    pub(crate) async fn without_topic(cluster: Cluster, what: &str) -> Self {
        Self::with_backend(cluster, what, Backend::start().await).await
    }

    pub(crate) async fn with_backend(cluster: Cluster, what: &str, backend: Backend) -> Self {
        let (topic, module) = (unique(what), unique(what));
        let znodes = cluster.znodes().await.unwrap();
        let file = module_file(&topic, &backend);
        Self {
            cluster,
            znodes,
            topic,
            module,
            backend,
            file,
        }
    }

    /// An instance's files.
    pub(crate) fn setup(&self) -> Setup {
        self.setup_with(&self.cluster, SESSION, &self.file)
    }

    /// An instance's files, with its own way to ZooKeeper, session time-out and module file.
    pub(crate) fn setup_with(&self, cluster: &Cluster, session: Duration, file: &Value) -> Setup {
        let main = main_file(cluster, &[&self.module]).replace(
            &format!("zk_timeout_ms: {}", SESSION.as_millis()),
            &format!("zk_timeout_ms: {}", session.as_millis()),
        );
        Setup::new("ktransfer", main).file(format!("conf/modules/{}.yaml", self.module), file.to_string())
    }

    /// Starts an instance and waits until it is ready.
    pub(crate) async fn instance(&self) -> Daemon {
        self.setup().start().await
    }

    /// Starts an instance that names itself to the backend, and reaches ZooKeeper through `proxy` if there is one.
    pub(crate) async fn named(&self, pusher: &str, session: Duration, proxy: Option<&Proxy>) -> Daemon {
        let cluster = Cluster {
            zookeeper: proxy.map_or_else(|| self.cluster.zookeeper.clone(), Proxy::address),
            ..self.cluster.clone()
        };
        let mut file = self.file.clone();
        file["protocol"]["headers"] = json!([{ "X-Pusher": pusher }]);
        self.setup_with(&cluster, session, &file).start().await
    }

    /// Waits until one member is registered, the first that was started, and gives its id.
    pub(crate) async fn only_member(&self) -> String {
        let dir = format!("/consumers/{}/ids", self.module);
        eventually("a member is registered", PATIENCE, async || {
            let mut ids = self.znodes.children(&dir).await.unwrap().unwrap_or_default();
            assert!(ids.len() < 2, "{ids:?}");
            ids.pop()
        })
        .await
    }

    /// The partitions that a member owns.
    pub(crate) async fn owned_by(&self, id: &str) -> Vec<i32> {
        let owners = self.znodes.owners(&self.module, &self.topic).await.unwrap();
        let owned = owners.into_iter().filter(|(_, owner)| owner == id);
        owned.map(|(partition, _)| partition).collect()
    }

    /// The requests of one pusher for one partition, in the order of their starts.
    pub(crate) fn pushed_by(&self, pusher: &str, partition: i32) -> Vec<Seen> {
        let path = format!("/push/{}/{partition}/", self.topic);
        let mut requests = self.backend.requests();
        requests.retain(|seen| seen.header(PUSHER) == Some(pusher) && seen.uri.starts_with(path.as_bytes()));
        requests
    }

    /// Stores the records `numbers` over `keys` keys.
    pub(crate) async fn produce(&self, numbers: std::ops::Range<usize>, keys: usize) -> Vec<Produced> {
        self.cluster
            .produce_checked(&self.topic, numbered(numbers, keys))
            .await
            .unwrap()
    }

    /// Stores `count` records over 100 keys in small portions, so that pushing goes on meanwhile.
    pub(crate) fn trickle(&self, count: usize) -> tokio::task::JoinHandle<Vec<Produced>> {
        let (writer, topic) = (self.cluster.writer().unwrap(), self.topic.clone());
        tokio::spawn(async move {
            let mut produced = Vec::new();
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            for first in (0..count).step_by(50) {
                pace.tick().await;
                let portion = numbered(first..count.min(first + 50), 100);
                produced.extend(writer.produce_checked(&topic, portion).await.unwrap());
            }
            produced
        })
    }

    /// Stores 50 records over 100 keys ten times a second until `stop`.
    pub(crate) fn steady(&self, stop: CancellationToken) -> tokio::task::JoinHandle<Vec<Produced>> {
        let (writer, topic) = (self.cluster.writer().unwrap(), self.topic.clone());
        tokio::spawn(async move {
            let mut produced = Vec::new();
            let mut pace = tokio::time::interval(Duration::from_millis(100));
            while !stop.is_cancelled() {
                pace.tick().await;
                let first = produced.len();
                let portion = numbered(first..first + 50, 100);
                produced.extend(writer.produce_checked(&topic, portion).await.unwrap());
            }
            produced
        })
    }

    /// The sum of the stored offsets: with a topic that began at 0, how many records are done for good.
    pub(crate) async fn committed(&self) -> usize {
        let offsets = self
            .znodes
            .offsets(&self.module, &self.topic)
            .await
            .unwrap_or_default();
        usize::try_from(offsets.values().sum::<i64>()).unwrap()
    }

    pub(crate) async fn wait_committed(&self, count: usize) {
        let what = format!("{count} records of {} are committed", self.topic);
        eventually(&what, PATIENCE, async || self.committed().await == count).await;
    }

    pub(crate) async fn wait_delivered(&self, count: usize) {
        let what = format!("{count} records of {} are delivered", self.topic);
        eventually(&what, PATIENCE, async || self.backend.delivered() >= count).await;
    }

    /// How many partitions have an owner, and how many owners there are.
    pub(crate) async fn owners(&self) -> (usize, usize) {
        let owners = self
            .znodes
            .owners(&self.module, &self.topic)
            .await
            .unwrap_or_default();
        let mut ids: Vec<&String> = owners.values().collect();
        ids.sort();
        ids.dedup();
        (owners.len(), ids.len())
    }

    /// The claim of each owned partition: a number that changes when it is claimed anew.
    pub(crate) async fn claims(&self) -> BTreeMap<i32, i64> {
        let owners = self.znodes.owners(&self.module, &self.topic).await.unwrap();
        let mut claims = BTreeMap::new();
        for partition in owners.into_keys() {
            let path = format!("/consumers/{}/owners/{}/{partition}", self.module, self.topic);
            let claim = self.znodes.creation(&path).await.unwrap();
            claims.extend(claim.map(|claim| (partition, claim)));
        }
        claims
    }

    pub(crate) async fn wait_owned(&self, partitions: usize, owners: usize) {
        let what = format!("{partitions} partitions of {} have {owners} owners", self.topic);
        eventually(&what, PATIENCE, async || {
            self.owners().await == (partitions, owners)
        })
        .await;
    }

    pub(crate) fn check(&self, produced: &[Produced]) -> Report {
        check(produced, &self.backend.requests())
    }
}

/// The main file that enables these modules.
pub(crate) fn main_file(cluster: &Cluster, modules: &[&str]) -> String {
    let file = json!({
        "log_dir": "./log",
        "log_level": 4,
        "zk_chroot": cluster.chroot,
        "zk_timeout_ms": SESSION.as_millis(),
        "zk_hosts": [cluster.zookeeper],
        "module_conf_dir": "./conf/modules",
        "module_enabled": modules,
    });
    serde_yaml::to_string(&file).unwrap()
}

pub(crate) fn module_file(topic: &str, backend: &Backend) -> Value {
    json!({
        "topic": topic,
        "initial_offset": "earliest",
        "protocol": {
            "name": "http",
            "uri": "/push/{#TOPIC}/{#PARTITION}/{#TRANSID}?key={#KEY}",
            "read_timeout_ms": 30_000,
            "write_timeout_ms": 5_000,
            "conn_timeout_ms": 5_000,
        },
        "worker_num": 100,
        "window_size": 200,
        "max_retry_times": -1,
        "fail_retry_interval_ms": 50,
        "backend_servers": backend.addresses(),
    })
}

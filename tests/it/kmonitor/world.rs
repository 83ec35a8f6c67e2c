//! What the kmonitor scenarios share: a chroot of their own in ZooKeeper, a running kmonitor, and questions to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use kcommon::daemon::Context;
use kcommon::readiness::Readiness;
use kcommon::shutdown::Stop;
use kcommon::supervisor::Supervisor;
use ktests::{Cluster, NewRecord, eventually, ports};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use zookeeper_client as zk;

/// Ten times what a round may take here.
pub(super) const SOON: Duration = Duration::from_secs(60);

/// The session that [`section`] asks for.
pub(super) const SESSION: Duration = Duration::from_secs(4);

/// A part of ZooKeeper that one scenario has for itself.
pub(super) struct Znodes {
    client: zk::Client,
    /// The whole path.
    pub(super) chroot: String,
}

/// One znode as a comparison needs it: content and every change ever made.
pub(super) type Tree = BTreeMap<String, (Vec<u8>, i64, i64, i64)>;

impl Znodes {
    /// Below the path `chroot`, which is made when it does not exist.
    pub(super) async fn at(cluster: &Cluster, chroot: &str) -> Self {
        // As long as the server grants: the clients of Kafka may hold up a test's only thread for seconds.
        let connector = zk::Client::connector().with_session_timeout(Duration::from_secs(60));
        let client = connector.connect(&cluster.zookeeper).await.unwrap();
        let znodes = Self {
            client,
            chroot: chroot.to_owned(),
        };
        znodes.make("", b"").await;
        znodes
    }

    /// Below a path named after the scenario.
    pub(super) async fn of(cluster: &Cluster, scenario: &str) -> Self {
        Self::at(cluster, &format!("/kmonitor-{scenario}-{}", std::process::id())).await
    }

    /// Makes or overwrites a znode below the chroot, with its parents.
    pub(super) async fn make(&self, path: &str, data: &[u8]) {
        let path = format!("{}{path}", self.chroot);
        let options = zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all());
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if !parent.is_empty() {
            match self.client.mkdir(parent, &options).await {
                Ok(()) | Err(zk::Error::NodeExists) => {}
                Err(error) => panic!("{parent}: {error}"),
            }
        }
        match self.client.create(&path, data, &options).await {
            Ok(_) => {}
            Err(zk::Error::NodeExists) => {
                self.client.set_data(&path, data, None).await.unwrap();
            }
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Deletes a znode without children.
    pub(super) async fn delete(&self, path: &str) {
        self.client
            .delete(&format!("{}{path}", self.chroot), None)
            .await
            .unwrap();
    }

    /// Commits as a module would.
    pub(super) async fn commit(&self, module: &str, topic: &str, partition: i32, offset: i64) {
        let path = format!("/consumers/{module}/offsets/{topic}/{partition}");
        self.make(&path, offset.to_string().as_bytes()).await;
    }

    /// Registers a live instance of a module, as the original does.
    pub(super) async fn register(&self, module: &str, instance: &str, topic: &str) {
        let json = format!(
            r#"{{"pattern":"static","subscription":{{"{topic}":1}},"timestamp":1448000000,"version":1}}"#
        );
        self.make(&format!("/consumers/{module}/ids/{instance}"), json.as_bytes())
            .await;
    }

    /// Everything below the chroot.
    pub(super) async fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        let mut paths = vec![self.chroot.clone()];
        while let Some(path) = paths.pop() {
            let (data, stat) = self.client.get_data(&path).await.unwrap();
            for child in self.client.list_children(&path).await.unwrap() {
                paths.push(format!("{}/{child}", path.trim_end_matches('/')));
            }
            tree.insert(path, (data, stat.czxid, stat.mzxid, stat.pzxid));
        }
        tree
    }
}

/// Everything that a Kafka of its own keeps for its clients: topics with the ends of their partitions, and groups.
pub(super) async fn kept_by_kafka(cluster: &Cluster) -> Vec<String> {
    let brokers = cluster.brokers.clone();
    let ask = move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .create()
            .unwrap();
        let mut kept = Vec::new();
        for topic in consumer.fetch_metadata(None, SOON).unwrap().topics() {
            for partition in topic.partitions() {
                let ends = consumer
                    .fetch_watermarks(topic.name(), partition.id(), SOON)
                    .unwrap();
                kept.push(format!("{}/{} {ends:?}", topic.name(), partition.id()));
            }
        }
        let groups = consumer.fetch_group_list(None, SOON).unwrap();
        kept.extend(groups.groups().iter().map(|group| group.name().to_owned()));
        kept.sort();
        kept
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// The section of one cluster in `kmonitor.yaml`; `brokers` are named when they are not registered below the chroot.
pub(super) fn section(name: &str, zookeeper: &str, chroot: &str, brokers: Option<&str>) -> String {
    let brokers = brokers
        .map(|brokers| format!(" broker_hosts: [{brokers}]\n"))
        .unwrap_or_default();
    format!(
        "{name}:\n chroot: {chroot}\n zk_connect_timeout_ms: 5000\n zk_session_timeout_ms: {}\n zk_hosts: [{zookeeper}]\n{brokers}",
        SESSION.as_millis()
    )
}

/// A running kmonitor.
pub(super) struct Monitor {
    port: u16,
    stop: Stop,
    readiness: Readiness,
    task: JoinHandle<()>,
}

/// An answer of kmonitor.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Monitor {
    /// One with these clusters, given as name and section, and intervals short enough for a test.
    pub(super) async fn start(clusters: &[(&str, String)]) -> Self {
        let port = ports::free_port();
        let names: Vec<&str> = clusters.iter().map(|(name, _)| *name).collect();
        let sections: String = clusters.iter().map(|(_, section)| section.as_str()).collect();
        let text = format!(
            "base:\n log_dir: ./log\n log_level: 4\n offset_interval_ms: 100\n tree_interval_ms: 200\n stopped_after_ms: 300\n clusters: [{}]\n\
             http_server:\n port: {port}\n read_timeout_ms: 300\n write_timeout_ms: 1000\n{sections}",
            names.join(", ")
        );
        let config = kmonitor::config::parse(Path::new("kmonitor.yaml"), &text).unwrap();
        let context = Context {
            stop: Stop::new(),
            readiness: Readiness::new(),
            supervisor: Supervisor::default(),
            admin: kcommon::admin::Routes::default(),
        };
        let (stop, readiness) = (context.stop.clone(), context.readiness.clone());
        let task = tokio::spawn(async move { kmonitor::run(config, context).await.unwrap() });
        let monitor = Self {
            port,
            stop,
            readiness,
            task,
        };
        eventually("kmonitor is ready", SOON, async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok() && monitor.readiness.reasons().is_empty()
        })
        .await;
        monitor
    }

    /// One with a single cluster named `c`, whose modules are in `znodes` and whose topics are in `cluster`.
    pub(super) async fn of(cluster: &Cluster, znodes: &Znodes) -> Self {
        let section = section("c", &cluster.zookeeper, &znodes.chroot, Some(&cluster.brokers));
        Self::start(&[("c", section)]).await
    }

    /// An open connection.
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// What it answers to `GET path`.
    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).await
    }

    /// What it answers to a request without a body.
    pub(super) async fn ask(&self, method: &str, path: &str) -> Answer {
        let mut connection = self.connect().await;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.unwrap();
        Answer::parse(&String::from_utf8(answer).unwrap())
    }

    /// Waits until `/delay` is these bytes.
    pub(super) async fn shows(&self, json: &str) -> Answer {
        let mut last = String::new();
        let deadline = tokio::time::Instant::now() + SOON;
        while tokio::time::Instant::now() < deadline {
            let answer = self.get("/delay").await;
            if answer.body == json {
                return answer;
            }
            last = answer.body;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("kmonitor shows {last} and not {json}");
    }

    /// Stops it and waits for its end.
    pub(super) async fn stop(self) {
        self.stop.request();
        self.task.await.unwrap();
    }

    /// Whether it still runs.
    pub(super) fn lives(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Self {
            status,
            headers: lines.map(header).collect(),
            body: body.to_owned(),
        }
    }

    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// A topic of this scenario with `records` records in each of its partitions.
pub(super) async fn topic(cluster: &Cluster, name: &str, records: &[usize]) -> String {
    let topic = format!("{name}-{}", std::process::id());
    cluster
        .create_topic(&topic, i32::try_from(records.len()).unwrap())
        .await
        .unwrap();
    let each = (0..).zip(records).flat_map(|(partition, count)| {
        let record = move || NewRecord::keyed("k", "v").in_partition(partition);
        std::iter::repeat_with(record).take(*count)
    });
    cluster.produce(&topic, each).await.unwrap();
    topic
}

/// Writes `count` more records.
pub(super) async fn produce(cluster: &Cluster, topic: &str, partition: i32, count: usize) {
    let record = || NewRecord::keyed("k", "v").in_partition(partition);
    cluster
        .produce(topic, std::iter::repeat_with(record).take(count))
        .await
        .unwrap();
}

//! What a soak runs on: a private cluster, modules with a backend and a judge each, and instances as processes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use ktests::audit::Bound;
use ktests::cluster::{Options, own_cluster_with};
use ktests::daemon::PATIENCE;
use ktests::{
    Audit, Backend, Behaviour, Cluster, Daemon, OwnCluster, Setup, When, Znodes, eventually, unique,
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::plan::{INSTANCES, SESSION};

/// How long a healthy backend takes for a push.
pub(super) const PUSH_TIME: Duration = Duration::from_millis(3);

/// How a module differs from the others.
struct Kind {
    topic: usize,
    read_timeout_ms: u32,
    interval_sec: u32,
}

/// Partitions of each topic.
pub(super) const PARTITIONS: [i32; 2] = [8, 4];

/// A module that is alone on its topic, and two that share one. The second knows no read time-out.
const KINDS: [Kind; 3] = [
    Kind {
        topic: 0,
        read_timeout_ms: 2_000,
        interval_sec: 1,
    },
    Kind {
        topic: 1,
        read_timeout_ms: 0,
        interval_sec: 2,
    },
    Kind {
        topic: 1,
        read_timeout_ms: 10_000,
        interval_sec: 10,
    },
];

/// Workers of every module; a changed file has half as many, or these again.
const WORKERS: u32 = 16;

/// One module of the files.
pub(super) struct Module {
    pub(super) name: String,
    /// Which of the scene's topics.
    pub(super) topic: usize,
    pub(super) backend: Backend,
    pub(super) audit: Audit,
    file: Value,
}

/// One ktransfer.
pub(super) struct Instance {
    /// As the judges know it: "1" for the first.
    pub(super) name: String,
    pub(super) daemon: Daemon,
    /// Counts, per module, how often it was started or its file changed.
    lives: Vec<u32>,
}

pub(super) struct Scene {
    pub(super) cluster: Cluster,
    pub(super) servers: Mutex<OwnCluster>,
    pub(super) znodes: Znodes,
    pub(super) topics: Vec<String>,
    pub(super) modules: Vec<Module>,
    pub(super) instances: Vec<Mutex<Instance>>,
}

impl Scene {
    /// Starts everything.
    pub(super) async fn set(binaries: &Path) -> Result<Arc<Self>> {
        let servers = own_cluster_with(Options {
            heap_mb: 768,
            ..Options::default()
        })
        .await;
        let cluster = servers.cluster.clone();
        let mut topics = Vec::new();
        for partitions in PARTITIONS {
            let topic = unique("soak");
            cluster.create_topic(&topic, partitions).await?;
            topics.push(topic);
        }
        let mut modules = Vec::new();
        for (number, kind) in (1..).zip(&KINDS) {
            modules.push(Module::new(number, kind, &topics).await);
        }
        let mut instances = Vec::new();
        for number in 0..INSTANCES {
            instances.push(Instance::spawn(Self::name(number), binaries, &cluster, &modules));
        }
        for instance in &mut instances {
            instance.daemon.wait_ready().await;
        }
        let scene = Self {
            znodes: cluster.znodes().await?,
            servers: Mutex::new(servers),
            cluster,
            topics,
            modules,
            instances: instances.into_iter().map(Mutex::new).collect(),
        };
        let everybody = "every instance owns partitions";
        eventually(everybody, PATIENCE, async || {
            scene.owners().await.is_ok_and(|owners| owners.len() == INSTANCES)
        })
        .await;
        Ok(Arc::new(scene))
    }

    /// What the judges call an instance, the first one being 0 here.
    pub(super) fn name(instance: usize) -> String {
        (instance + 1).to_string()
    }

    /// Whether every module has stored the end of its topic as its offset.
    pub(super) async fn is_drained(&self) -> Result<bool> {
        for module in &self.modules {
            let topic = &self.topics[module.topic];
            let ends = self.cluster.watermarks(topic).await?;
            let ends: BTreeMap<i32, i64> = (0..).zip(ends.iter().map(|(_, end)| *end)).collect();
            if self.znodes.offsets(&module.name, topic).await? != ends {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What is not stored yet, by module and partition: stored offset and log end.
    pub(super) async fn left(&self) -> Result<String> {
        let mut left = Vec::new();
        for module in &self.modules {
            let topic = &self.topics[module.topic];
            let stored = self.znodes.offsets(&module.name, topic).await?;
            let owners = self.znodes.owners(&module.name, topic).await?;
            for (partition, (_, end)) in (0..).zip(self.cluster.watermarks(topic).await?) {
                if stored.get(&partition) != Some(&end) {
                    let (stored, owner) = (stored.get(&partition), owners.get(&partition));
                    left.push(format!(
                        "{} partition {partition}: stored {stored:?} of {end}, owner {owner:?}",
                        module.name
                    ));
                }
            }
        }
        Ok(left.join("\n"))
    }

    /// The ids of all owners.
    pub(super) async fn owners(&self) -> Result<BTreeSet<String>> {
        let mut ids = BTreeSet::new();
        for module in &self.modules {
            let owners = self
                .znodes
                .owners(&module.name, &self.topics[module.topic])
                .await?;
            ids.extend(owners.into_values());
        }
        Ok(ids)
    }
}

impl Module {
    async fn new(number: u32, kind: &Kind, topics: &[String]) -> Self {
        let audit = Audit::new(Bound {
            in_flight: u64::from(WORKERS),
            spacing: Duration::from_secs(u64::from(kind.interval_sec)) + SESSION,
        });
        let backend = Backend::observed(2, audit.clone()).await;
        backend.on(When::always(), Behaviour::status(200).after(PUSH_TIME));
        let file = json!({
            "topic": topics[kind.topic],
            "protocol": {
                "name": "http",
                "uri": "/push/{#TOPIC}/{#PARTITION}/{#TRANSID}?key={#KEY}",
                "read_timeout_ms": kind.read_timeout_ms,
                "write_timeout_ms": 2_000,
                "conn_timeout_ms": 2_000,
            },
            "window_size": 200,
            "max_retry_times": -1,
            "fail_retry_interval_ms": 100,
            "drain_timeout_ms": 5_000,
            "zk_offset_update_interval_sec": kind.interval_sec,
            "backend_servers": backend.addresses(),
        });
        Self {
            name: format!("module-{number}"),
            topic: kind.topic,
            backend,
            audit,
            file,
        }
    }

    /// Its file at an instance.
    fn file(&self, instance: &str, life: u32) -> String {
        let mut file = self.file.clone();
        file["worker_num"] = json!(if life.is_multiple_of(2) {
            WORKERS
        } else {
            WORKERS / 2
        });
        file["protocol"]["headers"] = json!([{ "X-Pusher": format!("{instance}.{life}") }]);
        file.to_string()
    }

    fn path(&self) -> PathBuf {
        format!("conf/modules/{}.yaml", self.name).into()
    }
}

impl Instance {
    fn spawn(name: String, binaries: &Path, cluster: &Cluster, modules: &[Module]) -> Self {
        let hosts: Vec<&str> = cluster.zookeeper.split(',').collect();
        let names: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
        // JSON is YAML; a key in each line, so that the harness can add the admin section.
        let main = format!(
            "log_dir: ./log\nlog_level: 4\nzk_hosts: {}\nzk_chroot: {}\nzk_timeout_ms: {}\n\
             module_conf_dir: ./conf/modules\nmodule_enabled: {}\n",
            json!(hosts),
            cluster.chroot,
            SESSION.as_millis(),
            json!(names),
        );
        let setup = modules
            .iter()
            .fold(Setup::new("ktransfer", main), |setup, module| {
                setup.file(module.path(), module.file(&name, 0))
            });
        Self {
            name,
            daemon: setup.binaries(binaries).spawn(),
            lives: vec![0; modules.len()],
        }
    }

    /// Writes a module's file anew, with another number of workers, and under another name for the judge.
    pub(super) fn change(&mut self, modules: &[Module], module: usize) {
        self.lives[module] += 1;
        let text = modules[module].file(&self.name, self.lives[module]);
        self.daemon
            .write(&modules[module].path().display().to_string(), &text);
    }

    /// Starts it again after its end, under another name for every judge.
    pub(super) fn start_again(&mut self, modules: &[Module]) {
        (0..modules.len()).for_each(|module| self.change(modules, module));
        self.daemon.start_again();
    }
}

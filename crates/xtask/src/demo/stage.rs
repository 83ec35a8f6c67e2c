//! The demo's servers and daemons: a cluster, a backend per module, kproxy, two ktransfer, kmonitor.
//!
//! The daemons run on the files of `conf/`, changed only where this machine needs it: addresses, ports that are taken,
//! and how often kmonitor looks, so that there is something to see within seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ktests::cluster::{Local, Options};
use ktests::{Backend, Behaviour, Cluster, Daemon, Setup, When, Znodes, eventually, http, paths, ports};
use serde_yaml::{Mapping, Value};

/// How many partitions each topic gets.
const PARTITIONS: i32 = 8;
/// How long a backend takes for a push: long enough to have pushes in flight when the kill comes.
const PUSH_TIME: Duration = Duration::from_millis(2);
/// How long a daemon may take to be ready.
const READY: Duration = Duration::from_secs(60);

/// One module of the files, with a backend of its own.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) topic: String,
    /// The first method it listens to; none when it listens to all.
    method: Option<String>,
    pub(super) backend: Backend,
    file: Value,
}

/// One ktransfer and the id it registered with.
struct Transfer {
    label: String,
    id: String,
    daemon: Daemon,
}

pub(super) struct Stage {
    local: Option<Local>,
    pub(super) znodes: Znodes,
    pub(super) modules: Vec<Module>,
    /// `host:port` of kproxy.
    pub(super) proxy: String,
    pub(super) kproxy: Daemon,
    transfers: Vec<Transfer>,
    /// `host:port` of kmonitor.
    pub(super) monitor: String,
    pub(super) kmonitor: Daemon,
}

impl Stage {
    /// Starts everything.
    pub(super) async fn set(binaries: &Path) -> Result<Self> {
        println!("starting Kafka and ZooKeeper");
        let dir = paths::target().join("demo").join("cluster");
        let options = Options {
            usual_ports: true,
            ..Options::default()
        };
        let local = tokio::task::spawn_blocking(move || {
            // One that an interrupted demo left behind has old records in it.
            Local::load(&dir)?.map_or(Ok(()), Local::down)?;
            Local::up(&dir, &options)
        })
        .await??;
        let cluster = local.cluster();
        match Self::set_daemons(binaries, &cluster).await {
            Ok(stage) => Ok(Self {
                local: Some(local),
                ..stage
            }),
            Err(error) => {
                tokio::task::spawn_blocking(|| local.down()).await??;
                Err(error)
            }
        }
    }

    async fn set_daemons(binaries: &Path, cluster: &Cluster) -> Result<Self> {
        let mut main = read("ktransfer.yaml")?;
        main["zk_hosts"] = list(&cluster.zookeeper);
        main["zk_chroot"] = Value::from(cluster.chroot.as_str());
        let modules = modules(&main).await?;
        let topics: BTreeSet<&str> = modules.iter().map(|module| module.topic.as_str()).collect();
        for topic in topics {
            cluster.create_topic(topic, PARTITIONS).await?;
        }
        println!("starting kproxy, two ktransfer and kmonitor");
        let znodes = cluster.znodes().await?;
        let (kproxy, proxy) = kproxy(binaries, cluster).await?;
        let mut transfers: Vec<Transfer> = Vec::new();
        for number in 1..=2 {
            let daemon = ktransfer(binaries, &main, &modules).await?;
            let id = new_id(&znodes, &modules[0].name, &transfers).await?;
            transfers.push(Transfer {
                label: format!("ktransfer-{number}"),
                id,
                daemon,
            });
        }
        let (kmonitor, monitor) = kmonitor(binaries, cluster).await?;
        for module in &modules {
            eventually("both ktransfer own partitions", READY, async || {
                let owners = znodes
                    .owners(&module.name, &module.topic)
                    .await
                    .unwrap_or_default();
                owners.values().collect::<BTreeSet<_>>().len() == transfers.len()
            })
            .await;
        }
        Ok(Self {
            local: None,
            znodes,
            modules,
            proxy,
            kproxy,
            transfers,
            monitor,
            kmonitor,
        })
    }

    /// Prints what runs where.
    pub(super) fn introduce(&self) {
        println!(
            "  kproxy       http://{}/commit   pid {}",
            self.proxy,
            self.kproxy.pid()
        );
        for Transfer { label, daemon, .. } in &self.transfers {
            println!("  {label}  {}   pid {}", daemon.admin("/readyz"), daemon.pid());
        }
        println!(
            "  kmonitor     http://{}/delay   pid {}",
            self.monitor,
            self.kmonitor.pid()
        );
        for Module {
            name, topic, backend, ..
        } in &self.modules
        {
            println!(
                "  module {name}: topic {topic}, backend http://{}",
                backend.address()
            );
        }
    }

    /// Every topic with a method that its modules listen to.
    pub(super) fn topics(&self) -> BTreeMap<String, String> {
        let mut topics = BTreeMap::new();
        for Module { topic, method, .. } in &self.modules {
            let known: &mut Option<String> = topics.entry(topic.clone()).or_default();
            *known = known.take().or_else(|| method.clone());
        }
        let any = || "Demo".to_owned();
        topics
            .into_iter()
            .map(|(topic, method)| (topic, method.unwrap_or_else(any)))
            .collect()
    }

    /// Pushes that the backends took, repeats included.
    pub(super) fn pushed(&self) -> usize {
        self.modules.iter().map(|module| module.backend.delivered()).sum()
    }

    /// The lag of each partition as kmonitor tells it, by module.
    pub(super) async fn lag(&self) -> BTreeMap<String, BTreeMap<String, i64>> {
        let answer = http::get(&format!("http://{}/delay", self.monitor)).await;
        let clusters = answer
            .ok()
            .and_then(|answer| serde_json::from_slice(&answer.body).ok());
        let clusters: BTreeMap<String, BTreeMap<String, BTreeMap<String, i64>>> =
            clusters.unwrap_or_default();
        clusters.into_values().next().unwrap_or_default()
    }

    /// The sum of all stored offsets.
    pub(super) async fn committed(&self) -> Result<usize> {
        let mut sum = 0;
        for module in &self.modules {
            let offsets = self.znodes.offsets(&module.name, &module.topic).await?;
            sum += usize::try_from(offsets.values().sum::<i64>())?;
        }
        Ok(sum)
    }

    /// Who owns what, in one line.
    pub(super) async fn owners(&self) -> Result<String> {
        let mut parts = Vec::new();
        for module in &self.modules {
            let mut owned: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (partition, id) in self.znodes.owners(&module.name, &module.topic).await? {
                let label = self.transfers.iter().find(|transfer| transfer.id == id);
                let label = label.map_or(id.clone(), |transfer| transfer.label.clone());
                owned.entry(label).or_default().push(partition.to_string());
            }
            let owned: Vec<String> = owned
                .into_iter()
                .map(|(label, partitions)| format!("{label} [{}]", partitions.join(" ")))
                .collect();
            parts.push(format!("{} {}", module.name, owned.join(", ")));
        }
        Ok(parts.join("; "))
    }

    /// Whether every partition of every module has an owner that lives.
    pub(super) async fn is_fully_owned(&self) -> Result<bool> {
        for module in &self.modules {
            let owners = self.znodes.owners(&module.name, &module.topic).await?;
            let alive = |id: &String| self.transfers.iter().any(|transfer| transfer.id == *id);
            if owners.len() != usize::try_from(PARTITIONS)? || !owners.values().all(alive) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Kills the first ktransfer and says which one.
    pub(super) async fn kill_one(&mut self) -> Result<String> {
        if self.transfers.is_empty() {
            bail!("no ktransfer is left");
        }
        let mut victim = self.transfers.remove(0);
        victim.daemon.kill().await;
        Ok(format!("{} (pid {})", victim.label, victim.daemon.pid()))
    }

    /// Stops everything, the cluster last.
    pub(super) async fn strike(mut self) -> Result<()> {
        println!("stopping everything");
        let transfers = self.transfers.iter_mut().map(|transfer| &mut transfer.daemon);
        let mut failed = Vec::new();
        for daemon in transfers.chain([&mut self.kproxy, &mut self.kmonitor]) {
            let status = daemon.terminate().await;
            if !status.success() {
                failed.push(format!("pid {} ended with {status}", daemon.pid()));
            }
        }
        if let Some(local) = self.local.take() {
            tokio::task::spawn_blocking(|| local.down()).await??;
        }
        if failed.is_empty() {
            Ok(())
        } else {
            bail!("not everything stopped in good order: {}", failed.join(", "))
        }
    }
}

/// The modules that the main file enables and whose file exists.
async fn modules(main: &Value) -> Result<Vec<Module>> {
    let names = main["module_enabled"]
        .as_sequence()
        .context("conf/ktransfer.yaml: module_enabled")?;
    let mut modules = Vec::new();
    for name in names.iter().filter_map(Value::as_str) {
        let mut file = read(&format!("modules/{name}.yaml"))?;
        let backend = Backend::start().await;
        backend.on(When::always(), Behaviour::status(200).after(PUSH_TIME));
        file["backend_servers"] = Value::from(vec![backend.address()]);
        let method = file["methods"].get(0).and_then(Value::as_str).map(str::to_owned);
        let topic = file["topic"].as_str().context("a module's topic")?.to_owned();
        modules.push(Module {
            name: name.to_owned(),
            topic,
            method,
            backend,
            file,
        });
    }
    if modules.is_empty() {
        bail!("conf/ktransfer.yaml enables no module");
    }
    Ok(modules)
}

async fn kproxy(binaries: &Path, cluster: &Cluster) -> Result<(Daemon, String)> {
    let mut file = read("kproxy.yaml")?;
    file["broker_hosts"] = list(&cluster.brokers);
    let port = usual(&mut file["port"])?;
    let daemon = start(binaries, "kproxy", file, |setup| setup).await?;
    Ok((daemon, format!("127.0.0.1:{port}")))
}

async fn ktransfer(binaries: &Path, main: &Value, modules: &[Module]) -> Result<Daemon> {
    let with_modules = |mut setup: Setup| {
        for module in modules {
            let text = serde_yaml::to_string(&module.file).unwrap_or_default();
            setup = setup.file(format!("conf/modules/{}.yaml", module.name), text);
        }
        setup
    };
    start(binaries, "ktransfer", main.clone(), with_modules).await
}

async fn kmonitor(binaries: &Path, cluster: &Cluster) -> Result<(Daemon, String)> {
    let mut file = read("kmonitor.yaml")?;
    let name = file["base"]["clusters"][0]
        .as_str()
        .context("kmonitor.yaml: base.clusters")?
        .to_owned();
    file["base"]["clusters"] = Value::from(vec![name.as_str()]);
    file["base"]["offset_interval_ms"] = Value::from(500);
    file["base"]["tree_interval_ms"] = Value::from(1000);
    file[name.as_str()]["zk_hosts"] = list(&cluster.zookeeper);
    file[name.as_str()]["chroot"] = Value::from(cluster.chroot.as_str());
    let port = usual(&mut file["http_server"]["port"])?;
    let daemon = start(binaries, "kmonitor", file, |setup| setup).await?;
    Ok((daemon, format!("127.0.0.1:{port}")))
}

async fn start(
    binaries: &Path,
    name: &'static str,
    mut file: Value,
    extend: impl FnOnce(Setup) -> Setup,
) -> Result<Daemon> {
    let written = file["admin"]["listen"].as_str();
    let written = written.and_then(|listen| listen.rsplit_once(':')?.1.parse().ok());
    let usual = written.unwrap_or(match name {
        "kproxy" => 5031,
        "ktransfer" => 5032,
        _ => 5033,
    });
    let admin = if ports::is_free(usual) {
        usual
    } else {
        ports::free_port()
    };
    let mut section = Mapping::new();
    section.insert(Value::from("listen"), Value::from(format!("127.0.0.1:{admin}")));
    file["admin"] = Value::Mapping(section);
    let setup = Setup::new(name, serde_yaml::to_string(&file)?)
        .admin_at(admin)
        .binaries(binaries);
    let mut daemon = extend(setup).spawn();
    match tokio::time::timeout(READY, daemon.wait_ready()).await {
        Ok(()) => Ok(daemon),
        Err(_) => bail!("{name} does not get ready: {}", daemon.readiness().await),
    }
}

/// The id under which the ktransfer that has just started registered.
async fn new_id(znodes: &Znodes, module: &str, known: &[Transfer]) -> Result<String> {
    let dir = format!("/consumers/{module}/ids");
    for _ in 0..100 {
        let ids = znodes.children(&dir).await?.unwrap_or_default();
        if let Some(id) = ids
            .into_iter()
            .find(|id| known.iter().all(|transfer| transfer.id != *id))
        {
            return Ok(id);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("ktransfer does not register at {dir}")
}

fn read(file: &str) -> Result<Value> {
    let path = paths::workspace().join("conf").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    serde_yaml::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

fn list(hosts: &str) -> Value {
    Value::from(hosts.split(',').map(Value::from).collect::<Vec<_>>())
}

/// The port of the file, or a free one in its place when it is taken.
fn usual(port: &mut Value) -> Result<u16> {
    let written = port
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .context("a port")?;
    let chosen = if ports::is_free(written) {
        written
    } else {
        ports::free_port()
    };
    *port = Value::from(chosen);
    Ok(chosen)
}

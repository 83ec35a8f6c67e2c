//! A cluster of our own on this machine: started, found again, stopped and started in part.
//!
//! Everything about it lies in one directory: `state.json` (ports and processes), data, configuration and output of
//! each server. Whoever has the directory can manage the cluster, whichever program started it. All calls block.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::files::{self, CHROOT, Front, Metadata};
use super::jars::Jars;
use super::process::{POLL, Process};
use super::{Cluster, ready};
use crate::ports;

/// How long a killed broker may stay registered: more than its session time-out.
const REGISTERED: Duration = Duration::from_secs(60);

/// How long a server may take to answer after its start.
const START: Duration = Duration::from_secs(90);
/// How long a server may take to end after SIGTERM.
const STOP: Duration = Duration::from_secs(20);

/// What to start.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many brokers, from 1.
    pub brokers: usize,
    /// Kafka 4 without ZooKeeper, beside a ZooKeeper that only the daemons use.
    pub kraft: bool,
    /// Heap of each broker in MiB.
    pub heap_mb: u32,
    /// Try the usual ports (ZooKeeper 2181, first broker 9092) before free ones.
    pub usual_ports: bool,
    /// Give each broker a second listener for clients that come through a proxy. With ZooKeeper only.
    pub fronts: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            brokers: 1,
            kraft: false,
            heap_mb: 1024,
            usual_ports: false,
            fronts: false,
        }
    }
}

/// One server of the cluster.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Server {
    port: u16,
    #[serde(default)]
    front: Option<Front>,
    process: Option<Process>,
}

impl Server {
    fn is_alive(&self) -> bool {
        self.process.is_some_and(|process| process.is_alive())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    zookeeper: Server,
    brokers: Vec<Server>,
    /// The KRaft controller's port.
    controller: Option<u16>,
    heap_mb: u32,
}

/// A cluster that this machine runs.
#[derive(Debug)]
pub struct Local {
    dir: PathBuf,
    state: State,
    jars: Option<Jars>,
}

impl Local {
    /// Starts a cluster in `dir`, or finds the one that runs there, starting again what has ended of it.
    ///
    /// # Errors
    /// Java, Maven or the network is missing, or a server does not answer; the message holds its last words.
    pub fn up(dir: &Path, options: &Options) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let lock = File::create(dir.join("lock"))?;
        lock.lock()?;
        let mut local = match Self::load(&dir)? {
            Some(found) => found,
            None => {
                // Before anything is written: without Java there is no cluster to find later.
                let jars = Jars::resolve(options.kraft)?;
                let state = State::plan(options);
                Self {
                    dir,
                    state,
                    jars: Some(jars),
                }
            }
        };
        local.save()?;
        local.start_all()?;
        Ok(local)
    }

    /// The cluster of `dir`, if one was ever started there.
    ///
    /// # Errors
    /// Its state cannot be read.
    pub fn load(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join("state.json");
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path)?;
        let state = serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
        Ok(Some(Self {
            dir: dir.canonicalize()?,
            state,
            jars: None,
        }))
    }

    /// Stops every server and removes the data.
    ///
    /// # Errors
    /// A server survives.
    pub fn down(mut self) -> Result<()> {
        // The data goes with them, so nobody has to end in order; KRaft brokers would wait for their controller.
        for broker in 0..self.state.brokers.len() {
            self.kill_broker(broker)?;
        }
        if let Some(process) = self.state.zookeeper.process.take() {
            process.kill()?;
        }
        fs::remove_dir_all(&self.dir).with_context(|| format!("remove {}", self.dir.display()))
    }

    /// The addresses.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        let brokers: Vec<String> = self
            .state
            .brokers
            .iter()
            .map(|broker| format!("127.0.0.1:{}", broker.port))
            .collect();
        Cluster {
            brokers: brokers.join(","),
            zookeeper: format!("127.0.0.1:{}", self.state.zookeeper.port),
            chroot: CHROOT.to_owned(),
        }
    }

    /// The second listeners of the brokers, if they have any.
    #[must_use]
    pub fn fronts(&self) -> Vec<Front> {
        self.state
            .brokers
            .iter()
            .filter_map(|broker| broker.front)
            .collect()
    }

    /// One line per server: address, pid, state.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let line = |name: String, server: &Server| match server.process {
            Some(process) if process.is_alive() => {
                format!("{name} 127.0.0.1:{} pid {}", server.port, process.pid)
            }
            _ => format!("{name} 127.0.0.1:{} not running", server.port),
        };
        let zookeeper = line("zookeeper".to_owned(), &self.state.zookeeper);
        let brokers = self.state.brokers.iter().enumerate();
        std::iter::once(zookeeper)
            .chain(brokers.map(|(id, broker)| line(broker_name(id), broker)))
            .collect()
    }

    /// Whether every server's process is there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state.zookeeper.is_alive() && self.state.brokers.iter().all(Server::is_alive)
    }

    /// Starts ZooKeeper unless it runs, on the port and data it had, and waits until it answers.
    ///
    /// # Errors
    /// It does not answer in time.
    pub fn start_zookeeper(&mut self) -> Result<()> {
        if self.state.zookeeper.is_alive() {
            return Ok(());
        }
        let port = self.state.zookeeper.port;
        let config = self.write(
            "zookeeper.properties",
            &files::zookeeper(port, &self.dir.join("zookeeper")),
        )?;
        let classpath = self.jars()?.zookeeper.clone();
        let process = self.java(
            "zookeeper",
            &["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
            &classpath,
            &["org.apache.zookeeper.server.quorum.QuorumPeerMain", &config],
        )?;
        self.state.zookeeper.process = Some(process);
        self.save()?;
        self.wait_for("zookeeper", process, || {
            ready::zookeeper_answers(&format!("127.0.0.1:{port}"))
        })
    }

    /// Stops ZooKeeper; its data stays.
    ///
    /// # Errors
    /// It survives.
    pub fn stop_zookeeper(&mut self) -> Result<()> {
        if let Some(process) = self.state.zookeeper.process.take() {
            process.stop(STOP)?;
        }
        self.save()
    }

    /// Starts a broker unless it runs, on the port and data it had, and waits until it answers.
    ///
    /// # Errors
    /// It does not answer in time.
    pub fn start_broker(&mut self, id: usize) -> Result<()> {
        let start = Instant::now();
        loop {
            self.launch_broker(id)?;
            match self.await_broker(id) {
                // One that was killed stays registered until its session ends, and the next one gives up meanwhile.
                Err(error) if format!("{error:#}").contains("NodeExists") && start.elapsed() < REGISTERED => {
                    self.state.brokers[id].process = None;
                    std::thread::sleep(POLL);
                }
                outcome => return outcome,
            }
        }
    }

    /// Stops a broker in good order; its data stays.
    ///
    /// # Errors
    /// It survives.
    pub fn stop_broker(&mut self, id: usize) -> Result<()> {
        if let Some(process) = self.state.brokers[id].process.take() {
            process.stop(STOP)?;
        }
        self.save()
    }

    /// Kills a broker with SIGKILL; its data stays.
    ///
    /// # Errors
    /// It survives.
    pub fn kill_broker(&mut self, id: usize) -> Result<()> {
        if let Some(process) = self.state.brokers[id].process.take() {
            process.kill()?;
        }
        self.save()
    }

    /// Sends a signal to a broker, so that it stands still (SIGSTOP) with its connections open, or goes on (SIGCONT).
    ///
    /// # Errors
    /// It does not run.
    pub fn signal_broker(&self, id: usize, signal: Signal) -> Result<()> {
        let process = self.state.brokers[id].process.as_ref();
        process.context("the broker does not run")?.signal(signal)
    }

    fn start_all(&mut self) -> Result<()> {
        self.start_zookeeper()?;
        if self.state.controller.is_some() {
            // With ZooKeeper, the brokers create the chroot themselves.
            ready::create_path(&self.cluster().zookeeper, CHROOT)?;
        }
        for id in 0..self.state.brokers.len() {
            self.launch_broker(id)?;
        }
        for id in 0..self.state.brokers.len() {
            self.await_broker(id)?;
        }
        ready::wait_for_brokers(&self.cluster().brokers, self.state.brokers.len(), START)
    }

    fn launch_broker(&mut self, id: usize) -> Result<()> {
        if self.state.brokers[id].is_alive() {
            return Ok(());
        }
        let name = broker_name(id);
        let data = self.dir.join(&name);
        let metadata = match self.state.controller {
            Some(port) => Metadata::Kraft(port),
            None => Metadata::ZooKeeper(self.state.zookeeper.port),
        };
        let count = self.state.brokers.len();
        let Server { port, front, .. } = self.state.brokers[id];
        let text = files::broker(&files::Broker {
            id,
            count,
            port,
            front,
            data: &data,
            metadata,
        });
        let config = self.write(&format!("{name}.properties"), &text)?;
        let classpath = self.jars()?.kafka.clone();
        if self.state.controller.is_some() && !data.join("meta.properties").exists() {
            format_storage(&classpath, &config)?;
        }
        let heap = format!("-Xmx{}m", self.state.heap_mb);
        let process = self.java(&name, &[&heap, "-Xms256m"], &classpath, &["kafka.Kafka", &config])?;
        self.state.brokers[id].process = Some(process);
        self.save()
    }

    fn await_broker(&self, id: usize) -> Result<()> {
        let broker = self.state.brokers[id];
        let process = broker.process.context("the broker was not started")?;
        let address = format!("127.0.0.1:{}", broker.port);
        self.wait_for(&broker_name(id), process, || ready::broker_count(&address) > 0)
    }

    fn wait_for(&self, name: &str, process: Process, answers: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            if answers() {
                return Ok(());
            }
            if !process.is_alive() || Instant::now() >= deadline {
                let end = if process.is_alive() {
                    "does not answer"
                } else {
                    "ended"
                };
                bail!(
                    "{name} {end}; its last words:\n{}",
                    last_lines(&self.dir.join(format!("{name}.out")))
                );
            }
            std::thread::sleep(POLL);
        }
    }

    fn java(&self, name: &str, options: &[&str], classpath: &str, class: &[&str]) -> Result<Process> {
        let log4j = self.write("log4j.properties", files::LOG4J)?;
        let log4j2 = self.write("log4j2.properties", files::LOG4J2)?;
        let out = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join(format!("{name}.out")))?;
        let mut command = Command::new("java");
        command
            .args(options)
            .arg(format!("-Dlog4j.configuration=file:{log4j}"))
            .arg(format!("-Dlog4j2.configurationFile={log4j2}"))
            .args(["-cp", classpath])
            .args(class)
            .current_dir(&self.dir);
        spawn_detached(command, out)
    }

    fn jars(&mut self) -> Result<&Jars> {
        if self.jars.is_none() {
            self.jars = Some(Jars::resolve(self.state.controller.is_some())?);
        }
        Ok(self.jars.as_ref().expect("set above"))
    }

    fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.dir.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path.display().to_string())
    }

    fn save(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.state)?;
        let part = self.dir.join("state.json.part");
        fs::write(&part, text)?;
        fs::rename(&part, self.dir.join("state.json")).context("save the cluster's state")
    }
}

impl State {
    fn plan(options: &Options) -> Self {
        let port = |usual: u16| {
            let usual_is_free = options.usual_ports && ports::is_free(usual);
            if usual_is_free { usual } else { ports::free_port() }
        };
        let server = |usual| Server {
            port: port(usual),
            front: None,
            process: None,
        };
        let front = || Front {
            listens: ports::free_port(),
            says: ports::free_port(),
        };
        let broker = |usual| Server {
            front: options.fronts.then(front),
            ..server(usual)
        };
        Self {
            zookeeper: server(2181),
            brokers: (9092..).take(options.brokers.max(1)).map(broker).collect(),
            controller: options.kraft.then(ports::free_port),
            heap_mb: options.heap_mb,
        }
    }
}

fn broker_name(id: usize) -> String {
    format!("broker-{id}")
}

/// In a process group of its own, so that Ctrl-C in the terminal that started the cluster does not reach it.
fn spawn_detached(mut command: Command, out: File) -> Result<Process> {
    use std::os::unix::process::CommandExt as _;
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()
        .context("start java")?;
    let process = Process::of(child.id())?;
    // Reaps it if it ends while this program runs; a failed wait means there is nothing to reap.
    std::thread::spawn(move || child.wait().map(drop).unwrap_or_default());
    Ok(process)
}

fn format_storage(classpath: &str, config: &str) -> Result<()> {
    let output = Command::new("java")
        .args([
            "-cp",
            classpath,
            "kafka.tools.StorageTool",
            "format",
            "-t",
            files::KRAFT_ID,
            "-c",
            config,
        ])
        .stdin(Stdio::null())
        .output()
        .context("start java")?;
    if !output.status.success() {
        bail!(
            "cannot format the broker's storage: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

fn last_lines(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

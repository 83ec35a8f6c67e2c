//! `cargo xtask cluster up | down | status`: the servers themselves are the business of `ktests::cluster`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use ktests::cluster::{Cluster, Local, Options, ready};
use ktests::paths;

/// Remembers a cluster that somebody else runs.
const ELSEWHERE: &str = "elsewhere";

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// Where the cluster's data and state lie [default: target/cluster].
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// Starts the cluster, or finds the one that runs. KAFKA_HOME=DIR uses an installed distribution.
    Up(Up),
    /// Stops the cluster and removes its data.
    Down,
    /// Prints addresses, processes and the variables that tests read.
    Status,
}

#[derive(Args)]
struct Up {
    /// How many brokers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    brokers: u8,
    /// Kafka 4 without ZooKeeper, beside a stand-alone ZooKeeper.
    #[arg(long)]
    kraft: bool,
    /// Heap of each broker in MiB.
    #[arg(long, default_value_t = 1024)]
    heap: u32,
    /// Use a running Kafka at HOST:PORT (more after commas) instead of starting one.
    #[arg(long, requires = "zookeeper_at")]
    brokers_at: Option<String>,
    /// The running ZooKeeper, HOST:PORT/CHROOT.
    #[arg(long, requires = "brokers_at")]
    zookeeper_at: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let dir = arguments.dir.clone().unwrap_or_else(default_dir);
    match &arguments.action {
        Action::Up(up) => start(&dir, up),
        Action::Down => stop(&dir),
        Action::Status => status(&dir),
    }
}

/// Where `cluster up` keeps its cluster unless told otherwise.
pub(crate) fn default_dir() -> PathBuf {
    paths::target().join("cluster")
}

/// The cluster that `cluster up` started or was pointed at.
///
/// # Errors
/// There is none; the message says how to start one.
pub(crate) fn running(dir: &Path) -> Result<Cluster> {
    if let Some(cluster) = elsewhere(dir)? {
        return Ok(cluster);
    }
    match Local::load(dir)? {
        Some(local) if local.is_running() => Ok(local.cluster()),
        _ => bail!("no cluster is running: start one with `cargo xtask cluster up`"),
    }
}

fn start(dir: &Path, up: &Up) -> Result<ExitCode> {
    if let (Some(brokers), Some(zookeeper)) = (&up.brokers_at, &up.zookeeper_at) {
        return adopt(dir, &Cluster::at(brokers, zookeeper));
    }
    if let Some(cluster) = elsewhere(dir)? {
        bail!(
            "a cluster at {} is in use: forget it with `cargo xtask cluster down`",
            cluster.brokers
        );
    }
    let found = Local::load(dir)?.is_some_and(|local| local.is_running());
    let options = Options {
        brokers: usize::from(up.brokers),
        kraft: up.kraft,
        heap_mb: up.heap,
        usual_ports: true,
        ..Options::default()
    };
    let local = Local::up(dir, &options)?;
    println!(
        "{}",
        if found {
            "the cluster is running already"
        } else {
            "the cluster is up"
        }
    );
    describe(&local);
    Ok(ExitCode::SUCCESS)
}

fn adopt(dir: &Path, cluster: &Cluster) -> Result<ExitCode> {
    if Local::load(dir)?.is_some() {
        bail!(
            "a local cluster lies in {}: stop it first with `cargo xtask cluster down`",
            dir.display()
        );
    }
    if !answers(cluster) {
        bail!("{} or {} does not answer", cluster.brokers, cluster.zookeeper);
    }
    fs::create_dir_all(dir)?;
    fs::write(
        dir.join(ELSEWHERE),
        format!("{}\n{}{}\n", cluster.brokers, cluster.zookeeper, cluster.chroot),
    )?;
    println!("using the running cluster");
    print_environment(cluster);
    Ok(ExitCode::SUCCESS)
}

fn stop(dir: &Path) -> Result<ExitCode> {
    if elsewhere(dir)?.is_some() {
        fs::remove_file(dir.join(ELSEWHERE))?;
        println!("forgot the cluster that runs elsewhere; it was not stopped");
    } else if let Some(local) = Local::load(dir)? {
        local.down()?;
        println!("the cluster is down, its data removed");
    } else {
        println!("no cluster was running");
    }
    Ok(ExitCode::SUCCESS)
}

/// Exit status 1 when no cluster is running.
fn status(dir: &Path) -> Result<ExitCode> {
    if let Some(cluster) = elsewhere(dir)? {
        let answers = answers(&cluster);
        println!(
            "a cluster elsewhere, which {}",
            if answers { "answers" } else { "does not answer" }
        );
        print_environment(&cluster);
        return Ok(if answers {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let Some(local) = Local::load(dir)? else {
        println!("no cluster is running: start one with `cargo xtask cluster up`");
        return Ok(ExitCode::FAILURE);
    };
    describe(&local);
    let cluster = local.cluster();
    Ok(if local.is_running() && answers(&cluster) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn answers(cluster: &Cluster) -> bool {
    let any = |list: &str, question: fn(&str) -> bool| list.split(',').any(question);
    any(&cluster.zookeeper, ready::zookeeper_answers)
        && any(&cluster.brokers, |broker| ready::broker_count(broker) > 0)
}

fn describe(local: &Local) {
    for line in local.describe() {
        println!("  {line}");
    }
    print_environment(&local.cluster());
}

fn print_environment(cluster: &Cluster) {
    for (name, value) in cluster.environment() {
        println!("export {name}={value}");
    }
}

fn elsewhere(dir: &Path) -> Result<Option<Cluster>> {
    let path = dir.join(ELSEWHERE);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path)?;
    let (brokers, zookeeper) = text.trim_end().split_once('\n').context("two lines")?;
    Ok(Some(Cluster::at(brokers, zookeeper)))
}

//! `bench kmonitor`: what a round, the first answer and the watch of many partitions cost.
//!
//! Several chroots of one ZooKeeper hold the znodes of modules that own, and have committed in, partitions of one broker, which all
//! sections of kmonitor's file name. Every number that is shown is compared with what was written before it counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use kcommon::zookeeper::{Lifetime, Session, Settings, Write as Znode, layout};
use ktests::{Cluster, Daemon, Setup, http, ports, unique};
use serde_json::Value;
use tokio::task::LocalSet;

use super::{Common, load, millis, process};

/// Znodes that are made in one request.
const AT_ONCE: usize = 500;
/// How long the broker may take to make all partitions.
const TOPICS: Duration = Duration::from_secs(300);
/// How long the clients ask, at most.
const ASKED: Duration = Duration::from_secs(10);
/// Ten times what the first answer may take.
const FIRST: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(super) common: Common,
    /// How many clusters, each a chroot of the same ZooKeeper.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=50))]
    clusters: u32,
    /// How many modules over all clusters, each with a topic of its own.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5000))]
    modules: u32,
    /// How many partitions each topic has.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1000))]
    partitions: i32,
    /// How many clients ask for `/delay` at the same time, each again as soon as it has its answer.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    clients: u32,
}

/// The modules of one cluster, which are also the names of their topics.
struct Watched {
    name: String,
    chroot: String,
    modules: Vec<String>,
}

/// The figures of one run.
#[derive(Debug)]
struct Figures {
    first: Duration,
    /// The slowest of the clusters' last rounds.
    round: f64,
    cpu: f64,
    rss_mib: u64,
    scraped_mib: u64,
    answers: load::Figures,
}

pub(super) async fn bench(arguments: &Arguments, cluster: &Cluster) -> Result<()> {
    let Common { runs, seconds, .. } = arguments.common;
    let watched = watched(arguments);
    let session = fill(arguments, cluster, &watched).await?;
    println!(
        "{} partitions of {} modules in {} clusters; the default interval; {runs} runs of {seconds} s\n\
         a round: all clusters at once, the slowest counts, the worst of the run; then {} clients ask for /delay\n",
        arguments.modules * arguments.partitions.unsigned_abs(),
        arguments.modules,
        arguments.clusters,
        arguments.clients
    );
    println!(
        "| first answer ms | round ms | % of a core | RSS MiB | after scrapes and all details MiB | answers/s | p50 ms | p99 ms |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for _ in 0..runs {
        let figures = measure(arguments, cluster, &watched).await?;
        println!(
            "| {:.0} | {:.0} | {:.2} | {} | {} | {:.0} | {:.1} | {:.1} |",
            millis(figures.first),
            figures.round * 1e3,
            figures.cpu,
            figures.rss_mib,
            figures.scraped_mib,
            figures.answers.per_second,
            millis(figures.answers.p50),
            millis(figures.answers.p99)
        );
    }
    session.close().await;
    Ok(())
}

fn watched(arguments: &Arguments) -> Vec<Watched> {
    let prefix = unique("kmonitor");
    let cluster = |nth: u32| {
        let mine = (nth..arguments.modules).step_by(usize::try_from(arguments.clusters).unwrap_or(1));
        Watched {
            name: format!("cluster{nth}"),
            chroot: format!("/{prefix}/{nth}"),
            modules: mine.map(|module| format!("{prefix}-{module}")).collect(),
        }
    };
    (0..arguments.clusters).map(cluster).collect()
}

/// Makes the topics and the znodes: every partition is owned, and its commit is at the start of its empty log.
async fn fill(arguments: &Arguments, cluster: &Cluster, watched: &[Watched]) -> Result<Session> {
    let settings = Settings {
        hosts: cluster.zookeeper.split(',').map(str::to_owned).collect(),
        chroot: String::new(),
        session_timeout: Duration::from_secs(30),
        auth: None,
    };
    let session = Session::connect(&settings).await?;
    for one in watched {
        for module in &one.modules {
            let made = cluster.create_topic(module, arguments.partitions);
            tokio::time::timeout(TOPICS, made)
                .await
                .context("topics are made too slowly")??;
            fill_module(&session, &one.chroot, module, arguments.partitions).await?;
        }
    }
    Ok(session)
}

async fn fill_module(session: &Session, chroot: &str, module: &str, partitions: i32) -> Result<()> {
    let topic = module;
    for directory in [
        layout::ids(module),
        layout::offsets(module, topic),
        layout::owners(module, topic),
    ] {
        session.ensure(&format!("{chroot}{directory}")).await?;
    }
    let subscription = format!(
        r#"{{"pattern":"static","subscription":{{"{topic}":1}},"timestamp":1448000000,"version":1}}"#
    );
    let mut znodes = vec![(
        format!("{chroot}{}", layout::id(module, "host:uuid")),
        subscription,
    )];
    for partition in (0..partitions).map(kcommon::kafka::PartitionId) {
        znodes.push((
            format!("{chroot}{}", layout::offset(module, topic, partition)),
            "0".to_owned(),
        ));
        znodes.push((
            format!("{chroot}{}", layout::owner(module, topic, partition)),
            "host:uuid".to_owned(),
        ));
    }
    for chunk in znodes.chunks(AT_ONCE) {
        let create = |(path, data): &'_ (String, String)| (path.clone(), data.clone());
        let texts: Vec<(String, String)> = chunk.iter().map(create).collect();
        let writes: Vec<Znode<'_>> = texts
            .iter()
            .map(|(path, data)| Znode::Create {
                path,
                data: data.as_bytes(),
                lifetime: Lifetime::Persistent,
            })
            .collect();
        session.multi(&writes).await?;
    }
    Ok(())
}

async fn measure(arguments: &Arguments, cluster: &Cluster, watched: &[Watched]) -> Result<Figures> {
    let port = ports::free_port();
    let started = Instant::now();
    let mut daemon = start(cluster, watched, port);
    let first = first_answer(arguments, watched, port, started).await?;
    // The second round comes a second after the first.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = process::cpu(daemon.pid())?;
    let measured = Instant::now();
    let mut round: f64 = 0.0;
    while measured.elapsed() < arguments.common.length() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        round = round.max(slowest_round(port).await?);
    }
    let used = process::cpu(daemon.pid())? - before;
    let rss_mib = process::rss_mib(daemon.pid())?;
    for one in watched {
        for module in &one.modules {
            get(port, &format!("/api/v1/modules/{}/{module}", one.name)).await?;
        }
    }
    let page = http::get(&daemon.admin("/metrics")).await?.text();
    let series = page
        .lines()
        .filter(|line| line.starts_with("kmonitor_partition_lag_records{"));
    let expected = arguments.modules * arguments.partitions.unsigned_abs();
    ensure!(
        series.count() == usize::try_from(expected)?,
        "a partition has no series"
    );
    let scraped_mib = process::rss_mib(daemon.pid())?;
    let server = load::Server {
        port,
        pid: daemon.pid(),
    };
    let clients = usize::try_from(arguments.clients)?;
    // What follows the name is passed over.
    let template = load::Template::get("/delay?nth=");
    let asked = load::measure(server, clients, &template, arguments.common.length().min(ASKED));
    let answers = LocalSet::new().run_until(asked).await?;
    let figures = Figures {
        first,
        round,
        cpu: 100.0 * used.as_secs_f64() / measured.elapsed().as_secs_f64(),
        rss_mib,
        scraped_mib,
        answers,
    };
    daemon.terminate().await;
    Ok(figures)
}

fn start(cluster: &Cluster, watched: &[Watched], port: u16) -> Daemon {
    let mut main = "base:\n log_dir: ./log\n log_level: 4\n clusters:\n".to_owned();
    let mut sections = String::new();
    for one in watched {
        let Watched { name, chroot, .. } = one;
        let Cluster {
            zookeeper, brokers, ..
        } = cluster;
        writeln!(main, "  - {name}").expect("writing to a String cannot fail");
        write!(
            sections,
            "{name}:\n chroot: {chroot}\n zk_hosts: [{zookeeper}]\n zk_connect_timeout_ms: 1000\n \
             zk_session_timeout_ms: 6000\n broker_hosts: [{brokers}]\n"
        )
        .expect("writing to a String cannot fail");
    }
    main +=
        &format!("http_server:\n port: {port}\n read_timeout_ms: 1000\n write_timeout_ms: 1000\n{sections}");
    Setup::new("kmonitor", main).spawn()
}

/// Until `/delay` has a number for every partition, and the right one.
async fn first_answer(
    arguments: &Arguments,
    watched: &[Watched],
    port: u16,
    started: Instant,
) -> Result<Duration> {
    let of_module: BTreeMap<String, u64> = (0..arguments.partitions)
        .map(|partition| (partition.to_string(), 0))
        .collect();
    let of_cluster = |one: &Watched| {
        let modules = one
            .modules
            .iter()
            .map(|module| (module.clone(), of_module.clone()));
        (one.name.clone(), modules.collect::<BTreeMap<_, _>>())
    };
    let expected = serde_json::to_value(watched.iter().map(of_cluster).collect::<BTreeMap<_, _>>())?;
    while started.elapsed() < FIRST {
        if let Ok(answer) = get(port, "/delay").await
            && answer == expected
        {
            return Ok(started.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("no full answer within {FIRST:?}")
}

async fn slowest_round(port: u16) -> Result<f64> {
    let answer = get(port, "/api/v1/clusters").await?;
    let clusters = answer["clusters"].as_array().context("no clusters")?;
    let rounds = clusters.iter().filter_map(|one| one["round_seconds"].as_f64());
    Ok(rounds.fold(0.0, f64::max))
}

async fn get(port: u16, path: &str) -> Result<Value> {
    let answer = http::get(&format!("http://127.0.0.1:{port}{path}")).await?;
    Ok(serde_json::from_slice(&answer.body)?)
}

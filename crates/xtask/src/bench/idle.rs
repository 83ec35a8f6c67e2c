//! `bench idle`: what many modules without traffic cost, beside as many bare Kafka consumers.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use ktests::{Cluster, Daemon, Setup, eventually, unique};

use super::yardstick::Running;
use super::{Common, median, process};

/// How long after the start nothing counts.
const SETTLE: Duration = Duration::from_secs(10);
/// How long all modules may take to own their partitions.
const OWNED: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(super) common: Common,
    /// How many modules, each with a topic of its own.
    #[arg(long, default_value_t = 50)]
    modules: usize,
    /// How many partitions each topic has.
    #[arg(long, default_value_t = 1)]
    partitions: i32,
}

/// The figures of one measurement.
#[derive(Clone, Copy)]
struct Figures {
    /// Per cent of one core.
    cpu: f64,
    rss_mib: u64,
    threads: usize,
}

pub(super) async fn bench(arguments: &Arguments, cluster: &Cluster) -> Result<()> {
    let Common { runs, seconds, .. } = arguments.common;
    let Arguments {
        modules, partitions, ..
    } = *arguments;
    let prefix = unique("idle");
    let topics: Vec<String> = (0..modules).map(|nth| format!("{prefix}-{nth}")).collect();
    for topic in &topics {
        cluster.create_topic(topic, partitions).await?;
    }
    println!(
        "{modules} idle modules with a topic of {partitions} partitions each; medians of {runs} runs of {seconds} s, {SETTLE:?} \
         after all partitions are owned, alternating\n\
         yardstick: one process with as many bare consumers of librdkafka, one for each topic, polled by one thread\n"
    );
    println!("| modules | partitions | % of a core | RSS MiB | threads | yardstick % | RSS MiB | threads |");
    println!("|---|---|---|---|---|---|---|---|");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let consumers = Running::consumers(&cluster.brokers, &prefix, modules, partitions)?;
        theirs.push(measure(consumers.pid, arguments.common.length()).await?);
        drop(consumers);
        let mut daemon = start(cluster, &topics);
        wait_until_owned(&daemon, modules, partitions).await;
        let figures = measure(daemon.pid(), arguments.common.length()).await;
        daemon.terminate().await;
        ours.push(figures?);
    }
    let cpu = |figures: &Figures| figures.cpu;
    let (ours, theirs) = (median(ours, cpu)?, median(theirs, cpu)?);
    println!(
        "| {modules} | {partitions} | {:.2} | {} | {} | {:.2} | {} | {} |",
        ours.cpu, ours.rss_mib, ours.threads, theirs.cpu, theirs.rss_mib, theirs.threads
    );
    for topic in &topics {
        cluster.delete_topic(topic).await?;
    }
    Ok(())
}

async fn measure(pid: u32, length: Duration) -> Result<Figures> {
    tokio::time::sleep(SETTLE).await;
    let before = process::cpu(pid)?;
    tokio::time::sleep(length).await;
    let used = process::cpu(pid)? - before;
    Ok(Figures {
        cpu: 100.0 * used.as_secs_f64() / length.as_secs_f64(),
        rss_mib: process::rss_mib(pid)?,
        threads: process::threads(pid)?,
    })
}

fn start(cluster: &Cluster, topics: &[String]) -> Daemon {
    let hosts = cluster.zookeeper.split(',');
    let hosts: String = hosts.map(|host| format!("  - {host}\n")).collect();
    let enabled: String = topics.iter().map(|topic| format!("  - {topic}\n")).collect();
    let main = format!(
        "log_dir: ./log\nlog_level: 4\nzk_hosts:\n{hosts}zk_chroot: {}\nzk_timeout_ms: 6000\n\
         module_conf_dir: ./conf/modules\nmodule_enabled:\n{enabled}",
        cluster.chroot
    );
    // Otherwise as in the example: 100 workers, a window of 200.
    let module = |topic: &String| {
        format!(
            "topic: {topic}\nprotocol:\n  name: http\n  uri: /push\n  read_timeout_ms: 0\n  write_timeout_ms: 100\n  \
             conn_timeout_ms: 100\nworker_num: 100\nwindow_size: 200\nmax_retry_times: -1\n\
             fail_retry_interval_ms: 200\nbackend_servers:\n  - 127.0.0.1:9\n"
        )
    };
    let setup = topics.iter().fold(Setup::new("ktransfer", main), |setup, topic| {
        setup.file(format!("conf/modules/{topic}.yaml"), module(topic))
    });
    setup.spawn()
}

async fn wait_until_owned(daemon: &Daemon, modules: usize, partitions: i32) {
    let all = modules * usize::try_from(partitions).unwrap_or_default();
    eventually("every partition is owned", OWNED, async || {
        let page = ktests::http::get(&daemon.admin("/metrics")).await.ok()?.text();
        let held = page
            .lines()
            .filter(|line| line.starts_with("ktransfer_partitions_held{"));
        let held = held.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        (held.sum::<usize>() == all).then_some(())
    })
    .await;
}

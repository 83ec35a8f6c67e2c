//! `bench backlog`: how much memory ktransfer takes beside a long backlog of many keys with large bodies mixed in, first while
//! the backend is away, so that everything that is taken in waits, then until all is delivered.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use ktests::{Cluster, Daemon, NewRecord, Setup, ports, unique};

use super::yardstick::Running;
use super::{Common, process, sink};

/// The value of a small record.
const SMALL: usize = 60;
/// The value of a large one.
const LARGE: usize = 900_000;
/// How many records are written before the next are made.
const BATCH: usize = 200_000;
/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is printed.
const LINE: Duration = Duration::from_secs(5);
/// How long nothing may arrive before a run is stuck.
const STUCK: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(super) common: Common,
    /// How many records.
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    /// How many of them are of 900 kB; the others have 60 bytes.
    #[arg(long, default_value_t = 500)]
    large: usize,
    /// Over how many keys, in turn.
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Over how many partitions.
    #[arg(long, default_value_t = 8)]
    partitions: i32,
    /// How many workers.
    #[arg(long, default_value_t = 100)]
    workers: usize,
    /// How long the backend is away at first, in seconds.
    #[arg(long, default_value_t = 20)]
    away: u64,
    /// How long deliveries are watched at most, in seconds.
    #[arg(long, default_value_t = 3600)]
    limit: u64,
}

/// The memory of a process over time.
struct Watch {
    pid: u32,
    start: Instant,
    peak: u64,
    printed: Option<Instant>,
}

impl Watch {
    /// Looks at the memory; one line each [`LINE`].
    fn look(&mut self, delivered: u64) -> Result<()> {
        let rss = process::rss_mib(self.pid)?;
        self.peak = self.peak.max(rss);
        if self.printed.is_none_or(|last| last.elapsed() >= LINE) {
            self.printed = Some(Instant::now());
            println!(
                "| {:.0} | {delivered} | {rss} |",
                self.start.elapsed().as_secs_f64()
            );
        }
        Ok(())
    }
}

pub(super) async fn bench(arguments: &Arguments, cluster: &Cluster) -> Result<()> {
    let topic = unique("backlog");
    cluster.create_topic(&topic, arguments.partitions).await?;
    write(arguments, cluster, &topic).await?;
    let (records, large) = (arguments.records, arguments.large);
    println!(
        "ktransfer: {records} records of {SMALL} bytes, {large} of them of {LARGE}, {} keys, {} partitions, {} workers,\n\
         the default budget; the backend is away for {} s\n",
        arguments.keys, arguments.partitions, arguments.workers, arguments.away
    );
    let outcome = measure(arguments, cluster, &topic).await;
    cluster.delete_topic(&topic).await?;
    outcome
}

async fn write(arguments: &Arguments, cluster: &Cluster, topic: &str) -> Result<()> {
    let writer = cluster.writer()?;
    let each = (arguments.records / arguments.large.max(1)).max(1);
    let record = |number: usize| {
        let large = number % each == each / 2 && arguments.large > 0;
        let body = vec![b'x'; if large { LARGE } else { SMALL }];
        NewRecord::keyed(format!("k{}", number % arguments.keys), body)
    };
    for first in (0..arguments.records).step_by(BATCH) {
        let last = (first + BATCH).min(arguments.records);
        writer.produce(topic, (first..last).map(record)).await?;
    }
    Ok(())
}

async fn measure(arguments: &Arguments, cluster: &Cluster, topic: &str) -> Result<()> {
    let port = ports::free_port();
    let mut daemon = daemon(arguments, cluster, topic, port);
    let mut watch = Watch {
        pid: daemon.pid(),
        start: Instant::now(),
        peak: 0,
        printed: None,
    };
    println!("| seconds | delivered | RSS MiB |\n|---|---|---|");
    while watch.start.elapsed() < Duration::from_secs(arguments.away) {
        tokio::time::sleep(LOOK).await;
        watch.look(0)?;
    }
    let away = std::mem::take(&mut watch.peak);
    let sink = Running::sink_at(port, sink::Service::default()).await?;
    let (mut delivered, mut moved) = (0, Instant::now());
    let records = u64::try_from(arguments.records)?;
    let end = Instant::now() + Duration::from_secs(arguments.limit);
    while delivered < records && Instant::now() < end {
        tokio::time::sleep(LOOK).await;
        let taken = sink::taken(sink.port).await?.count;
        if taken > delivered {
            (delivered, moved) = (taken, Instant::now());
        } else if moved.elapsed() > STUCK {
            bail!("stuck: the backend has {taken} of {records} records");
        }
        watch.look(delivered)?;
    }
    println!(
        "\npeak while the backend was away: {away} MiB; afterwards: {} MiB; at the end: {} MiB; {delivered} delivered after {:.0} s",
        watch.peak,
        process::rss_mib(watch.pid)?,
        watch.start.elapsed().as_secs_f64()
    );
    daemon.terminate().await;
    Ok(())
}

fn daemon(arguments: &Arguments, cluster: &Cluster, topic: &str, port: u16) -> Daemon {
    let hosts = cluster.zookeeper.split(',');
    let hosts: String = hosts.map(|host| format!("  - {host}\n")).collect();
    let module = unique("backlog");
    let main = format!(
        "log_dir: ./log\nlog_level: 4\nzk_hosts:\n{hosts}zk_chroot: {}\nzk_timeout_ms: 6000\n\
         module_conf_dir: ./conf/modules\nmodule_enabled:\n  - {module}\n",
        cluster.chroot
    );
    let file = format!(
        "topic: {topic}\nprotocol:\n  name: http\n  uri: /push/backlog?key={{#KEY}}&transid={{#TRANSID}}\n  \
         read_timeout_ms: 0\n  write_timeout_ms: 10000\n  conn_timeout_ms: 1000\nworker_num: {}\nwindow_size: {}\n\
         max_retry_times: -1\nfail_retry_interval_ms: 5000\nbackend_servers:\n  - 127.0.0.1:{port}\n",
        arguments.workers,
        arguments.workers * 2,
    );
    let setup = Setup::new("ktransfer", main);
    setup.file(format!("conf/modules/{module}.yaml"), file).spawn()
}

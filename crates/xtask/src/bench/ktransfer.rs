//! `bench ktransfer`: how fast stored records reach a backend, whole run from the first push to the last.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use ktests::{Backend, Cluster, NewRecord, Setup, ports};

use super::{usage, yardstick};

const KEYS: usize = 10_000;
const BODY: usize = 240;
/// How long a run may stand still before it counts as stuck.
const STUCK: Duration = Duration::from_secs(20);

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many partitions, one run each.
    #[arg(long, value_delimiter = ',', default_value = "1,8")]
    partitions: Vec<i32>,
    /// How many records.
    #[arg(long, default_value_t = 400_000)]
    records: usize,
    /// How many workers, one run each.
    #[arg(long, value_delimiter = ',', default_value = "100")]
    workers: Vec<usize>,
}

/// The figures of one run.
struct Figures {
    per_second: f64,
    /// CPU time of the pushing process per record.
    cpu: Duration,
    rss_mib: u64,
}

pub(super) async fn bench(arguments: &Arguments, cluster: &Cluster, binaries: &Path) -> Result<()> {
    let records = arguments.records;
    println!(
        "ktransfer, {records} records of {BODY} bytes, {KEYS} keys; yardstick: the same client, no Kafka\n"
    );
    println!(
        "partitions | workers | ktransfer/s | push p50 ms | p99 ms | CPU µs | RSS MiB | yardstick/s | CPU µs | ratio"
    );
    for &partitions in &arguments.partitions {
        let topic = format!("bench-{partitions}");
        cluster.create_topic(&topic, partitions).await?;
        let produced = (0..records).map(|number| NewRecord::keyed(format!("key-{}", number % KEYS), body()));
        cluster.produce(&topic, produced).await?;
        for &workers in &arguments.workers {
            let yardstick = yardstick(workers, records).await?;
            let (figures, push) = run(cluster, binaries, &topic, workers, records).await?;
            print_row(partitions, workers, &figures, push, &yardstick);
        }
    }
    Ok(())
}

fn body() -> String {
    "x".repeat(BODY)
}

async fn yardstick(workers: usize, records: usize) -> Result<Figures> {
    let backend = Backend::start_counting().await;
    let arguments = [
        "client".to_owned(),
        backend.address(),
        workers.to_string(),
        records.to_string(),
        BODY.to_string(),
    ];
    let mut child = yardstick::spawn(&arguments)?;
    let pid = child.id().context("the yardstick ended")?;
    let figures = watch(&backend, pid, records).await?;
    child.kill().await?;
    Ok(figures)
}

/// The run's figures, and p50 and p99 of a push as ktransfer itself measured them, in seconds.
async fn run(
    cluster: &Cluster,
    binaries: &Path,
    topic: &str,
    workers: usize,
    records: usize,
) -> Result<(Figures, [Option<f64>; 2])> {
    let backend = Backend::start_counting().await;
    let zookeepers: Vec<&str> = cluster.zookeeper.split(',').collect();
    let main = serde_json::json!({
        "log_dir": "./log",
        "log_level": 4,
        "zk_chroot": cluster.chroot,
        "zk_timeout_ms": 6000,
        "zk_hosts": zookeepers,
        "module_conf_dir": "./conf/modules",
        "module_enabled": ["bench"],
    });
    // A name of its own for each run, so that each starts at the topic's start.
    let module = format!("{topic}-{workers}-{}", ports::free_port());
    let main = serde_yaml::to_string(&main)?.replace("- bench", &format!("- {module}"));
    let file = serde_json::json!({
        "topic": topic,
        "protocol": {
            "name": "http",
            "uri": "/push/{#TOPIC}?key={#KEY}&transid={#TRANSID}",
            "read_timeout_ms": 0,
            "write_timeout_ms": 100,
            "conn_timeout_ms": 100,
        },
        "worker_num": workers,
        "window_size": workers * 2,
        "max_retry_times": -1,
        "fail_retry_interval_ms": 200,
        "initial_offset": "earliest",
        "backend_servers": [backend.address()],
    });
    let setup = Setup::new("ktransfer", main).binaries(binaries);
    let daemon = setup
        .file(
            format!("conf/modules/{module}.yaml"),
            serde_yaml::to_string(&file)?,
        )
        .spawn();
    let figures = watch(&backend, daemon.pid(), records).await?;
    let quantile = async |quantile: &str| {
        daemon
            .metric("ktransfer_push_seconds", &[&format!("quantile=\"{quantile}\"")])
            .await
    };
    let push = [quantile("0.5").await, quantile("0.99").await];
    Ok((figures, push))
}

/// Waits until the backend has taken all records and measures the process `pid` from the first to the last.
async fn watch(backend: &Backend, pid: u32, records: usize) -> Result<Figures> {
    let mut first: Option<(Instant, Duration, usize)> = None;
    let mut moved = (Instant::now(), 0);
    loop {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let (count, now) = (backend.delivered(), Instant::now());
        if count > 0 && first.is_none() {
            first = Some((now, usage::cpu(pid)?, count));
        }
        if count >= records {
            break;
        }
        if count > moved.1 {
            moved = (now, count);
        } else if now - moved.0 > STUCK {
            bail!("stuck at {count} of {records} records");
        }
    }
    let (start, cpu, before) = first.context("nothing was pushed")?;
    let elapsed = start.elapsed();
    let cpu = usage::cpu(pid)?.saturating_sub(cpu);
    #[expect(clippy::cast_precision_loss, reason = "a count of records fits")]
    let pushed = (records - before) as f64;
    Ok(Figures {
        per_second: pushed / elapsed.as_secs_f64(),
        cpu: Duration::from_secs_f64(cpu.as_secs_f64() / pushed),
        rss_mib: usage::rss_mib(pid)?,
    })
}

fn print_row(
    partitions: i32,
    workers: usize,
    figures: &Figures,
    push: [Option<f64>; 2],
    yardstick: &Figures,
) {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let [p50, p99] = push.map(|push| push.map_or("-".to_owned(), |seconds| format!("{:.2}", seconds * 1e3)));
    println!(
        "{partitions:>10} | {workers:>7} | {:>11.0} | {p50:>11} | {p99:>6} | {:>6.1} | {:>7} | {:>11.0} | {:>6.1} | {:>5.2}",
        figures.per_second,
        micros(figures.cpu),
        figures.rss_mib,
        yardstick.per_second,
        micros(yardstick.cpu),
        figures.per_second / yardstick.per_second,
    );
}

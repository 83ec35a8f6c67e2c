//! `bench ktransfer`: how fast stored records reach a backend, from the first push to the last.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use ktests::{Cluster, NewRecord, Setup, http, unique};

use super::yardstick::Running;
use super::{Common, median, micros, process, sink};

const KEYS: usize = 10_000;
const BODY: usize = 240;
/// Records for each second that a measurement is to take.
const RATE: usize = 90_000;
/// How often the backend is asked how far it is.
const POLL: Duration = Duration::from_millis(50);
/// How long nothing may arrive before a run is stuck.
const STUCK: Duration = Duration::from_secs(20);

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(super) common: Common,
    /// How many partitions; a topic each.
    #[arg(long, value_delimiter = ',', default_value = "1,8")]
    partitions: Vec<i32>,
    /// How many workers; the window is twice that. One line of the table for each, on each topic.
    #[arg(long, value_delimiter = ',', default_value = "100")]
    workers: Vec<usize>,
    /// How many records [default: 90,000 for each of --seconds].
    #[arg(long)]
    records: Option<usize>,
}

/// The figures of one measurement.
#[derive(Clone, Copy)]
struct Figures {
    per_second: f64,
    /// CPU time of the pushing process per record.
    cpu: Duration,
    rss_mib: u64,
    /// Bounds in seconds of p50 and p99 of a push, as ktransfer itself counts them.
    push: [Option<f64>; 2],
}

/// The work of one measurement.
#[derive(Clone, Copy)]
struct Work {
    workers: usize,
    records: usize,
    /// A measurement that takes longer is ended, and counts as far as it got.
    limit: Duration,
}

/// The body of every record, for the yardstick too.
pub(super) fn body() -> Vec<u8> {
    vec![b'x'; BODY]
}

fn key(number: usize) -> String {
    format!("k{}", number % KEYS)
}

/// What ktransfer makes of [`MODULE_URI`] for the record at this offset.
pub(super) fn uri(number: usize) -> String {
    format!("/push/bench?key={}&transid={number}", key(number))
}

const MODULE_URI: &str = "/push/bench?key={#KEY}&transid={#TRANSID}";

pub(super) async fn bench(arguments: &Arguments, cluster: &Cluster) -> Result<()> {
    let Common { seconds, runs, .. } = arguments.common;
    let length = arguments.common.length();
    let records = arguments.records.unwrap_or(RATE * usize::try_from(seconds)?);
    println!(
        "ktransfer: one POST per record, {records} records of {BODY} bytes, {KEYS} keys, one backend on this machine\n\
         yardstick: one hyper connection per worker on one thread, the same requests from memory, the same backend;\n\
         median of {runs} runs, alternating; rate from the first to the last request at the backend\n"
    );
    println!(
        "| partitions | workers | records/s | push p50 ≤ ms | p99 ≤ ms | CPU µs/record | RSS MiB | yardstick/s | CPU µs/record | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for &partitions in &arguments.partitions {
        let topic = unique("bench");
        cluster.create_topic(&topic, partitions).await?;
        let produced = (0..records).map(|number| NewRecord::keyed(key(number), body()));
        cluster.produce(&topic, produced).await?;
        for &workers in &arguments.workers {
            let work = Work {
                workers,
                records,
                limit: length * 4,
            };
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..runs {
                theirs.push(yardstick(work).await?);
                ours.push(ktransfer(cluster, &topic, work).await?);
            }
            let rate = |figures: &Figures| figures.per_second;
            print_row(partitions, workers, &median(ours, rate)?, &median(theirs, rate)?);
        }
        cluster.delete_topic(&topic).await?;
    }
    Ok(())
}

async fn yardstick(work: Work) -> Result<Figures> {
    let sink = Running::sink().await?;
    let client = Running::client(sink.port, work.workers, work.records)?;
    watch(&sink, client.pid, work).await
}

async fn ktransfer(cluster: &Cluster, topic: &str, work: Work) -> Result<Figures> {
    let sink = Running::sink().await?;
    let hosts = cluster.zookeeper.split(',');
    let hosts: String = hosts.map(|host| format!("  - {host}\n")).collect();
    // A module of its own for each measurement: it begins at the topic's start.
    let module = unique("bench");
    let main = format!(
        "log_dir: ./log\nlog_level: 4\nzk_hosts:\n{hosts}zk_chroot: {}\nzk_timeout_ms: 6000\n\
         module_conf_dir: ./conf/modules\nmodule_enabled:\n  - {module}\n",
        cluster.chroot
    );
    let file = format!(
        "topic: {topic}\nprotocol:\n  name: http\n  uri: {MODULE_URI}\n  read_timeout_ms: 0\n  \
         write_timeout_ms: 100\n  conn_timeout_ms: 100\nworker_num: {}\nwindow_size: {}\nmax_retry_times: -1\n\
         fail_retry_interval_ms: 200\nbackend_servers:\n  - 127.0.0.1:{}\n",
        work.workers,
        work.workers * 2,
        sink.port
    );
    let setup = Setup::new("ktransfer", main);
    let mut daemon = setup.file(format!("conf/modules/{module}.yaml"), file).spawn();
    let figures = watch(&sink, daemon.pid(), work).await;
    let page = http::get(&daemon.admin("/metrics")).await?.text();
    // In good order, so that its session does not linger beside the next measurement.
    daemon.terminate().await;
    Ok(Figures {
        push: [0.5, 0.99].map(|quantile| quantile_of(&page, "ktransfer_push_seconds", quantile)),
        ..figures?
    })
}

/// The upper bound of the bucket of a histogram that holds this quantile.
fn quantile_of(page: &str, name: &str, quantile: f64) -> Option<f64> {
    let buckets = page.lines().filter_map(|line| {
        let series = line.strip_prefix(name)?.strip_prefix("_bucket")?;
        let (labels, count) = series.rsplit_once(' ')?;
        // From the right: `module="` ends like it.
        let (_, bound) = labels.rsplit_once("le=\"")?;
        let (bound, _) = bound.split_once('"')?;
        Some((bound.parse::<f64>().ok()?, count.parse::<f64>().ok()?))
    });
    let buckets: Vec<(f64, f64)> = buckets.collect();
    let (_, all) = *buckets.last()?;
    let (bound, _) = buckets.iter().find(|(_, count)| *count >= all * quantile)?;
    Some(*bound)
}

/// Waits until the sink has taken all records, and tells what the process `pid` used from the first to the last.
async fn watch(sink: &Running, pid: u32, work: Work) -> Result<Figures> {
    let records = u64::try_from(work.records)?;
    let mut before = None;
    let mut moved = (Instant::now(), 0);
    let (taken, cpu, start) = loop {
        tokio::time::sleep(POLL).await;
        let (taken, cpu, now) = (sink::taken(sink.port).await?, process::cpu(pid)?, Instant::now());
        if taken.count == moved.1 {
            if now - moved.0 > STUCK {
                bail!("stuck: the backend has {} of {records} records", taken.count);
            }
            continue;
        }
        moved = (now, taken.count);
        let start = *before.get_or_insert((now, taken.count, cpu));
        if taken.count >= records || now - start.0 > work.limit {
            break (taken, cpu, start);
        }
    };
    let (_, count_before, cpu_before) = start;
    let counted = u32::try_from(taken.count - count_before)?.max(1);
    Ok(Figures {
        per_second: f64::from(u32::try_from(taken.count)?) / taken.between.as_secs_f64(),
        cpu: (cpu - cpu_before) / counted,
        rss_mib: process::rss_mib(pid)?,
        push: [None; 2],
    })
}

fn print_row(partitions: i32, workers: usize, ours: &Figures, theirs: &Figures) {
    let [p50, p99] = ours
        .push
        .map(|push| push.map_or("-".to_owned(), |seconds| format!("{:.1}", seconds * 1e3)));
    println!(
        "| {partitions} | {workers} | {:.0} | {p50} | {p99} | {:.1} | {} | {:.0} | {:.1} | {:.2} |",
        ours.per_second,
        micros(ours.cpu),
        ours.rss_mib,
        theirs.per_second,
        micros(theirs.cpu),
        ours.per_second / theirs.per_second,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let page = "x_seconds_bucket{module=\"a\",le=\"0.001\"} 90\nx_seconds_bucket{module=\"a\",le=\"0.005\"} 99\n\
            x_seconds_bucket{module=\"a\",le=\"+Inf\"} 100\nx_seconds_sum{module=\"a\"} 1\n";
        assert_eq!(quantile_of(page, "x_seconds", 0.5), Some(0.001));
        assert_eq!(quantile_of(page, "x_seconds", 0.99), Some(0.005));
        assert_eq!(quantile_of(page, "x_seconds", 0.995), Some(f64::INFINITY));
        assert_eq!(quantile_of("", "x_seconds", 0.5), None);
    }
}

//! Below full speed: records are written at a steady rate while ktransfer runs, and it tells how long each waited between
//! its fetch and the start of its push.

use std::time::Duration;

use anyhow::Result;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use ktests::{Cluster, NewRecord, http, unique};
use tokio::time::{Instant, MissedTickBehavior};

use super::figures::{Extent, quantiles_between, shown, watch};
use super::{Arguments, BODY, KEYS, body, key, start};
use crate::bench::yardstick::Running;
use crate::bench::{Common, micros, sink};

/// Records are written in portions, one each so often.
const PORTION: Duration = Duration::from_millis(1);
/// Time before anything counts: the writer and ktransfer get to know a topic that was just made, and catch up.
const WARM_UP: Duration = Duration::from_secs(3);
/// Portions that wait for their acknowledgement; with more of them the rate falls behind.
const UNACKNOWLEDGED: usize = 500;

pub(super) async fn bench(arguments: &Arguments, rate: u32, cluster: &Cluster) -> Result<()> {
    let Common { seconds, .. } = arguments.common;
    println!(
        "ktransfer: one POST per record of {BODY} bytes, {KEYS} keys, while {rate} records/s are written, for {seconds} s after {WARM_UP:?}\n\
         wait: from the fetch of a record to the start of its push, as ktransfer counts it\n"
    );
    println!("| partitions | workers | records/s | wait p50 ≤ ms | p99 ≤ ms | CPU µs/record | RSS MiB |");
    println!("|---|---|---|---|---|---|---|");
    for &partitions in &arguments.partitions {
        for &workers in &arguments.workers {
            let topic = unique("bench");
            cluster.create_topic(&topic, partitions).await?;
            let sink = Running::sink(sink::Service::default()).await?;
            let mut daemon = start::ktransfer(cluster, &topic, workers, sink.port);
            daemon.wait_ready().await;
            let length = WARM_UP + arguments.common.length();
            let extent = Extent {
                records: usize::try_from(u128::from(rate) * length.as_millis() / 1_000)?,
                time: length * 4,
            };
            let metrics = daemon.admin("/metrics");
            let warm = async {
                tokio::time::sleep(WARM_UP).await;
                http::get(&metrics).await
            };
            let (written, warm, figures) = tokio::join!(
                write(cluster, &topic, rate, length),
                warm,
                watch(&sink, daemon.pid(), extent)
            );
            let page = http::get(&metrics).await?.text();
            daemon.terminate().await;
            written?;
            let figures = figures?;
            let waited = quantiles_between(&warm?.text(), &page, "ktransfer_wait_seconds", [0.5, 0.99]);
            let [p50, p99] = waited.map(shown);
            println!(
                "| {partitions} | {workers} | {:.0} | {p50} | {p99} | {:.1} | {} |",
                figures.per_second,
                micros(figures.cpu),
                figures.rss_mib
            );
            cluster.delete_topic(&topic).await?;
        }
    }
    Ok(())
}

/// Writes `rate` records a second for so long. No portion waits for the acknowledgement of the one before, which would make
/// bursts of a steady rate.
async fn write(cluster: &Cluster, topic: &str, rate: u32, length: Duration) -> Result<()> {
    let writer = cluster.writer()?;
    let mut ticks = tokio::time::interval(PORTION);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (begin, mut written) = (Instant::now(), 0);
    let mut storing = FuturesUnordered::new();
    while begin.elapsed() < length {
        tokio::select! {
            Some(stored) = storing.next() => drop(stored?),
            _tick = ticks.tick(), if storing.len() < UNACKNOWLEDGED => {
                let passed = begin.elapsed().min(length);
                let until = usize::try_from(passed.as_millis() * u128::from(rate) / 1_000)?;
                let portion: Vec<_> = (written..until).map(|number| NewRecord::keyed(key(number), body())).collect();
                storing.push(writer.produce(topic, portion));
                written = until;
            }
        }
    }
    let rest = usize::try_from(u128::from(rate) * length.as_millis() / 1_000)?;
    let last = (written..rest).map(|number| NewRecord::keyed(key(number), body()));
    storing.push(writer.produce(topic, last.collect::<Vec<_>>()));
    while let Some(stored) = storing.next().await {
        stored?;
    }
    Ok(())
}

//! At full speed, alternating with the yardstick.

use anyhow::Result;
use ktests::{Cluster, http};

use super::figures::{Extent, Figures, quantiles_of, shown, watch};
use super::{Arguments, BODY, KEYS, start};
use crate::bench::yardstick::Running;
use crate::bench::{Common, median, micros, sink};

/// Records for each second that a measurement is to take.
const RATE: usize = 90_000;

pub(super) async fn bench(arguments: &Arguments, cluster: &Cluster) -> Result<()> {
    let Common { seconds, runs, .. } = arguments.common;
    let records = arguments.records.unwrap_or(RATE * usize::try_from(seconds)?);
    let extent = Extent {
        records,
        time: arguments.common.length() * 4,
    };
    println!(
        "ktransfer: one POST per record, {records} records of {BODY} bytes, {KEYS} keys, one backend on this machine\n\
         yardstick: one hyper connection per worker on one thread, the same requests from memory, the same backend;\n\
         medians of {runs} runs each, alternating; rate from the first to the last request at the backend\n"
    );
    println!(
        "| partitions | workers | records/s | push p50 ≤ ms | p99 ≤ ms | CPU µs/record | RSS MiB | yardstick/s | CPU µs/record | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for &partitions in &arguments.partitions {
        let topic = arguments.filled_topic(cluster, partitions, records).await?;
        for &workers in &arguments.workers {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..runs {
                theirs.push(yardstick(workers, extent).await?);
                ours.push(ktransfer(cluster, &topic, workers, extent).await?);
            }
            print_row(partitions, workers, &medians(ours)?, &medians(theirs)?);
        }
        cluster.delete_topic(&topic).await?;
    }
    Ok(())
}

async fn yardstick(workers: usize, extent: Extent) -> Result<Figures> {
    let sink = Running::sink(sink::Service::default()).await?;
    let client = Running::client(sink.port, workers, extent.records)?;
    watch(&sink, client.pid, extent).await
}

async fn ktransfer(cluster: &Cluster, topic: &str, workers: usize, extent: Extent) -> Result<Figures> {
    let sink = Running::sink(sink::Service::default()).await?;
    let mut daemon = start::ktransfer(cluster, topic, workers, sink.port);
    let figures = watch(&sink, daemon.pid(), extent).await;
    let page = http::get(&daemon.admin("/metrics")).await?.text();
    // In good order, so that its session does not linger beside the next measurement.
    daemon.terminate().await;
    Ok(Figures {
        quantiles: quantiles_of(&page, "ktransfer_push_seconds", [0.5, 0.99]),
        ..figures?
    })
}

/// The medians of rate, CPU time and memory, each for itself; the rest is that of the run with the median rate.
fn medians(runs: Vec<Figures>) -> Result<Figures> {
    let cpu = median(runs.clone(), |figures| figures.cpu.as_secs_f64())?.cpu;
    let rss = runs.iter().map(|figures| figures.rss_mib);
    let mut rss: Vec<u64> = rss.collect();
    rss.sort_unstable();
    let rss_mib = rss.get(rss.len() / 2).copied().unwrap_or_default();
    let middle = median(runs, |figures| figures.per_second)?;
    Ok(Figures {
        cpu,
        rss_mib,
        ..middle
    })
}

fn print_row(partitions: i32, workers: usize, ours: &Figures, theirs: &Figures) {
    let [p50, p99] = ours.quantiles.map(shown);
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_figure_has_its_own_median() {
        let run = |per_second, micros, rss_mib| Figures {
            per_second,
            cpu: Duration::from_micros(micros),
            rss_mib,
            served: Duration::ZERO,
            quantiles: [None; 2],
        };
        let middle = medians(vec![run(1.0, 9, 30), run(2.0, 7, 10), run(3.0, 8, 20)]).unwrap();
        assert_eq!(
            (middle.per_second, middle.cpu, middle.rss_mib),
            (2.0, Duration::from_micros(8), 20)
        );
    }
}

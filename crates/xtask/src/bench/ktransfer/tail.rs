//! With a backend of which a few pushes take a thousand times as long as the others: how near the workers come to what
//! they could do if none ever waited for anything but the backend.

use std::time::Duration;

use anyhow::{Context as _, Result};
use ktests::{Cluster, Daemon};

use super::figures::{Extent, watch};
use super::{Arguments, BODY, KEYS, start};
use crate::bench::yardstick::Running;
use crate::bench::{Common, micros, sink};

/// How long the backend takes.
const SERVICE: sink::Service = sink::Service {
    usual: Duration::from_millis(5),
    one_in: 10_000,
    slow: Duration::from_secs(5),
};

pub(super) async fn bench(arguments: &Arguments, cluster: &Cluster) -> Result<()> {
    let Common { seconds, .. } = arguments.common;
    let sink::Service { usual, one_in, slow } = SERVICE;
    println!(
        "ktransfer: one POST per record of {BODY} bytes, {KEYS} keys; the backend takes {usual:?} for a push, and {slow:?} for \
         one of {one_in}; {seconds} s from the first push\n\
         ceiling: workers / mean time of a push, slow ones included; as ktransfer sees it, and as the backend does, from a whole\n\
         request to its answer, without the way there and back\n"
    );
    println!(
        "| partitions | workers | records/s | ms/push | ceiling/s | ratio | backend's ms/push | ratio | CPU µs/record | RSS MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for &partitions in &arguments.partitions {
        for &workers in &arguments.workers {
            let time = arguments.common.length();
            // More than can be pushed.
            let per_second = workers * 1_000 / usize::try_from(usual.as_millis())?;
            let records = per_second * usize::try_from(seconds)?;
            let topic = arguments.filled_topic(cluster, partitions, records).await?;
            let sink = Running::sink(SERVICE).await?;
            let mut daemon = start::ktransfer(cluster, &topic, workers, sink.port);
            let figures = watch(&sink, daemon.pid(), Extent { records, time }).await;
            let push = mean_push(&daemon).await;
            daemon.terminate().await;
            let (figures, push) = (figures?, push?);
            let count = f64::from(u32::try_from(workers)?);
            let ceiling = |push: Duration| count / push.as_secs_f64();
            println!(
                "| {partitions} | {workers} | {:.0} | {:.2} | {:.0} | {:.3} | {:.2} | {:.3} | {:.1} | {} |",
                figures.per_second,
                push.as_secs_f64() * 1e3,
                ceiling(push),
                figures.per_second / ceiling(push),
                figures.served.as_secs_f64() * 1e3,
                figures.per_second / ceiling(figures.served),
                micros(figures.cpu),
                figures.rss_mib,
            );
            cluster.delete_topic(&topic).await?;
        }
    }
    Ok(())
}

/// The mean time of a push, as ktransfer has counted it.
async fn mean_push(daemon: &Daemon) -> Result<Duration> {
    let sum = daemon.metric("ktransfer_push_seconds_sum", &[]).await;
    let count = daemon.metric("ktransfer_push_seconds_count", &[]).await;
    let (sum, count) = sum.zip(count).context("ktransfer tells no time of a push")?;
    Ok(Duration::from_secs_f64(sum / count.max(1.0)))
}

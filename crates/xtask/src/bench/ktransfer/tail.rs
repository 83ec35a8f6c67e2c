//! With a backend of which a few pushes take a thousand times as long as the others: how near the workers come to what
//! they could do if none ever waited for anything but the backend.

use std::time::Duration;

use anyhow::Result;
use ktests::Cluster;

use super::figures::{Extent, watch};
use super::{Arguments, BODY, KEYS, filled_topic, start};
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
         ceiling: workers / mean time from a whole request to its answer at the backend, slow ones included\n"
    );
    println!(
        "| partitions | workers | records/s | backend ms/push | ceiling/s | ratio | CPU µs/record | RSS MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for &partitions in &arguments.partitions {
        for &workers in &arguments.workers {
            let time = arguments.common.length();
            // More than can be pushed.
            let per_second = workers * 1_000 / usize::try_from(usual.as_millis())?;
            let records = per_second * usize::try_from(seconds)?;
            let topic = filled_topic(cluster, partitions, records).await?;
            let sink = Running::sink(SERVICE).await?;
            let mut daemon = start::ktransfer(cluster, &topic, workers, sink.port);
            let figures = watch(&sink, daemon.pid(), Extent { records, time }).await;
            daemon.terminate().await;
            let figures = figures?;
            let ceiling = f64::from(u32::try_from(workers)?) / figures.served.as_secs_f64();
            println!(
                "| {partitions} | {workers} | {:.0} | {:.2} | {ceiling:.0} | {:.3} | {:.1} | {} |",
                figures.per_second,
                figures.served.as_secs_f64() * 1e3,
                figures.per_second / ceiling,
                micros(figures.cpu),
                figures.rss_mib,
            );
            cluster.delete_topic(&topic).await?;
        }
    }
    Ok(())
}

//! `bench ktransfer`: how fast stored records reach a backend, from the first push to the last; with `--tail`, what a few
//! slow pushes take from the others; with `--paced`, how long records wait while ktransfer keeps up.

mod figures;
mod full;
mod pacing;
mod start;
mod tail;

use anyhow::Result;
use clap::Args;
use ktests::{Cluster, NewRecord, unique};

use super::Common;

pub(super) use start::uri;

const KEYS: usize = 10_000;
const BODY: usize = 240;

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
    /// Write every record to the first partition of the topic, so that the others are idle.
    #[arg(long, conflicts_with = "paced")]
    lopsided: bool,
    /// Measure with a backend that takes 5 ms, and 5 s for one push of 10,000.
    #[arg(long, conflicts_with_all = ["paced", "records"])]
    tail: bool,
    /// Write so many records each second while ktransfer runs, and tell how long they wait.
    #[arg(long, conflicts_with = "records")]
    paced: Option<u32>,
}

/// The body of every record, for the yardstick too.
pub(super) fn body() -> Vec<u8> {
    vec![b'x'; BODY]
}

fn key(number: usize) -> String {
    format!("k{}", number % KEYS)
}

pub(super) async fn bench(arguments: &Arguments, cluster: &Cluster) -> Result<()> {
    match arguments.paced {
        Some(rate) => pacing::bench(arguments, rate, cluster).await,
        None if arguments.tail => tail::bench(arguments, cluster).await,
        None => full::bench(arguments, cluster).await,
    }
}

impl Arguments {
    /// A new topic that holds so many records.
    async fn filled_topic(&self, cluster: &Cluster, partitions: i32, records: usize) -> Result<String> {
        let topic = unique("bench");
        cluster.create_topic(&topic, partitions).await?;
        let produced = (0..records).map(|number| {
            let record = NewRecord::keyed(key(number), body());
            if self.lopsided {
                record.in_partition(0)
            } else {
                record
            }
        });
        cluster.produce(&topic, produced).await?;
        Ok(topic)
    }
}

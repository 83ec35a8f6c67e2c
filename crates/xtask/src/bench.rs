//! `cargo xtask bench kproxy | ktransfer | backlog | idle | kmonitor`: the daemons as they ship against a real broker, each beside a yardstick of the
//! same run on the same machine.
//!
//! Absolute figures move with the machine and the hour; the ratio to the yardstick is the figure. Nothing is asserted.
//! Everything that is measured is a process of its own, so that its CPU time can be told.

mod backlog;
mod far;
mod idle;
mod kmonitor;
mod kproxy;
mod ktransfer;
mod load;
pub(crate) mod machine;
pub(crate) mod process;
mod sink;
pub(crate) mod yardstick;

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use ktests::cluster::{self, Cluster, Front, Options, OwnCluster};
use ktests::paths;
use tokio::task::LocalSet;

use crate::build;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// POST /commit in a closed loop, against a hyper server that only answers.
    Kproxy(kproxy::Arguments),
    /// Pushes of stored records, against the same HTTP client without Kafka.
    Ktransfer(ktransfer::Arguments),
    /// The memory that ktransfer takes beside a long backlog.
    Backlog(backlog::Arguments),
    /// Many modules without traffic, against as many bare Kafka consumers.
    Idle(idle::Arguments),
    /// Rounds, first answer, CPU and memory of kmonitor over many partitions.
    Kmonitor(kmonitor::Arguments),
}

/// What all benchmarks take.
#[derive(Args, Clone, Copy)]
struct Common {
    /// How long one measurement takes, about, in seconds.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// How many measurements of each kind; medians are printed.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Use the cluster of `cargo xtask cluster up` instead of a private one.
    #[arg(long)]
    shared_cluster: bool,
}

impl What {
    /// The private cluster that it wants.
    fn servers(&self) -> Options {
        match self {
            Self::Kproxy(arguments) => arguments.servers(),
            Self::Ktransfer(_) | Self::Kmonitor(_) | Self::Backlog(_) | Self::Idle(_) => Options::default(),
        }
    }
}

impl Common {
    fn length(self) -> Duration {
        Duration::from_secs(u64::from(self.seconds))
    }
}

/// The cluster of a benchmark.
enum Kafka {
    Private(OwnCluster),
    Shared(Cluster),
}

impl Kafka {
    fn cluster(&self) -> &Cluster {
        match self {
            Self::Private(own) => &own.cluster,
            Self::Shared(cluster) => cluster,
        }
    }

    /// The second listeners of a private cluster's brokers.
    fn fronts(&self) -> &[Front] {
        match self {
            Self::Private(own) => &own.fronts,
            Self::Shared(_) => &[],
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if cfg!(debug_assertions) {
        return again_in_release();
    }
    // Beside this program, where `ktests` looks for them.
    build::daemons(build::Profile::Release)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            outcome = bench(&arguments.what) => outcome,
            // What was started ends with its handles.
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    });
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn bench(what: &What) -> Result<()> {
    let common = match what {
        What::Kproxy(arguments) => arguments.common,
        What::Ktransfer(arguments) => arguments.common,
        What::Backlog(arguments) => arguments.common,
        What::Idle(arguments) => arguments.common,
        What::Kmonitor(arguments) => arguments.common,
    };
    let kafka = match common.shared_cluster {
        true => Kafka::Shared(crate::cluster::running(&crate::cluster::default_dir())?),
        false => Kafka::Private(cluster::own_cluster_with(what.servers()).await),
    };
    let version = match &kafka {
        Kafka::Private(own) => machine::private_kafka(own.cluster.brokers.split(',').count()),
        Kafka::Shared(cluster) => format!("Kafka at {}", cluster.brokers),
    };
    println!("{}", machine::describe(&version)?);
    match what {
        What::Kproxy(arguments) => kproxy::bench(arguments, &kafka).await,
        What::Ktransfer(arguments) => ktransfer::bench(arguments, kafka.cluster()).await,
        What::Backlog(arguments) => backlog::bench(arguments, kafka.cluster()).await,
        What::Idle(arguments) => idle::bench(arguments, kafka.cluster()).await,
        What::Kmonitor(arguments) => kmonitor::bench(arguments, kafka.cluster()).await,
    }
}

/// A load generator that is not optimized would measure itself.
fn again_in_release() -> Result<ExitCode> {
    let status = Command::new(build::cargo())
        .args(["run", "--quiet", "--release", "--package", "xtask", "--"])
        .args(std::env::args_os().skip(1))
        .current_dir(paths::workspace())
        .status()
        .context("start cargo run --release")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The measurement in the middle of all, by `rate`.
fn median<T>(mut all: Vec<T>, rate: impl Fn(&T) -> f64) -> Result<T> {
    all.sort_by(|a, b| rate(a).total_cmp(&rate(b)));
    let middle = all.len() / 2;
    all.into_iter().nth(middle).context("not one measurement")
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 5.0], |rate| *rate).unwrap(), 5.0);
        median(Vec::<f64>::new(), |rate| *rate).unwrap_err();
    }
}

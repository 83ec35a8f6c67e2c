//! `cargo xtask topic create`: a topic on the local cluster, for the commands of README.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::cluster;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// The directory that `cluster up` was given [default: target/cluster].
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// Creates a topic; one that exists already stays as it is.
    Create {
        /// Its name.
        name: String,
        /// How many partitions.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=10_000))]
        partitions: i32,
        /// How many brokers hold each partition.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=9))]
        replication: i32,
    },
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let dir = arguments.dir.clone().unwrap_or_else(cluster::default_dir);
    let cluster = cluster::running(&dir)?;
    let Action::Create {
        name,
        partitions,
        replication,
    } = &arguments.action;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(cluster.create_replicated_topic(name, *partitions, *replication))?;
    println!("topic {name} with {partitions} partitions is there");
    Ok(ExitCode::SUCCESS)
}

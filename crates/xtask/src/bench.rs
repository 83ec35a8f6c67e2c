//! `cargo xtask bench kproxy | ktransfer`: the daemons as they ship against a real broker, beside a yardstick of the
//! same run on the same machine. Absolute figures move with the machine; the ratio to the yardstick is the figure.

mod kproxy;
mod ktransfer;
mod load;
mod usage;
pub(crate) mod yardstick;

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use ktests::cluster::{Cluster, Local, Options};
use ktests::paths;

use crate::build;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// POST /commit in a closed loop, against a server that only answers.
    Kproxy(kproxy::Arguments),
    /// Pushes of stored records, against the same HTTP client without Kafka.
    Ktransfer(ktransfer::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if cfg!(debug_assertions) {
        return again_in_release();
    }
    let binaries = build::daemons(build::Profile::Release)?;
    println!("{}", usage::machine()?);
    let dir = paths::target().join("bench").join("cluster");
    // What an interrupted run left behind holds old records.
    Local::load(&dir)?.map_or(Ok(()), Local::down)?;
    let local = Local::up(&dir, &Options::default())?;
    let outcome = bench(arguments, &local.cluster(), &binaries);
    local.down()?;
    outcome.map(|()| ExitCode::SUCCESS)
}

fn bench(arguments: &Arguments, cluster: &Cluster, binaries: &std::path::Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    match &arguments.what {
        What::Kproxy(arguments) => runtime.block_on(kproxy::bench(arguments, cluster, binaries)),
        What::Ktransfer(arguments) => runtime.block_on(ktransfer::bench(arguments, cluster, binaries)),
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

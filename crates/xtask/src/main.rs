//! `cargo xtask`: the local cluster, the demo, the tests, the benchmarks, the soak. Never shipped.

mod bench;
mod browser;
mod build;
mod cluster;
mod demo;
mod docs;
mod promtool;
mod soak;
#[cfg(test)]
mod structure;
mod test;
mod topic;
mod virtualenv;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Local cluster, demo, tests and benchmarks of kafka-http-wrapper"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// A real Kafka and a real ZooKeeper on this machine.
    Cluster(cluster::Arguments),
    /// Topics of the local cluster.
    Topic(topic::Arguments),
    /// Writes the generated tables of docs/configuration.md.
    Docs,
    /// How fast the daemons are, beside a yardstick of the same run.
    Bench(bench::Arguments),
    /// The same work without Kafka; started by `bench`.
    #[command(hide = true, subcommand)]
    Yardstick(bench::yardstick::Yardstick),
    /// The whole product at work: stores and pushes 20,000 records and kills a ktransfer midway.
    Demo(demo::Arguments),
    /// Hours of load and random faults, as short as you like, and what the checker says of them.
    Soak(soak::Arguments),
    /// Every test of the workspace, on a cluster started for it.
    Test(test::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Cluster(arguments) => cluster::run(&arguments),
        Task::Topic(arguments) => topic::run(&arguments),
        Task::Docs => docs::run(),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Yardstick(yardstick) => bench::yardstick::run(&yardstick),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Soak(arguments) => soak::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

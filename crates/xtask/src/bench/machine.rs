//! What the figures were measured on: machine, compiler, Kafka, commit, and what else was running.

use std::fs;
use std::process::Command;

use anyhow::Result;
use ktests::{cluster, paths};

/// The lines above a benchmark's table; `kafka` says which Kafka it ran on.
pub(crate) fn describe(kafka: &str) -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("an unknown CPU");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(format!(
        "{} cores of {}, shared by all processes here; Linux {}; load average before: {}\n{}; {kafka}; commit {}\n",
        std::thread::available_parallelism()?,
        model.trim_start_matches([' ', '\t', ':']),
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        said("rustc", &["--version"]),
        commit(),
    ))
}

/// The Kafka that a private cluster of so many brokers runs.
pub(crate) fn private_kafka(brokers: usize) -> String {
    let brokers = if brokers == 1 {
        "one broker".to_owned()
    } else {
        format!("{brokers} brokers")
    };
    std::env::var("KAFKA_HOME").map_or_else(
        |_unset| format!("Kafka {} in ZooKeeper mode, {brokers}", cluster::KAFKA_3),
        |home| format!("Kafka of {home}, {brokers}"),
    )
}

fn commit() -> String {
    let hash = said("git", &["rev-parse", "--short", "HEAD"]);
    let changed = !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
    if changed {
        format!("{hash} with changes")
    } else {
        hash
    }
}

/// What a command prints, or nothing: a table without a commit is better than none.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(paths::workspace())
        .output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

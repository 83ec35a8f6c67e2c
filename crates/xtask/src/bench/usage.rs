//! What a process and a machine are: CPU time and memory from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The kernel's unit of CPU time, the same on every Linux that this runs on.
const TICK: Duration = Duration::from_millis(10);

/// CPU time a process has used, user and system.
pub(super) fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    let (_, fields) = stat.rsplit_once(')').context("a line of /proc/pid/stat")?;
    let times = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u32 = times.map(|ticks| ticks.parse::<u32>().unwrap_or(0)).sum();
    Ok(TICK * ticks)
}

/// Resident memory of a process in MiB.
pub(super) fn rss_mib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024)
}

/// What the figures were measured on, in one line.
pub(super) fn machine() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(": unknown");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let count = std::thread::available_parallelism()?;
    let model = model.trim_start_matches([' ', '\t', ':']);
    Ok(format!(
        "on {count} cores of {model}, Linux {}, which the broker and the load share",
        kernel.trim()
    ))
}

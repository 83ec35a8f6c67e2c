//! What a process has used so far, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The kernel's unit of CPU time towards programs, the same on every Linux since 2.6.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of a process, user and system, of all its threads. In steps of [`TICK`].
///
/// # Errors
/// The process has ended.
pub(super) fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    Ok(TICK * ticks(&stat).context("a line of /proc/pid/stat")?)
}

/// Resident memory of a process in MiB.
///
/// # Errors
/// The process has ended.
pub(crate) fn rss_mib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024)
}

/// How many threads a process has.
///
/// # Errors
/// The process has ended.
pub(super) fn threads(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/task"))?.count())
}

/// `utime` and `stime`, fields 14 and 15; the second field, the name, may hold spaces and parentheses.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let line = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0 20";
        assert_eq!(ticks(line), Some(42));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        assert!(rss_mib(std::process::id()).unwrap() > 0);
        assert!(threads(std::process::id()).unwrap() > 0);
        cpu(std::process::id()).unwrap();
    }
}

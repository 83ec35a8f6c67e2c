//! A background process known by pid and start time, so that a pid given to somebody else is never signalled.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// How often a wait looks again.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// A process that may have been started by an earlier program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// When it started, in the kernel's ticks since boot.
    started: u64,
}

impl Process {
    /// The running process with this id.
    ///
    /// # Errors
    /// It has ended already.
    pub fn of(pid: u32) -> Result<Self> {
        let started = start_ticks(pid).with_context(|| format!("process {pid} ended at once"))?;
        Ok(Self { pid, started })
    }

    /// Whether this very process is still running (a zombie is not).
    #[must_use]
    pub fn is_alive(&self) -> bool {
        start_ticks(self.pid) == Some(self.started)
    }

    /// Sends a signal if the process is still there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid)
            .ok()
            .and_then(Pid::from_raw)
            .context("not a pid")?;
        if self.is_alive() {
            kill_process(pid, signal)
                .with_context(|| format!("signal {signal:?} to process {}", self.pid))?;
        }
        Ok(())
    }

    /// Asks the process to end, and kills it when `patience` is over.
    ///
    /// # Errors
    /// It is still there afterwards.
    pub fn stop(&self, patience: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        if self.ends_within(patience) {
            return Ok(());
        }
        self.kill()
    }

    /// Kills the process without asking and waits until it is gone.
    ///
    /// # Errors
    /// It is still there after ten seconds.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        if !self.ends_within(Duration::from_secs(10)) {
            bail!("process {} survives SIGKILL", self.pid);
        }
        Ok(())
    }

    fn ends_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }
}

/// The start time of a living process; none for a zombie or nobody.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_an_older_one_with_its_pid_is_not() {
        let me = Process::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(
            !Process {
                started: me.started - 1,
                ..me
            }
            .is_alive()
        );
    }

    #[test]
    fn a_stopped_process_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        process.stop(Duration::from_secs(10)).unwrap();
        assert!(!process.is_alive());
        child.wait().unwrap();
    }
}

//! Resident memory of every instance over time, and whether it grows.

use std::fmt;
use std::time::Duration;

/// No process may hold more than this, in MiB: the promise for a backlog of millions.
const MOST: u64 = 300;

/// How much more the last quarter of a run may hold than its second, in MiB and in percent: what a backlog leaves behind.
const SLACK_MIB: u64 = 20;
const SLACK_PERCENT: u64 = 25;

/// Shorter runs say nothing about growth.
const LONG_ENOUGH: usize = 48;

/// Lines of the table at most.
const LINES: usize = 30;

/// One look at all processes, in MiB; none for one that did not run.
#[derive(Clone, Debug)]
struct Sample {
    at: Duration,
    mib: Vec<Option<u64>>,
}

/// All looks, at equal distances.
#[derive(Debug, Default)]
pub(super) struct Memory {
    samples: Vec<Sample>,
}

impl Memory {
    /// Enters a look.
    pub(super) fn enter(&mut self, at: Duration, mib: Vec<Option<u64>>) {
        self.samples.push(Sample { at, mib });
    }

    /// What is wrong with it, if anything: too much at one time, or the last process, which was never restarted, grows.
    pub(super) fn complaint(&self) -> Option<String> {
        let most = self
            .samples
            .iter()
            .flat_map(|sample| &sample.mib)
            .flatten()
            .max()?;
        if *most > MOST {
            return Some(format!("a process held {most} MiB, more than {MOST}"));
        }
        let last: Vec<u64> = self
            .samples
            .iter()
            .filter_map(|sample| sample.mib.last().copied().flatten())
            .collect();
        if last.len() < LONG_ENOUGH {
            return None;
        }
        let quarter = last.len() / 4;
        let (before, after) = (
            median(&last[quarter..2 * quarter]),
            median(&last[last.len() - quarter..]),
        );
        let allowed = before + SLACK_MIB.max(before * SLACK_PERCENT / 100);
        (after > allowed)
            .then(|| format!("the instance that was never restarted grows: {before} MiB, then {after} MiB"))
    }
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// MiB of each process, or a dash.
pub(super) fn row(mib: &[Option<u64>]) -> String {
    let cell = |mib: &Option<u64>| mib.map_or("   -".to_owned(), |mib| format!("{mib:4}"));
    mib.iter().map(cell).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "resident memory in MiB of each instance, the last one never restarted"
        )?;
        let step = self.samples.len().div_ceil(LINES).max(1);
        for sample in self.samples.iter().step_by(step) {
            write!(formatter, "\n  {:5} s  {}", sample.at.as_secs(), row(&sample.mib))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(last: impl Iterator<Item = u64>) -> Memory {
        let mut memory = Memory::default();
        for (second, mib) in (0..).step_by(10).zip(last) {
            memory.enter(Duration::from_secs(second), vec![None, Some(40), Some(mib)]);
        }
        memory
    }

    #[test]
    fn what_stays_level_is_fine_whatever_its_peaks() {
        let wave = (0..100).map(|n| 60 + n % 10 * 5);
        assert_eq!(memory(wave).complaint(), None);
    }

    #[test]
    fn what_grows_all_the_time_is_found() {
        assert!(memory((0..100).map(|n| 50 + n)).complaint().is_some());
        assert_eq!(
            memory((0..20).map(|n| 50 + n)).complaint(),
            None,
            "too short to tell"
        );
    }

    #[test]
    fn what_is_too_much_at_one_time_is_found() {
        assert!(memory([50, 301, 50].into_iter()).complaint().is_some());
    }
}

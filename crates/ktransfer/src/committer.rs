//! When a partition's position is written to ZooKeeper. Pure: no I/O, no clock.
//!
//! Often enough that a crash repeats little: when the interval has passed or when 1,000 records are newly done,
//! whichever is first (at 60,000 records a second an interval of one second alone would repeat 60,000). Not so
//! often that ZooKeeper suffers: at least 50 ms apart, and one commit on its way per partition. What is done behind a
//! stuck key is stored with each commit; the more that is, the rarer the commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// So many records newly done make a commit due before its interval has passed.
pub const DUE_RECORDS: u64 = 1_000;

/// The least time between two commits of one partition.
pub const SPACING: Duration = Duration::from_millis(50);

/// Bytes of acknowledgements that one partition stores in a second, at most, and all of the process together.
const PARTITION_RATE: usize = 256 * 1024;
const PROCESS_RATE: usize = 4 * 1024 * 1024;

/// Records of one partition that are looked through for acknowledgements in a second, at most.
const SCAN_RATE: usize = 4_000_000;

/// The acknowledgements of all partitions of the process, in bytes as last stored. One per process, cloned to whoever
/// commits.
#[derive(Clone, Debug, Default)]
pub struct Stored(Arc<AtomicUsize>);

/// One partition's part of [`Stored`]; ends with its partition.
#[derive(Debug)]
pub struct StoredPart {
    all: Stored,
    bytes: usize,
}

impl Stored {
    /// The part of a partition that stores nothing yet.
    #[must_use]
    pub fn part(&self) -> StoredPart {
        StoredPart {
            all: self.clone(),
            bytes: 0,
        }
    }
}

impl StoredPart {
    /// The partition stores acknowledgements of `bytes`, found among `records`. How long its next commit has to wait.
    pub fn store(&mut self, bytes: usize, records: usize) -> Duration {
        let former = std::mem::replace(&mut self.bytes, bytes);
        self.all.0.fetch_add(bytes, Ordering::Relaxed);
        let all = self.all.0.fetch_sub(former, Ordering::Relaxed) - former;
        let own = at_rate(bytes, PARTITION_RATE).max(at_rate(records, SCAN_RATE));
        // If each of all waits until all could be stored once, they keep the rate together.
        let together = if bytes == 0 {
            Duration::ZERO
        } else {
            at_rate(all, PROCESS_RATE)
        };
        own.max(together)
    }
}

impl Drop for StoredPart {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn at_rate(amount: usize, a_second: usize) -> Duration {
    let micros = amount.saturating_mul(1_000_000) / a_second;
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// The commits of one partition in one epoch.
#[derive(Clone, Debug)]
pub struct CommitSchedule {
    interval: Duration,
    /// When the last commit was sent, or the assignment began.
    last: Instant,
    /// Records done since the last commit was sent.
    new: u64,
    /// Records that the commit on its way covers; `None` if none is on its way.
    sent: Option<u64>,
    /// The least time from the last commit to the next.
    spacing: Duration,
}

impl CommitSchedule {
    /// A partition that was assigned at `now`. An interval below [`SPACING`] acts as [`SPACING`].
    #[must_use]
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval: interval.max(SPACING),
            last: now,
            new: 0,
            sent: None,
            spacing: SPACING,
        }
    }

    /// `count` records are newly done: acknowledged, filtered, or passed over.
    pub fn note_acks(&mut self, count: u64) {
        self.new = self.new.saturating_add(count);
    }

    /// Whether a commit should be sent now.
    #[must_use]
    pub fn due(&self, now: Instant) -> bool {
        self.due_at().is_some_and(|at| at <= now)
    }

    /// When a commit will be due if nothing else happens; `None` while there is nothing to commit or one is on
    /// its way.
    #[must_use]
    pub fn due_at(&self) -> Option<Instant> {
        if self.new == 0 || self.sent.is_some() {
            return None;
        }
        let wait = if self.new >= DUE_RECORDS {
            self.spacing
        } else {
            self.interval.max(self.spacing)
        };
        Some(self.last + wait)
    }

    /// A commit of everything that is done was sent at `now`; the next waits at least for `spacing`, and [`SPACING`].
    pub fn sent(&mut self, now: Instant, spacing: Duration) {
        self.last = now;
        self.spacing = spacing.max(SPACING);
        self.sent = Some(std::mem::take(&mut self.new));
    }

    /// The commit on its way was answered; if it was not stored, what it covered is to be committed again.
    pub fn answered(&mut self, stored: bool) {
        if let Some(covered) = self.sent.take()
            && !stored
        {
            self.note_acks(covered);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);
    const TICK: Duration = Duration::from_millis(1);

    #[test]
    fn nothing_new_is_never_due() {
        let start = Instant::now();
        let schedule = CommitSchedule::new(INTERVAL, start);
        assert_eq!(schedule.due_at(), None);
        assert!(!schedule.due(start + 100 * INTERVAL));
    }

    #[test]
    fn a_commit_is_due_when_the_interval_has_passed() {
        let start = Instant::now();
        let mut schedule = CommitSchedule::new(INTERVAL, start);
        schedule.note_acks(1);
        assert!(!schedule.due(start + INTERVAL - TICK));
        assert!(schedule.due(start + INTERVAL));
    }

    #[test]
    fn a_thousand_records_do_not_wait_for_the_interval_but_for_the_spacing() {
        let start = Instant::now();
        let mut schedule = CommitSchedule::new(INTERVAL, start);
        schedule.note_acks(DUE_RECORDS - 1);
        assert!(!schedule.due(start + SPACING));
        schedule.note_acks(1);
        assert!(!schedule.due(start + SPACING - TICK));
        assert!(schedule.due(start + SPACING));
    }

    #[test]
    fn after_a_large_map_neither_the_interval_nor_a_thousand_records_make_a_commit_due_sooner() {
        let start = Instant::now();
        let mut schedule = CommitSchedule::new(INTERVAL, start);
        for (records, wait) in [(1, 3 * INTERVAL), (DUE_RECORDS, 3 * INTERVAL)] {
            schedule.sent(start, 3 * INTERVAL);
            schedule.answered(true);
            schedule.note_acks(records);
            assert_eq!(schedule.due_at(), Some(start + wait));
        }
        schedule.sent(start, Duration::ZERO);
        schedule.answered(true);
        schedule.note_acks(DUE_RECORDS);
        assert_eq!(schedule.due_at(), Some(start + SPACING), "the map is small again");
    }

    #[test]
    fn maps_are_spaced_by_their_size_their_records_and_those_of_the_whole_process() {
        let all = Stored::default();
        let mut one = all.part();
        assert_eq!(one.store(128 * 1024, 0), Duration::from_millis(500));
        assert_eq!(one.store(16, 1_000_000), Duration::from_millis(250));
        let mut many: Vec<StoredPart> = (0..64).map(|_| all.part()).collect();
        for part in &mut many {
            part.store(160 * 1024, 0);
        }
        // 10 MiB together.
        assert_eq!(many[0].store(160 * 1024, 0), Duration::from_micros(2_500_003));
        assert_eq!(many[0].store(160 * 1024, 0), Duration::from_micros(2_500_003));
        assert_eq!(one.store(0, 0), Duration::ZERO, "nothing to store");
        drop(many);
        assert_eq!(one.store(128 * 1024, 0), Duration::from_millis(500));
    }

    #[test]
    fn one_commit_is_on_its_way_at_a_time() {
        let start = Instant::now();
        let mut schedule = CommitSchedule::new(INTERVAL, start);
        schedule.note_acks(DUE_RECORDS);
        schedule.sent(start + SPACING, Duration::ZERO);
        schedule.note_acks(DUE_RECORDS);
        assert_eq!(schedule.due_at(), None);
        schedule.answered(true);
        assert_eq!(schedule.due_at(), Some(start + 2 * SPACING));
    }

    #[test]
    fn what_was_not_stored_is_committed_again_and_what_was_stored_is_not() {
        let start = Instant::now();
        let mut schedule = CommitSchedule::new(INTERVAL, start);
        schedule.note_acks(1);
        schedule.sent(start, Duration::ZERO);
        schedule.answered(false);
        assert_eq!(schedule.due_at(), Some(start + INTERVAL));
        schedule.sent(start, Duration::ZERO);
        schedule.answered(true);
        assert_eq!(schedule.due_at(), None);
        schedule.answered(false);
        assert_eq!(schedule.due_at(), None, "nothing was on its way");
    }
}

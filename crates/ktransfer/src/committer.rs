//! When a partition's position is written to ZooKeeper. Pure: no I/O, no clock.
//!
//! Often enough that a crash repeats little: when the interval has passed or when 1,000 records are newly done,
//! whichever is first (at 60,000 records a second an interval of one second alone would repeat 60,000). Not so
//! often that ZooKeeper suffers: at least 50 ms apart, and one commit on its way per partition.

use std::time::Duration;

use tokio::time::Instant;

/// So many records newly done make a commit due before its interval has passed.
pub const DUE_RECORDS: u64 = 1_000;

/// The least time between two commits of one partition.
pub const SPACING: Duration = Duration::from_millis(50);

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
            SPACING
        } else {
            self.interval
        };
        Some(self.last + wait)
    }

    /// A commit of everything that is done was sent at `now`.
    pub fn sent(&mut self, now: Instant) {
        self.last = now;
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
    fn one_commit_is_on_its_way_at_a_time() {
        let start = Instant::now();
        let mut schedule = CommitSchedule::new(INTERVAL, start);
        schedule.note_acks(DUE_RECORDS);
        schedule.sent(start + SPACING);
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
        schedule.sent(start);
        schedule.answered(false);
        assert_eq!(schedule.due_at(), Some(start + INTERVAL));
        schedule.sent(start);
        schedule.answered(true);
        assert_eq!(schedule.due_at(), None);
        schedule.answered(false);
        assert_eq!(schedule.due_at(), None, "nothing was on its way");
    }
}

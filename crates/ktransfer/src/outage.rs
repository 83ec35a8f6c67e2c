//! Whether a module's backends take anything at all. Pure: the time is an argument.
//!
//! They are out when for [`PATIENCE`] nothing but failures has come from them: no connection, a time-out, a broken
//! connection, an answer of 5xx. Any other answer shows that somebody is there and judges records one by one: a record
//! that is refused is no outage. A backend that only hangs is noticed when the read time-out ends.

use std::time::Duration;

use tokio::time::Instant;

/// How long nothing but failures make an outage.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The failures since the last sign of life.
#[derive(Debug, Default)]
pub struct Outage {
    since: Option<Instant>,
    last: String,
}

impl Outage {
    /// A backend has answered.
    pub fn answered(&mut self) {
        self.since = None;
    }

    /// An attempt has failed without a sign of life, for the reason that `why` gives.
    pub fn failed(&mut self, now: Instant, why: impl FnOnce() -> String) {
        let since = *self.since.get_or_insert(now);
        // Only what may be told is put into words.
        if now >= since + PATIENCE || since == now {
            self.last = why();
        }
    }

    /// The last failure, if this is an outage.
    #[must_use]
    pub fn reason(&self, now: Instant) -> Option<&str> {
        self.since
            .filter(|since| now >= *since + PATIENCE)
            .map(|_since| self.last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_for_long_enough_are_an_outage_and_the_last_one_is_told() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        assert_eq!(outage.reason(start), None);
        outage.failed(start, || "refused".to_owned());
        assert_eq!(outage.reason(start + PATIENCE - Duration::from_millis(1)), None);
        assert_eq!(outage.reason(start + PATIENCE), Some("refused"));
        outage.failed(start + PATIENCE, || "timed out".to_owned());
        assert_eq!(outage.reason(start + PATIENCE), Some("timed out"));
    }

    #[test]
    fn an_answer_ends_it_and_the_next_failure_counts_anew() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        outage.failed(start, || "refused".to_owned());
        outage.answered();
        assert_eq!(outage.reason(start + 2 * PATIENCE), None);
        outage.failed(start + 2 * PATIENCE, || "503".to_owned());
        assert_eq!(outage.reason(start + 2 * PATIENCE), None);
        assert_eq!(outage.reason(start + 3 * PATIENCE), Some("503"));
    }
}

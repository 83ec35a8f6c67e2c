//! Whether a module's backends take anything at all. Pure: the time is an argument.
//!
//! They are out when for [`PATIENCE`] nothing but failures has come from them: no connection, a time-out, a broken
//! connection, an answer of 5xx. Any other answer shows that somebody is there and judges records one by one: a record
//! that is refused is no outage. They are out as well when for [`SILENCE`] nothing at all has come from them although pushes
//! are on their way: without a read time-out a backend that hangs would never fail.

use std::time::Duration;

use tokio::time::Instant;

/// How long nothing but failures make an outage.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long no push may end while some are on their way. Longer than most backends think about one.
pub const SILENCE: Duration = Duration::from_secs(30);

/// The failures since the last sign of life.
#[derive(Debug, Default)]
pub struct Outage {
    since: Option<Instant>,
    last: String,
    /// Since when pushes are on their way and none has ended.
    silent: Option<Instant>,
    in_flight: usize,
}

impl Outage {
    /// A backend has answered.
    pub fn answered(&mut self) {
        self.since = None;
        self.silent = None;
    }

    /// So many pushes are on their way now. Looked at now and then.
    pub fn watch(&mut self, now: Instant, in_flight: usize) {
        self.in_flight = in_flight;
        if in_flight == 0 {
            self.silent = None;
        } else {
            self.silent.get_or_insert(now);
        }
    }

    /// An attempt has failed without a sign of life, for the reason that `why` gives.
    pub fn failed(&mut self, now: Instant, why: impl FnOnce() -> String) {
        self.silent = None;
        let since = *self.since.get_or_insert(now);
        // Only what may be told is put into words.
        if now >= since + PATIENCE || since == now {
            self.last = why();
        }
    }

    /// What is wrong, if this is an outage.
    #[must_use]
    pub fn reason(&self, now: Instant) -> Option<String> {
        if self.since.is_some_and(|since| now >= since + PATIENCE) {
            return Some(format!(
                "no server has taken a push for {} s: {}",
                PATIENCE.as_secs(),
                self.last
            ));
        }
        let silent = self.silent.filter(|since| now >= *since + SILENCE);
        silent.map(|_since| {
            format!(
                "no push has ended for {} s although {} are on their way; a read_timeout_ms would end them",
                SILENCE.as_secs(),
                self.in_flight
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(why: &str) -> Option<String> {
        Some(format!("no server has taken a push for 5 s: {why}"))
    }

    #[test]
    fn a_backend_that_only_hangs_is_out_after_a_while() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        outage.watch(start, 3);
        outage.watch(start + SILENCE / 2, 3);
        assert_eq!(outage.reason(start + SILENCE / 2), None);
        let reason = outage.reason(start + SILENCE).unwrap_or_default();
        assert!(
            reason.contains("for 30 s although 3 are on their way"),
            "{reason}"
        );
        outage.answered();
        assert_eq!(outage.reason(start + SILENCE), None);
        outage.watch(start + SILENCE, 2);
        outage.watch(start + 2 * SILENCE, 0);
        outage.watch(start + 2 * SILENCE, 1);
        assert_eq!(outage.reason(start + 2 * SILENCE), None, "nothing was on its way");
    }

    #[test]
    fn only_failures_for_long_enough_are_an_outage_and_the_last_one_is_told() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        assert_eq!(outage.reason(start), None);
        outage.failed(start, || "refused".to_owned());
        assert_eq!(outage.reason(start + PATIENCE - Duration::from_millis(1)), None);
        assert_eq!(outage.reason(start + PATIENCE), told("refused"));
        outage.failed(start + PATIENCE, || "timed out".to_owned());
        assert_eq!(outage.reason(start + PATIENCE), told("timed out"));
    }

    #[test]
    fn an_answer_ends_it_and_the_next_failure_counts_anew() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        outage.failed(start, || "refused".to_owned());
        outage.answered();
        assert_eq!(outage.reason(start + 2 * PATIENCE), None);
        outage.failed(start + 2 * PATIENCE, || "503".to_owned());
        assert_eq!(outage.reason(start + 2 * PATIENCE), None);
        assert_eq!(outage.reason(start + 3 * PATIENCE), told("503"));
    }
}

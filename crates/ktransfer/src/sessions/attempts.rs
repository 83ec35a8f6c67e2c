//! When to try next to attach to a session that gives no answer. Pure.
//!
//! An attempt whose answer is lost renews the session where it arrives. One after the other would keep it alive for ever
//! while nobody can use it, and its owner znodes with it. So after attempts that may have arrived there is a gap, in which
//! the session has the time to end and others have the time to take over. The gap does not follow the first of them: a
//! server that is just starting takes a connection and may leave it without an answer once, and it has the session still.

use std::time::Duration;

use tokio::time::Instant;

/// An attempt that fails within this time was refused, and has not reached a server that works.
const REFUSED_WITHIN: Duration = Duration::from_millis(500);

/// So many attempts may stay without an answer between two gaps. Each takes two fifths of the session time-out, so others
/// take over by as much later.
const UNANSWERED: u32 = 2;

/// The attempts of one outage.
#[derive(Debug)]
pub(super) struct Attempts {
    gap: Duration,
    retry: Duration,
    longest_retry: Duration,
    unanswered: u32,
    last_unanswered: Option<Instant>,
}

impl Attempts {
    /// `timeout` is the session's; `retry` the wait after the first refusal, which doubles up to `longest_retry`.
    pub(super) fn new(timeout: Duration, retry: Duration, longest_retry: Duration) -> Self {
        Self {
            gap: timeout * 3 / 2,
            retry,
            longest_retry,
            unanswered: 0,
            last_unanswered: None,
        }
    }

    /// An attempt begun at `begun` has failed `now`: how long to wait for the next.
    pub(super) fn failed(&mut self, begun: Instant, now: Instant) -> Duration {
        if now - begun >= REFUSED_WITHIN {
            if self.last_unanswered.is_none_or(|last| begun - last >= self.gap) {
                self.unanswered = 0;
            }
            self.unanswered += 1;
            self.last_unanswered = Some(now);
            if self.unanswered == UNANSWERED {
                return self.gap;
            }
        }
        let wait = self.retry;
        self.retry = (self.retry * 2).min(self.longest_retry);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(1);
    const TIMEOUT: Duration = Duration::from_secs(10);
    const GAP: Duration = Duration::from_secs(15);
    const LOST: Duration = Duration::from_secs(4);
    const REFUSED: Duration = Duration::from_millis(1);

    /// Plays attempts that take so long each; the waits after them.
    fn waits(attempts: impl IntoIterator<Item = Duration>) -> Vec<Duration> {
        let (mut state, mut now) = (Attempts::new(TIMEOUT, RETRY, LONGEST), Instant::now());
        attempts
            .into_iter()
            .map(|took| {
                let wait = state.failed(now, now + took);
                now += took + wait;
                wait
            })
            .collect()
    }

    #[test]
    fn a_server_that_refuses_is_asked_again_at_growing_intervals() {
        assert_eq!(
            waits([REFUSED; 5]),
            [RETRY, 2 * RETRY, 4 * RETRY, LONGEST, LONGEST]
        );
    }

    #[test]
    fn one_lost_answer_is_tried_again_at_once_and_each_second_one_leaves_the_session_time_to_end() {
        assert_eq!(waits([LOST; 6]), [RETRY, GAP, 2 * RETRY, GAP, 4 * RETRY, GAP]);
    }

    #[test]
    fn refusals_between_lost_answers_do_not_make_them_fewer() {
        assert_eq!(waits([LOST, REFUSED, LOST]), [RETRY, 2 * RETRY, GAP]);
    }

    #[test]
    fn a_lost_answer_before_a_long_outage_does_not_count_after_it() {
        let outage = [REFUSED; 20];
        let attempts = [LOST].into_iter().chain(outage).chain([LOST]);
        assert_eq!(waits(attempts).last(), Some(&LONGEST));
    }
}

//! When a failed push is tried again. Pure: the time is an argument.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

/// The shortest time between two attempts. With 0, a backend that refuses connections would be asked in a busy loop.
pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// How often and when a failed push is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all; `None` = without end.
    attempts: Option<NonZeroU32>,
    interval: Duration,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a failed record waits or ends"]
pub enum Next {
    /// Another attempt, not before this time. Until then the record's key waits and holds no worker.
    RetryAt(Instant),
    /// That was the last attempt allowed.
    Exhausted,
}

impl RetryPolicy {
    /// `retries` after the first attempt, `None` = without end; `interval` between two attempts, at least
    /// [`SHORTEST_INTERVAL`].
    #[must_use]
    pub fn new(retries: Option<u32>, interval: Duration) -> Self {
        Self {
            attempts: retries.map(|retries| NonZeroU32::MIN.saturating_add(retries)),
            interval: interval.max(SHORTEST_INTERVAL),
        }
    }

    /// What follows when `attempts_made` attempts, the one that failed just now included, have all failed.
    pub fn after_failure(&self, attempts_made: u32, now: Instant) -> Next {
        match self.attempts {
            Some(attempts) if attempts_made >= attempts.get() => Next::Exhausted,
            _ => Next::RetryAt(now + self.interval),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_retries_comes_after_the_first_attempt() {
        let now = Instant::now();
        let interval = Duration::from_millis(200);
        let again = Next::RetryAt(now + interval);
        for (retries, attempts_made, next) in [
            (Some(0), 1, Next::Exhausted),
            (Some(1), 1, again),
            (Some(1), 2, Next::Exhausted),
            (Some(1), 3, Next::Exhausted),
            (Some(3), 3, again),
            (Some(3), 4, Next::Exhausted),
            (Some(u32::MAX), u32::MAX - 1, again),
            (None, 1, again),
            (None, u32::MAX, again),
        ] {
            let policy = RetryPolicy::new(retries, interval);
            assert_eq!(
                policy.after_failure(attempts_made, now),
                next,
                "{retries:?} {attempts_made}"
            );
        }
    }

    #[test]
    fn a_dead_backend_is_never_asked_in_a_busy_loop() {
        let now = Instant::now();
        let policy = RetryPolicy::new(None, Duration::ZERO);
        assert_eq!(
            policy.after_failure(1, now),
            Next::RetryAt(now + SHORTEST_INTERVAL)
        );
    }
}

//! When a failed push is tried again. Pure: the time and the randomness are arguments.

mod after;

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

pub use after::asked_wait;

/// The shortest time between two attempts. With 0, a backend that refuses connections would be asked in a busy loop.
pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// How often and when a failed push is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all; `None` = without end.
    pub attempts: Option<NonZeroU32>,
    /// Between two attempts; with a back-off that grows, the most after the first one. At least [`SHORTEST_INTERVAL`].
    pub interval: Duration,
    /// `Some`: the back-off doubles from attempt to attempt up to this, and each wait is drawn from 0 to it.
    pub ceiling: Option<Duration>,
    /// No attempt begins later than this after the first one; `None` = without end.
    pub longest: Option<Duration>,
    /// The longest wait that a backend may ask for with `Retry-After`; `None` = it is not listened to.
    pub longest_asked: Option<Duration>,
    /// Whether a backend that is overloaded or away slows the whole module down.
    pub slows_down: bool,
}

/// An attempt that has failed.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// Attempts made, this one included; all have failed.
    pub attempts: u32,
    /// The time from the beginning of the first attempt until now.
    pub elapsed: Duration,
    /// How long the backend asked to wait.
    pub asked: Option<Duration>,
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
    /// The original's: `retries` after the first attempt, `None` = without end; always the same `interval` between two.
    #[must_use]
    pub fn fixed(retries: Option<u32>, interval: Duration) -> Self {
        Self {
            attempts: retries.map(|retries| NonZeroU32::MIN.saturating_add(retries)),
            interval: interval.max(SHORTEST_INTERVAL),
            ceiling: None,
            longest: None,
            longest_asked: None,
            slows_down: false,
        }
    }

    /// Whether any record can come to a last attempt.
    #[must_use]
    pub const fn ends(&self) -> bool {
        self.attempts.is_some() || self.longest.is_some()
    }

    /// What follows a failed attempt; `random` gives a number from 0 to below 1, and is asked only when one is needed.
    pub fn after_failure(&self, failed: &Failed, now: Instant, random: impl FnOnce() -> f64) -> Next {
        if self
            .attempts
            .is_some_and(|attempts| failed.attempts >= attempts.get())
        {
            return Next::Exhausted;
        }
        let left = self.longest.map(|longest| longest.saturating_sub(failed.elapsed));
        if left == Some(Duration::ZERO) {
            return Next::Exhausted;
        }
        let wait = self.wait(failed, random);
        Next::RetryAt(now + left.map_or(wait, |left| wait.min(left)))
    }

    fn wait(&self, failed: &Failed, random: impl FnOnce() -> f64) -> Duration {
        let own = match self.ceiling {
            None => self.interval,
            Some(ceiling) => full_jitter(self.interval, ceiling, failed.attempts, random()),
        };
        let asked = failed.asked.zip(self.longest_asked);
        asked.map_or(own, |(asked, longest)| own.max(asked.min(longest)))
    }
}

/// The wait after the `nth` attempt in a row that failed: drawn from 0 to `base` doubled with each attempt, at most `ceiling`.
/// Whoever failed together does not come again together.
#[must_use]
pub fn full_jitter(base: Duration, ceiling: Duration, nth: u32, random: f64) -> Duration {
    let doublings = nth.saturating_sub(1).min(31);
    let most = base.saturating_mul(1 << doublings).min(ceiling.max(base));
    most.mul_f64(random.clamp(0.0, 1.0)).max(SHORTEST_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failed(attempts: u32) -> Failed {
        Failed {
            attempts,
            elapsed: SECOND * attempts,
            asked: None,
        }
    }

    fn growing() -> RetryPolicy {
        RetryPolicy {
            ceiling: Some(60 * SECOND),
            longest_asked: Some(100 * SECOND),
            ..RetryPolicy::fixed(None, SECOND)
        }
    }

    fn waited(policy: &RetryPolicy, failed: &Failed, random: f64) -> Duration {
        let now = Instant::now();
        match policy.after_failure(failed, now, || random) {
            Next::RetryAt(at) => at - now,
            Next::Exhausted => panic!("{failed:?} is the last one"),
        }
    }

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
            let policy = RetryPolicy::fixed(retries, interval);
            let found = policy.after_failure(&failed(attempts_made), now, || {
                panic!("a fixed wait is not drawn")
            });
            assert_eq!(found, next, "{retries:?} {attempts_made}");
            assert_eq!(policy.ends(), retries.is_some());
        }
    }

    #[test]
    fn a_dead_backend_is_never_asked_in_a_busy_loop() {
        let fixed = RetryPolicy::fixed(None, Duration::ZERO);
        assert_eq!(waited(&fixed, &failed(1), 0.0), SHORTEST_INTERVAL);
        assert_eq!(waited(&growing(), &failed(9), 0.0), SHORTEST_INTERVAL);
    }

    #[test]
    fn a_growing_back_off_doubles_up_to_its_ceiling_and_is_drawn_from_all_of_it() {
        let policy = growing();
        for (attempts, most) in [
            (1, 1),
            (2, 2),
            (3, 4),
            (6, 32),
            (7, 60),
            (8, 60),
            (40, 60),
            (u32::MAX, 60),
        ] {
            assert_eq!(
                waited(&policy, &failed(attempts), 1.0),
                most * SECOND,
                "{attempts}"
            );
            assert_eq!(
                waited(&policy, &failed(attempts), 0.5),
                most * SECOND / 2,
                "{attempts}"
            );
        }
    }

    #[test]
    fn what_the_backend_asks_for_is_waited_for_up_to_a_limit() {
        let asks = |seconds| Failed {
            asked: Some(Duration::from_secs(seconds)),
            ..failed(1)
        };
        assert_eq!(waited(&growing(), &asks(30), 0.5), 30 * SECOND);
        assert_eq!(
            waited(&growing(), &asks(0), 1.0),
            SECOND,
            "never sooner than by itself"
        );
        assert_eq!(waited(&growing(), &asks(u64::MAX), 0.5), 100 * SECOND);
        let deaf = RetryPolicy::fixed(None, SECOND);
        assert_eq!(waited(&deaf, &asks(30), 0.5), SECOND);
    }

    #[test]
    fn no_attempt_begins_later_than_is_allowed_and_one_begins_then() {
        let policy = RetryPolicy {
            longest: Some(10 * SECOND),
            ..growing()
        };
        assert!(policy.ends());
        let at = |elapsed| Failed { elapsed, ..failed(5) };
        assert_eq!(waited(&policy, &at(SECOND), 1.0), 9 * SECOND);
        assert_eq!(waited(&policy, &at(SECOND), 0.25), 4 * SECOND);
        let now = Instant::now();
        for elapsed in [10 * SECOND, 11 * SECOND] {
            assert_eq!(policy.after_failure(&at(elapsed), now, || 0.0), Next::Exhausted);
        }
    }
}

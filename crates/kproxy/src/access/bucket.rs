//! A rate that is kept on average: what is taken has to be paid by time. Pure.
//!
//! What one period allows may be taken at once. More than that may be taken too, where the amount is only known when it has
//! been taken (the bytes of a body): it is a debt, and nothing is allowed until it is paid.

use std::time::{Duration, Instant};

/// The longest debt; longer ones are forgotten.
const LONGEST: Duration = Duration::from_secs(86_400);

/// What one rate has given so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// How long one unit takes to be paid.
    unit: Duration,
    period: Duration,
    /// Everything that was taken is paid by then.
    paid: Option<Instant>,
}

impl Bucket {
    /// `units` in each `period`, none of them taken.
    #[must_use]
    pub(crate) fn new(units: u64, period: Duration) -> Self {
        let nanos = period.as_nanos() / u128::from(units.max(1));
        Self {
            unit: Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)),
            period,
            paid: None,
        }
    }

    /// How long to wait until one unit may be taken; `None` is not at all.
    #[must_use]
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        let paid = self.paid_at(now) + self.unit;
        paid.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// Takes this many units, whether they are there or not.
    pub(crate) fn take(&mut self, units: u64, now: Instant) {
        let nanos = self.unit.as_nanos().saturating_mul(u128::from(units));
        let cost = u64::try_from(nanos).map_or(LONGEST, Duration::from_nanos);
        self.paid = Some((self.paid_at(now) + cost.min(LONGEST)).min(now + LONGEST));
    }

    /// Whether nothing of what was taken matters any more.
    #[must_use]
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.paid.is_none_or(|paid| paid + self.period <= now)
    }

    /// When all is paid, but not so long ago that more than one period is saved.
    fn paid_at(&self, now: Instant) -> Instant {
        let earliest = now.checked_sub(self.period).unwrap_or(now);
        self.paid.map_or(earliest, |paid| paid.max(earliest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_period_may_be_taken_at_once_and_then_one_by_one() {
        let mut bucket = Bucket::new(10, SECOND);
        let now = Instant::now() + SECOND * 10;
        for _ in 0..10 {
            assert_eq!(bucket.wait(now), None);
            bucket.take(1, now);
        }
        assert_eq!(bucket.wait(now), Some(SECOND / 10));
        let later = now + SECOND / 10;
        assert_eq!(bucket.wait(later), None);
        bucket.take(1, later);
        assert_eq!(bucket.wait(later), Some(SECOND / 10));
    }

    #[test]
    fn idleness_saves_no_more_than_a_period() {
        let mut bucket = Bucket::new(2, SECOND);
        let now = Instant::now() + SECOND * 10;
        bucket.take(2, now);
        assert!(!bucket.is_full(now + SECOND / 2));
        let later = now + SECOND * 1000;
        assert!(bucket.is_full(later));
        bucket.take(2, later);
        assert_eq!(bucket.wait(later), Some(SECOND / 2));
    }

    #[test]
    fn a_debt_is_paid_before_anything_is_allowed() {
        let mut bucket = Bucket::new(1000, SECOND);
        let now = Instant::now() + SECOND * 10;
        bucket.take(5000, now);
        assert_eq!(bucket.wait(now), Some(SECOND * 4 + SECOND / 1000));
        assert_eq!(bucket.wait(now + SECOND * 5), None);
        bucket.take(u64::MAX, now);
        assert!(bucket.wait(now).unwrap() <= LONGEST + SECOND);
    }

    #[test]
    fn the_average_is_kept() {
        let mut bucket = Bucket::new(7, SECOND);
        let begin = Instant::now() + SECOND * 10;
        let mut allowed = 0;
        for step in 0..10_000 {
            let now = begin + Duration::from_millis(step);
            if bucket.wait(now).is_none() {
                bucket.take(1, now);
                allowed += 1;
            }
        }
        assert!((70..=78).contains(&allowed), "{allowed}");
    }
}

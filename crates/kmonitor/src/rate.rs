//! Records a second, from a counter that is looked at now and then. Pure.
//!
//! The rate is taken over the last 30 to 60 s, or since the first look: long enough to be calm, short enough to see a stop.

/// Half of the longest time that a rate looks back.
const HALF_MS: i64 = 30_000;

/// From so short a time no rate is told.
const LEAST_MS: i64 = 500;

#[derive(Clone, Copy, Debug)]
struct Sample {
    value: i64,
    at_ms: i64,
}

/// The rate of one counter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    /// The beginnings of the former and of the present half.
    halves: Option<(Sample, Sample)>,
    last: Option<Sample>,
}

impl Rate {
    /// The counter shows `value`. One that goes back begins anew.
    pub(crate) fn look(&mut self, value: i64, now_ms: i64) {
        let sample = Sample { value, at_ms: now_ms };
        if self.last.is_some_and(|last| value < last.value) {
            self.halves = None;
        }
        self.halves = match self.halves {
            None => Some((sample, sample)),
            Some((_, present)) if now_ms - present.at_ms >= HALF_MS => Some((present, sample)),
            unchanged => unchanged,
        };
        self.last = Some(sample);
    }

    /// Records a second; `None` while that cannot be told.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate of more than 2^53 records is none that anybody reads"
    )]
    pub(crate) fn per_second(&self) -> Option<f64> {
        let (from, last) = (self.halves?.0, self.last?);
        let passed = last.at_ms - from.at_ms;
        (passed >= LEAST_MS).then(|| {
            let rate = last.value.saturating_sub(from.value) as f64 * 1000.0 / passed as f64;
            (rate * 1000.0).round() / 1000.0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_counter_has_its_rate_and_a_stop_is_seen_within_a_minute() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), None);
        rate.look(0, 0);
        assert_eq!(rate.per_second(), None, "one look tells no rate");
        for round in 1..=30 {
            rate.look(round * 1000, round * 10_000);
            assert_eq!(rate.per_second(), Some(100.0));
        }
        for round in 31..=37 {
            rate.look(30_000, round * 10_000);
        }
        assert_eq!(rate.per_second(), Some(0.0));
    }

    #[test]
    fn a_counter_that_goes_back_begins_anew_and_no_rate_is_negative() {
        let mut rate = Rate::default();
        rate.look(1000, 0);
        rate.look(2000, 10_000);
        rate.look(5, 20_000);
        assert_eq!(rate.per_second(), None);
        rate.look(15, 30_000);
        assert_eq!(rate.per_second(), Some(1.0));
    }
}

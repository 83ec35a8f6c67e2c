//! When a record was written, found without reading it: Kafka is asked for the first record at or after a time, and the time is
//! narrowed down. Each question is about many partitions at once, so 64 records cost some 15 requests to each broker, and no
//! body ever travels.
//!
//! It is as good as the timestamps: where they do not rise with the offset it finds the newest one up to the record. Pure.

/// The first step back in time; each further one is four times as long.
const FIRST_STEP_MS: i64 = 60_000;

/// The time is known well enough when it is known to a second, or to this part of the record's age.
const GOOD_ENOUGH: i64 = 50;

/// The search for one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Search {
    offset: i64,
    before_ms: i64,
    /// Some record up to this one was written at or after `low`; `None` until one was found.
    low: Option<i64>,
    /// No record up to this one was written at or after `high`.
    high: Option<i64>,
    step_ms: i64,
}

impl Search {
    /// For the record at `offset`, which should have been written before `before_ms`.
    #[must_use]
    pub(crate) const fn new(offset: i64, before_ms: i64) -> Self {
        Self {
            offset,
            before_ms,
            low: None,
            high: None,
            step_ms: FIRST_STEP_MS,
        }
    }

    /// The next time to ask about; `None` when it is over.
    #[must_use]
    pub(crate) fn next(&self) -> Option<i64> {
        match (self.low, self.high) {
            (None, None) => Some(self.before_ms),
            (None, Some(high)) => (high > 0).then(|| self.before_ms.saturating_sub(self.step_ms).max(0)),
            // The clock of whoever wrote it is ahead of ours.
            (Some(_), None) => None,
            (Some(low), Some(high)) => {
                let enough = ((self.before_ms - low) / GOOD_ENOUGH).max(1000);
                (high - low > enough).then(|| i64::midpoint(low, high))
            }
        }
    }

    /// The first record written at or after the time that was asked about is `first`; `None` = there is none.
    pub(crate) fn told(&mut self, asked_ms: i64, first: Option<i64>) {
        if first.is_some_and(|first| first <= self.offset) {
            self.low = Some(asked_ms);
        } else {
            if self.low.is_none() && self.high.is_some() {
                self.step_ms = self.step_ms.saturating_mul(4);
            }
            self.high = Some(asked_ms);
        }
    }

    /// When the record was written; `None` if that was not found.
    #[must_use]
    pub(crate) fn found(&self) -> Option<i64> {
        match (self.low, self.high) {
            (Some(low), Some(high)) => Some(i64::midpoint(low, high)),
            (low, _) => low,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches among records with these times, and says how many questions it took.
    fn search(times: &[i64], offset: usize, before_ms: i64) -> (Option<i64>, usize) {
        let mut search = Search::new(i64::try_from(offset).unwrap(), before_ms);
        let mut questions = 0;
        while let Some(asked) = search.next() {
            questions += 1;
            assert!(questions < 40, "{search:?}");
            let first = times.iter().position(|time| *time >= asked);
            search.told(asked, first.map(|first| i64::try_from(first).unwrap()));
        }
        (search.found(), questions)
    }

    #[test]
    fn a_record_is_found_to_a_fiftieth_of_its_age_in_few_questions() {
        let now = 1_800_000_000_000_i64;
        for age in [0, 5_000, 61_000, 3_600_000, 86_400_000, 30 * 86_400_000] {
            let times: Vec<i64> = (0..100).map(|nth| now - age + nth * age / 200).collect();
            let (found, questions) = search(&times, 0, now + 1);
            let error = (found.unwrap() - times[0]).abs();
            assert!(error <= age / 40 + 1000, "{age}: {error}");
            assert!(questions <= 22, "{age}: {questions}");
        }
    }

    #[test]
    fn records_without_times_are_not_found_and_times_ahead_of_ours_end_at_ours() {
        assert_eq!(search(&[-1, -1, -1], 1, 1_800_000_000_000).0, None);
        assert_eq!(search(&[5000, 6000], 0, 4000), (Some(4000), 1));
    }

    #[test]
    fn the_newest_time_up_to_the_record_counts() {
        let (found, _) = search(&[10_000_000, 90_000_000, 20_000_000], 2, 100_000_000);
        assert!((found.unwrap() - 90_000_000).abs() < 1_000_000);
    }
}

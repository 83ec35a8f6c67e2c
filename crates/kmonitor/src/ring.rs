//! When the log of a partition ended where: a bounded list of (log end, time), from which the age of any record that was
//! written while somebody watched is known without reading it.
//!
//! A point is kept when the end has moved; of a run without records both ends are kept, so that a record that comes after an
//! hour of silence is not taken for one that came during it. When the list is full the inner point goes whose absence costs
//! least, measured against the age of what it tells: old ages may be known less exactly than young ones. A log end that goes
//! back is another log (made anew, or cut), and the list begins again. Pure.

/// The most points that are kept: 1 KiB for each partition.
pub(crate) const POINTS: usize = 64;

/// The log ended at `end` at `at_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    end: i64,
    at_ms: i64,
}

/// The list of one partition's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ring {
    points: Vec<Point>,
}

/// What the list knows about the time at which a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Within `slack_ms`, at about `at_ms`.
    At {
        /// By interpolation.
        at_ms: i64,
        /// The time between the two looks around it.
        slack_ms: i64,
    },
    /// Before the first look, which was at `at_ms` and saw the log end at `end`.
    Before {
        /// The first look.
        at_ms: i64,
        /// The log end that it saw.
        end: i64,
    },
    /// Not at all yet, or nobody has looked.
    NotYet,
}

impl Ring {
    /// The log ends at `end` now. Time must not go back from one call to the next.
    pub(crate) fn look(&mut self, end: i64, now_ms: i64) {
        if self.points.last().is_some_and(|last| last.end > end) {
            self.points.clear();
        }
        let point = Point { end, at_ms: now_ms };
        if let [.., before, last] = self.points.as_mut_slice()
            && before.end == end
            && last.end == end
        {
            *last = point;
            return;
        }
        if self.points.len() == POINTS {
            self.forget_one(now_ms);
        } else if self.points.is_empty() {
            // Most partitions of a large cluster are idle and need two.
            self.points.reserve_exact(2);
        }
        self.points.push(point);
    }

    /// When the record at `offset` was written.
    #[must_use]
    pub(crate) fn written(&self, offset: i64) -> Written {
        let after = self.points.partition_point(|point| point.end <= offset);
        match (after.checked_sub(1), self.points.get(after)) {
            (Some(before), Some(after)) => {
                let before = self.points[before];
                Written::At {
                    at_ms: between(before, *after, offset),
                    slack_ms: after.at_ms - before.at_ms,
                }
            }
            (None, Some(first)) => Written::Before {
                at_ms: first.at_ms,
                end: first.end,
            },
            (_, None) => Written::NotYet,
        }
    }

    /// Drops the inner point that is missed least.
    fn forget_one(&mut self, now_ms: i64) {
        let cost = |at: usize| {
            let (before, this, after) = (self.points[at - 1], self.points[at], self.points[at + 1]);
            let error = (between(before, after, this.end) - this.at_ms).abs();
            // On a line any point can go; then the one in the narrowest gap.
            let width = after.at_ms - before.at_ms;
            let age = (now_ms - before.at_ms).max(1);
            (error.saturating_mul(64) + width).saturating_mul(1000) / age
        };
        let inner = 1..self.points.len().saturating_sub(1);
        if let Some(least) = inner.min_by_key(|at| cost(*at)) {
            self.points.remove(least);
        }
    }
}

/// When the record at `offset` was written, if records came evenly between two points around it.
fn between(before: Point, after: Point, offset: i64) -> i64 {
    let records = i128::from(after.end) - i128::from(before.end);
    if records <= 0 {
        return after.at_ms;
    }
    let time = i128::from(after.at_ms) - i128::from(before.at_ms);
    // The middle of the record's share of the time.
    let passed = time * (2 * (i128::from(offset) - i128::from(before.end)) + 1) / (2 * records);
    i64::try_from(i128::from(before.at_ms) + passed.clamp(0, time)).unwrap_or(after.at_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ring: &Ring, offset: i64) -> i64 {
        match ring.written(offset) {
            Written::At { at_ms, .. } => at_ms,
            other => panic!("{offset}: {other:?}"),
        }
    }

    #[test]
    fn a_record_between_two_looks_is_interpolated() {
        let mut ring = Ring::default();
        assert_eq!(ring.written(0), Written::NotYet);
        ring.look(100, 0);
        ring.look(200, 10_000);
        assert_eq!(at(&ring, 150), 5050);
        assert_eq!(at(&ring, 100), 50);
        assert_eq!(at(&ring, 199), 9950);
        assert_eq!(ring.written(200), Written::NotYet);
        assert_eq!(ring.written(99), Written::Before { at_ms: 0, end: 100 });
    }

    #[test]
    fn a_record_after_a_silence_is_young() {
        let mut ring = Ring::default();
        for second in 0..3600 {
            ring.look(5, second * 1000);
        }
        ring.look(6, 3_600_000);
        assert_eq!(ring.points.len(), 3);
        assert!(at(&ring, 5) >= 3_599_000);
    }

    #[test]
    fn a_log_that_ends_earlier_is_another_log() {
        let mut ring = Ring::default();
        ring.look(100, 0);
        ring.look(200, 1000);
        ring.look(10, 2000);
        assert_eq!(ring.written(5), Written::Before { at_ms: 2000, end: 10 });
        assert_eq!(ring.written(50), Written::NotYet);
    }

    /// The scenario on which tables by count fail: traffic that changes its rate by the hour, and a module that died.
    #[test]
    fn twelve_hours_of_changing_traffic_are_known_to_a_few_percent() {
        let mut ring = Ring::default();
        let mut truth = Vec::new();
        let mut end: i64 = 0;
        for look in 0..4320_i64 {
            let now = look * 10_000;
            truth.push((end, now));
            ring.look(end, now);
            assert!(ring.points.len() <= POINTS);
            // 1 to 200 records a second, twice a day.
            let phase = look % 2160;
            end += 10 * (1 + 200 * phase.min(2160 - phase) / 1080);
        }
        let now = 4319 * 10_000;
        for window in truth.windows(2).step_by(7) {
            let (from, to) = (window[0], window[1]);
            let known = at(&ring, i64::midpoint(from.0, to.0));
            let age = now - i64::midpoint(from.1, to.1);
            let error = (known - i64::midpoint(from.1, to.1)).abs();
            assert!(
                error <= 10_000 + age / 20,
                "age {age} known with an error of {error}"
            );
        }
    }

    #[test]
    fn huge_numbers_do_not_overflow() {
        let mut ring = Ring::default();
        ring.look(0, i64::MAX - 10);
        ring.look(i64::MAX, i64::MAX);
        assert!(at(&ring, i64::MAX - 1) >= i64::MAX - 1);
    }
}

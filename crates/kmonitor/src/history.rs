//! The last hour of numbers as a short line for a page, in a bounded number of points. Pure.
//!
//! All lines of a cluster share one axis of time. The first point is the first round; when the axis is full every other
//! point goes and the distance between points doubles, until it covers an hour and slides. The last point is always the
//! present one.

use serde::{Serialize, Serializer};

/// The most points of a line: half a KiB for each partition.
pub(crate) const POINTS: usize = 60;

/// The distance at which points are no longer thinned: a full line covers an hour or more.
const WIDEST_MS: i64 = 60_000;

/// What a round does to every line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// Every other point goes first.
    thin: bool,
    /// The last point is replaced, because it is too near to the one before it.
    replace: bool,
}

/// The times of a cluster's points.
#[derive(Clone, Debug, Default)]
pub(crate) struct Axis {
    at_ms: Vec<i64>,
    every_ms: i64,
}

/// One line. Its last point belongs to the last time of the axis; one that began later is shorter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    points: Vec<u64>,
}

/// A point without a number.
const NONE: u64 = u64::MAX;

impl Axis {
    /// The next round, at `now_ms`; every line has to follow.
    pub(crate) fn step(&mut self, now_ms: i64) -> Step {
        let mut step = Step::default();
        if let [.., before, last] = self.at_ms[..] {
            // A tenth less, because rounds do not come on the tick.
            step.replace = last - before < self.every_ms - self.every_ms / 10;
        }
        if !step.replace && self.at_ms.len() == POINTS {
            let covered = now_ms - self.at_ms[0];
            let points = i64::try_from(POINTS).unwrap_or(i64::MAX);
            if covered / points < WIDEST_MS {
                step.thin = true;
                self.every_ms = covered / points * 2;
            }
        }
        apply(&mut self.at_ms, step, now_ms);
        step
    }

    /// The times, oldest first, on the clock that was given to [`Axis::step`].
    #[must_use]
    pub(crate) fn times(&self) -> &[i64] {
        &self.at_ms
    }
}

impl Line {
    /// The number of this round; `None` where none is known.
    pub(crate) fn push(&mut self, step: Step, value: Option<u64>) {
        apply(&mut self.points, step, value.unwrap_or(NONE));
    }
}

fn apply<T>(points: &mut Vec<T>, step: Step, value: T) {
    if step.thin {
        let parity = points.len() % 2;
        let mut at = 0;
        // Counted from the end, so that lines of different lengths keep the same times.
        points.retain(|_| {
            at += 1;
            at % 2 == parity
        });
    }
    match points.last_mut() {
        Some(last) if step.replace => *last = value,
        _ => {
            if points.len() == POINTS {
                points.remove(0);
            }
            points.push(value);
        }
    }
}

impl Serialize for Line {
    /// Numbers, and null where none is known.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.points.iter().map(|point| (*point != NONE).then_some(*point)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &Line) -> String {
        serde_json::to_string(line).unwrap()
    }

    #[test]
    fn a_short_history_is_kept_whole_and_gaps_are_gaps() {
        let (mut axis, mut line) = (Axis::default(), Line::default());
        for (now, value) in [(0, Some(1)), (10_000, None), (20_000, Some(0))] {
            let step = axis.step(now);
            line.push(step, value);
        }
        assert_eq!(axis.times(), [0, 10_000, 20_000]);
        assert_eq!(text(&line), "[1,null,0]");
    }

    #[test]
    fn a_day_of_rounds_is_an_hour_of_points_that_end_with_the_present() {
        let (mut axis, mut early, mut late) = (Axis::default(), Line::default(), Line::default());
        for round in 0..8640_i64 {
            let now = round * 10_050;
            let step = axis.step(now);
            early.push(step, Some(round.unsigned_abs()));
            if round >= 77 {
                late.push(step, Some(round.unsigned_abs()));
            }
            let times = axis.times();
            assert!(times.len() <= POINTS);
            assert_eq!(times.len(), early.points.len());
            assert_eq!(times.last(), Some(&now));
            let aligned = early.points.iter().rev().zip(times.iter().rev());
            for (value, at) in aligned.clone() {
                assert_eq!(i64::try_from(*value).unwrap() * 10_050, *at);
            }
            for (value, (expected, _)) in late.points.iter().rev().zip(aligned) {
                assert_eq!(value, expected);
            }
        }
        let covered = axis.times()[POINTS - 1] - axis.times()[0];
        assert!((3_000_000..8_000_000).contains(&covered), "{covered}");
    }

    #[test]
    fn quick_rounds_are_thinned_until_they_cover_an_hour() {
        let mut axis = Axis::default();
        for round in 0..36_000 {
            axis.step(round * 100);
        }
        let covered = axis.times()[axis.times().len() - 1] - axis.times()[0];
        assert!(covered >= 1_500_000, "{covered}");
    }
}

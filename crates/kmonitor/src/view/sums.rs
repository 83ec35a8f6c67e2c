//! Numbers over several partitions: of a module, of a cluster. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Certainty, PartitionView, TimeLag};
use crate::state::State;

/// Numbers over several partitions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Sums {
    /// Partitions.
    #[serde(rename = "partition_count")]
    pub(crate) partitions: u64,
    /// Those whose lag is not known.
    pub(crate) unknown: u64,
    /// Those that have an owner.
    pub(crate) owned: u64,
    /// The known lags, summed; `None` when there are partitions and not one is known.
    pub(crate) lag: Option<u64>,
    /// The largest known time lag, in seconds.
    pub(crate) lag_seconds: Option<f64>,
    /// How sure that one is.
    pub(crate) lag_seconds_certainty: Option<Certainty>,
    /// Records that were gone before they were delivered.
    pub(crate) lost: u64,
    /// Known rates in records a second, summed.
    pub(crate) rate_in: Option<f64>,
    /// As above.
    pub(crate) rate_out: Option<f64>,
    /// The longest; `None` as soon as one is not in sight.
    pub(crate) eta_seconds: Option<f64>,
    /// The newest.
    pub(crate) last_commit_ms: Option<i64>,
    /// Partitions by state; states that none has are left out.
    pub(crate) states: BTreeMap<State, u64>,
}

impl Sums {
    /// Of the partitions of a module.
    #[must_use]
    pub(crate) fn of(partitions: &[PartitionView]) -> Self {
        let mut sums = Self::default();
        for one in partitions {
            sums.add(&Self::of_one(one));
        }
        sums.finish()
    }

    /// Of the sums of modules.
    #[must_use]
    pub(crate) fn over<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        let mut sums = Self::default();
        all.for_each(|one| sums.add(one));
        sums.finish()
    }

    /// Where there is nothing, nothing waits.
    fn finish(mut self) -> Self {
        if self.partitions == 0 {
            self.lag = Some(0);
            self.lag_seconds = Some(0.0);
            self.lag_seconds_certainty = Some(TimeLag::NONE.certainty);
        }
        self
    }

    fn of_one(one: &PartitionView) -> Self {
        Self {
            partitions: 1,
            unknown: u64::from(one.lag.is_none()),
            owned: u64::from(one.owner.is_some()),
            lag: one.lag,
            lag_seconds: one.lag_seconds,
            lag_seconds_certainty: one.lag_seconds_certainty,
            lost: one.lost.unwrap_or_default(),
            rate_in: one.rate_in,
            rate_out: one.rate_out,
            eta_seconds: one.eta_seconds,
            last_commit_ms: one.last_commit_ms,
            states: BTreeMap::from([(one.standing.state, 1)]),
        }
    }

    fn add(&mut self, other: &Self) {
        // The lag of nothing is no zero to begin with.
        if other.partitions == 0 {
            return;
        }
        self.eta_seconds = match (self.partitions, self.eta_seconds, other.eta_seconds) {
            (0, _, first) => first,
            (_, Some(one), Some(other)) => Some(one.max(other)),
            _ => None,
        };
        self.partitions += other.partitions;
        self.unknown += other.unknown;
        self.owned += other.owned;
        self.lag = either(self.lag, other.lag, u64::saturating_add);
        if other.lag_seconds > self.lag_seconds {
            self.lag_seconds = other.lag_seconds;
            self.lag_seconds_certainty = other.lag_seconds_certainty;
        }
        self.lost = self.lost.saturating_add(other.lost);
        self.rate_in = either(self.rate_in, other.rate_in, |one, two| one + two);
        self.rate_out = either(self.rate_out, other.rate_out, |one, two| one + two);
        self.last_commit_ms = self.last_commit_ms.max(other.last_commit_ms);
        for (state, count) in &other.states {
            *self.states.entry(*state).or_default() += count;
        }
    }
}

fn either<T>(one: Option<T>, other: Option<T>, both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(both(one, other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(lag: Option<u64>) -> Sums {
        Sums {
            partitions: 1,
            unknown: u64::from(lag.is_none()),
            lag,
            ..Sums::default()
        }
    }

    #[test]
    fn what_is_unknown_is_counted_and_never_added_as_zero() {
        let all = [sums(Some(3)), sums(None), sums(Some(4))];
        let over = Sums::over(all.iter());
        assert_eq!((over.partitions, over.unknown, over.lag), (3, 1, Some(7)));
        let none = [sums(None), Sums::over(std::iter::empty())];
        assert_eq!(Sums::over(none.iter()).lag, None);
        assert_eq!(Sums::over(std::iter::empty()).lag, Some(0));
    }
    #[test]
    fn an_end_is_in_sight_when_it_is_for_every_partition() {
        let ends = |eta_seconds| Sums {
            eta_seconds,
            ..sums(Some(5))
        };
        let over = |all: &[Sums]| Sums::over(all.iter()).eta_seconds;
        assert_eq!(over(&[ends(Some(0.0)), ends(Some(7.0))]), Some(7.0));
        assert_eq!(over(&[ends(None), ends(Some(0.0))]), None);
        assert_eq!(over(&[ends(Some(0.0)), ends(None), ends(Some(7.0))]), None);
        assert_eq!(over(&[Sums::default(), ends(Some(7.0))]), Some(7.0));
    }
}

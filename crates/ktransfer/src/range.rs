//! What a partition does whose next record Kafka does not have. Pure: the time is an argument.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

/// Where a partition goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resort {
    /// At the oldest record that the log has.
    Earliest,
    /// At the next record to arrive.
    Latest,
    /// Nowhere, until the log or the offset has changed.
    Stop,
}

/// On which side of the log the next record would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Deleted.
    Below,
    /// Not written, or lost by the broker.
    Above,
}

/// A module's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange {
    /// When it was deleted.
    pub below: Resort,
    /// When the log ends before it.
    pub above: Resort,
    /// How long the partition waits before it goes anywhere.
    pub after: Duration,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask again; nothing is decided before this time.
    WaitUntil(Instant),
    /// Go on there, or stop.
    Go(Resort),
}

impl OutOfRange {
    /// What follows for a partition that has been out of range since then.
    #[must_use]
    pub fn next(&self, side: Side, since: Instant, now: Instant) -> Next {
        let until = since + self.after;
        if now < until {
            return Next::WaitUntil(until);
        }
        Next::Go(match side {
            Side::Below => self.below,
            Side::Above => self.above,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_decided_before_its_time_and_then_each_side_has_its_own_end() {
        let policy = OutOfRange {
            below: Resort::Latest,
            above: Resort::Earliest,
            after: Duration::from_secs(5),
        };
        let since = Instant::now();
        let end = since + policy.after;
        for side in [Side::Below, Side::Above] {
            assert_eq!(policy.next(side, since, since), Next::WaitUntil(end));
            let before = end - Duration::from_millis(1);
            assert_eq!(policy.next(side, since, before), Next::WaitUntil(end));
        }
        assert_eq!(policy.next(Side::Below, since, end), Next::Go(Resort::Latest));
        assert_eq!(policy.next(Side::Above, since, end), Next::Go(Resort::Earliest));
    }
}

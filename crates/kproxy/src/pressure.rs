//! How many records may wait for Kafka at once, by how fast it confirms them.
//!
//! Pure. More than Kafka takes cannot be stored, only kept waiting: without a limit every record of an overload would wait
//! until the queue is full, and then time out. What cannot be confirmed soon is refused at once instead, so that what is taken
//! is confirmed soon. A cluster that confirms quickly is never limited, however much comes, because nothing is known then of
//! what it could take.

use std::time::Duration;

/// What was seen since the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Records that wait now.
    pub(crate) waiting: usize,
    /// Records that Kafka confirmed.
    pub(crate) confirmed: usize,
    /// The longest that one of them had waited.
    pub(crate) longest: Duration,
}

/// How Kafka keeps up, as one task sees it.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    /// Confirmations a second, of late.
    rate: usize,
    /// How long records have waited without one.
    silent: Duration,
    /// `None` as long as Kafka keeps up.
    limit: Option<usize>,
    /// How long records wait for company before they are sent, which says nothing about Kafka.
    linger: Duration,
}

impl Pressure {
    /// How often to look.
    pub(crate) const LOOK: Duration = Duration::from_millis(50);
    /// A record that waited this long says that Kafka does not keep up.
    const SLOW: Duration = Duration::from_millis(200);
    /// How long the last of the records that may wait should wait. Above `SLOW`: the limit would lift itself otherwise.
    const GOAL: Duration = Duration::from_millis(400);
    /// Records without a confirmation for this long mean that the rate says nothing any more. A pause of the broker's garbage
    /// collector takes less, and needs no refusal.
    const SILENT: Duration = Duration::from_millis(500);
    /// So many may wait at a broker that takes hardly any: each of them costs little, and it must be able to show that it
    /// takes more.
    const LEAST: usize = 128;
    /// The newest look counts for one part in so many of the rate.
    const SMOOTH: usize = 5;

    /// Of a producer that lets records wait for company for so long.
    pub(crate) fn new(linger: Duration) -> Self {
        Self {
            linger,
            ..Self::default()
        }
    }

    /// The most records that may wait from now on, at most `max`, given what was seen in the time that has `passed` since the
    /// last look.
    pub(crate) fn look(&mut self, seen: Seen, passed: Duration, max: usize) -> usize {
        let millis = usize::try_from(passed.as_millis()).unwrap_or(usize::MAX).max(1);
        if seen.waiting > 0 || seen.confirmed > 0 {
            let now = seen.confirmed.saturating_mul(1000) / millis;
            self.rate = (self.rate * (Self::SMOOTH - 1)).saturating_add(now) / Self::SMOOTH;
        }
        if seen.confirmed > 0 || seen.waiting == 0 {
            self.silent = Duration::ZERO;
        } else {
            self.silent += passed;
        }
        let goal = usize::try_from((Self::GOAL + self.linger).as_millis()).unwrap_or(usize::MAX);
        self.limit = if self.silent >= Self::SILENT + self.linger {
            Some(Self::LEAST)
        } else if seen.longest >= Self::SLOW + self.linger {
            Some((self.rate / 1000).saturating_mul(goal).max(Self::LEAST))
        } else if self.silent > Duration::ZERO {
            // Nothing new is known.
            self.limit
        } else {
            // It keeps up: a quarter more each time, so that what was held back does not come all at once.
            self.limit.map(|limit| limit + limit / 4)
        };
        self.limit = self.limit.filter(|limit| *limit < max);
        self.limit.unwrap_or(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 10_240;

    /// A broker that confirms `takes` records a second in their order, and a load of `offered` a second, seen for `seconds`;
    /// gives the longest wait and the rate of what was taken in the second half.
    fn run(takes: usize, offered: usize, seconds: usize) -> (Duration, usize) {
        let mut pressure = Pressure::default();
        let looks_a_second = 20;
        let mut queue = std::collections::VecDeque::new();
        let (mut longest, mut taken) = (Duration::ZERO, 0);
        for look in 0..seconds * looks_a_second {
            let mut seen = Seen::default();
            for _ in 0..(takes / looks_a_second).min(queue.len()) {
                let since: usize = queue.pop_front().unwrap();
                let waited = Pressure::LOOK * u32::try_from(look - since).unwrap();
                seen.longest = seen.longest.max(waited);
                seen.confirmed += 1;
            }
            if look * 2 > seconds * looks_a_second {
                longest = longest.max(seen.longest);
                taken += seen.confirmed;
            }
            seen.waiting = queue.len();
            let limit = pressure.look(seen, Pressure::LOOK, MAX);
            for _ in 0..(offered / looks_a_second) {
                if queue.len() < limit {
                    queue.push_back(look);
                }
            }
        }
        (longest, taken * 2 / seconds)
    }

    #[test]
    fn an_overload_is_taken_as_fast_as_it_can_be_stored_and_waits_less_than_a_second() {
        for (takes, offered) in [(3_000, 12_000), (1_000, 4_000), (20_000, 25_000)] {
            let (longest, taken) = run(takes, offered, 20);
            assert!(
                longest < Duration::from_millis(700),
                "{longest:?} at {takes} a second"
            );
            assert!(taken * 10 >= takes * 9, "{taken} of {takes} a second");
        }
    }

    #[test]
    fn a_broker_that_keeps_up_is_never_limited() {
        let mut pressure = Pressure::default();
        for confirmed in [1, 10_000, 3] {
            let seen = Seen {
                waiting: 5_000,
                confirmed,
                longest: Duration::from_millis(150),
            };
            assert_eq!(pressure.look(seen, Pressure::LOOK, MAX), MAX);
        }
    }

    #[test]
    fn a_short_silence_limits_nothing_and_a_long_one_leaves_the_least() {
        let mut pressure = Pressure::default();
        let silent = Seen {
            waiting: 5_000,
            ..Seen::default()
        };
        let limits: Vec<_> = (0..25)
            .map(|_| pressure.look(silent, Pressure::LOOK, MAX))
            .collect();
        assert_eq!(limits[..9], [MAX; 9]);
        assert_eq!(limits[9..], [Pressure::LEAST; 16]);
    }

    #[test]
    fn the_limit_goes_when_records_wait_no_longer() {
        let mut pressure = Pressure::default();
        let slow = Seen {
            waiting: 900,
            confirmed: 100,
            longest: Duration::from_millis(500),
        };
        assert!(pressure.look(slow, Pressure::LOOK, MAX) < MAX);
        let mut limit = 0;
        for _ in 0..40 {
            limit = pressure.look(Seen::default(), Pressure::LOOK, MAX);
        }
        assert_eq!(limit, MAX);
    }
    #[test]
    fn records_that_wait_for_company_say_nothing_about_kafka() {
        let linger = Duration::from_secs(1);
        let seen = Seen {
            waiting: 600,
            confirmed: 600,
            longest: linger + Duration::from_millis(10),
        };
        let silent = Seen { confirmed: 0, ..seen };
        let mut patient = Pressure::new(linger);
        for _ in 0..19 {
            assert_eq!(patient.look(silent, Pressure::LOOK, MAX), MAX);
        }
        assert_eq!(patient.look(seen, Pressure::LOOK, MAX), MAX);
        assert!(Pressure::default().look(seen, Pressure::LOOK, MAX) < MAX);
    }
}

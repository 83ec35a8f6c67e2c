//! Whether Kafka's brokers can be reached, decided from probes and from what the producers hear.
//!
//! Pure; `watch` probes. librdkafka alone would keep records until they time out, so a request could wait seconds for
//! a cluster that is known to be gone. One failed probe is not enough, unless a producer has lost all its brokers:
//! a busy broker may answer late, and a broker closes idle connections.

use std::time::{Duration, Instant};

/// The state of the brokers, as one task sees it.
#[derive(Debug)]
pub(crate) struct Health {
    away: bool,
    suspected: bool,
    failed: u32,
}

/// What a probe changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// The brokers went away.
    Away,
    /// The brokers came back, or were reached for the first time.
    Back,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            away: true,
            suspected: false,
            failed: 0,
        }
    }
}

impl Health {
    /// Between probes of brokers that answer.
    const CALM: Duration = Duration::from_secs(1);
    /// Between probes of brokers that do not: half of it is the mean time until their return is seen.
    const AWAY: Duration = Duration::from_millis(250);
    /// Failed probes in a row that mean "away" when nothing else points to it.
    const FAILURES: u32 = 2;

    /// A client reported that it has no connection left: the next failed probe decides.
    pub(crate) fn suspect(&mut self) {
        self.suspected = true;
    }

    /// A probe ended. `delivered` says that Kafka confirmed a record since the last one.
    pub(crate) fn probed(&mut self, answered: bool, delivered: bool) -> Change {
        if answered || delivered {
            self.suspected = false;
            self.failed = 0;
            if answered && std::mem::take(&mut self.away) {
                return Change::Back;
            }
            return Change::None;
        }
        self.failed = self.failed.saturating_add(1);
        if self.away || !(self.suspected || self.failed >= Self::FAILURES) {
            return Change::None;
        }
        self.away = true;
        Change::Away
    }

    /// Records wait and none is confirmed, whatever the probes say.
    pub(crate) fn stalled(&mut self) -> Change {
        if std::mem::replace(&mut self.away, true) {
            Change::None
        } else {
            Change::Away
        }
    }

    /// How long to wait before the next probe.
    #[must_use]
    pub(crate) fn pause(&self) -> Duration {
        if self.away {
            Self::AWAY
        } else if self.failed > 0 || self.suspected {
            Duration::ZERO
        } else {
            Self::CALM
        }
    }
}

/// Whether records wait for brokers that take them and never answer.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    /// Since when records have been waiting without any confirmation.
    since: Option<Instant>,
}

impl Stall {
    /// How often to look while records wait.
    pub(crate) const LOOK: Duration = Duration::from_millis(250);

    /// What is seen at `now`: whether records wait, and whether any was confirmed since the last look. Says once for each stall
    /// that it has lasted for `patience`; the next begins anew.
    pub(crate) fn look(&mut self, waiting: bool, delivered: bool, now: Instant, patience: Duration) -> bool {
        if !waiting || delivered {
            self.since = waiting.then_some(now);
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let stalled = now.saturating_duration_since(since) >= patience;
        if stalled {
            self.since = None;
        }
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up() -> Health {
        let mut health = Health::default();
        assert_eq!(health.probed(true, false), Change::Back);
        health
    }

    #[test]
    fn brokers_are_away_until_one_answers() {
        let mut health = Health::default();
        assert_eq!(health.probed(false, false), Change::None);
        assert_eq!(health.pause(), Health::AWAY);
        assert_eq!(health.probed(true, false), Change::Back);
        assert_eq!(health.pause(), Health::CALM);
    }

    #[test]
    fn two_failed_probes_in_a_row_mean_away() {
        let mut health = up();
        assert_eq!(health.probed(false, false), Change::None);
        assert_eq!(health.pause(), Duration::ZERO);
        assert_eq!(health.probed(true, false), Change::None);
        assert_eq!(health.probed(false, false), Change::None);
        assert_eq!(health.probed(false, false), Change::Away);
        assert_eq!(health.probed(false, false), Change::None);
        assert_eq!(health.probed(true, false), Change::Back);
    }

    #[test]
    fn one_failed_probe_is_enough_when_a_client_lost_its_brokers() {
        let mut health = up();
        health.suspect();
        assert_eq!(health.pause(), Duration::ZERO);
        assert_eq!(health.probed(false, false), Change::Away);
    }

    #[test]
    fn a_suspicion_ends_with_an_answer() {
        let mut health = up();
        health.suspect();
        assert_eq!(health.probed(true, false), Change::None);
        assert_eq!(health.probed(false, false), Change::None);
    }

    #[test]
    fn brokers_that_confirm_records_are_not_away() {
        let mut health = up();
        for _ in 0..10 {
            assert_eq!(health.probed(false, true), Change::None);
        }
    }

    #[test]
    fn a_late_delivery_report_does_not_bring_brokers_back() {
        let mut health = Health::default();
        assert_eq!(health.probed(false, true), Change::None);
        assert_eq!(health.pause(), Health::AWAY);
    }

    #[test]
    fn records_that_wait_without_any_confirmation_are_a_stall() {
        let (mut stall, start) = (Stall::default(), Instant::now());
        let patience = Duration::from_secs(3);
        let mut look = |waiting, delivered, seconds: u64| {
            stall.look(waiting, delivered, start + Duration::from_secs(seconds), patience)
        };
        assert!(!look(true, false, 0));
        assert!(!look(true, false, 2));
        assert!(!look(true, true, 3), "a confirmation begins it anew");
        assert!(!look(true, false, 5));
        assert!(look(true, false, 6));
        assert!(!look(true, false, 7), "said once");
        assert!(!look(false, false, 20));
        assert!(!look(true, false, 21), "what came since has not waited long");
    }

    #[test]
    fn a_stall_means_away_until_a_broker_answers() {
        let mut health = up();
        assert_eq!(health.stalled(), Change::Away);
        assert_eq!(health.stalled(), Change::None);
        assert_eq!(health.probed(false, true), Change::None);
        assert_eq!(health.probed(true, false), Change::Back);
    }
}

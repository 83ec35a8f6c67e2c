//! How many pushes of a module may be on their way while its backend is overloaded or away: fewer at once as soon as it says so,
//! one more at a time while it takes them. Pure: the time and the randomness are arguments.
//!
//! * An answer of 429 or 503 halves the number; so does every failure without an answer from the tenth in a row on, which
//!   is an outage and no bad connection. What was on its way when it was halved does not halve it again.
//! * At one push at a time a further failure makes the module pause, for longer each time: a backend that is away is asked
//!   now and then by one record, and one that returns is not met by everything that has waited.
//! * A push that is taken while the number is used up makes room for one more with each round. A module that has few keys to push
//!   learns nothing by that, so its number stays.

use std::time::Duration;

use tokio::time::Instant;

use crate::retry::full_jitter;

/// Failures in a row that are no accident of single connections.
const OUTAGE: u32 = 10;
/// The first pause, about, and the longest: a backend that is back is noticed after it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What an attempt says about the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It is there and has time.
    Taken,
    /// It is away: no connection, no answer, or a gateway's word that there is none.
    Away,
    /// It wants less (429 and 503), or nothing for so long.
    Overloaded(Option<Duration>),
}

/// For how long a module has to be at full speed until that is told: one that its backend slows down again and again would fill
/// the log.
const LASTS: Duration = Duration::from_secs(10);

/// When to tell that a module is slowed down, and that it is not any more.
#[derive(Debug, Default)]
pub struct Telling {
    told: bool,
    whole_since: Option<Instant>,
}

impl Telling {
    /// Whether the module is slowed down now. Returns what is to be told: that it is, or that it is over.
    pub fn look(&mut self, slowed: bool, now: Instant) -> Option<bool> {
        if slowed {
            self.whole_since = None;
            return (!std::mem::replace(&mut self.told, true)).then_some(true);
        }
        let since = *self.whole_since.get_or_insert(now);
        if self.told && now >= since + LASTS {
            self.told = false;
            return Some(false);
        }
        None
    }
}

/// See the module.
#[derive(Debug)]
pub struct Adaptive {
    ceiling: f64,
    limit: f64,
    /// When the limit was halved, or a pause was begun. Pushes from before say nothing new.
    judged: Option<Instant>,
    paused_until: Option<Instant>,
    /// Pauses in a row.
    pauses: u32,
    /// Failures without an answer, in a row.
    away: u32,
}

impl Adaptive {
    /// All `workers` at first.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "10,000 workers at most")]
        let ceiling = workers.max(1) as f64;
        Self {
            ceiling,
            limit: ceiling,
            judged: None,
            paused_until: None,
            pauses: 0,
            away: 0,
        }
    }

    /// How many pushes may be on their way.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between one and the number of workers"
    )]
    pub const fn limit(&self) -> usize {
        self.limit as usize
    }

    /// Whether it is less than all.
    #[must_use]
    pub fn is_slowed(&self) -> bool {
        self.limit < self.ceiling
    }

    /// Whether another push may begin beside those on their way.
    pub fn admits(&mut self, in_flight: usize, now: impl FnOnce() -> Instant) -> bool {
        if self.paused_until.is_some_and(|until| now() < until) {
            return false;
        }
        self.paused_until = None;
        in_flight < self.limit()
    }

    /// An attempt that began then has ended; `in_flight` are on their way, this one included.
    pub fn note(
        &mut self,
        sign: Sign,
        (started, now): (Instant, Instant),
        in_flight: usize,
        random: impl FnOnce() -> f64,
    ) {
        let asked = match sign {
            Sign::Taken => return self.taken(in_flight),
            Sign::Away => {
                self.away += 1;
                if self.away < OUTAGE {
                    return;
                }
                None
            }
            Sign::Overloaded(asked) => asked,
        };
        if let Some(asked) = asked {
            self.pause(now + asked);
        }
        if self.judged.is_some_and(|judged| started < judged) {
            return;
        }
        self.judged = Some(now);
        if self.limit > 1.0 {
            self.limit = (self.limit / 2.0).floor().max(1.0);
        } else {
            self.pauses = self.pauses.saturating_add(1);
            self.pause(now + full_jitter(FIRST_PAUSE, LONGEST_PAUSE, self.pauses, random()));
        }
    }

    fn taken(&mut self, in_flight: usize) {
        self.away = 0;
        self.pauses = 0;
        if in_flight >= self.limit() {
            self.limit = (self.limit + 1.0 / self.limit).min(self.ceiling);
        }
    }

    fn pause(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |known| known.max(until)));
    }
}

#[cfg(test)]
mod tests;

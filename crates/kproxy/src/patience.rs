//! How long kproxy waits for a client: between requests, for a head, for a body, for an answer to be taken.
//!
//! Pure: the clock is an argument. The wait for Kafka is not here: no patience with a client may cut it.
//! A fresh connection counts as idle; the head's time runs from its first byte.

use std::time::{Duration, Instant};

use crate::failure::Slow;

/// How long a body may be as slow as it likes before its average rate counts.
const RATE_COUNTS_AFTER: Duration = Duration::from_secs(5);

/// The limits of one daemon. `None` is no limit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest time without a byte while a request is received (`read_timeout_ms`).
    pub silence: Option<Duration>,
    /// Longest time without a byte taken while an answer is sent (`write_timeout_ms`).
    pub write: Option<Duration>,
    /// From the first byte of a request to the end of its head (`header_timeout_ms`).
    pub head: Option<Duration>,
    /// From the first byte of a request to the last of its body (`request_timeout_ms`).
    pub whole: Option<Duration>,
    /// Between two requests, and before the first (`idle_timeout_ms`).
    pub idle: Option<Duration>,
    /// Least average rate of a body in bytes per second, counted after 5 s (`min_body_rate_bytes`); 0 is none.
    pub body_rate: u64,
}

/// Why a connection was cut outside a body. Also the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing came between requests.
    Idle,
    /// The head was not complete in time, or fell silent.
    Head,
    /// The client did not take its answer.
    Write,
}

impl Cut {
    /// The metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Head => "head",
            Self::Write => "write",
        }
    }
}

/// What a connection is doing while no request is being served.
#[derive(Clone, Copy, Debug)]
pub enum Reading {
    /// Waiting for the first byte of a request since then.
    Idle(Instant),
    /// Receiving a head.
    Head {
        /// When its first byte came.
        first: Instant,
        /// When its last byte came.
        last: Instant,
    },
}

impl Reading {
    /// Bytes arrived at `now`.
    pub fn received(&mut self, now: Instant) {
        *self = match *self {
            Self::Idle(_) => Self::Head {
                first: now,
                last: now,
            },
            Self::Head { first, .. } => Self::Head { first, last: now },
        };
    }

    /// When the connection is cut unless something arrives.
    #[must_use]
    pub fn deadline(&self, limits: &Limits) -> Option<Instant> {
        match *self {
            Self::Idle(since) => limits.idle.map(|idle| since + idle),
            Self::Head { first, last } => earliest([
                limits.head.map(|head| first + head),
                limits.whole.map(|whole| first + whole),
                limits.silence.map(|silence| last + silence),
            ])
            .map(|(at, _first_reason)| at),
        }
    }

    /// What to call the cut at the deadline.
    #[must_use]
    pub const fn cut(&self) -> Cut {
        match self {
            Self::Idle(_) => Cut::Idle,
            Self::Head { .. } => Cut::Head,
        }
    }
}

/// A body that is being received.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    /// When the first byte of the request came.
    pub request_began: Instant,
    /// When kproxy began to read the body.
    pub began: Instant,
    /// When its last byte came.
    pub last: Instant,
    /// Bytes so far.
    pub received: usize,
}

impl Body {
    /// When to give up unless more arrives, and why.
    #[must_use]
    pub fn deadline(&self, limits: &Limits) -> Option<(Instant, Slow)> {
        let silent = limits
            .silence
            .map(|limit| (self.last + limit, Slow::Silent(limit)));
        let whole = limits
            .whole
            .map(|limit| (self.request_began + limit, Slow::Whole(limit)));
        let rate = (limits.body_rate > 0).then(|| {
            let earned =
                Duration::from_secs(u64::try_from(self.received).unwrap_or(u64::MAX) / limits.body_rate);
            (
                self.began + earned.max(RATE_COUNTS_AFTER),
                Slow::Rate(limits.body_rate),
            )
        });
        let limits = [silent, whole, rate];
        let (_at, which) = earliest(limits.map(|limit| limit.map(|(at, _why)| at)))?;
        limits[which]
    }
}

/// The earliest of three deadlines, and which it is.
fn earliest(deadlines: [Option<Instant>; 3]) -> Option<(Instant, usize)> {
    let set = deadlines.into_iter().enumerate();
    set.filter_map(|(which, at)| Some((at?, which))).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        Limits {
            silence: Some(Duration::from_millis(100)),
            write: Some(Duration::from_millis(100)),
            head: Some(10 * SECOND),
            whole: Some(30 * SECOND),
            idle: Some(60 * SECOND),
            body_rate: 1000,
        }
    }

    fn none() -> Limits {
        Limits {
            silence: None,
            write: None,
            head: None,
            whole: None,
            idle: None,
            body_rate: 0,
        }
    }

    #[test]
    fn an_idle_connection_has_the_idle_time() {
        let now = Instant::now();
        let reading = Reading::Idle(now);
        assert_eq!(reading.deadline(&limits()), Some(now + 60 * SECOND));
        assert_eq!(reading.cut(), Cut::Idle);
        assert_eq!(reading.deadline(&none()), None);
    }

    #[test]
    fn a_head_ends_by_silence_or_by_its_whole_time() {
        let now = Instant::now();
        let mut reading = Reading::Idle(now - 50 * SECOND);
        reading.received(now);
        assert_eq!(
            reading.deadline(&limits()),
            Some(now + Duration::from_millis(100))
        );
        reading.received(now + SECOND);
        let no_silence = Limits {
            silence: None,
            ..limits()
        };
        assert_eq!(reading.deadline(&no_silence), Some(now + 10 * SECOND));
        assert_eq!(reading.deadline(&none()), None);
        assert_eq!(reading.cut(), Cut::Head);
    }

    #[test]
    fn a_body_names_the_patience_that_runs_out_first() {
        let now = Instant::now();
        let body = Body {
            request_began: now,
            began: now,
            last: now,
            received: 0,
        };
        let silent = Slow::Silent(Duration::from_millis(100));
        assert_eq!(
            body.deadline(&limits()),
            Some((now + Duration::from_millis(100), silent))
        );
        let no_silence = Limits {
            silence: None,
            ..limits()
        };
        assert_eq!(
            body.deadline(&no_silence),
            Some((now + 5 * SECOND, Slow::Rate(1000)))
        );
        let fast = Body {
            received: 40_000,
            ..body
        };
        assert_eq!(
            fast.deadline(&no_silence),
            Some((now + 30 * SECOND, Slow::Whole(30 * SECOND)))
        );
        assert_eq!(body.deadline(&none()), None);
    }

    #[test]
    fn a_body_earns_time_by_its_bytes() {
        let now = Instant::now();
        let body = Body {
            request_began: now,
            began: now,
            last: now,
            received: 8_000,
        };
        let rate = Limits {
            body_rate: 1000,
            ..none()
        };
        assert_eq!(body.deadline(&rate), Some((now + 8 * SECOND, Slow::Rate(1000))));
    }
}

//! The requests of one HTTP/2 connection, and how long the connection may go on as it is.
//!
//! Requests overlap, so nobody's turn can be timed at the socket. Bytes alone are no sign of life either: pings and half a head
//! would keep a connection for ever. What counts is whether requests are open, and whether answers are taken.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use crate::patience::{Cut, Limits};
use crate::turn::Turn;

/// What is open on a connection. Pure: the clock is an argument.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Requests without an answer yet.
    served: usize,
    /// Answers that the client has not made room for.
    answered: usize,
    /// When the last request ended or, if an answer waits, when the last one was taken or began to wait alone.
    since: Instant,
}

impl Pace {
    fn answer(&mut self, now: Instant) {
        if self.answered == 0 {
            self.since = now;
        }
        self.served -= 1;
        self.answered += 1;
    }

    fn end(&mut self, was_answered: bool, now: Instant) {
        if was_answered {
            self.answered -= 1;
        } else {
            self.served -= 1;
        }
        self.since = now;
    }

    /// When the connection is cut unless something happens, and why.
    fn deadline(&self, limits: &Limits) -> Option<(Instant, Cut)> {
        let (limit, cut) = match (self.answered, self.served) {
            (0, 0) => (limits.idle, Cut::Idle),
            // Kafka is awaited, or a body, which has limits of its own.
            (0, _) => (None, Cut::Idle),
            _ => (limits.write, Cut::Write),
        };
        limit.map(|limit| (self.since + limit, cut))
    }
}

/// The requests of a connection.
#[derive(Debug)]
pub(crate) struct Streams {
    turn: Arc<Turn>,
    pace: Mutex<Pace>,
}

impl Streams {
    /// None yet.
    #[must_use]
    pub(crate) fn new(turn: Arc<Turn>) -> Arc<Self> {
        turn.share();
        let pace = Pace {
            served: 0,
            answered: 0,
            since: turn.opened(),
        };
        Arc::new(Self {
            turn,
            pace: Mutex::new(pace),
        })
    }

    /// A request begins.
    #[must_use]
    pub(crate) fn begin(self: &Arc<Self>) -> Stream {
        self.turn.stream_begins();
        self.pace().served += 1;
        Stream {
            streams: Arc::clone(self),
            is_answered: false,
        }
    }

    /// When the connection is cut unless something happens, and why.
    #[must_use]
    pub(crate) fn deadline(&self, limits: &Limits) -> Option<(Instant, Cut)> {
        self.pace().deadline(limits)
    }

    /// The time of an idle connection begins anew.
    pub(crate) fn touch(&self) {
        self.pace().since = Instant::now();
    }

    /// A panic elsewhere leaves the numbers whole.
    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request, until its answer is handed over or it is given up.
#[derive(Debug)]
pub(crate) struct Stream {
    streams: Arc<Streams>,
    is_answered: bool,
}

impl Stream {
    /// The answer's body, which keeps the request open until it is taken.
    #[must_use]
    pub(crate) fn answer(mut self, body: Full<Bytes>) -> Answering {
        self.streams.pace().answer(Instant::now());
        self.is_answered = true;
        Answering { body, _stream: self }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.pace().end(self.is_answered, Instant::now());
        self.streams.turn.stream_ends();
    }
}

/// The body of an answer that the client may be slow to take.
#[derive(Debug)]
pub(crate) struct Answering {
    body: Full<Bytes>,
    _stream: Stream,
}

impl Body for Answering {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: Limits = Limits {
        silence: None,
        write: Some(Duration::from_secs(5)),
        head: None,
        whole: None,
        idle: Some(Duration::from_secs(60)),
        body_rate: 0,
    };

    fn after(seconds: u64, start: Instant) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_connection_is_idle_from_the_end_of_its_last_request() {
        let start = Instant::now();
        let mut pace = Pace {
            served: 0,
            answered: 0,
            since: start,
        };
        assert_eq!(pace.deadline(&LIMITS), Some((after(60, start), Cut::Idle)));
        pace.served += 2;
        assert_eq!(
            pace.deadline(&LIMITS),
            None,
            "the wait for Kafka is nobody's fault"
        );
        pace.end(false, after(1, start));
        assert_eq!(pace.deadline(&LIMITS), None);
        pace.answer(after(2, start));
        pace.end(true, after(3, start));
        assert_eq!(pace.deadline(&LIMITS), Some((after(63, start), Cut::Idle)));
    }

    #[test]
    fn answers_that_nobody_takes_are_waited_for_while_any_is_taken() {
        let start = Instant::now();
        let mut pace = Pace {
            served: 3,
            answered: 0,
            since: start,
        };
        pace.answer(after(10, start));
        assert_eq!(pace.deadline(&LIMITS), Some((after(15, start), Cut::Write)));
        pace.answer(after(14, start));
        assert_eq!(pace.deadline(&LIMITS), Some((after(15, start), Cut::Write)));
        pace.end(true, after(14, start));
        assert_eq!(pace.deadline(&LIMITS), Some((after(19, start), Cut::Write)));
    }

    #[tokio::test]
    async fn a_request_is_open_until_its_body_is_taken_or_dropped() {
        let open = Arc::default();
        let streams = Streams::new(Arc::new(Turn::new(Arc::clone(&open))));
        let answered = streams.begin().answer(Full::default());
        let given_up = streams.begin();
        assert_eq!(streams.deadline(&LIMITS).unwrap().1, Cut::Write);
        drop((answered, given_up));
        assert_eq!(streams.deadline(&LIMITS).unwrap().1, Cut::Idle);
        assert_eq!(open.count(), 2, "not sent yet");
        assert!(!streams.turn.sent());
        assert_eq!(open.count(), 0);
    }
}

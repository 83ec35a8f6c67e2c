//! Whose turn it is on a connection, told by the service to the socket and the other way round.
//!
//! Both live in one task, so the atomics are for the compiler; with HTTP/2 each request has a task, but then there are no turns.
//! A turn also counts as an open request of the process
//! from its head until its answer is written, which is what a stop waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

const READING: u8 = 0;
const SERVING: u8 = 1;
const ANSWERING: u8 = 2;
/// HTTP/2: requests overlap, so there are no turns; `streams` knows what is open.
const SHARED: u8 = 3;

/// Requests of the process between the end of their head and the end of their answer.
#[derive(Debug, Default)]
pub(crate) struct OpenRequests(AtomicUsize);

impl OpenRequests {
    /// How many there are.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Turn {
    phase: AtomicU8,
    opened: Instant,
    /// Nanoseconds from `opened` to the first byte of the current request, plus one; 0 when it came with the last.
    first_byte: AtomicU64,
    unread: AtomicBool,
    open: Arc<OpenRequests>,
    /// Answers of a shared connection that have ended and are not known to be sent.
    ended: AtomicUsize,
}

impl Turn {
    /// A connection that was just accepted.
    #[must_use]
    pub(crate) fn new(open: Arc<OpenRequests>) -> Self {
        Self {
            phase: AtomicU8::new(READING),
            opened: Instant::now(),
            first_byte: AtomicU64::new(0),
            unread: AtomicBool::new(false),
            open,
            ended: AtomicUsize::new(0),
        }
    }

    /// From now on requests overlap. Only before the first one.
    pub(crate) fn share(&self) {
        self.phase.store(SHARED, Relaxed);
    }

    /// A request of a shared connection begins.
    pub(crate) fn stream_begins(&self) {
        self.open.0.fetch_add(1, Relaxed);
    }

    /// A request of a shared connection has ended: its answer goes out with what is written next.
    pub(crate) fn stream_ends(&self) {
        self.ended.fetch_add(1, Relaxed);
    }

    fn streams_sent(&self) {
        let ended = self.ended.swap(0, Relaxed);
        self.open.0.fetch_sub(ended, Relaxed);
    }

    /// When the connection was accepted.
    #[must_use]
    pub(crate) const fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether the client's next bytes are awaited.
    #[must_use]
    pub(crate) fn is_reading(&self) -> bool {
        self.phase.load(Relaxed) == READING
    }

    /// The first byte of a request came.
    pub(crate) fn request_begins(&self, now: Instant) {
        let nanos = u64::try_from(now.saturating_duration_since(self.opened).as_nanos());
        self.first_byte.store(nanos.unwrap_or(u64::MAX - 1) + 1, Relaxed);
    }

    /// A head is complete: the service begins. Returns when the request began.
    #[must_use]
    pub(crate) fn serve(&self) -> Instant {
        if self.phase.swap(SERVING, Relaxed) == READING {
            self.open.0.fetch_add(1, Relaxed);
        }
        match self.first_byte.swap(0, Relaxed) {
            // Pipelined behind another request.
            0 => Instant::now(),
            nanos => self.opened + Duration::from_nanos(nanos - 1),
        }
    }

    /// The service has its answer. `unread` says that the client may still be sending a body that nobody reads.
    pub(crate) fn answer(&self, unread: bool) {
        if unread {
            self.unread.store(true, Relaxed);
        }
        self.phase.store(ANSWERING, Relaxed);
    }

    /// Everything written so far was sent. Returns whether an answer ended with it.
    #[must_use]
    pub(crate) fn sent(&self) -> bool {
        match self.phase.load(Relaxed) {
            ANSWERING => {
                self.phase.store(READING, Relaxed);
                self.open.0.fetch_sub(1, Relaxed);
                true
            }
            SHARED => {
                self.streams_sent();
                false
            }
            _ => false,
        }
    }

    /// Whether a body was left unread, so that closing at once could destroy the answer on its way.
    #[must_use]
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        match *self.phase.get_mut() {
            READING => {}
            SHARED => self.streams_sent(),
            _ => {
                self.open.0.fetch_sub(1, Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_open_from_its_head_to_its_sent_answer() {
        let open = Arc::new(OpenRequests::default());
        let turn = Turn::new(Arc::clone(&open));
        assert!(turn.is_reading() && !turn.sent());
        let _began = turn.serve();
        assert!(!turn.is_reading());
        assert!(!turn.sent(), "100 Continue is not the answer");
        assert_eq!(open.count(), 1);
        turn.answer(false);
        assert_eq!(open.count(), 1);
        assert!(turn.sent());
        assert!(turn.is_reading());
        assert_eq!(open.count(), 0);
    }

    #[test]
    fn a_connection_that_ends_midway_is_no_open_request() {
        let open = Arc::new(OpenRequests::default());
        let turn = Turn::new(Arc::clone(&open));
        let _began = turn.serve();
        drop(turn);
        assert_eq!(open.count(), 0);
    }

    #[test]
    fn a_pipelined_request_that_starts_before_the_answer_is_sent_counts_once() {
        let open = Arc::new(OpenRequests::default());
        let turn = Turn::new(Arc::clone(&open));
        let _first = turn.serve();
        turn.answer(false);
        let _second = turn.serve();
        assert_eq!(open.count(), 1);
        turn.answer(false);
        assert!(turn.sent());
        assert_eq!(open.count(), 0);
    }

    #[test]
    fn requests_that_overlap_are_open_until_what_they_wrote_is_sent() {
        let open = Arc::new(OpenRequests::default());
        let turn = Turn::new(Arc::clone(&open));
        turn.share();
        turn.stream_begins();
        turn.stream_begins();
        assert!(!turn.is_reading() && !turn.sent());
        assert_eq!(open.count(), 2);
        turn.stream_ends();
        assert_eq!(open.count(), 2);
        assert!(!turn.sent());
        assert_eq!(open.count(), 1);
        turn.stream_ends();
        drop(turn);
        assert_eq!(open.count(), 0);
    }

    #[test]
    fn a_request_begins_with_its_first_byte() {
        let turn = Turn::new(Arc::default());
        let at = turn.opened() + Duration::from_millis(5);
        turn.request_begins(at);
        assert_eq!(turn.serve(), at);
        assert!(turn.serve() < at, "the second request has a time of its own");
    }
}

//! What may be in the process at one time: requests, and the bytes of their bodies.
//!
//! A place is taken before a body is read and given back when Kafka has reported on the record, not when the
//! client has its answer: a client that goes away leaves its record in the producer's queue. Never waits; what does
//! not fit is refused at once, so that the rest stays as fast as before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many requests as allowed are in flight.
    Requests,
    /// The bodies in flight hold as many bytes as allowed.
    Bytes,
    /// Kafka confirms records more slowly than they come, and as many wait as it confirms soon.
    Kafka,
}

impl Full {
    /// For the client.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests | Self::Bytes => "as much is in flight as allowed",
            Self::Kafka => "Kafka takes records more slowly than they come",
        }
    }
}

/// The places of one process. Shared by every connection.
#[derive(Debug)]
pub struct Admission {
    requests: Counter,
    bytes: Counter,
    /// Most bytes for a body that is not small to find its place.
    large: usize,
    /// Records that the producers have and Kafka has not reported on.
    waiting: AtomicUsize,
    /// How many of those there may be.
    may_wait: AtomicUsize,
    /// Requests refused for that since somebody asked.
    refused: AtomicUsize,
}

/// Up to so many bytes a body is small.
const SMALL: usize = 64 * 1024;
/// The part of the bytes that only small bodies may take: a few clients that announce large ones and send nothing, or send them
/// slowly, would leave nothing to all the others.
const FOR_SMALL: usize = 8;

/// Places of one request. Dropping it gives them back.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    places: usize,
    bytes: usize,
    waits: bool,
}

#[derive(Debug)]
struct Counter {
    used: AtomicUsize,
    limit: usize,
}

impl Counter {
    const fn new(limit: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            limit,
        }
    }

    /// Adds first and takes back what was too much: one instruction in the usual case. Two that meet at the limit
    /// may both be refused; none passes it.
    fn take(&self, amount: usize) -> bool {
        self.take_within(amount, self.limit)
    }

    /// The same with a limit of its own, at most the counter's.
    fn take_within(&self, amount: usize, limit: usize) -> bool {
        if amount > limit {
            return false; // also keeps the sum below from wrapping
        }
        let before = self.used.fetch_add(amount, Ordering::Relaxed);
        let fits = before.checked_add(amount).is_some_and(|after| after <= limit);
        if !fits {
            self.used.fetch_sub(amount, Ordering::Relaxed);
        }
        fits
    }

    fn give_back(&self, amount: usize) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
    }
}

impl Admission {
    /// Room for `requests` requests whose bodies hold `bytes` bytes together. An eighth of the bytes is for bodies of at most
    /// 64 KiB, as far as a body of `largest` bytes still finds a place.
    #[must_use]
    pub fn new(requests: usize, bytes: usize, largest: usize) -> Arc<Self> {
        Arc::new(Self {
            requests: Counter::new(requests),
            bytes: Counter::new(bytes),
            large: (bytes - bytes / FOR_SMALL).max(largest).min(bytes),
            waiting: AtomicUsize::new(0),
            may_wait: AtomicUsize::new(usize::MAX),
            refused: AtomicUsize::new(0),
        })
    }

    /// Takes a place for a request with a body of `bytes` bytes, as far as its head says.
    ///
    /// # Errors
    /// What is used up. Nothing is taken then.
    pub fn admit(self: &Arc<Self>, bytes: usize) -> Result<Permit, Full> {
        if self.waiting() >= self.may_wait.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Full::Kafka);
        }
        if !self.requests.take(1) {
            return Err(Full::Requests);
        }
        if !self.take_bytes(bytes, bytes) {
            self.requests.give_back(1);
            return Err(Full::Bytes);
        }
        Ok(Permit {
            admission: Arc::clone(self),
            places: 1,
            bytes,
            waits: false,
        })
    }

    /// No place yet and no bytes: for what a request that has its place needs besides. It grows.
    #[must_use]
    pub fn beside(self: &Arc<Self>) -> Permit {
        Permit {
            admission: Arc::clone(self),
            places: 0,
            bytes: 0,
            waits: false,
        }
    }

    /// Takes `more` bytes for a body that has `whole` with them.
    fn take_bytes(&self, more: usize, whole: usize) -> bool {
        let limit = if whole <= SMALL {
            self.bytes.limit
        } else {
            self.large
        };
        self.bytes.take_within(more, limit)
    }

    /// From now on requests are refused while so many records wait for Kafka.
    pub fn let_wait(&self, records: usize) {
        self.may_wait.store(records, Ordering::Relaxed);
    }

    /// Records that wait for Kafka now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Requests that were refused since the last call because Kafka does not keep up.
    pub fn take_refused(&self) -> usize {
        self.refused.swap(0, Ordering::Relaxed)
    }

    /// Requests that may hold a place at once.
    #[must_use]
    pub fn most_requests(&self) -> usize {
        self.requests.limit
    }

    /// Requests that hold a place now.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.used.load(Ordering::Relaxed)
    }

    /// Bytes that are taken now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.used.load(Ordering::Relaxed)
    }
}

impl Permit {
    /// Requests that hold a place now, this one included.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.admission.requests()
    }

    /// Bytes that it holds.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes room for a body that has grown to `bytes` bytes. Never shrinks.
    ///
    /// # Errors
    /// [`Full::Bytes`]; the permit keeps what it had.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 {
            if !self.admission.take_bytes(more, bytes) {
                return Err(Full::Bytes);
            }
            self.bytes += more;
        }
        Ok(())
    }
}

impl Permit {
    /// The record goes to a producer: it waits for Kafka from now until the permit is dropped.
    pub fn hand_over(&mut self) {
        if !std::mem::replace(&mut self.waits, true) {
            self.admission.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.waits {
            self.admission.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        self.admission.bytes.give_back(self.bytes);
        self.admission.requests.give_back(self.places);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_beyond_the_limit_are_refused_until_one_ends() {
        let admission = Admission::new(2, 100, 100);
        let first = admission.admit(1).unwrap();
        let _second = admission.admit(1).unwrap();
        assert_eq!(admission.admit(1).unwrap_err(), Full::Requests);
        drop(first);
        assert!(admission.admit(1).is_ok());
    }

    #[test]
    fn bytes_beyond_the_budget_are_refused_and_nothing_is_kept() {
        let admission = Admission::new(10, 100, 100);
        let permit = admission.admit(60).unwrap();
        assert_eq!(admission.admit(41).unwrap_err(), Full::Bytes);
        assert_eq!((admission.requests(), admission.bytes()), (1, 60));
        assert!(admission.admit(40).is_ok());
        drop(permit);
        assert_eq!((admission.requests(), admission.bytes()), (0, 0));
    }

    #[test]
    fn what_a_request_needs_besides_takes_bytes_and_no_place() {
        let admission = Admission::new(1, 100, 100);
        let _request = admission.admit(10).unwrap();
        let mut beside = admission.beside();
        beside.grow(90).unwrap();
        assert_eq!(beside.grow(91), Err(Full::Bytes));
        assert_eq!((admission.requests(), admission.bytes()), (1, 100));
        drop(beside);
        assert_eq!((admission.requests(), admission.bytes()), (1, 10));
    }

    #[test]
    fn a_giant_announcement_wraps_nothing() {
        let admission = Admission::new(10, 100, 100);
        let _one = admission.admit(1).unwrap();
        assert_eq!(admission.admit(usize::MAX).unwrap_err(), Full::Bytes);
        assert_eq!(admission.bytes(), 1);
    }

    #[test]
    fn a_body_that_grows_takes_only_the_difference() {
        let admission = Admission::new(10, 100, 100);
        let mut permit = admission.admit(0).unwrap();
        permit.grow(30).unwrap();
        permit.grow(20).unwrap();
        permit.grow(90).unwrap();
        assert_eq!(admission.bytes(), 90);
        assert_eq!(permit.grow(101), Err(Full::Bytes));
        assert_eq!(admission.bytes(), 90);
        drop(permit);
        assert_eq!(admission.bytes(), 0);
    }

    #[test]
    fn large_bodies_leave_an_eighth_to_small_ones() {
        let admission = Admission::new(10, 800_000, 200_000);
        let _three: Vec<_> = (0..3).map(|_| admission.admit(200_000).unwrap()).collect();
        assert_eq!(admission.admit(200_000).unwrap_err(), Full::Bytes);
        let mut grows = admission.admit(SMALL).unwrap();
        assert_eq!(grows.grow(200_000), Err(Full::Bytes));
        assert!(admission.admit(SMALL).is_ok());
        // Where nothing would be left of the budget, the largest body has it.
        assert!(Admission::new(1, 200_000, 200_000).admit(200_000).is_ok());
    }

    #[test]
    fn records_that_wait_for_kafka_beyond_what_it_confirms_soon_are_refused_until_one_is_reported() {
        let admission = Admission::new(10, 100, 100);
        admission.let_wait(2);
        let mut waiting: Vec<_> = (0..3).map(|_| admission.admit(1).unwrap()).collect();
        for permit in &mut waiting {
            permit.hand_over();
            permit.hand_over();
        }
        assert_eq!(admission.waiting(), 3);
        assert_eq!(admission.admit(1).unwrap_err(), Full::Kafka);
        waiting.truncate(1);
        assert!(admission.admit(1).is_ok());
        assert_eq!((admission.take_refused(), admission.take_refused()), (1, 0));
        waiting.clear();
        assert_eq!(admission.waiting(), 0);
    }

    #[test]
    fn threads_never_pass_the_limit() {
        let admission = Admission::new(usize::MAX, 10, 10);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let permit = admission.admit(3);
                        assert!(permit.is_err() || admission.bytes() < 10 + 4 * 3);
                    }
                });
            }
        });
        assert_eq!((admission.requests(), admission.bytes()), (0, 0));
    }
}

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
}

/// The places of one process. Shared by every connection.
#[derive(Debug)]
pub struct Admission {
    requests: Counter,
    bytes: Counter,
}

/// Places of one request. Dropping it gives them back.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    places: usize,
    bytes: usize,
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
        if amount > self.limit {
            return false; // also keeps the sum below from wrapping
        }
        let before = self.used.fetch_add(amount, Ordering::Relaxed);
        let fits = before
            .checked_add(amount)
            .is_some_and(|after| after <= self.limit);
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
    /// Room for `requests` requests whose bodies hold `bytes` bytes together.
    #[must_use]
    pub fn new(requests: usize, bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            requests: Counter::new(requests),
            bytes: Counter::new(bytes),
        })
    }

    /// Takes a place for a request with a body of `bytes` bytes, as far as its head says.
    ///
    /// # Errors
    /// What is used up. Nothing is taken then.
    pub fn admit(self: &Arc<Self>, bytes: usize) -> Result<Permit, Full> {
        if !self.requests.take(1) {
            return Err(Full::Requests);
        }
        if !self.bytes.take(bytes) {
            self.requests.give_back(1);
            return Err(Full::Bytes);
        }
        Ok(Permit {
            admission: Arc::clone(self),
            places: 1,
            bytes,
        })
    }

    /// No place yet and no bytes: for what a request that has its place needs besides. It grows.
    #[must_use]
    pub fn beside(self: &Arc<Self>) -> Permit {
        Permit {
            admission: Arc::clone(self),
            places: 0,
            bytes: 0,
        }
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
            if !self.admission.bytes.take(more) {
                return Err(Full::Bytes);
            }
            self.bytes += more;
        }
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.bytes.give_back(self.bytes);
        self.admission.requests.give_back(self.places);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_beyond_the_limit_are_refused_until_one_ends() {
        let admission = Admission::new(2, 100);
        let first = admission.admit(1).unwrap();
        let _second = admission.admit(1).unwrap();
        assert_eq!(admission.admit(1).unwrap_err(), Full::Requests);
        drop(first);
        assert!(admission.admit(1).is_ok());
    }

    #[test]
    fn bytes_beyond_the_budget_are_refused_and_nothing_is_kept() {
        let admission = Admission::new(10, 100);
        let permit = admission.admit(60).unwrap();
        assert_eq!(admission.admit(41).unwrap_err(), Full::Bytes);
        assert_eq!((admission.requests(), admission.bytes()), (1, 60));
        assert!(admission.admit(40).is_ok());
        drop(permit);
        assert_eq!((admission.requests(), admission.bytes()), (0, 0));
    }

    #[test]
    fn what_a_request_needs_besides_takes_bytes_and_no_place() {
        let admission = Admission::new(1, 100);
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
        let admission = Admission::new(10, 100);
        let _one = admission.admit(1).unwrap();
        assert_eq!(admission.admit(usize::MAX).unwrap_err(), Full::Bytes);
        assert_eq!(admission.bytes(), 1);
    }

    #[test]
    fn a_body_that_grows_takes_only_the_difference() {
        let admission = Admission::new(10, 100);
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
    fn threads_never_pass_the_limit() {
        let admission = Admission::new(usize::MAX, 10);
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

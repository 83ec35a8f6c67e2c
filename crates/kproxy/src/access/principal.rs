//! One principal: what it may do, how much of it, and whether its password was seen.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use metrics::Counter;

use super::bucket::Bucket;
use super::globs::Globs;
use super::password::Hash;
use crate::failure::{Failure, Quota};
use crate::meters;
use crate::request::Acks;

const SECOND: Duration = Duration::from_secs(1);

/// What a principal may do.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) topics: Globs,
    /// By [`Acks::index`].
    pub(super) acks: [bool; 3],
    /// Requests per second.
    pub(super) requests: Option<u64>,
    /// Bytes of bodies per second.
    pub(super) bytes: Option<u64>,
}

/// Somebody who is told apart.
pub(crate) struct Principal {
    name: Box<str>,
    topics: Globs,
    acks: [bool; 3],
    spent: Mutex<Spent>,
    pub(super) password: Option<Arc<Hash>>,
    /// The proof of the password that was verified last: one entry a principal is all that such a memory can need.
    pub(super) verified: OnceLock<[u8; 32]>,
    admitted: OnceLock<Counter>,
}

struct Spent {
    requests: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Principal {
    /// A principal that has spent nothing.
    pub(super) fn new(name: &str, grant: Grant, password: Option<Hash>) -> Self {
        let bucket = |units: u64| Bucket::new(units, SECOND);
        Self {
            name: name.into(),
            topics: grant.topics,
            acks: grant.acks,
            spent: Mutex::new(Spent {
                requests: grant.requests.map(bucket),
                bytes: grant.bytes.map(bucket),
            }),
            password: password.map(Arc::new),
            verified: OnceLock::new(),
            admitted: OnceLock::new(),
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may name this topic.
    pub(super) fn may_name(&self, topic: &str) -> bool {
        self.topics.matches(topic)
    }

    /// Counts a request that begins.
    ///
    /// # Errors
    /// What it has spent is not paid yet.
    pub(super) fn admit(&self, now: Instant) -> Result<(), Failure> {
        let waits = {
            let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
            let wait = |bucket: &Option<Bucket>| bucket.and_then(|bucket| bucket.wait(now));
            let waits = (wait(&spent.requests), wait(&spent.bytes));
            if waits == (None, None)
                && let Some(requests) = &mut spent.requests
            {
                requests.take(1, now);
            }
            waits
        };
        let (quota, wait) = match waits {
            (None, None) => {
                let counter = || meters::principal_admitted(self.name());
                self.admitted.get_or_init(counter).increment(1);
                return Ok(());
            }
            (Some(wait), bytes) if bytes.is_none_or(|bytes| bytes <= wait) => (Quota::Requests, wait),
            (_, wait) => (Quota::Bytes, wait.unwrap_or_default()),
        };
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Err(self.refused(Failure::Quota(quota, u32::try_from(seconds).unwrap_or(u32::MAX))))
    }

    /// Nothing when it may name this topic and ask for these acknowledgements.
    ///
    /// # Errors
    /// It may not.
    pub(super) fn check(&self, topic: &str, acks: Option<Acks>) -> Result<(), Failure> {
        if !self.may_name(topic) {
            return Err(self.refused(Failure::TopicNotGranted));
        }
        match acks {
            Some(acks) if !self.acks[acks.index()] => Err(self.refused(Failure::AcksNotGranted)),
            _ => Ok(()),
        }
    }

    /// Counts more records, and bytes that have arrived.
    pub(super) fn spend(&self, records: u64, bytes: u64, now: Instant) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = &mut spent.requests {
            bucket.take(records, now);
        }
        if let Some(bucket) = &mut spent.bytes {
            bucket.take(bytes, now);
        }
    }

    fn refused(&self, failure: Failure) -> Failure {
        meters::principal_refused(self.name(), failure.told().code);
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(requests: Option<u64>, bytes: Option<u64>) -> Principal {
        let grant = Grant {
            topics: Globs::new(["orders.*".to_owned()]).unwrap(),
            acks: [false, true, false],
            requests,
            bytes,
        };
        Principal::new("shop", grant, None)
    }

    #[test]
    fn topics_and_acks_are_those_that_were_granted() {
        let principal = principal(None, None);
        assert_eq!(principal.check("orders.eu", Some(Acks::One)), Ok(()));
        assert_eq!(principal.check("orders.eu", None), Ok(()));
        assert_eq!(
            principal.check("orders", Some(Acks::One)),
            Err(Failure::TopicNotGranted)
        );
        assert_eq!(
            principal.check("orders.eu", Some(Acks::All)),
            Err(Failure::AcksNotGranted)
        );
    }

    #[test]
    fn the_longer_of_two_waits_is_told() {
        let now = Instant::now() + SECOND * 10;
        let one = principal(Some(2), Some(1024));
        assert_eq!((one.admit(now), one.admit(now)), (Ok(()), Ok(())));
        assert_eq!(one.admit(now), Err(Failure::Quota(Quota::Requests, 1)));
        one.spend(0, 1024 * 5, now);
        assert_eq!(one.admit(now), Err(Failure::Quota(Quota::Bytes, 5)));
        assert_eq!(one.admit(now + SECOND * 5), Ok(()));
        one.spend(20, 0, now + SECOND * 5);
        assert_eq!(
            one.admit(now + SECOND * 5),
            Err(Failure::Quota(Quota::Requests, 10))
        );
        let free = principal(None, None);
        free.spend(u64::MAX, u64::MAX, now);
        assert_eq!(free.admit(now), Ok(()));
    }
}

//! The records that have failed and are not done yet: since when, and what the backend said last. Bounded by the keys that have a
//! record in memory; a module whose pushes succeed has none.
//!
//! Pure: the time is an argument.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use kcommon::kafka::RecordOffset;
use tokio::time::Instant;

use crate::assignment::Epoch;
use crate::key::TakeHash;
use crate::ledger::Seq;

/// A record that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Its offset.
    pub offset: RecordOffset,
    /// Attempts that have failed.
    pub attempts: u32,
    /// When the first of them began.
    pub first: Instant,
    /// The same for people, and for whoever has another clock.
    pub first_time: SystemTime,
    /// The status of the last answer, if the last attempt had one.
    pub status: Option<StatusCode>,
}

/// When a record that fails makes an alarm; any of the two that is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StalledKey {
    /// So many attempts, or more.
    pub attempts: Option<u32>,
    /// So long since the first attempt, or longer.
    pub age: Option<Duration>,
}

/// The records that have failed, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failing {
    /// How many there are.
    pub records: usize,
    /// How many of them make an alarm.
    pub stalled: usize,
    /// The one that has failed for the longest time, and its epoch.
    pub oldest: Option<(Epoch, Trouble)>,
}

impl StalledKey {
    /// Whether a record has failed for so long or so often.
    fn is(&self, trouble: &Trouble, now: Instant) -> bool {
        self.attempts.is_some_and(|attempts| trouble.attempts >= attempts)
            || self.age.is_some_and(|age| now >= trouble.first + age)
    }
}

/// The records of all partitions.
#[derive(Debug, Default)]
pub(super) struct Troubles(HashMap<Epoch, HashMap<Seq, Trouble, TakeHash>, TakeHash>);

impl Troubles {
    /// An attempt has failed. Returns what is known of the record now.
    pub(super) fn failed(&mut self, epoch: Epoch, seq: Seq, attempt: Trouble) -> Trouble {
        let known = self.0.entry(epoch).or_default().entry(seq);
        let known = known
            .and_modify(|known| {
                known.attempts = known.attempts.saturating_add(1);
                known.status = attempt.status;
            })
            .or_insert(attempt);
        *known
    }

    /// What is known of a record that has failed.
    pub(super) fn of(&self, epoch: Epoch, seq: Seq) -> Option<&Trouble> {
        self.0.get(&epoch)?.get(&seq)
    }

    /// All of them now. Costs a look at each.
    pub(super) fn look(&self, stalled: Option<&StalledKey>, now: Instant) -> Failing {
        let mut failing = Failing::default();
        for (epoch, records) in &self.0 {
            for trouble in records.values() {
                failing.records += 1;
                failing.stalled += usize::from(stalled.is_some_and(|stalled| stalled.is(trouble, now)));
                let older = |known: &(Epoch, Trouble)| {
                    (trouble.first, trouble.offset) < (known.1.first, known.1.offset)
                };
                if failing.oldest.as_ref().is_none_or(older) {
                    failing.oldest = Some((*epoch, *trouble));
                }
            }
        }
        failing
    }

    /// The record is done.
    pub(super) fn forget(&mut self, epoch: Epoch, seq: Seq) {
        if let Some(records) = self.0.get_mut(&epoch) {
            records.remove(&seq);
        }
    }

    /// The partition has ended.
    pub(super) fn end(&mut self, epoch: Epoch) {
        self.0.remove(&epoch);
    }
}

#[cfg(test)]
mod tests {
    use kcommon::kafka::CommitOffset;

    use super::*;
    use crate::assignment::Epochs;
    use crate::ledger::{Admission, Entry, Ledger};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_fails_is_counted_from_its_first_attempt_until_it_is_done() {
        let (mut troubles, epochs, start) = (Troubles::default(), Epochs::default(), Instant::now());
        let (one, other) = (epochs.next(), epochs.next());
        let mut ledger = Ledger::new(CommitOffset::ZERO, usize::MAX);
        let mut record = |offset| {
            let offset = RecordOffset::try_from(offset).unwrap();
            let Admission::Entered(seq) = ledger.admit(offset, Entry::Pending) else {
                panic!("not entered")
            };
            (seq, offset)
        };
        let attempt = |offset, after: u32| Trouble {
            offset,
            attempts: 1,
            first: start + SECOND * after,
            first_time: SystemTime::UNIX_EPOCH,
            status: None,
        };
        let (first, second) = (record(7), record(9));
        troubles.failed(one, first.0, attempt(first.1, 2));
        troubles.failed(other, second.0, attempt(second.1, 1));
        let known = troubles.failed(one, first.0, attempt(first.1, 5));
        assert_eq!((known.attempts, known.first), (2, start + 2 * SECOND));
        let look = |troubles: &Troubles, attempts, age| {
            let rule = StalledKey { attempts, age };
            troubles.look(Some(&rule), start + 10 * SECOND)
        };
        let failing = look(&troubles, Some(2), None);
        assert_eq!((failing.records, failing.stalled), (2, 1));
        let (epoch, oldest) = failing.oldest.unwrap();
        assert_eq!((epoch, oldest.offset), (other, second.1));
        assert_eq!(look(&troubles, None, Some(9 * SECOND)).stalled, 1);
        assert_eq!(look(&troubles, Some(2), Some(9 * SECOND)).stalled, 2);
        troubles.forget(one, first.0);
        troubles.end(other);
        assert_eq!(troubles.look(None, start), Failing::default());
    }
}

//! How long records wait between their fetch and their first push, of a sample: a stamp on every record would cost a clock
//! call each, and memory for the million that may wait behind a stuck key.
//!
//! Pure: the time is an argument.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::assignment::Epoch;
use crate::key::TakeHash;
use crate::ledger::Seq;

/// One record of so many of a partition is looked at.
const ONE_IN: u64 = 32;
/// At most so many of a partition are looked at at a time; what waits behind a stuck key waits long.
const MOST: usize = 256;

/// The records that are looked at and wait.
#[derive(Debug, Default)]
pub(super) struct Waits(HashMap<Epoch, HashMap<Seq, Instant, TakeHash>, TakeHash>);

impl Waits {
    /// A record was fetched.
    pub(super) fn begin(&mut self, epoch: Epoch, seq: Seq, now: impl FnOnce() -> Instant) {
        if seq.number().is_multiple_of(ONE_IN) {
            let waiting = self.0.entry(epoch).or_default();
            if waiting.len() < MOST {
                waiting.insert(seq, now());
            }
        }
    }

    /// A worker takes a record; returns how long it has waited if it is looked at and was not taken before.
    pub(super) fn end(&mut self, epoch: Epoch, seq: Seq, now: impl FnOnce() -> Instant) -> Option<Duration> {
        if !seq.number().is_multiple_of(ONE_IN) {
            return None;
        }
        let begun = self.0.get_mut(&epoch)?.remove(&seq)?;
        Some(now() - begun)
    }

    /// The partition has ended.
    pub(super) fn forget(&mut self, epoch: Epoch) {
        self.0.remove(&epoch);
    }
}

#[cfg(test)]
mod tests {
    use kcommon::kafka::{CommitOffset, RecordOffset};

    use super::*;
    use crate::assignment::Epochs;
    use crate::ledger::{Admission, Entry, Ledger};

    /// The sequence numbers of a ledger's first records.
    fn seqs(count: i64) -> Vec<Seq> {
        let mut ledger = Ledger::new(CommitOffset::ZERO, usize::MAX);
        let offsets = (0..count).map(|offset| RecordOffset::try_from(offset).unwrap());
        let admitted = offsets.map(|offset| match ledger.admit(offset, Entry::Pending) {
            Admission::Entered(seq) => seq,
            Admission::Stale => panic!("not entered"),
        });
        admitted.collect()
    }

    #[test]
    fn a_record_of_many_tells_once_how_long_it_waited() {
        let (mut waits, epoch, now) = (Waits::default(), Epochs::default().next(), Instant::now());
        let seqs = seqs(100);
        let later = now + Duration::from_millis(3);
        seqs.iter().for_each(|seq| waits.begin(epoch, *seq, || now));
        let told = seqs.iter().filter_map(|seq| waits.end(epoch, *seq, || later));
        assert_eq!(told.collect::<Vec<_>>(), [Duration::from_millis(3); 4]);
        assert_eq!(waits.end(epoch, seqs[0], || later), None, "a repeated push");
    }

    #[test]
    fn what_waits_for_ever_is_bounded_and_ends_with_its_partition() {
        let (mut waits, epoch, now) = (Waits::default(), Epochs::default().next(), Instant::now());
        let seqs = seqs(20_000);
        seqs.iter().for_each(|seq| waits.begin(epoch, *seq, || now));
        assert_eq!(waits.0[&epoch].len(), MOST);
        waits.forget(epoch);
        assert!(waits.0.is_empty());
    }
}

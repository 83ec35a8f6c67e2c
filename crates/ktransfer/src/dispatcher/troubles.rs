//! The records that have failed and are not done yet: since when, and what the backend said last. Bounded by the keys that have a
//! record in memory; a module whose pushes succeed has none.
//!
//! Pure: the time is an argument.

use std::collections::HashMap;
use std::time::SystemTime;

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

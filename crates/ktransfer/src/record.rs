//! One record on its way from Kafka to a backend.

use std::iter::repeat_n;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Buf;
use kcommon::kafka::RecordOffset;

use crate::ledger::Seq;

/// What a record costs in memory beside its key and its value, about: its place in the queues, and its key's, which may
/// have no other record. Without it, a budget that is meant to bound memory would not when bodies are small.
const OVERHEAD: usize = 256;
/// Stands for "no key"; Kafka's own limit is 2 GiB.
const NO_KEY: u32 = u32::MAX;

/// A record that waits to be pushed or is being pushed. Key and value share one allocation.
#[derive(Debug)]
pub struct Record {
    /// Its offset in the partition.
    pub offset: RecordOffset,
    /// Its handle in the ledger.
    pub seq: Seq,
    /// Its timestamp in Kafka, in milliseconds; -1 without. With it a body that is read again is told from another's.
    pub timestamp: i64,
    /// Attempts that have failed so far.
    pub failures: u32,
    /// Where the value begins, or [`NO_KEY`].
    key_len: u32,
    /// Key bytes, then value bytes.
    bytes: Arc<[u8]>,
}

/// A record's value, sharing the record's memory: a `Bytes` would cost a second allocation as soon as it is shared.
#[derive(Clone, Debug)]
pub struct Value {
    bytes: Arc<[u8]>,
    /// Where what has not been read begins.
    at: usize,
}

impl Record {
    /// Copies key and value out of the client's buffers.
    #[must_use]
    pub fn new(offset: RecordOffset, seq: Seq, timestamp: i64, key: Option<&[u8]>, value: &[u8]) -> Self {
        let key_len = key.map_or(NO_KEY, |key| u32::try_from(key.len()).unwrap_or(NO_KEY));
        let key = key.unwrap_or_default();
        let mut bytes: Arc<[u8]> = repeat_n(0, key.len() + value.len()).collect();
        if let Some(bytes) = Arc::get_mut(&mut bytes) {
            let (of_key, of_value) = bytes.split_at_mut(key.len());
            of_key.copy_from_slice(key);
            of_value.copy_from_slice(value);
        }
        Self {
            offset,
            seq,
            timestamp,
            failures: 0,
            key_len,
            bytes,
        }
    }

    /// What a record with such a key and value counts against the byte budget.
    #[must_use]
    pub fn cost(key: Option<&[u8]>, value: &[u8]) -> usize {
        key.map_or(0, <[u8]>::len) + value.len() + OVERHEAD
    }

    /// What the record counts against the byte budget.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }

    /// The key, `None` when the record has none.
    #[must_use]
    pub fn key_bytes(&self) -> Option<&[u8]> {
        self.key_len().and_then(|len| self.bytes.get(..len))
    }

    /// The value, sharing the record's memory.
    #[must_use]
    pub fn value(&self) -> Value {
        Value {
            bytes: Arc::clone(&self.bytes),
            at: self.key_len().unwrap_or(0),
        }
    }

    fn key_len(&self) -> Option<usize> {
        (self.key_len != NO_KEY).then(|| usize::try_from(self.key_len).unwrap_or(usize::MAX))
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.into(),
            at: 0,
        }
    }
}

impl Buf for Value {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "no more than what remains is taken");
        self.at += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Admission, Entry, Ledger};
    use kcommon::kafka::CommitOffset;

    #[test]
    fn key_and_value_come_apart_again() {
        let offset = RecordOffset::try_from(3).unwrap();
        let mut ledger = Ledger::new(CommitOffset::ZERO, 1);
        let Admission::Entered(seq) = ledger.admit(offset, Entry::Pending) else {
            panic!("not entered")
        };
        for (key, value) in [
            (Some(&b"key"[..]), &b"value"[..]),
            (None, b"value"),
            (Some(b""), b""),
        ] {
            let record = Record::new(offset, seq, -1, key, value);
            assert_eq!((record.key_bytes(), &record.value()[..]), (key, value));
            assert_eq!(record.size(), Record::cost(key, value));
        }
    }

    #[test]
    fn a_value_is_read_piece_by_piece() {
        let mut value = Value::from(&b"value"[..]);
        let whole = value.clone();
        value.advance(3);
        assert_eq!((value.chunk(), value.remaining()), (&b"ue"[..], 2));
        value.advance(2);
        assert!(!value.has_remaining());
        assert_eq!(whole[..], b"value"[..]);
    }

    #[test]
    fn a_record_is_small_beside_its_body() {
        assert!(size_of::<Record>() <= 48, "{}", size_of::<Record>());
    }
}

//! One record on its way from Kafka to a backend.

use bytes::Bytes;
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
    bytes: Bytes,
}

impl Record {
    /// Copies key and value out of the client's buffers.
    #[must_use]
    pub fn new(offset: RecordOffset, seq: Seq, timestamp: i64, key: Option<&[u8]>, value: &[u8]) -> Self {
        let (bytes, key_len) = match key {
            None => (Bytes::copy_from_slice(value), NO_KEY),
            Some(key) => {
                let mut bytes = Vec::with_capacity(key.len() + value.len());
                bytes.extend_from_slice(key);
                bytes.extend_from_slice(value);
                (Bytes::from(bytes), u32::try_from(key.len()).unwrap_or(NO_KEY))
            }
        };
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
    pub fn value(&self) -> Bytes {
        self.bytes.slice(self.key_len().unwrap_or(0)..)
    }

    fn key_len(&self) -> Option<usize> {
        (self.key_len != NO_KEY).then(|| usize::try_from(self.key_len).unwrap_or(usize::MAX))
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
    fn a_record_is_small_beside_its_body() {
        assert!(size_of::<Record>() <= 64, "{}", size_of::<Record>());
    }
}

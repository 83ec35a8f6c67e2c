//! One record on its way from Kafka to a backend.

use bytes::Bytes;
use kcommon::kafka::RecordOffset;

use crate::key::KeyId;
use crate::ledger::Seq;

/// A record that waits to be pushed or is being pushed. Key and value share one allocation.
#[derive(Debug)]
pub struct Record {
    /// Its offset in the partition.
    pub offset: RecordOffset,
    /// Its handle in the ledger.
    pub seq: Seq,
    /// Attempts that have failed so far.
    pub failures: u32,
    /// The identity of its key; `None` when the record has no key or the module asks for no order.
    pub key: Option<KeyId>,
    /// Key bytes, then value bytes.
    bytes: Bytes,
    /// Where the value begins; `None` when the record has no key.
    key_len: Option<usize>,
}

impl Record {
    /// Copies key and value out of the client's buffers.
    #[must_use]
    pub fn new(offset: RecordOffset, seq: Seq, key: Option<(&[u8], Option<KeyId>)>, value: &[u8]) -> Self {
        let (bytes, key_len, key) = match key {
            None => (Bytes::copy_from_slice(value), None, None),
            Some((key, id)) => {
                let mut bytes = Vec::with_capacity(key.len() + value.len());
                bytes.extend_from_slice(key);
                bytes.extend_from_slice(value);
                (Bytes::from(bytes), Some(key.len()), id)
            }
        };
        Self {
            offset,
            seq,
            failures: 0,
            key,
            bytes,
            key_len,
        }
    }

    /// What the record counts against the byte budget: key and value.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The key, `None` when the record has none.
    #[must_use]
    pub fn key_bytes(&self) -> Option<&[u8]> {
        self.key_len.and_then(|len| self.bytes.get(..len))
    }

    /// The value, sharing the record's memory.
    #[must_use]
    pub fn value(&self) -> Bytes {
        self.bytes.slice(self.key_len.unwrap_or(0)..)
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
        let keyed = Record::new(offset, seq, Some((b"key", None)), b"value");
        assert_eq!(
            (keyed.key_bytes(), &keyed.value()[..], keyed.size()),
            (Some(&b"key"[..]), &b"value"[..], 8)
        );
        let bare = Record::new(offset, seq, None, b"value");
        assert_eq!(
            (bare.key_bytes(), &bare.value()[..], bare.size()),
            (None, &b"value"[..], 5)
        );
        let empty = Record::new(offset, seq, Some((b"", None)), b"");
        assert_eq!((empty.key_bytes(), empty.size()), (Some(&b""[..]), 0));
    }
}

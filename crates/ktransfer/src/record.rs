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
const NO_KEY: u32 = HEADERS - 1;
/// In the length of the key: headers and their length follow it. A field of its own would make every record larger.
const HEADERS: u32 = 1 << 31;
/// Bytes of the length of the headers.
const LENGTH: usize = 4;

/// What a record consists of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'a> {
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its headers as [`crate::headers`] writes them; empty: none, or nobody needs them.
    pub headers: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// A record that waits to be pushed or is being pushed. Key and value share one allocation, with its clones too.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its offset in the partition.
    pub offset: RecordOffset,
    /// Its handle in the ledger.
    pub seq: Seq,
    /// Its timestamp in Kafka, in milliseconds; -1 without. With it a body that is read again is told from another's.
    pub timestamp: i64,
    /// Attempts that have failed so far.
    pub failures: u32,
    /// The length of the key, or [`NO_KEY`]; with [`HEADERS`] when there are any.
    key_len: u32,
    /// Key bytes, then the length of the headers and these if there are any, then value bytes.
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
    /// Copies its parts out of the client's buffers.
    #[must_use]
    pub fn new(offset: RecordOffset, seq: Seq, timestamp: i64, parts: &Parts<'_>) -> Self {
        let key_len = parts
            .key
            .map_or(NO_KEY, |key| u32::try_from(key.len()).unwrap_or(NO_KEY));
        let headers_len = u32::try_from(parts.headers.len()).unwrap_or(0);
        let (key_len, length) = match headers_len {
            0 => (key_len, &[][..]),
            _ => (key_len | HEADERS, &headers_len.to_le_bytes()[..]),
        };
        let key = parts.key.unwrap_or_default();
        let pieces = [key, length, parts.headers, parts.value];
        let mut bytes: Arc<[u8]> = repeat_n(0, pieces.iter().map(|piece| piece.len()).sum()).collect();
        if let Some(mut rest) = Arc::get_mut(&mut bytes) {
            for piece in pieces {
                let (place, after) = rest.split_at_mut(piece.len());
                place.copy_from_slice(piece);
                rest = after;
            }
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

    /// The headers as [`crate::headers`] writes them; empty when there are none, or the module keeps none.
    #[must_use]
    pub fn headers(&self) -> &[u8] {
        let begin = self.key_len().unwrap_or(0) + LENGTH;
        let headers = self
            .headers_len()
            .and_then(|len| self.bytes.get(begin..begin + len));
        headers.unwrap_or_default()
    }

    /// The value, sharing the record's memory.
    #[must_use]
    pub fn value(&self) -> Value {
        let headers = self.headers_len().map_or(0, |len| LENGTH + len);
        Value {
            bytes: Arc::clone(&self.bytes),
            at: self.key_len().unwrap_or(0) + headers,
        }
    }

    fn key_len(&self) -> Option<usize> {
        let len = self.key_len & !HEADERS;
        (len != NO_KEY).then(|| usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn headers_len(&self) -> Option<usize> {
        if self.key_len & HEADERS == 0 {
            return None;
        }
        let at = self.key_len().unwrap_or(0);
        let length = self.bytes.get(at..)?.first_chunk::<LENGTH>()?;
        usize::try_from(u32::from_le_bytes(*length)).ok()
    }
}

impl Parts<'_> {
    /// What a record with these parts counts against the byte budget.
    #[must_use]
    pub fn cost(&self) -> usize {
        let headers = match self.headers.len() {
            0 => 0,
            some => LENGTH + some,
        };
        self.key.map_or(0, <[u8]>::len) + headers + self.value.len() + OVERHEAD
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
impl<'a> Parts<'a> {
    /// A record with a key and without headers.
    pub(crate) const fn of(key: &'a [u8], value: &'a [u8]) -> Self {
        Self {
            key: Some(key),
            headers: &[],
            value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Admission, Entry, Ledger};
    use kcommon::kafka::CommitOffset;

    #[test]
    fn key_headers_and_value_come_apart_again() {
        let offset = RecordOffset::try_from(3).unwrap();
        let mut ledger = Ledger::new(CommitOffset::ZERO, 1);
        let Admission::Entered(seq) = ledger.admit(offset, Entry::Pending) else {
            panic!("not entered")
        };
        for (key, headers, value) in [
            (Some(&b"key"[..]), &b""[..], &b"value"[..]),
            (None, b"", b"value"),
            (Some(b""), b"", b""),
            (Some(b"key"), b"headers", b"value"),
            (None, b"h", b""),
            (Some(b""), b"h", b"value"),
        ] {
            let parts = Parts { key, headers, value };
            let record = Record::new(offset, seq, -1, &parts);
            assert_eq!((record.key_bytes(), &record.value()[..]), (key, value));
            assert_eq!(record.headers(), headers);
            assert_eq!(record.size(), parts.cost());
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

//! One record of a request that carries many, as its format says it.
//!
//! Pure. Two formats read it: `ndjson` and `prefixed`; `rest` reads the third, of one JSON document.

use bytes::Bytes;

/// A record that was read and broke no rule of its format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key; never empty.
    pub(crate) key: Option<Bytes>,
    /// The value; `None` is a tombstone, which has a key.
    pub(crate) value: Option<Bytes>,
    /// The partition, when the client chose it.
    pub(crate) partition: Option<i32>,
    /// Milliseconds since 1970; `None` is now.
    pub(crate) timestamp: Option<i64>,
    /// Names and values of the record's headers.
    pub(crate) headers: Vec<(String, Bytes)>,
}

impl Entry {
    /// The bytes that it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        let both = [&self.key, &self.value];
        both.iter()
            .map(|bytes| bytes.as_ref().map_or(0, Bytes::len))
            .sum::<usize>()
            + headers.sum::<usize>()
    }

    /// The rules that all formats share.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(crate) fn check(self) -> Result<Self, BadEntry> {
        let key = self.key.filter(|key| !key.is_empty());
        match &self.value {
            Some(value) if value.is_empty() => Err(BadEntry::NoValue),
            None if key.is_none() => Err(BadEntry::TombstoneWithoutKey),
            _ if self.partition.is_some_and(|partition| partition < 0) => Err(BadEntry::Partition),
            _ if self.timestamp.is_some_and(|timestamp| timestamp < 0) => Err(BadEntry::Timestamp),
            _ => Ok(Self { key, ..self }),
        }
    }
}

/// Why a record of a batch is refused. The others are not concerned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// The line is no JSON object of the known form.
    #[error("{0}; a line is an object such as {{\"key\":\"k\",\"text\":\"value\"}}")]
    Json(String),
    /// There is no value, or more than one.
    #[error(
        "it needs exactly one of value (JSON), text, base64, or tombstone: true, and the value must not be empty"
    )]
    NoValue,
    /// Two keys.
    #[error("it has key and key_base64; give one of them")]
    TwoKeys,
    /// A text that is not base64.
    #[error("{0} is not base64 (RFC 4648, with padding)")]
    Base64(&'static str),
    /// A tombstone for no key.
    #[error("a tombstone needs a key; without one it would mean nothing")]
    TombstoneWithoutKey,
    /// No partition number.
    #[error("partition has to be a number from 0 to 2147483647")]
    Partition,
    /// No point in time that a record can have.
    #[error("timestamp has to be milliseconds since 1970, or a time as 2026-01-31T12:00:00Z (RFC 3339)")]
    Timestamp,
    /// The lengths and the end of the body contradict.
    #[error("the body ends inside a record, so its lengths are wrong; nothing of it was taken from here on")]
    CutOff,
}

//! A letter: a record that ends undelivered, with an account of why, as it is stored in a topic or in a file. Pure.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use kcommon::kafka::PartitionId;
use serde::{Deserialize, Serialize};

use crate::headers;
use crate::record::Record;
use crate::scheduler::{KeySlot, LaneId};

/// The names of the headers that a letter adds to those of its record begin with this.
pub const PREFIX: &str = "ktransfer-";

/// What happens to a record whose last attempt has failed, or that the backend has rejected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exhausted {
    /// It is counted and logged, and is gone.
    #[default]
    Drop,
    /// It goes to a topic of Kafka.
    DeadLetter,
    /// It goes to a file.
    Log,
    /// It stays, and its key waits.
    Block,
    /// It stays, and its partition waits.
    Stop,
}

impl Exhausted {
    /// The word for it in the module file, and the label of its metric.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::DeadLetter => "dead_letter",
            Self::Log => "log",
            Self::Block => "block",
            Self::Stop => "stop",
        }
    }
}

/// Why a record ends undelivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Whether the backend refused it for good; otherwise its last attempt failed.
    pub rejected: bool,
    /// The status of the last answer, if there was one.
    pub status: Option<StatusCode>,
    /// How the last attempt failed.
    pub error: String,
    /// Attempts made.
    pub attempts: u32,
    /// When the first one began.
    pub first: SystemTime,
    /// When the last one ended.
    pub last: SystemTime,
}

/// A record that ends undelivered, on its way to where it is kept.
#[derive(Debug)]
pub struct Letter {
    /// Its partition.
    pub partition: PartitionId,
    /// Whose record it is.
    pub lane: LaneId,
    /// The place of its key, which waits.
    pub key: KeySlot,
    /// The record.
    pub record: Record,
    /// Why.
    pub account: Account,
}

/// Whose letters they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The module.
    pub module: String,
    /// The topic that it pushes.
    pub topic: String,
}

impl Letter {
    /// The headers that say where the record comes from and why it is here.
    #[must_use]
    pub fn headers(&self, sender: &Sender) -> Vec<(String, String)> {
        let account = &self.account;
        let mut headers = vec![
            ("module", sender.module.clone()),
            ("topic", sender.topic.clone()),
            ("partition", self.partition.to_string()),
            ("offset", self.record.offset.to_string()),
            ("timestamp", self.record.timestamp.to_string()),
            ("reason", reason(account).to_owned()),
            ("attempts", account.attempts.to_string()),
            ("error", account.error.clone()),
            ("first-time", milliseconds(account.first).to_string()),
            ("last-time", milliseconds(account.last).to_string()),
        ];
        if let Some(status) = account.status {
            headers.push(("last-status", status.as_u16().to_string()));
        }
        let prefixed = headers.into_iter();
        prefixed
            .map(|(name, value)| (format!("{PREFIX}{name}"), value))
            .collect()
    }

    /// The line of JSON that is kept of it, with its end.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "it cannot: see below")]
    pub fn line(&self, sender: &Sender) -> Vec<u8> {
        let account = &self.account;
        let line = Line {
            module: sender.module.clone(),
            topic: sender.topic.clone(),
            partition: self.partition.0,
            offset: self.record.offset.get(),
            timestamp: self.record.timestamp,
            reason: reason(account).to_owned(),
            attempts: account.attempts,
            last_status: account.status.map(|status| status.as_u16()),
            error: account.error.clone(),
            first_time: milliseconds(account.first),
            last_time: milliseconds(account.last),
            key: self.record.key_bytes().map(Text::of),
            headers: headers::decode(self.record.headers())
                .map(|(name, value)| (name.to_owned(), value.map(Text::of)))
                .collect(),
            value: Text::of(&self.record.value()),
        };
        let mut bytes = serde_json::to_vec(&line).expect("texts and numbers are JSON");
        bytes.push(b'\n');
        bytes
    }
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The module.
    pub module: String,
    /// The topic of the record.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds; -1 without.
    pub timestamp: i64,
    /// `exhausted` or `rejected`.
    pub reason: String,
    /// Attempts made.
    pub attempts: u32,
    /// The status of the last answer, if there was one.
    pub last_status: Option<u16>,
    /// How the last attempt failed.
    pub error: String,
    /// When the first attempt began, in milliseconds since 1970.
    pub first_time: u64,
    /// When the last one ended, in milliseconds since 1970.
    pub last_time: u64,
    /// Its key.
    pub key: Option<Text>,
    /// Its headers, in their order.
    pub headers: Vec<(String, Option<Text>)>,
    /// Its value.
    pub value: Text,
}

/// Bytes in JSON: a text where they are one, for people; else base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// UTF-8.
    Plain(String),
    /// Anything else.
    Base64 {
        /// As it says.
        base64: String,
    },
}

impl Text {
    /// The text of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self::Plain(text.to_owned()),
            Err(_binary) => Self::Base64 {
                base64: STANDARD.encode(bytes),
            },
        }
    }

    /// The bytes again; `None` when they are no base64.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(text) => Some(text.as_bytes().to_vec()),
            Self::Base64 { base64 } => STANDARD.decode(base64).ok(),
        }
    }
}

const fn reason(account: &Account) -> &'static str {
    if account.rejected { "rejected" } else { "exhausted" }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use kcommon::kafka::{CommitOffset, RecordOffset};

    use super::*;
    use crate::assignment::Epochs;
    use crate::key::KeyHasher;
    use crate::ledger::{Admission, Entry, Ledger};
    use crate::record::Parts;
    use crate::scheduler::Scheduler;

    fn letter(parts: &Parts<'_>, status: Option<StatusCode>) -> Letter {
        let offset = RecordOffset::try_from(7).unwrap();
        let mut ledger = Ledger::new(CommitOffset::ZERO, 1);
        let Admission::Entered(seq) = ledger.admit(offset, Entry::Pending) else {
            panic!("not entered")
        };
        let record = Record::new(offset, seq, 1_700_000_000_000, parts);
        let mut scheduler = Scheduler::default();
        let lane = scheduler.open(Epochs::default().next());
        let id = parts.key.map(|key| KeyHasher::new([0; 16]).id(key));
        scheduler.enqueue(lane, id, record.clone());
        let job = scheduler.take().unwrap();
        Letter {
            partition: PartitionId(3),
            lane,
            key: scheduler.hold(job),
            record,
            account: Account {
                rejected: status.is_some(),
                status,
                error: "no connection".to_owned(),
                attempts: 4,
                first: SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
                last: SystemTime::UNIX_EPOCH + Duration::from_millis(2500),
            },
        }
    }

    fn sender() -> Sender {
        Sender {
            module: "m".to_owned(),
            topic: "t".to_owned(),
        }
    }

    #[test]
    fn the_headers_say_where_a_record_comes_from_and_why_it_is_there() {
        let parts = Parts::of(b"k", b"v");
        let refused = letter(&parts, Some(StatusCode::UNPROCESSABLE_ENTITY));
        let headers = refused.headers(&sender());
        let text = |name: &str| {
            let name = format!("{PREFIX}{name}");
            let found = headers.iter().find(|header| header.0 == name);
            found.map(|header| header.1.as_str())
        };
        for (name, value) in [
            ("module", "m"),
            ("topic", "t"),
            ("partition", "3"),
            ("offset", "7"),
            ("timestamp", "1700000000000"),
            ("reason", "rejected"),
            ("attempts", "4"),
            ("last-status", "422"),
            ("error", "no connection"),
            ("first-time", "1500"),
            ("last-time", "2500"),
        ] {
            assert_eq!(text(name), Some(value), "{name}");
        }
        let unanswered = letter(&parts, None).headers(&sender());
        assert!(unanswered.iter().all(|(name, _)| !name.ends_with("last-status")));
        assert!(unanswered.iter().any(|(_, value)| value == "exhausted"));
    }

    #[test]
    fn a_line_is_one_line_and_has_every_byte() {
        let mut headers = Vec::new();
        headers::encode(&mut headers, "trace", Some(b"abc"));
        headers::encode(&mut headers, "binary", Some(b"\xff"));
        headers::encode(&mut headers, "null", None);
        for (key, value) in [
            (Some(&b"k"[..]), &b"two\nlines"[..]),
            (None, b""),
            (Some(b"\xfe"), b"\xff\x00"),
        ] {
            let parts = Parts {
                key,
                headers: &headers,
                value,
            };
            let bytes = letter(&parts, None).line(&sender());
            assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(bytes.last(), Some(&b'\n'));
            let line: Line = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(line.key.as_ref().and_then(Text::bytes).as_deref(), key);
            assert_eq!(line.value.bytes().unwrap(), value);
            let found: Vec<_> = line
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_ref().and_then(Text::bytes)))
                .collect();
            assert_eq!(
                found,
                [
                    ("trace", Some(b"abc".to_vec())),
                    ("binary", Some(b"\xff".to_vec())),
                    ("null", None)
                ]
            );
            assert_eq!((line.partition, line.offset, line.last_status), (3, 7, None));
        }
    }
}

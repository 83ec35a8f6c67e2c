//! Kafka's words as types: a topic's name, a partition, the offset of a record and the offset of a commit.
//!
//! Numbers that mean different things are different types, because "last delivered" against "next to deliver"
//! is the classic way to lose or double a record.

pub mod client_log;
pub mod options;
pub mod raw;

use std::fmt;

/// The longest topic name Kafka accepts, in bytes (`org.apache.kafka.common.internals.Topic`).
pub const MAX_TOPIC_NAME_BYTES: usize = 249;

/// A legal Kafka topic name: 1 to 249 of `a-z A-Z 0-9 . _ -`, neither `.` nor `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(String);

/// Why a text is no topic name. The message names the rule that is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// No text at all.
    #[error("the topic name is empty; a name has 1 to {MAX_TOPIC_NAME_BYTES} characters")]
    Empty,
    /// Longer than [`MAX_TOPIC_NAME_BYTES`].
    #[error("the topic name has {0} bytes; at most {MAX_TOPIC_NAME_BYTES} are allowed")]
    TooLong(usize),
    /// `.` or `..`, which Kafka reserves.
    #[error("the topic name may not be \".\" or \"..\"")]
    Dots,
    /// A character outside the legal set, with its byte position.
    #[error(
        "the topic name has an illegal character at byte {0}; allowed are a-z, A-Z, 0-9, '.', '_' and '-'"
    )]
    Character(usize),
}

impl TopicName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks `name` without keeping it, for paths that only pass the text on.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn check(name: &str) -> Result<(), TopicNameError> {
        if name.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if name.len() > MAX_TOPIC_NAME_BYTES {
            return Err(TopicNameError::TooLong(name.len()));
        }
        if name == "." || name == ".." {
            return Err(TopicNameError::Dots);
        }
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        match name.bytes().position(|byte| !legal(byte)) {
            Some(at) => Err(TopicNameError::Character(at)),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for TopicName {
    type Error = TopicNameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::check(&name)?;
        Ok(Self(name))
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a partition in its topic, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub i32);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The position of one record in its partition. Never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordOffset(i64);

/// The next offset to deliver: every record below it is done. What ZooKeeper's offset znode holds. Never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitOffset(i64);

/// A negative number where an offset was expected: one of Kafka's sentinels, or garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an offset: offsets are never negative")]
pub struct NotAnOffset(pub i64);

/// Why the content of an offset znode is not a commit offset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an offset: expected the decimal digits of a number from 0 to {max}, found {found}", max = i64::MAX)]
pub struct OffsetTextError {
    found: String,
}

impl RecordOffset {
    /// The offset as a plain number, for Kafka and for texts.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for RecordOffset {
    type Error = NotAnOffset;

    fn try_from(offset: i64) -> Result<Self, Self::Error> {
        if offset < 0 {
            Err(NotAnOffset(offset))
        } else {
            Ok(Self(offset))
        }
    }
}

impl fmt::Display for RecordOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl CommitOffset {
    /// The start of a partition that never lost a record.
    pub const ZERO: Self = Self(0);

    /// The commit that says `record`, and everything below it, is done.
    #[must_use]
    pub const fn after(record: RecordOffset) -> Self {
        Self(record.0.saturating_add(1))
    }

    /// The commit that says everything below `record` is done, and `record` is not.
    #[must_use]
    pub const fn before(record: RecordOffset) -> Self {
        Self(record.0)
    }

    /// The offset as a plain number, for Kafka and for texts.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Reads an offset znode: decimal digits, white space around them tolerated (`echo 5 | zkCli` adds a newline).
    ///
    /// # Errors
    /// Anything else, an empty znode included: it is never taken for "no offset".
    pub fn from_znode(bytes: &[u8]) -> Result<Self, OffsetTextError> {
        let error = || OffsetTextError {
            found: excerpt(bytes),
        };
        let text = str::from_utf8(bytes).map_err(|_not_text| error())?.trim_ascii();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(error());
        }
        text.parse().map(Self).map_err(|_too_large| error())
    }

    /// The bytes of an offset znode.
    #[must_use]
    pub fn to_znode(self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }
}

impl TryFrom<i64> for CommitOffset {
    type Error = NotAnOffset;

    fn try_from(offset: i64) -> Result<Self, Self::Error> {
        if offset < 0 {
            Err(NotAnOffset(offset))
        } else {
            Ok(Self(offset))
        }
    }
}

impl fmt::Display for CommitOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// At most 40 bytes of `bytes`, escaped, for an error message.
fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 40;
    let head = bytes.get(..SHOWN).unwrap_or(bytes);
    let more = if bytes.len() > SHOWN {
        format!(" and {} bytes more", bytes.len() - SHOWN)
    } else {
        String::new()
    };
    format!("\"{}\"{more}", head.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_name_follows_kafkas_rules() {
        assert_eq!(TopicName::check(""), Err(TopicNameError::Empty));
        assert_eq!(TopicName::check("."), Err(TopicNameError::Dots));
        assert_eq!(TopicName::check(".."), Err(TopicNameError::Dots));
        assert_eq!(TopicName::check("a b"), Err(TopicNameError::Character(1)));
        assert_eq!(TopicName::check("a\0"), Err(TopicNameError::Character(1)));
        assert_eq!(TopicName::check("é"), Err(TopicNameError::Character(0)));
        assert_eq!(
            TopicName::check(&"x".repeat(250)),
            Err(TopicNameError::TooLong(250))
        );
        assert_eq!(TopicName::check(&"x".repeat(249)), Ok(()));
        assert_eq!(TopicName::check("a.B_c-9"), Ok(()));
    }

    #[test]
    fn a_commit_is_the_next_offset() {
        let record = RecordOffset::try_from(7).unwrap();
        assert_eq!(CommitOffset::after(record).get(), 8);
        assert_eq!(CommitOffset::before(record).get(), 7);
    }

    #[test]
    fn an_offset_znode_is_digits_and_nothing_else() {
        assert_eq!(CommitOffset::from_znode(b"0").unwrap(), CommitOffset::ZERO);
        assert_eq!(CommitOffset::from_znode(b"12\n").unwrap().get(), 12);
        for garbage in [
            &b""[..],
            b" ",
            b"-1",
            b"+1",
            b"1.0",
            b"1e3",
            b"\xff",
            b"9223372036854775808",
            b"1 2",
        ] {
            assert!(CommitOffset::from_znode(garbage).is_err(), "{garbage:?}");
        }
        assert_eq!(CommitOffset::try_from(5).unwrap().to_znode(), b"5");
    }

    #[test]
    fn garbage_is_shown_in_part() {
        let message = CommitOffset::from_znode(&[b'x'; 100]).unwrap_err().to_string();
        assert!(message.contains("and 60 bytes more"), "{message}");
    }
}

//! Reads the query of `POST /commit` into what is asked for: topic, key, acknowledgement level, and where and when the record
//! belongs.
//!
//! Pure. A parameter that is unknown is passed over, as the original did; one that is known is never guessed:
//! repeated, wrongly encoded or illegal, it is refused with the rule it breaks. `+` is a space, as in every form.

use std::borrow::Cow;
use std::fmt;

use kcommon::kafka::{TopicName, TopicNameError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How many replicas must have a record before it counts as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Acks {
    /// 0: handed to the broker's connection, nothing more is known.
    Zero,
    /// 1: the partition's leader has it. The default.
    One,
    /// -1: every replica in sync has it.
    All,
}

impl Acks {
    /// Every level, in the order of the producers.
    pub const EVERY: [Self; 3] = [Self::Zero, Self::One, Self::All];

    /// The number that a client writes and that Kafka's configuration takes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zero => "0",
            Self::One => "1",
            Self::All => "-1",
        }
    }

    /// The place in [`Acks::EVERY`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Zero => 0,
            Self::One => 1,
            Self::All => 2,
        }
    }
}

impl fmt::Display for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one `POST /commit` asks for. Borrows from the query wherever nothing had to be decoded.
#[derive(Debug, PartialEq, Eq)]
pub struct Commit<'q> {
    /// A legal topic name; whether it exists is not known here.
    pub topic: Cow<'q, str>,
    /// The record's key: any bytes, never empty. `None` is a record without a key.
    pub key: Option<Cow<'q, [u8]>>,
    /// The acknowledgement to wait for.
    pub acks: Acks,
    /// The partition, when the client chooses it; whether it exists is not known here.
    pub partition: Option<i32>,
    /// The record's timestamp in milliseconds since 1970, when the client says it; never negative.
    pub timestamp: Option<i64>,
    /// A record without a value, which makes compaction forget its key; it has a key.
    pub tombstone: bool,
}

/// Why a query is refused. The message names the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// There is no `topic`.
    #[error("the parameter topic is missing; write /commit?topic=NAME")]
    NoTopic,
    /// The topic's name is not one that Kafka accepts.
    #[error("{0}")]
    Topic(#[from] TopicNameError),
    /// A parameter that is used occurs twice.
    #[error("the parameter {0} occurs more than once; give it once")]
    Repeated(&'static str),
    /// A `%` that two hexadecimal digits do not follow.
    #[error(
        "the query has a % without two hexadecimal digits at byte {0} of a parameter; write % itself as %25"
    )]
    Escape(usize),
    /// No partition number.
    #[error("the parameter partition has to be a number from 0 to 2147483647; without it, the key decides")]
    Partition,
    /// No point in time that a record can have.
    #[error(
        "the parameter timestamp has to be milliseconds since 1970, or a time as 2026-01-31T12:00:00Z (RFC 3339); without it, now is taken"
    )]
    Timestamp,
    /// Neither absent, empty, 0 nor 1.
    #[error("the parameter tombstone has to be 1, or 0; without it, the body is the value")]
    Tombstone,
    /// A parameter of one record in the query of many.
    #[error("key, partition, timestamp and tombstone belong to each record of a batch; write them there")]
    OfOneRecord,
    /// A tombstone for no key.
    #[error("a tombstone needs a key; without one it would mean nothing")]
    TombstoneWithoutKey,
    /// Neither absent, empty, 0, 1 nor -1.
    #[error("the parameter acks has to be 0, 1 or -1; without it, 1 is taken")]
    Acks,
}

/// Reads `query`, the part behind `?`. `legacy_acks` takes an unknown `acks` as 1, as the original did.
///
/// # Errors
/// The first rule that the query breaks.
pub fn parse(query: &str, legacy_acks: bool) -> Result<Commit<'_>, QueryError> {
    let mut values: [Option<Cow<'_, [u8]>>; PARAMETERS.len()] = Default::default();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name)?;
        let Some(place) = PARAMETERS.iter().position(|known| known.as_bytes() == &*name) else {
            continue;
        };
        if values[place].replace(decode(value)?).is_some() {
            return Err(QueryError::Repeated(PARAMETERS[place]));
        }
    }
    let [topic, key, acks, partition, timestamp, tombstone] = values;
    // The hash partitioner would pin every record with an empty key to one partition.
    let key = key.filter(|key| !key.is_empty());
    let tombstone = match tombstone.as_deref() {
        None | Some(b"" | b"0") => false,
        Some(b"1") if key.is_none() => return Err(QueryError::TombstoneWithoutKey),
        Some(b"1") => true,
        Some(_other) => return Err(QueryError::Tombstone),
    };
    Ok(Commit {
        topic: topic_name(topic.ok_or(QueryError::NoTopic)?)?,
        key,
        acks: match acks.as_deref() {
            None | Some(b"" | b"1") => Acks::One,
            Some(b"0") => Acks::Zero,
            Some(b"-1") => Acks::All,
            Some(_other) if legacy_acks => Acks::One,
            Some(_other) => return Err(QueryError::Acks),
        },
        partition: given(partition.as_deref(), partition_number).ok_or(QueryError::Partition)?,
        timestamp: given(timestamp.as_deref(), milliseconds).ok_or(QueryError::Timestamp)?,
        tombstone,
    })
}

/// What one `POST /commit/batch` asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch<'q> {
    /// A legal topic name; whether it exists is not known here.
    pub topic: Cow<'q, str>,
    /// The acknowledgement to wait for.
    pub acks: Acks,
}

/// Reads the query of a batch. What belongs to one record (`key`, `partition`, `timestamp`, `tombstone`) is refused: each record
/// has its own.
///
/// # Errors
/// The first rule that the query breaks.
pub fn parse_batch(query: &str, legacy_acks: bool) -> Result<Batch<'_>, QueryError> {
    let commit = parse(query, legacy_acks)?;
    if commit.key.is_some() || commit.partition.is_some() || commit.timestamp.is_some() {
        return Err(QueryError::OfOneRecord);
    }
    Ok(Batch {
        topic: commit.topic,
        acks: commit.acks,
    })
}

/// The parameters, in the order in which `parse` takes their values.
const PARAMETERS: [&str; 6] = ["topic", "key", "acks", "partition", "timestamp", "tombstone"];

/// The value of a parameter that may be absent or empty; `None` when it breaks its rule.
fn given<T>(text: Option<&[u8]>, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    match text {
        None | Some(b"") => Some(None),
        Some(text) => str::from_utf8(text).ok().and_then(read).map(Some),
    }
}

/// A partition's number: digits only.
#[must_use]
pub(crate) fn partition_number(text: &str) -> Option<i32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// A record's timestamp: milliseconds since 1970, or RFC 3339, not before 1970.
#[must_use]
pub(crate) fn milliseconds(text: &str) -> Option<i64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let millis = time.unix_timestamp_nanos().div_euclid(1_000_000);
    i64::try_from(millis).ok().filter(|millis| *millis >= 0)
}

/// A legal topic name.
///
/// # Errors
/// The rule that it breaks.
pub(crate) fn topic_name(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, QueryError> {
    // A legal name is ASCII, so a name that is no UTF-8 breaks the rule about characters at its first wrong byte.
    let illegal = |at| QueryError::Topic(TopicNameError::Character(at));
    let name = match bytes {
        Cow::Borrowed(bytes) => str::from_utf8(bytes)
            .map(Cow::Borrowed)
            .map_err(|error| illegal(error.valid_up_to()))?,
        Cow::Owned(bytes) => String::from_utf8(bytes)
            .map(Cow::Owned)
            .map_err(|error| illegal(error.utf8_error().valid_up_to()))?,
    };
    TopicName::check(&name)?;
    Ok(name)
}

/// Percent-decoding with `+` as space; borrows when there is nothing to decode.
fn decode(text: &str) -> Result<Cow<'_, [u8]>, QueryError> {
    let bytes = text.as_bytes();
    let Some(first) = bytes.iter().position(|byte| matches!(byte, b'%' | b'+')) else {
        return Ok(Cow::Borrowed(bytes));
    };
    let (plain, mut rest) = bytes.split_at(first);
    let mut decoded = Vec::with_capacity(bytes.len());
    decoded.extend_from_slice(plain);
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let escape = || QueryError::Escape(bytes.len() - tail.len() - 1);
                let (digits, tail) = tail.split_at_checked(2).ok_or_else(escape)?;
                let [high, low] = [digits[0], digits[1]].map(|digit| char::from(digit).to_digit(16));
                let value = high
                    .zip(low)
                    .map(|(high, low)| high * 16 + low)
                    .ok_or_else(escape)?;
                decoded.push(u8::try_from(value).map_err(|_above_255| escape())?);
                rest = tail;
            }
            plain => decoded.push(plain),
        }
    }
    Ok(Cow::Owned(decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(query: &str) -> Option<Vec<u8>> {
        parse(query, false).unwrap().key.map(Cow::into_owned)
    }

    #[test]
    fn a_plain_query_is_borrowed() {
        let commit = parse("topic=orders&key=user-1&acks=-1", false).unwrap();
        assert_eq!(commit.topic, "orders");
        assert!(matches!(commit.topic, Cow::Borrowed(_)));
        assert!(matches!(commit.key, Some(Cow::Borrowed(b"user-1"))));
        assert_eq!(commit.acks, Acks::All);
    }

    #[test]
    fn an_absent_or_empty_key_is_no_key() {
        assert_eq!(key("topic=t"), None);
        assert_eq!(key("topic=t&key"), None);
        assert_eq!(key("topic=t&key="), None);
    }

    #[test]
    fn a_key_is_decoded_byte_by_byte() {
        let you = "你好".as_bytes();
        assert_eq!(key("topic=t&key=%E4%BD%A0%e5%a5%bd").as_deref(), Some(you));
        assert_eq!(key("topic=t&key=你好").as_deref(), Some(you));
        assert_eq!(key("topic=t&key=a%26b%3D%25").as_deref(), Some(&b"a&b=%"[..]));
        assert_eq!(key("topic=t&key=x+y%20z%2B").as_deref(), Some(&b"x y z+"[..]));
        assert_eq!(key("topic=t&key=%00%ff").as_deref(), Some(&b"\0\xff"[..]));
        assert_eq!(key("topic=t&key=a=b").as_deref(), Some(&b"a=b"[..]));
    }

    #[test]
    fn names_of_parameters_are_decoded_too() {
        assert_eq!(parse("t%6fpic=a", false).unwrap().topic, "a");
        assert_eq!(
            parse("topic=a&t%6fpic=b", false),
            Err(QueryError::Repeated("topic"))
        );
    }

    #[test]
    fn acks_is_one_of_three_or_refused() {
        let acks = |query| parse(query, false).map(|commit| commit.acks);
        for query in ["topic=t", "topic=t&acks", "topic=t&acks=", "topic=t&acks=1"] {
            assert_eq!(acks(query), Ok(Acks::One), "{query}");
        }
        assert_eq!(acks("topic=t&acks=0"), Ok(Acks::Zero));
        assert_eq!(acks("topic=t&acks=-1"), Ok(Acks::All));
        for query in ["2", "all", "+1", "%2B1", "01", "-01", "1%00"] {
            let query = format!("topic=t&acks={query}");
            assert_eq!(parse(&query, false), Err(QueryError::Acks), "{query}");
            assert_eq!(parse(&query, true).unwrap().acks, Acks::One, "{query}");
        }
    }

    #[test]
    fn a_repeated_parameter_is_refused() {
        for (query, name) in [
            ("topic=a&topic=a", "topic"),
            ("topic=a&key=1&key=", "key"),
            ("acks=1&topic=a&acks=0", "acks"),
        ] {
            assert_eq!(parse(query, true), Err(QueryError::Repeated(name)));
        }
    }

    #[test]
    fn a_partition_is_a_number_or_refused() {
        let partition =
            |query: &str| parse(&format!("topic=t&{query}"), false).map(|commit| commit.partition);
        assert_eq!(partition("partition=0"), Ok(Some(0)));
        assert_eq!(partition("partition=2147483647"), Ok(Some(i32::MAX)));
        assert_eq!(partition("partition="), Ok(None));
        for query in ["2147483648", "-1", "%2B1", "a", "1.0", "%ff"] {
            assert_eq!(
                partition(&format!("partition={query}")),
                Err(QueryError::Partition),
                "{query}"
            );
        }
    }

    #[test]
    fn a_timestamp_is_milliseconds_or_rfc_3339() {
        let timestamp =
            |query: &str| parse(&format!("topic=t&timestamp={query}"), false).map(|commit| commit.timestamp);
        assert_eq!(timestamp("1700000000123"), Ok(Some(1_700_000_000_123)));
        assert_eq!(timestamp("2023-11-14T22:13:20.123Z"), Ok(Some(1_700_000_000_123)));
        assert_eq!(
            timestamp("2023-11-15T06:13:20.1234%2B08:00"),
            Ok(Some(1_700_000_000_123))
        );
        assert_eq!(timestamp("0"), Ok(Some(0)));
        assert_eq!(timestamp(""), Ok(None));
        for text in [
            "-1",
            "1e3",
            "2023-11-14",
            "1969-12-31T23:59:59Z",
            "9223372036854775808",
            "now",
        ] {
            assert_eq!(timestamp(text), Err(QueryError::Timestamp), "{text}");
        }
    }

    #[test]
    fn a_tombstone_has_a_key() {
        let tombstone =
            |query: &str| parse(&format!("topic=t&{query}"), false).map(|commit| commit.tombstone);
        assert_eq!(tombstone("key=k&tombstone=1"), Ok(true));
        assert_eq!(tombstone("key=k&tombstone=0"), Ok(false));
        assert_eq!(tombstone("key=k&tombstone"), Ok(false));
        assert_eq!(tombstone("tombstone=1"), Err(QueryError::TombstoneWithoutKey));
        assert_eq!(
            tombstone("key=&tombstone=1"),
            Err(QueryError::TombstoneWithoutKey)
        );
        assert_eq!(tombstone("key=k&tombstone=yes"), Err(QueryError::Tombstone));
    }

    #[test]
    fn a_batch_has_topic_and_acks_only() {
        let batch = parse_batch("topic=t&acks=-1", false).unwrap();
        assert_eq!((&*batch.topic, batch.acks), ("t", Acks::All));
        for query in ["key=k", "partition=1", "timestamp=1", "key=k&tombstone=1"] {
            let query = format!("topic=t&{query}");
            assert_eq!(
                parse_batch(&query, false),
                Err(QueryError::OfOneRecord),
                "{query}"
            );
        }
    }

    #[test]
    fn an_unknown_parameter_is_passed_over() {
        assert_eq!(parse("&x=1&topic=a&&x=2&", false).unwrap().topic, "a");
    }

    #[test]
    fn a_broken_escape_is_refused_with_its_place() {
        for (query, at) in [
            ("key=a%", 1),
            ("key=%4", 0),
            ("key=ab%zz", 2),
            ("key=%+1", 0),
            ("%=1", 0),
        ] {
            let query = format!("topic=t&{query}");
            assert_eq!(parse(&query, false), Err(QueryError::Escape(at)), "{query}");
        }
    }

    #[test]
    fn an_illegal_topic_names_its_rule() {
        let refused = |query: &str| parse(query, false).unwrap_err();
        assert_eq!(refused(""), QueryError::NoTopic);
        assert_eq!(refused("key=a"), QueryError::NoTopic);
        assert_eq!(refused("topic="), TopicNameError::Empty.into());
        assert_eq!(refused("topic=.."), TopicNameError::Dots.into());
        assert_eq!(refused("topic=a%00b"), TopicNameError::Character(1).into());
        assert_eq!(refused("topic=ab%ff"), TopicNameError::Character(2).into());
        assert_eq!(refused("topic=a+b"), TopicNameError::Character(1).into());
        let long = format!("topic={}", "x".repeat(250));
        assert_eq!(refused(&long), TopicNameError::TooLong(250).into());
    }
}

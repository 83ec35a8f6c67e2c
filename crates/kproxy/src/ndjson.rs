//! Batches as lines of JSON: one object a line, each one record.
//!
//! Pure. A line that breaks a rule is refused alone; the next one begins after its line break.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes, BytesMut};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::entry::{BadEntry, Entry};
use crate::request::milliseconds;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object is expected")]
struct Line<'l> {
    #[serde(borrow, default)]
    key: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    key_base64: Option<Cow<'l, str>>,
    #[serde(borrow, default, deserialize_with = "given")]
    value: Option<&'l RawValue>,
    #[serde(borrow, default)]
    text: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    base64: Option<Cow<'l, str>>,
    #[serde(default)]
    tombstone: bool,
    #[serde(default)]
    partition: Option<i64>,
    #[serde(default)]
    timestamp: Option<Timestamp>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// A field that is there: its `null` is a value too.
fn given<'l, D: Deserializer<'l>>(field: D) -> Result<Option<&'l RawValue>, D::Error> {
    <&RawValue>::deserialize(field).map(Some)
}

/// Milliseconds, or a text.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Timestamp {
    /// Since 1970.
    Millis(i64),
    /// RFC 3339.
    Text(String),
}

impl Timestamp {
    /// Milliseconds since 1970.
    pub(crate) fn millis(&self) -> Option<i64> {
        match self {
            Self::Millis(millis) => Some(*millis),
            Self::Text(text) => milliseconds(text),
        }
    }
}

/// Finds lines in what arrives.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Bytes at the beginning without a line break: a long line is not searched again with each piece of it.
    searched: usize,
}

impl Lines {
    /// Takes the next line that is not blank out of what has arrived. `None`: it is not complete; with `ended`, there is none.
    pub(crate) fn take(&mut self, arrived: &mut BytesMut, ended: bool) -> Option<Result<Entry, BadEntry>> {
        loop {
            let line = match arrived[self.searched..].iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    let line = arrived.split_to(self.searched + end).freeze();
                    arrived.advance(1);
                    line
                }
                None if ended && !arrived.is_empty() => arrived.split().freeze(),
                None => {
                    self.searched = arrived.len();
                    return None;
                }
            };
            self.searched = 0;
            if !line.trim_ascii().is_empty() {
                return Some(read(&line));
            }
        }
    }
}

fn read(line: &[u8]) -> Result<Entry, BadEntry> {
    // serde would take an array for the fields in their order.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(BadEntry::Json("it is no JSON object".to_owned()));
    }
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| BadEntry::Json(error.to_string()))?;
    let key = match (line.key, line.key_base64) {
        (Some(_), Some(_)) => return Err(BadEntry::TwoKeys),
        (Some(key), None) => Some(Bytes::from(key.into_owned())),
        (None, Some(key)) => Some(decode("key_base64", &key)?),
        (None, None) => None,
    };
    let value = match (line.value, line.text, line.base64, line.tombstone) {
        (Some(value), None, None, false) => Some(Bytes::copy_from_slice(value.get().as_bytes())),
        (None, Some(text), None, false) => Some(Bytes::from(text.into_owned())),
        (None, None, Some(text), false) => Some(decode("base64", &text)?),
        (None, None, None, true) => None,
        _ => return Err(BadEntry::NoValue),
    };
    let partition = line.partition.map(i32::try_from).transpose();
    let timestamp = line
        .timestamp
        .map(|time| time.millis().ok_or(BadEntry::Timestamp));
    Entry {
        key,
        value,
        partition: partition.map_err(|_too_large| BadEntry::Partition)?,
        timestamp: timestamp.transpose()?,
        headers: line
            .headers
            .into_iter()
            .map(|(name, value)| (name, Bytes::from(value)))
            .collect(),
    }
    .check()
}

/// Bytes written as base64; `what` names the field.
///
/// # Errors
/// [`BadEntry::Base64`].
pub(crate) fn decode(what: &'static str, text: &str) -> Result<Bytes, BadEntry> {
    let decoded = STANDARD.decode(text);
    decoded
        .map(Bytes::from)
        .map_err(|_not_base64| BadEntry::Base64(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Result<Entry, BadEntry>> {
        let (mut lines, mut arrived) = (Lines::default(), BytesMut::from(text));
        std::iter::from_fn(|| lines.take(&mut arrived, true)).collect()
    }

    fn one(text: &str) -> Result<Entry, BadEntry> {
        let mut entries = all(text);
        assert_eq!(entries.len(), 1);
        entries.remove(0)
    }

    #[test]
    fn every_field_is_read() {
        let entry = one(
            r#"{"key":"k","value":{"a": 1},"partition":3,"timestamp":"2023-11-14T22:13:20Z","headers":{"h":"v"}}"#,
        );
        let expected = Entry {
            key: Some("k".into()),
            // As it was written, blanks included.
            value: Some(r#"{"a": 1}"#.into()),
            partition: Some(3),
            timestamp: Some(1_700_000_000_000),
            headers: vec![("h".to_owned(), "v".into())],
        };
        assert_eq!(entry, Ok(expected));
        let entry = one(r#"{"key_base64":"AP8=","base64":"AAE="}"#).unwrap();
        assert_eq!(
            (entry.key.as_deref(), entry.value.as_deref()),
            (Some(&[0, 255][..]), Some(&[0, 1][..]))
        );
        assert_eq!(one(r#"{"text":"a\nb"}"#).unwrap().value.unwrap(), "a\nb");
        assert_eq!(one(r#"{"key":"k","tombstone":true}"#).unwrap().value, None);
        assert_eq!(one(r#"{"text":"x","timestamp":7}"#).unwrap().timestamp, Some(7));
        assert_eq!(one(r#"{"value":null}"#).unwrap().value.unwrap(), "null");
    }

    #[test]
    fn a_line_that_breaks_a_rule_is_refused_alone() {
        for (line, expected) in [
            (r#"{"key":"k"}"#, BadEntry::NoValue),
            (r#"{"text":""}"#, BadEntry::NoValue),
            (r#"{"text":"a","value":1}"#, BadEntry::NoValue),
            (r#"{"tombstone":true}"#, BadEntry::TombstoneWithoutKey),
            (r#"{"key":"","tombstone":true}"#, BadEntry::TombstoneWithoutKey),
            (r#"{"key":"a","key_base64":"YQ==","text":"x"}"#, BadEntry::TwoKeys),
            (r#"{"base64":"?"}"#, BadEntry::Base64("base64")),
            (r#"{"text":"x","partition":-1}"#, BadEntry::Partition),
            (r#"{"text":"x","partition":2147483648}"#, BadEntry::Partition),
            (r#"{"text":"x","timestamp":-1}"#, BadEntry::Timestamp),
            (r#"{"text":"x","timestamp":"now"}"#, BadEntry::Timestamp),
        ] {
            assert_eq!(one(line), Err(expected), "{line}");
            let three = all(&format!("{{\"text\":\"x\"}}\n{line}\n{{\"text\":\"y\"}}\n"));
            assert_eq!(
                three.iter().map(Result::is_ok).collect::<Vec<_>>(),
                [true, false, true]
            );
        }
        for line in [
            "[]",
            r#"["k",null,1]"#,
            "{",
            "{} {}",
            r#"{"text":"x","colour":1}"#,
            "\u{0}",
        ] {
            assert!(matches!(one(line), Err(BadEntry::Json(_))), "{line}");
        }
    }

    #[test]
    fn blank_lines_and_a_missing_last_line_break_mean_nothing() {
        assert_eq!(all("\r\n{\"text\":\"x\"}\r\n \n{\"text\":\"y\"}").len(), 2);
        assert_eq!(all(" \n\n"), []);
    }

    #[test]
    fn a_line_that_has_not_arrived_whole_waits() {
        let mut lines = Lines::default();
        let mut arrived = BytesMut::from("{\"text\":");
        assert!(lines.take(&mut arrived, false).is_none());
        assert!(lines.take(&mut arrived, false).is_none());
        arrived.extend_from_slice(b"\"x\"}\n{");
        assert!(lines.take(&mut arrived, false).unwrap().is_ok());
        assert!(lines.take(&mut arrived, false).is_none());
        assert_eq!(&arrived[..], b"{");
    }
}

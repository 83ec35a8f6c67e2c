//! Records as CloudEvents 1.0. Pure.
//!
//! A record that already is one, written in Kafka's binary mode (headers `ce_specversion`, `ce_id` and so on), keeps its
//! attributes; of any other the id is `topic/partition/offset`, and the file says source and type.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Push;
use super::envelope::json;
use crate::headers;

/// What cannot stand in a header: everything but visible ASCII, quotes and percent signs.
const IN_HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');
/// Attributes of one event at most.
const MOST_ATTRIBUTES: usize = 64;

/// What the records of a module are as events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEvents {
    /// `source` of records that are no events yet; `None` = `/topics/` and the topic.
    pub source: Option<String>,
    /// `type` of records that are no events yet.
    pub kind: String,
}

impl CloudEvents {
    /// The attributes of a push, without `datacontenttype`.
    fn attributes(&self, push: &Push<'_>) -> Vec<(String, String)> {
        let own: Vec<(String, String)> = headers::decode(push.headers)
            .filter_map(|(name, value)| {
                let name = name.strip_prefix("ce_")?;
                let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
                let is_attribute = !name.is_empty() && name != "data" && name.bytes().all(legal);
                let value = std::str::from_utf8(value?).ok()?;
                is_attribute.then(|| (name.to_owned(), value.to_owned()))
            })
            .take(MOST_ATTRIBUTES)
            .collect();
        let has = |wanted: &str| own.iter().any(|(name, _)| name == wanted);
        if ["specversion", "id", "source", "type"].into_iter().all(has) {
            return own;
        }
        let source = self.source.clone();
        let mut attributes = vec![
            ("specversion", "1.0".to_owned()),
            ("id", push.id()),
            (
                "source",
                source.unwrap_or_else(|| format!("/topics/{}", push.topic)),
            ),
            ("type", self.kind.clone()),
        ];
        attributes.extend(time(push.timestamp).map(|time| ("time", time)));
        let key = push.key.and_then(|key| std::str::from_utf8(key).ok());
        let key = key.filter(|key| !key.is_empty());
        attributes.extend(key.map(|key| ("partitionkey", key.to_owned())));
        let named = attributes.into_iter();
        named.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Adds the attributes of a push as headers. What the record says of its value's type goes before what the file says.
    pub(super) fn headers(&self, push: &Push<'_>, sent: &mut HeaderMap) {
        for (name, value) in self.attributes(push) {
            let name = HeaderName::try_from(format!("ce-{name}"));
            let value = HeaderValue::try_from(utf8_percent_encode(&value, IN_HEADER).to_string());
            if let (Ok(name), Ok(value)) = (name, value) {
                sent.insert(name, value);
            }
        }
        if let Some(Ok(value)) = content_type(push).map(HeaderValue::from_str) {
            sent.insert(CONTENT_TYPE, value);
        }
    }

    /// The push as one JSON object. A value that is JSON is its `data`, any other its `data_base64`.
    pub(super) fn structured(&self, push: &Push<'_>) -> Vec<u8> {
        let mut event: Map<String, Value> = self
            .attributes(push)
            .into_iter()
            .map(|(name, value)| (name, Value::from(value)))
            .collect();
        let data = json(push.value);
        let kind = content_type(push).unwrap_or(match data {
            Some(_) => "application/json",
            None => "application/octet-stream",
        });
        event.insert("datacontenttype".to_owned(), Value::from(kind));
        if data.is_none() {
            event.insert("data_base64".to_owned(), Value::from(STANDARD.encode(push.value)));
        }
        let mut text = serde_json::to_string(&event).expect("texts always are JSON");
        if let Some(data) = data {
            with_data(&mut text, data);
        }
        text.into_bytes()
    }
}

/// Puts the value into a JSON object that is not empty, byte for byte.
fn with_data(object: &mut String, data: &RawValue) {
    object.pop();
    write!(object, ",\"data\":{}}}", data.get()).expect("writing to a String never fails");
}

/// What the record says of its value's type.
fn content_type<'a>(push: &Push<'a>) -> Option<&'a str> {
    let found = headers::decode(push.headers).find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    found.and_then(|(_, value)| std::str::from_utf8(value?).ok())
}

/// Milliseconds since 1970 as a time of RFC 3339; `None` for records without one and for times beyond the year 9999.
fn time(milliseconds: i64) -> Option<String> {
    let nanoseconds = i128::from(milliseconds) * 1_000_000;
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?;
    let time = (milliseconds >= 0).then_some(time)?;
    time.format(&time::format_description::well_known::Rfc3339).ok()
}

//! A record as one JSON object. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Push;
use crate::headers;

#[derive(Serialize)]
struct Envelope<'a> {
    id: String,
    topic: &'a str,
    partition: i32,
    offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    headers: Vec<Header<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

#[derive(Serialize)]
struct Header<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

/// Bytes as text where they are, else as base64.
fn texts(bytes: Option<&[u8]>) -> (Option<&str>, Option<String>) {
    let Some(bytes) = bytes else {
        return (None, None);
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_no_text) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// The record as JSON: its value under `value` when it is JSON, else under `value_text` when it is text, else under `value_base64`.
pub(super) fn envelope(push: &Push<'_>) -> Vec<u8> {
    let value = json(push.value);
    let (value_text, value_base64) = texts(Some(push.value).filter(|_| value.is_none()));
    let (key, key_base64) = texts(push.key);
    let headers = headers::decode(push.headers).map(|(name, value)| {
        let (value, value_base64) = texts(value);
        Header {
            name,
            value,
            value_base64,
        }
    });
    let envelope = Envelope {
        id: push.id(),
        topic: push.topic,
        partition: push.partition.0,
        offset: push.offset.get(),
        timestamp: (push.timestamp >= 0).then_some(push.timestamp),
        key,
        key_base64,
        headers: headers.collect(),
        value,
        value_text,
        value_base64,
    };
    serde_json::to_vec(&envelope).expect("texts and numbers always are JSON")
}

/// The value, if it is one JSON document.
pub(super) fn json(value: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(value).ok()
}

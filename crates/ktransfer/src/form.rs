//! What a push looks like, for modules that want more than the value as it is: the form of its body, and headers that tell of the
//! record. Pure: the time is an argument.
//!
//! Header names and values that HTTP cannot carry are left out and counted, never bent: a forwarded header has the bytes
//! of the record's or is not there.

mod cloudevents;
mod envelope;

use std::fmt::Write as _;

use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use kcommon::kafka::{PartitionId, RecordOffset};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::headers;

pub use cloudevents::CloudEvents;

/// Record headers that are forwarded at most, with their bytes: many servers refuse more.
const MOST_HEADERS: usize = 64;
const MOST_HEADER_BYTES: usize = 8192;

/// As PHP's `http_build_query` leaves them; a space is written as a plus sign.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b' ');

/// What a push looks like beyond the value as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The form of the body.
    pub body: Body,
    /// The header that tells the record's id, `topic/partition/offset`.
    pub id: Option<HeaderName>,
    /// The header that tells the how many-th attempt this is, from 1.
    pub attempt: Option<HeaderName>,
    /// The header that tells the record's age in milliseconds.
    pub age: Option<HeaderName>,
    /// Put before the names of the record's own headers; `None` = they are not forwarded.
    pub prefix: Option<String>,
    /// Whether `traceparent` and `tracestate` of the record are forwarded under their own names.
    pub trace: bool,
}

/// The form of a push's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The value.
    Raw,
    /// The fields `m` (value), `p` (partition) and `o` (offset) of an HTML form.
    Fields,
    /// A JSON object with the record and where it comes from.
    Envelope,
    /// The value, and the attributes of a CloudEvent as headers.
    EventInHeaders(CloudEvents),
    /// A CloudEvent as JSON.
    Event(CloudEvents),
}

/// A record that is about to be pushed.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: RecordOffset,
    /// Its timestamp in Kafka, in milliseconds; -1 without.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its headers as [`crate::headers`] writes them, if they are kept.
    pub headers: &'a [u8],
    /// What is pushed of its value.
    pub value: &'a [u8],
    /// The how many-th attempt this is, from 1.
    pub attempt: u32,
    /// Now, in milliseconds since 1970.
    pub now: i64,
}

impl Push<'_> {
    /// The record's name, the same for each attempt.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.topic, self.partition.0, self.offset.get())
    }

    /// Its age in milliseconds; `None` when the record does not know when it was written. A clock that is behind makes it 0.
    #[must_use]
    pub fn age(&self) -> Option<i64> {
        (self.timestamp >= 0).then(|| self.now.saturating_sub(self.timestamp).max(0))
    }
}

impl Form {
    /// Whether it is the value as it is and nothing else.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let told = [&self.id, &self.attempt, &self.age];
        let tells = told.into_iter().any(Option::is_some) || self.prefix.is_some() || self.trace;
        self.body == Body::Raw && !tells
    }

    /// Whether the headers of records must be kept.
    #[must_use]
    pub fn needs_headers(&self) -> bool {
        let in_body = !matches!(self.body, Body::Raw | Body::Fields);
        self.prefix.is_some() || self.trace || in_body
    }

    /// The body of a push; `None` = the value as it is.
    #[must_use]
    pub fn body(&self, push: &Push<'_>) -> Option<Vec<u8>> {
        match &self.body {
            Body::Raw | Body::EventInHeaders(_) => None,
            Body::Fields => Some(fields(push)),
            Body::Envelope => Some(envelope::envelope(push)),
            Body::Event(events) => Some(events.structured(push)),
        }
    }

    /// Adds the headers of a push. Returns how many of the record's own were left out.
    pub fn headers(&self, push: &Push<'_>, sent: &mut HeaderMap) -> u64 {
        let content_type = match &self.body {
            Body::Raw => None,
            Body::Fields => Some("application/x-www-form-urlencoded"),
            Body::Envelope => Some("application/json"),
            Body::Event(_) => Some("application/cloudevents+json; charset=utf-8"),
            Body::EventInHeaders(events) => {
                events.headers(push, sent);
                None
            }
        };
        if let Some(content_type) = content_type {
            sent.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(name) = &self.id
            && let Ok(id) = HeaderValue::try_from(push.id())
        {
            sent.insert(name.clone(), id);
        }
        if let Some(name) = &self.attempt {
            sent.insert(name.clone(), HeaderValue::from(push.attempt));
        }
        if let Some(name) = &self.age
            && let Some(age) = push.age()
        {
            sent.insert(name.clone(), HeaderValue::from(age));
        }
        if self.trace {
            trace(push, sent);
        }
        self.prefix
            .as_ref()
            .map_or(0, |prefix| forward(prefix, push, sent))
    }
}

/// The body of an HTML form, as `http_build_query` writes it.
fn fields(push: &Push<'_>) -> Vec<u8> {
    let mut text = String::with_capacity(push.value.len() + 32);
    text.push_str("m=");
    for (nth, piece) in push.value.split(|byte| *byte == b' ').enumerate() {
        if nth > 0 {
            text.push('+');
        }
        text.extend(percent_encode(piece, FORM));
    }
    write!(text, "&p={}&o={}", push.partition.0, push.offset.get()).expect("writing to a String never fails");
    text.into_bytes()
}

/// Forwards the trace that the record belongs to, if it says one.
fn trace(push: &Push<'_>, sent: &mut HeaderMap) {
    let find = |wanted: &str| {
        let mut found = headers::decode(push.headers).filter(|(name, _)| *name == wanted);
        found.find_map(|(_, value)| HeaderValue::from_bytes(value?).ok())
    };
    let Some(parent) = find("traceparent").filter(|parent| is_traceparent(parent.as_bytes())) else {
        return;
    };
    sent.insert("traceparent", parent);
    if let Some(state) = find("tracestate").filter(|state| state.len() <= 512) {
        sent.insert("tracestate", state);
    }
}

/// `00-` and a trace, a span and flags, in hexadecimal digits.
fn is_traceparent(value: &[u8]) -> bool {
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut lengths = value
        .split(|byte| *byte == b'-')
        .map(|part| (part.len(), part.iter().all(is_hex)));
    lengths
        .by_ref()
        .take(4)
        .eq([(2, true), (32, true), (16, true), (2, true)])
        && lengths.next().is_none()
}

/// Forwards the record's own headers. Returns how many were left out.
fn forward(prefix: &str, push: &Push<'_>, sent: &mut HeaderMap) -> u64 {
    let (mut count, mut bytes, mut left_out) = (0, 0, 0);
    for (name, value) in headers::decode(push.headers) {
        let value = value.unwrap_or_default();
        let name = HeaderName::try_from(format!("{prefix}{name}"));
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) else {
            left_out += 1;
            continue;
        };
        bytes += name.as_str().len() + value.len();
        if count == MOST_HEADERS || bytes > MOST_HEADER_BYTES {
            left_out += 1;
            continue;
        }
        count += 1;
        sent.append(name, value);
    }
    left_out
}

#[cfg(test)]
mod tests;

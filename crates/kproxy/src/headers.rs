//! Which headers of a request become headers of its record.
//!
//! Pure. Three kinds do: those with the configured prefix, under the rest of their name; the W3C trace context
//! (`traceparent`, `tracestate`); and, when `ce-specversion` says that the request is a CloudEvent in binary mode, its
//! attributes: `ce-*` as `ce_*` and `content-type`, which is how CloudEvents are written to Kafka.
//! HTTP knows no capital letters in names, so the names are in small letters.

use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use percent_encoding::percent_decode;
use rdkafka::message::{Header, OwnedHeaders};

const TRACE_PARENT: &str = "traceparent";
const TRACE_STATE: &str = "tracestate";
const CLOUD_EVENT: &str = "ce-specversion";
const CLOUD_ATTRIBUTE: &str = "ce-";

/// The record's headers, and how many bytes they take.
#[derive(Debug, Default)]
pub(crate) struct RecordHeaders {
    headers: Option<OwnedHeaders>,
    bytes: usize,
}

impl RecordHeaders {
    /// Takes what belongs to the record out of a request's headers. `prefix` is in small letters.
    #[must_use]
    pub(crate) fn of(request: &HeaderMap, prefix: &str) -> Self {
        let is_event = request.contains_key(CLOUD_EVENT);
        let mut taken = Self::default();
        for (name, value) in request {
            taken.consider(name, value, prefix, is_event);
        }
        taken
    }

    fn consider(&mut self, name: &HeaderName, value: &HeaderValue, prefix: &str, is_event: bool) {
        let text = name.as_str();
        if let Some(rest) = text.strip_prefix(prefix) {
            if !rest.is_empty() {
                self.push(rest, value.as_bytes());
            }
        } else if text == TRACE_PARENT || text == TRACE_STATE {
            self.push(text, value.as_bytes());
        } else if is_event && let Some(attribute) = text.strip_prefix(CLOUD_ATTRIBUTE) {
            // Attributes are percent-encoded in HTTP and plain UTF-8 in Kafka.
            let value: Vec<u8> = percent_decode(value.as_bytes()).collect();
            self.push(&format!("ce_{attribute}"), &value);
        } else if is_event && name == CONTENT_TYPE {
            self.push(text, value.as_bytes());
        }
    }

    fn push(&mut self, key: &str, value: &[u8]) {
        self.bytes += key.len() + value.len();
        let headers = self.headers.take().unwrap_or_default();
        self.headers = Some(headers.insert(Header {
            key,
            value: Some(value),
        }));
    }

    /// Bytes of names and values.
    #[must_use]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What librdkafka takes.
    #[must_use]
    pub(crate) fn into_inner(self) -> Option<OwnedHeaders> {
        self.headers
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers as _;

    use super::*;

    fn of(headers: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let request: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let taken = RecordHeaders::of(&request, "x-kafka-header-");
        let bytes = taken.bytes();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = taken.into_inner();
        let pairs: Vec<_> = headers
            .iter()
            .flat_map(|headers| headers.iter())
            .map(|header| (header.key.to_owned(), text(header.value.unwrap())))
            .collect();
        assert_eq!(
            bytes,
            pairs
                .iter()
                .map(|(key, value)| key.len() + value.len())
                .sum::<usize>()
        );
        pairs
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn a_prefixed_header_is_taken_under_the_rest_of_its_name() {
        let taken = of(&[
            ("host", "h"),
            ("x-kafka-header-tenant", "7"),
            ("x-kafka-header-", "nameless"),
        ]);
        assert_eq!(taken, [pair("tenant", "7")]);
    }

    #[test]
    fn the_trace_context_is_copied() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(of(&[("traceparent", parent)]), [pair("traceparent", parent)]);
    }

    #[test]
    fn a_cloud_event_keeps_its_attributes() {
        let taken = of(&[
            ("ce-specversion", "1.0"),
            ("ce-id", "1%20a"),
            ("content-type", "application/json"),
        ]);
        assert_eq!(
            taken,
            [
                pair("ce_specversion", "1.0"),
                pair("ce_id", "1 a"),
                pair("content-type", "application/json")
            ]
        );
    }

    #[test]
    fn a_request_that_is_no_cloud_event_has_no_attributes() {
        assert_eq!(of(&[("ce-id", "1"), ("content-type", "text/plain")]), []);
    }
}

//! The documents of the shared produce API: what comes in, what goes out, and its error codes. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::answer::{self, Answer, Together};
use crate::client::Report;
use crate::cluster::TopicDescription;
use crate::entry::{BadEntry, Entry};
use crate::failure::{Failure, Outcome};
use crate::media::media_type;
use crate::ndjson::{Timestamp, decode};

const MEDIA_TYPE: &str = "application/vnd.kafka.v2+json";

/// How keys and values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Embedded {
    /// As JSON; stored as it is written.
    Json,
    /// As base64.
    Binary,
}

impl Embedded {
    /// What a request says; `None` when it is none of the two.
    #[must_use]
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        match media_type(headers).as_slice() {
            b"application/vnd.kafka.json.v2+json" => Some(Self::Json),
            b"application/vnd.kafka.binary.v2+json" => Some(Self::Binary),
            _other => None,
        }
    }

    fn bytes(self, what: &'static str, raw: &RawValue) -> Result<Bytes, BadEntry> {
        match self {
            Self::Json => Ok(Bytes::copy_from_slice(raw.get().as_bytes())),
            Self::Binary => {
                let text: String =
                    serde_json::from_str(raw.get()).map_err(|_no_text| BadEntry::Base64(what))?;
                decode(what, &text)
            }
        }
    }
}

#[derive(Deserialize)]
struct Document<'d> {
    #[serde(borrow)]
    records: Vec<Record<'d>>,
}

#[derive(Deserialize)]
struct Record<'d> {
    #[serde(borrow, default)]
    key: Option<&'d RawValue>,
    #[serde(borrow, default)]
    value: Option<&'d RawValue>,
    #[serde(default)]
    partition: Option<i64>,
    #[serde(default)]
    timestamp: Option<Timestamp>,
    #[serde(default)]
    headers: Vec<Header>,
}

#[derive(Deserialize)]
struct Header {
    key: String,
    /// Base64.
    value: Option<String>,
}

/// The records of a document; one that breaks a rule is refused alone. `partition` is the path's.
///
/// # Errors
/// What is wrong with the document, for people.
pub(crate) fn read(
    document: &[u8],
    embedded: Embedded,
    partition: Option<i32>,
) -> Result<Vec<Result<Entry, BadEntry>>, String> {
    let document: Document<'_> = serde_json::from_slice(document).map_err(|error| error.to_string())?;
    if document.records.is_empty() {
        return Err("records is empty".to_owned());
    }
    let entries = document.records.iter();
    Ok(entries.map(|record| record.entry(embedded, partition)).collect())
}

impl Record<'_> {
    fn entry(&self, embedded: Embedded, of_path: Option<i32>) -> Result<Entry, BadEntry> {
        let bytes = |what, raw: Option<&RawValue>| raw.map(|raw| embedded.bytes(what, raw)).transpose();
        let own = self.partition.map(i32::try_from).transpose();
        let own = own.map_err(|_too_large| BadEntry::Partition)?;
        if own.is_some_and(|number| number < 0) {
            return Err(BadEntry::Partition); // also beside the path's
        }
        let timestamp = self
            .timestamp
            .as_ref()
            .map(|time| time.millis().ok_or(BadEntry::Timestamp));
        let headers = self.headers.iter().map(|header| {
            let value = header.value.as_deref().unwrap_or_default();
            let value = STANDARD
                .decode(value)
                .map_err(|_not_base64| BadEntry::Base64("a header"))?;
            Ok((header.key.clone(), Bytes::from(value)))
        });
        Entry {
            key: bytes("key", self.key)?,
            value: bytes("value", self.value)?,
            partition: of_path.or(own),
            timestamp: timestamp.transpose()?,
            headers: headers.collect::<Result<_, _>>()?,
        }
        .check()
    }
}

/// The answer to records that were sent.
#[must_use]
pub(super) fn produced(reports: &[Report]) -> Answer {
    let offsets: Vec<Value> = reports
        .iter()
        .map(|report| match report {
            Ok(stored) => json!({
                "partition": stored.partition,
                "offset": stored.offset,
                "error_code": null,
                "error": null,
            }),
            Err(failure) => json!({
                "partition": null,
                "offset": null,
                "error_code": error_code(failure),
                "error": failure.to_string(),
            }),
        })
        .collect();
    let mut document = json!({"offsets": offsets, "key_schema_id": null, "value_schema_id": null});
    let first = match Together::of(reports, None) {
        Together::Stored => return document_of(StatusCode::OK, &document),
        Together::Mixed => return document_of(StatusCode::MULTI_STATUS, &document),
        Together::Failed(first) => first,
    };
    document["error_code"] = error_code(first).into();
    document["message"] = first.to_string().into();
    let mut answer = document_of(status(first), &document);
    answer::advise(&mut answer, first);
    answer
}

/// The answer to a request that failed as a whole.
#[must_use]
pub(super) fn failed(failure: &Failure) -> Answer {
    let document = json!({"error_code": error_code(failure), "message": failure.to_string()});
    let mut answer = document_of(status(failure), &document);
    answer::advise(&mut answer, failure);
    if let Failure::Method(allowed) = failure {
        let headers = answer.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static(allowed));
    }
    answer
}

/// The names of the cluster's topics.
#[must_use]
pub(super) fn topics(names: &[String]) -> Answer {
    document_of(StatusCode::OK, &json!(names))
}

/// One topic.
#[must_use]
pub(super) fn topic(topic: &TopicDescription) -> Answer {
    let partitions: Vec<Value> = topic
        .partitions
        .iter()
        .map(|partition| {
            let replicas = partition.replicas.iter().map(|broker| {
                json!({
                    "broker": broker,
                    "leader": *broker == partition.leader,
                    "in_sync": partition.in_sync.contains(broker),
                })
            });
            json!({
                "partition": partition.id,
                "leader": partition.leader,
                "replicas": replicas.collect::<Vec<_>>(),
            })
        })
        .collect();
    let document = json!({"name": topic.name, "configs": {}, "partitions": partitions});
    document_of(StatusCode::OK, &document)
}

fn document_of(status: StatusCode, document: &Value) -> Answer {
    let mut answer = answer::json(document.to_string());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    answer
}

/// This API calls a document or a record that breaks its rules unprocessable.
fn status(failure: &Failure) -> StatusCode {
    match failure.told().status {
        StatusCode::BAD_REQUEST => StatusCode::UNPROCESSABLE_ENTITY,
        other => other,
    }
}

/// The number that this API's clients know: 50003 may be tried again, 50002 not.
fn error_code(failure: &Failure) -> u32 {
    let told = failure.told();
    match failure {
        Failure::UnknownTopic => 40401,
        Failure::UnknownPartition => 40402,
        Failure::NoCredentials | Failure::BadCredentials => 40101,
        Failure::Forbidden
        | Failure::TopicNotAllowed
        | Failure::TopicNotGranted
        | Failure::AcksNotGranted => 40301,
        Failure::RecordTooLarge | Failure::RecordRefused(_) => 50002,
        Failure::Quota(..) | Failure::TooManyAttempts(_) => 429,
        _ if told.retry_after.is_some() || told.outcome == Outcome::PossiblyPersisted => 50003,
        _ => status(failure).as_u16().into(),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::client::Stored;

    async fn text(answer: Answer) -> Value {
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn json_is_stored_as_it_is_written() {
        let document = br#"{"records":[{"key":"k","value":{"a": 1}},{"value":null,"key":1}]}"#;
        let entries = read(document, Embedded::Json, None).unwrap();
        let first = entries[0].as_ref().unwrap();
        assert_eq!(
            (first.key.as_deref(), first.value.as_deref()),
            (Some(&b"\"k\""[..]), Some(&b"{\"a\": 1}"[..]))
        );
        let second = entries[1].as_ref().unwrap();
        assert_eq!((second.key.as_deref(), &second.value), (Some(&b"1"[..]), &None));
    }

    #[test]
    fn binary_is_base64_and_a_wrong_record_is_refused_alone() {
        let document = br#"{"records":[
            {"key":"AP8=","value":"AAE=","partition":3,"timestamp":5,"headers":[{"key":"h","value":"dg=="}]},
            {"value":"?"},{"value":7},{"value":"AA==","partition":-1},{}]}"#;
        let entries = read(document, Embedded::Binary, None).unwrap();
        let expected = Entry {
            key: Some(Bytes::from_static(&[0, 255])),
            value: Some(Bytes::from_static(&[0, 1])),
            partition: Some(3),
            timestamp: Some(5),
            headers: vec![("h".to_owned(), "v".into())],
        };
        assert_eq!(entries[0], Ok(expected));
        assert_eq!(entries[1], Err(BadEntry::Base64("value")));
        assert_eq!(entries[2], Err(BadEntry::Base64("value")));
        assert_eq!(entries[3], Err(BadEntry::Partition));
        assert_eq!(entries[4], Err(BadEntry::TombstoneWithoutKey));
    }

    #[test]
    fn the_paths_partition_is_everybodys() {
        let entries = read(
            br#"{"records":[{"value":1},{"value":2}]}"#,
            Embedded::Json,
            Some(4),
        )
        .unwrap();
        assert!(
            entries
                .iter()
                .all(|entry| entry.as_ref().unwrap().partition == Some(4))
        );
    }

    #[test]
    fn a_wrong_partition_is_refused_beside_the_paths_too() {
        let document = br#"{"records":[{"value":1,"partition":-1}]}"#;
        let entries = read(document, Embedded::Json, Some(4)).unwrap();
        assert_eq!(entries, [Err(BadEntry::Partition)]);
    }

    #[test]
    fn a_document_of_another_form_is_refused() {
        for document in [
            "",
            "[]",
            "{}",
            r#"{"records":[]}"#,
            r#"{"records":{}}"#,
            r#"{"records":[1]}"#,
        ] {
            assert!(
                read(document.as_bytes(), Embedded::Json, None).is_err(),
                "{document}"
            );
        }
    }

    #[tokio::test]
    async fn a_status_of_200_means_that_all_are_stored() {
        let stored = Ok(Stored {
            partition: 1,
            offset: Some(7),
            timestamp: None,
        });
        let away = Err(Failure::BrokersAway);
        let answer = produced(std::slice::from_ref(&stored));
        assert_eq!(answer.status(), 200);
        assert_eq!(text(answer).await["offsets"][0]["offset"], 7);
        let answer = produced(&[stored, away.clone()]);
        assert_eq!(answer.status(), 207);
        assert_eq!(text(answer).await["offsets"][1]["error_code"], 50003);
        let answer = produced(&[away]);
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        let document = text(answer).await;
        assert_eq!(
            (&document["error_code"], &document["offsets"][0]["offset"]),
            (&json!(50003), &Value::Null)
        );
    }

    #[test]
    fn failures_have_the_known_codes() {
        for (failure, code, expected) in [
            (Failure::UnknownTopic, 40401, 404),
            (Failure::UnknownPartition, 40402, 404),
            (Failure::Forbidden, 40301, 403),
            (Failure::RecordTooLarge, 50002, 413),
            (Failure::Unconfirmed, 50003, 504),
            (Failure::BadEnvelope(String::new()), 422, 422),
            (Failure::BadEntry(BadEntry::NoValue), 422, 422),
            (Failure::EnvelopeType, 415, 415),
            (Failure::Method("POST"), 405, 405),
        ] {
            assert_eq!(
                (error_code(&failure), status(&failure).as_u16()),
                (code, expected),
                "{failure:?}"
            );
        }
    }
}

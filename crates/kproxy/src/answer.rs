//! Renders answers. Pure.
//!
//! The answer to a stored record is written by hand: it is the only one on the hot path, and a topic's name needs no
//! escaping.

use std::fmt::Write as _;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::json;

use crate::client::{Report, Stored};
use crate::failure::Failure;

/// A whole answer in memory.
pub(crate) type Answer = Response<Full<Bytes>>;

/// 200: the record is stored, or, with `acks=0`, handed over.
#[must_use]
pub(crate) fn stored(topic: &str, stored: Stored) -> Answer {
    let mut text = String::with_capacity(topic.len() + 96);
    text.push_str("{\"topic\":\"");
    text.push_str(topic);
    text.push_str("\",");
    push_place(&mut text, stored);
    text.push('}');
    json(text)
}

/// The outcomes of a batch's records in their order, and what ended it early; [`Together`] is its status.
#[must_use]
pub(crate) fn batch(reports: &[Report], end: Option<&Failure>) -> Answer {
    let mut text = String::with_capacity(reports.len() * 64 + 32);
    text.push_str("{\"results\":[");
    for (number, report) in reports.iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        match report {
            Ok(stored) => {
                text.push('{');
                push_place(&mut text, *stored);
                text.push('}');
            }
            Err(failure) => text.push_str(&told(failure).to_string()),
        }
    }
    text.push(']');
    if let Some(end) = end {
        text.push_str(",\"error\":");
        text.push_str(&told(end)["error"].to_string());
    }
    text.push('}');
    let mut answer = json(text);
    match Together::of(reports, end) {
        Together::Stored => {}
        Together::Mixed => *answer.status_mut() = StatusCode::MULTI_STATUS,
        Together::Failed(first) => {
            *answer.status_mut() = first.told().status;
            advise(&mut answer, first);
        }
    }
    answer
}

/// What the outcomes of a request's records are together, which makes its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Together<'r> {
    /// 200: all are stored.
    Stored,
    /// 207: some are, others are not.
    Mixed,
    /// The status of this failure, the first: none is stored.
    Failed(&'r Failure),
}

impl<'r> Together<'r> {
    /// Of all outcomes in their order, and of what ended the request early.
    #[must_use]
    pub(crate) fn of(reports: &'r [Report], end: Option<&'r Failure>) -> Self {
        let failures = reports.iter().filter_map(|report| report.as_ref().err());
        match failures.chain(end).next() {
            None => Self::Stored,
            Some(_) if reports.iter().any(Result::is_ok) => Self::Mixed,
            Some(first) => Self::Failed(first),
        }
    }
}

/// A failure as JSON.
fn told(failure: &Failure) -> serde_json::Value {
    let told = failure.told();
    json!({
        "error": {
            "code": told.code,
            "message": failure.to_string(),
            "outcome": told.outcome.as_str(),
        }
    })
}

fn push_place(text: &mut String, stored: Stored) {
    text.push_str("\"partition\":");
    push(text, Some(stored.partition.into()));
    text.push_str(",\"offset\":");
    push(text, stored.offset);
    text.push_str(",\"timestamp\":");
    push(text, stored.timestamp);
}

/// Any other status: what happened, and whether the record may be stored.
#[must_use]
pub(crate) fn failed(failure: &Failure) -> Answer {
    let mut answer = json(told(failure).to_string());
    let told = failure.told();
    *answer.status_mut() = told.status;
    let headers = answer.headers_mut();
    if let Failure::Method(allowed) = failure {
        headers.insert(ALLOW, HeaderValue::from_static(allowed));
    }
    advise(&mut answer, failure);
    answer
}

/// Tells when to try again, or what to show, if that helps.
pub(crate) fn advise(answer: &mut Answer, failure: &Failure) {
    let told = failure.told();
    let headers = answer.headers_mut();
    if let Some(seconds) = told.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if told.status == StatusCode::UNAUTHORIZED {
        headers.append(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"kproxy\""),
        );
        headers.append(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"kproxy\""),
        );
    }
}

/// Tells the client that the connection ends with this answer.
pub(crate) fn close(answer: &mut Answer) {
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

/// An answer of 200 with this JSON.
pub(crate) fn json(text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn push(text: &mut String, number: Option<i64>) {
    match number {
        Some(number) => write!(text, "{number}").expect("a String takes every text"),
        None => text.push_str("null"),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn text(answer: Answer) -> String {
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_stored_record_is_told_with_its_place() {
        let place = Stored {
            partition: 3,
            offset: Some(i64::MAX),
            timestamp: Some(1_700_000_000_000),
        };
        let answer = stored("a.B_c-9", place);
        assert_eq!(answer.status(), 200);
        assert_eq!(
            text(answer).await,
            r#"{"topic":"a.B_c-9","partition":3,"offset":9223372036854775807,"timestamp":1700000000000}"#
        );
    }

    #[tokio::test]
    async fn what_is_not_known_is_null() {
        let place = Stored {
            partition: 0,
            offset: None,
            timestamp: None,
        };
        assert_eq!(
            text(stored("t", place)).await,
            r#"{"topic":"t","partition":0,"offset":null,"timestamp":null}"#
        );
    }

    #[tokio::test]
    async fn a_failure_is_told_with_code_message_and_outcome() {
        let answer = failed(&Failure::BrokersAway);
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
        let told: serde_json::Value = serde_json::from_str(&text(answer).await).unwrap();
        assert_eq!(told["error"]["code"], "brokers_away");
        assert_eq!(told["error"]["outcome"], "not_persisted");
        assert!(told["error"]["message"].as_str().unwrap().contains("later"));
    }

    #[test]
    fn outcomes_together_are_told_by_the_first_failure_unless_any_is_stored() {
        let place = Stored {
            partition: 0,
            offset: Some(1),
            timestamp: None,
        };
        let (away, full) = (Failure::BrokersAway, Failure::QueueFull);
        assert_eq!(Together::of(&[Ok(place)], None), Together::Stored);
        assert_eq!(Together::of(&[Ok(place)], Some(&away)), Together::Mixed);
        assert_eq!(
            Together::of(&[Err(full.clone()), Ok(place)], None),
            Together::Mixed
        );
        let failed = [Err(full.clone()), Err(away.clone())];
        assert_eq!(Together::of(&failed, Some(&away)), Together::Failed(&full));
        assert_eq!(Together::of(&[], Some(&away)), Together::Failed(&away));
    }

    #[test]
    fn a_wrong_method_is_told_the_right_one() {
        assert_eq!(failed(&Failure::Method("POST")).headers()[ALLOW], "POST");
    }
}

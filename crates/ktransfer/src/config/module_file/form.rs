//! The keys of what a push looks like; below `protocol`.

use hyper::Method;
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, TRANSFER_ENCODING};
use kcommon::config::{Document, Key, Kind, Need, Problem};
use serde::Deserialize;

use super::ModuleFile;
use crate::form::{Body, CloudEvents, Form};

/// Headers that follow from the request itself.
const OWN: [HeaderName; 5] = [CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING];

/// What a push looks like.
pub(super) const KEYS: &[Key] = &[
    Key {
        path: "method",
        kind: Kind::OneOf(&["POST", "PUT", "PATCH"]),
        need: Need::Default("POST"),
        meaning: "The method of each push.",
        changed: "New.",
    },
    Key {
        path: "form",
        kind: Kind::OneOf(&[
            "raw",
            "form",
            "envelope",
            "cloudevents_binary",
            "cloudevents_structured",
        ]),
        need: Need::Default("raw"),
        meaning: "The form of the body: the value as it is; an HTML form with the fields `m` (value), `p` (partition) and `o` (offset), as the \
                  PHP proxy sends it; a JSON object with the value and where it comes from; a CloudEvent with its attributes in headers, \
                  or as JSON. See [the forms of a push](#the-forms-of-a-push).",
        changed: "New.",
    },
    Key {
        path: "ce_source",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "The `source` of CloudEvents, for records that are none yet. Without it: `/topics/` and the topic.",
        changed: "New.",
    },
    Key {
        path: "ce_type",
        kind: Kind::Text,
        need: Need::Default("kafka.record"),
        meaning: "The `type` of CloudEvents, for records that are none yet.",
        changed: "New.",
    },
    Key {
        path: "id_header",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "Name of a header with the record's id, `topic/partition/offset`: the same for each attempt, so that a backend can \
                  recognise what it has done already.",
        changed: "New.",
    },
    Key {
        path: "attempt_header",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "Name of a header with the number of the attempt, from 1. It begins anew after a restart or a hand-over.",
        changed: "New.",
    },
    Key {
        path: "age_header",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "Name of a header with the milliseconds since the record's timestamp in Kafka.",
        changed: "New.",
    },
    Key {
        path: "header_prefix",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "Forward the record's own headers, with this before their names: at most 64 of them and 8 KiB. Those that HTTP cannot \
                  carry are left out; both are counted. Without it none is forwarded.",
        changed: "New.",
    },
    Key {
        path: "traceparent",
        kind: Kind::Bool,
        need: Need::Default("false"),
        meaning: "Forward the record's headers `traceparent` and `tracestate` (W3C Trace Context) under their own names.",
        changed: "New.",
    },
];

/// What is written of it.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::config) struct FormFile {
    method: String,
    form: BodyFile,
    ce_source: Option<String>,
    ce_type: String,
    id_header: Option<String>,
    attempt_header: Option<String>,
    age_header: Option<String>,
    header_prefix: Option<String>,
    traceparent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BodyFile {
    Raw,
    Form,
    Envelope,
    CloudeventsBinary,
    CloudeventsStructured,
}

impl FormFile {
    /// The method of a push.
    pub(in crate::config) fn method(&self) -> Method {
        match self.method.as_str() {
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            _ => Method::POST,
        }
    }

    /// What a push looks like; `None` = the value as it is and nothing else.
    pub(in crate::config) fn form(
        document: &Document<ModuleFile>,
        problems: &mut Vec<Problem>,
    ) -> Option<Form> {
        let protocol = &document.file.protocol;
        let file = &protocol.form;
        let mut problem = |key: &str, message: &str| {
            problems.push(document.problem(&format!("protocol.{key}"), message));
        };
        let mut names = protocol.headers.iter().map(|(name, _)| name);
        let sets_type = !matches!(file.form, BodyFile::Raw | BodyFile::CloudeventsBinary);
        if sets_type && names.any(|name| name.eq_ignore_ascii_case(CONTENT_TYPE.as_str())) {
            problem(
                "headers",
                "has a Content-Type, which follows from protocol.form; remove it",
            );
        }
        let mut header = |key: &str, name: &Option<String>| {
            let name = name.as_ref()?;
            match HeaderName::try_from(name) {
                Ok(name) if !OWN.contains(&name) => return Some(name),
                Ok(_) => problem(key, "names a header that follows from the request itself"),
                Err(_illegal) => problem(key, "is no name of an HTTP header"),
            }
            None
        };
        let (id, attempt, age) = (
            header("id_header", &file.id_header),
            header("attempt_header", &file.attempt_header),
            header("age_header", &file.age_header),
        );
        if let Some(prefix) = &file.header_prefix
            && HeaderName::try_from(format!("{prefix}x")).is_err()
        {
            problem("header_prefix", "cannot begin the name of an HTTP header");
        }
        let events = || CloudEvents {
            source: file.ce_source.clone(),
            kind: file.ce_type.clone(),
        };
        let form = Form {
            body: match file.form {
                BodyFile::Raw => Body::Raw,
                BodyFile::Form => Body::Fields,
                BodyFile::Envelope => Body::Envelope,
                BodyFile::CloudeventsBinary => Body::EventInHeaders(events()),
                BodyFile::CloudeventsStructured => Body::Event(events()),
            },
            id,
            attempt,
            age,
            prefix: file.header_prefix.clone(),
            trace: file.traceparent,
        };
        (!form.is_plain()).then_some(form)
    }
}

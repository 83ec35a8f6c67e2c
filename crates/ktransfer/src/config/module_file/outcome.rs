//! The keys that say when a record is delivered and what follows when it is not, and the structs they are read into.

use std::path::PathBuf;

use kcommon::config::{Key, Kind, Need};
use serde::Deserialize;

use super::DAY_MS;
use crate::letter::Exhausted;
use crate::verdict::ANY;

/// What an answer means; below `protocol`.
pub(super) const ANSWER: &[Key] = &[
    Key {
        path: "success_status",
        kind: Kind::TextListOr { min: 1, word: ANY },
        need: Need::Default("[200-299]"),
        meaning: "Statuses that mean delivered, each one status or a range, or `any` for every answer. Every other answer is tried \
                  again, or ends the record when it is in `rejected_status`; redirects are not followed.",
        changed: "New; the original took 200 alone, which `[200]` restores.",
    },
    Key {
        path: "rejected_status",
        kind: Kind::TextList { min: 0 },
        need: Need::Default("[]"),
        meaning: "Statuses by which the backend refuses a record for good, each one status or a range, such as `[400, 422]`: the \
                  record ends undelivered without another attempt. None of them may be in `success_status`.",
        changed: "New.",
    },
    Key {
        path: "success_json",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "What the JSON object in the body of an answer with a status of `success_status` has to say for a delivery, with \
                  exactly one of `equals`, `falsy`, `absent`. A body that is empty, too long or no JSON object is no delivery; \
                  what is not delivered is tried again. Without the section no body is looked at.",
        changed: "New.",
    },
    Key {
        path: "success_json.field",
        kind: Kind::Text,
        need: Need::Required,
        meaning: "The field; dots lead into sections and lists: `errno`, `result.code`, `items.0.status`.",
        changed: "",
    },
    Key {
        path: "success_json.equals",
        kind: Kind::TextOrEmpty,
        need: Need::Optional,
        meaning: "Delivered when the field is this: `0` is 0, 0.0 and \"0\"; `true`, `false` and `null` are also the words of JSON.",
        changed: "",
    },
    Key {
        path: "success_json.falsy",
        kind: Kind::Bool,
        need: Need::Default("false"),
        meaning: "With `true`: delivered when the field is 0, \"0\", \"\", null, false, an empty list, or not there.",
        changed: "",
    },
    Key {
        path: "success_json.absent",
        kind: Kind::Bool,
        need: Need::Default("false"),
        meaning: "With `true`: delivered when the field is null or not there.",
        changed: "",
    },
    Key {
        path: "success_json.max_bytes",
        kind: Kind::Int {
            min: 2,
            max: 16_777_216,
        },
        need: Need::Default("65536"),
        meaning: "Bytes of a body that are read for it, at most `max_response_bytes`.",
        changed: "",
    },
];

/// What follows a failed attempt.
pub(super) const FAILURE: &[Key] = &[
    Key {
        path: "retry",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "How failed pushes are repeated, beyond `max_retry_times` and `fail_retry_interval_ms`. Without the section the \
                  interval is always the same, `Retry-After` is not listened to, and only the record's own key waits.",
        changed: "New.",
    },
    Key {
        path: "retry.backoff",
        kind: Kind::OneOf(&["fixed", "exponential"]),
        need: Need::Default("fixed"),
        meaning: "`fixed`: always `fail_retry_interval_ms` between two attempts. `exponential`: that doubles with each attempt of \
                  a record up to `max_interval_ms`, and each wait is drawn from 0 to it (full jitter).",
        changed: "",
    },
    Key {
        path: "retry.max_interval_ms",
        kind: Kind::Int { min: 10, max: DAY_MS },
        need: Need::Default("60000"),
        meaning: "With `exponential`: the longest wait between two attempts in milliseconds; at least `fail_retry_interval_ms`.",
        changed: "",
    },
    Key {
        path: "retry.max_elapsed_ms",
        kind: Kind::Int {
            min: 0,
            max: 30 * DAY_MS,
        },
        need: Need::Default("0"),
        meaning: "Milliseconds from the first attempt of a record after which no further one begins; 0 = no limit. The last one \
                  begins then. Counted anew by whoever takes the partition over.",
        changed: "",
    },
    Key {
        path: "retry.retry_after_max_ms",
        kind: Kind::Int { min: 0, max: DAY_MS },
        need: Need::Default("300000"),
        meaning: "The longest wait in milliseconds that a backend may ask for with `Retry-After` (seconds or a date); 0 = it is not \
                  listened to. After 429 and 503, with `slow_down`, the whole module waits.",
        changed: "",
    },
    Key {
        path: "retry.slow_down",
        kind: Kind::Bool,
        need: Need::Default("true"),
        meaning: "Whether a backend that answers 429 or 503, or is away (ten failures in a row without an answer, or 502 and 504), \
                  gets fewer pushes at a time: half as many each time, down to one with pauses of up to 5 s; one more with each \
                  round that it takes, up to `worker_num`.",
        changed: "",
    },
];

/// What follows the last attempt.
pub(super) const LAST: &[Key] = &[
    Key {
        path: "exhausted",
        kind: Kind::OneOf(&["drop", "dead_letter", "log", "block", "stop"]),
        need: Need::Default("drop"),
        meaning: "What happens to a record whose last attempt has failed, or that was rejected: `drop` it; store it in the topic of \
                  `dead_letter` or in the file of `exhausted_log`, and only then go on with its key; `block` its key, or `stop` \
                  its partition, until an operator acts (moves the offset, or changes this file). Each is counted. With \
                  `max_retry_times: -1` and without `retry.max_elapsed_ms` there is no last attempt, so it is only for what is \
                  rejected.",
        changed: "New; the original dropped without a trace.",
    },
    Key {
        path: "dead_letter",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "For `exhausted: dead_letter`. While Kafka does not take a record, it waits and `/readyz` says why.",
        changed: "New.",
    },
    Key {
        path: "dead_letter.topic",
        kind: Kind::Text,
        need: Need::Required,
        meaning: "The topic, of the same cluster, for the record's key, value and headers, with headers `ktransfer-...` that say \
                  where it comes from and why. Written with `acks=all` and idempotence; it has to exist, or be one that the \
                  brokers create.",
        changed: "",
    },
    Key {
        path: "exhausted_log",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "For `exhausted: log`. While the file cannot be written, records wait and `/readyz` says why.",
        changed: "New.",
    },
    Key {
        path: "exhausted_log.path",
        kind: Kind::Text,
        need: Need::Required,
        meaning: "The file, one JSON object per line, synced before its records are done; relative to the working directory. Each \
                  module and process needs one of its own.",
        changed: "",
    },
    Key {
        path: "exhausted_log.rotate_bytes",
        kind: Kind::Int {
            min: 1024,
            max: 1_099_511_627_776,
        },
        need: Need::Default("67108864"),
        meaning: "Bytes after which a new file begins; the old one gets a number behind its name, counted up.",
        changed: "",
    },
    Key {
        path: "exhausted_log.keep",
        kind: Kind::Int { min: 1, max: 100_000 },
        need: Need::Default("100"),
        meaning: "Rotated files that are kept; older ones are deleted, with a warning.",
        changed: "",
    },
    Key {
        path: "slow_time_ms",
        kind: Kind::Int { min: 0, max: DAY_MS },
        need: Need::Default("0"),
        meaning: "Pushes that take longer than so many milliseconds are counted and logged, at most one line a second; 0 = none.",
        changed: "New.",
    },
    Key {
        path: "stalled_key",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "When a record that fails makes an alarm: a line in the log, the reason in `/readyz`, and metrics. Without it \
                  failing records are only counted.",
        changed: "New.",
    },
    Key {
        path: "stalled_key.attempts",
        kind: Kind::Int {
            min: 0,
            max: 4_294_967_295,
        },
        need: Need::Default("0"),
        meaning: "So many failed attempts of one record, or more; 0 = attempts do not count.",
        changed: "",
    },
    Key {
        path: "stalled_key.age_ms",
        kind: Kind::Int {
            min: 0,
            max: 30 * DAY_MS,
        },
        need: Need::Default("0"),
        meaning: "So many milliseconds since the first attempt of a record, or more; 0 = the age does not count.",
        changed: "",
    },
];

/// What follows the last attempt, and what is told of records that do badly, as written.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::config) struct LastFile {
    pub(in crate::config) exhausted: Exhausted,
    pub(in crate::config) dead_letter: Option<DeadLetterFile>,
    pub(in crate::config) exhausted_log: Option<ExhaustedLogFile>,
    pub(in crate::config) slow_time_ms: u64,
    pub(in crate::config) stalled_key: Option<StalledKeyFile>,
}

/// The section `dead_letter`.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::config) struct DeadLetterFile {
    pub(in crate::config) topic: String,
}

/// The section `exhausted_log`.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::config) struct ExhaustedLogFile {
    pub(in crate::config) path: PathBuf,
    pub(in crate::config) rotate_bytes: u64,
    pub(in crate::config) keep: usize,
}

/// The section `stalled_key`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(in crate::config) struct StalledKeyFile {
    pub(in crate::config) attempts: u32,
    pub(in crate::config) age_ms: u64,
}

/// The section `retry`.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::config) struct RetryFile {
    pub(in crate::config) backoff: Backoff,
    pub(in crate::config) max_interval_ms: u64,
    pub(in crate::config) max_elapsed_ms: u64,
    pub(in crate::config) retry_after_max_ms: u64,
    pub(in crate::config) slow_down: bool,
}

/// How the wait between two attempts grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Backoff {
    Fixed,
    Exponential,
}

/// What an answer means, as written.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::config) struct AnswerFile {
    pub(in crate::config) success_status: SuccessFile,
    pub(in crate::config) rejected_status: Vec<String>,
    pub(in crate::config) success_json: Option<SuccessJsonFile>,
}

/// A list of statuses, or a word that stands for one.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(in crate::config) enum SuccessFile {
    List(Vec<String>),
    Word(String),
}

impl SuccessFile {
    pub(in crate::config) fn texts(&self) -> &[String] {
        match self {
            Self::List(texts) => texts,
            Self::Word(word) => std::slice::from_ref(word),
        }
    }
}

/// The section `success_json`.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::config) struct SuccessJsonFile {
    pub(in crate::config) field: String,
    pub(in crate::config) equals: Option<String>,
    pub(in crate::config) falsy: bool,
    pub(in crate::config) absent: bool,
    pub(in crate::config) max_bytes: usize,
}

//! Every way a request ends other than "stored", and what the client is told: one total map to status, code and
//! outcome, and one from Kafka's errors.
//!
//! Pure. The outcome is the promise that matters: `not_persisted` is only said of a record that Kafka cannot have.

use std::time::Duration;

use hyper::StatusCode;
use kcommon::kafka::raw::Persisted;
use rdkafka::error::RDKafkaErrorCode;

use crate::admission::Full;
use crate::entry::BadEntry;
use crate::request::QueryError;

/// Whether Kafka may have the record of a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is not in Kafka and will not appear there: sending it again doubles nothing.
    NotPersisted,
    /// It may be in Kafka: sending it again may double it.
    PossiblyPersisted,
}

impl Outcome {
    /// The word in the answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotPersisted => "not_persisted",
            Self::PossiblyPersisted => "possibly_persisted",
        }
    }
}

/// How a request failed. The message is for the client and says what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The query breaks a rule.
    #[error("{0}")]
    Query(#[from] QueryError),
    /// The body is empty.
    #[error("the body is empty; it becomes the record's value and has to have at least one byte")]
    EmptyBody,
    /// A record of a batch breaks a rule.
    #[error("the record is refused: {0}")]
    BadEntry(#[from] BadEntry),
    /// The batch's form is not known.
    #[error("a batch is application/x-ndjson or application/vnd.kproxy.records; say which as Content-Type")]
    BatchType,
    /// The document of many records cannot be read.
    #[error(
        "the body is no document of records: {0}; send an object such as {{\"records\":[{{\"value\":...}}]}}"
    )]
    BadEnvelope(String),
    /// Keys and values are written in a way that is not known.
    #[error(
        "records are application/vnd.kafka.json.v2+json or application/vnd.kafka.binary.v2+json; say which as Content-Type"
    )]
    EnvelopeType,
    /// A tombstone has no value, so its request has no body.
    #[error("a request with tombstone=1 has no body; send it without one, or without tombstone")]
    TombstoneWithBody,
    /// The body is encoded in a way that is not known.
    #[error("the body's Content-Encoding is not known; send it plain, or as gzip or zstd")]
    EncodingUnknown,
    /// A batch is encoded.
    #[error("a batch is taken while it arrives, so it has no Content-Encoding; send it plain")]
    BatchEncoded,
    /// The body is not what its `Content-Encoding` says.
    #[error("the body cannot be decoded as its Content-Encoding says; send it again, or plain")]
    BrokenEncoding,
    /// The client ended or broke its request before the body was complete.
    #[error("the body ended before it was complete; send the request again")]
    BrokenBody,
    /// Kafka takes no topic of this name, or no record of this form.
    #[error("Kafka refuses the topic's name: {0}")]
    TopicRefused(RDKafkaErrorCode),
    /// Kafka's access list does not let kproxy write here.
    #[error("Kafka does not allow kproxy to write to this topic; ask who runs the cluster for the right")]
    Forbidden,
    /// kproxy's own rules do not let anybody name this topic.
    #[error(
        "records for this topic are not taken here; ask who runs this kproxy for it (topics_allowed, topics_denied)"
    )]
    TopicNotAllowed,
    /// Nothing was shown where something has to be.
    #[error(
        "this kproxy takes requests only from callers that it knows; send a token (Bearer) or name and password (Basic)"
    )]
    NoCredentials,
    /// What was shown is not known.
    #[error("the credentials are wrong; check the token, or name and password")]
    BadCredentials,
    /// Too many wrong passwords; seconds until the next one is looked at.
    #[error("too many wrong passwords came from this address; send the right one in {0} s")]
    TooManyAttempts(u32),
    /// Too many passwords wait for their verification.
    #[error("too many passwords are being verified; send the request again later")]
    LoginBusy,
    /// The caller may not name this topic.
    #[error("these credentials are not good for this topic; ask who runs this kproxy for it")]
    TopicNotGranted,
    /// The caller may not ask for these acknowledgements.
    #[error(
        "these credentials are not good for this acks; ask who runs this kproxy for it (POST /topics needs -1)"
    )]
    AcksNotGranted,
    /// The caller has sent more than it may; seconds until the next request is taken.
    #[error("these credentials have sent more {0} per second than they may; send the record again in {1} s")]
    Quota(Quota, u32),
    /// No such path.
    #[error("there is nothing at this path; records are taken by POST /commit?topic=NAME")]
    NoSuchPath,
    /// The path takes these methods only.
    #[error("this path takes {0} only")]
    Method(&'static str),
    /// The topic does not exist.
    #[error("the topic does not exist; create it, then send the record again")]
    UnknownTopic,
    /// The topic has no partition of this number.
    #[error("the topic has no partition of this number; leave partition out, or take one of the topic's")]
    UnknownPartition,
    /// The client was too slow.
    #[error("the request did not arrive in time: {0}; send it again")]
    Slow(Slow),
    /// The body is larger than this proxy or Kafka takes.
    #[error("the body is larger than {0} bytes, the most that is taken; send less (max_request_size_bytes)")]
    BodyTooLarge(usize),
    /// Kafka's limit for one record is below ours.
    #[error("the record is larger than Kafka takes; send less (max.message.bytes of the topic)")]
    RecordTooLarge,
    /// The broker looked at the record and refused it.
    #[error("Kafka refuses the record: {0}")]
    RecordRefused(RDKafkaErrorCode),
    /// Too much is in flight, or waits for Kafka.
    #[error("{}; send the record again later", .0.as_str())]
    Full(Full),
    /// The producer's queue is full.
    #[error("the queue to Kafka is full; send the record again later")]
    QueueFull,
    /// The producer did not take the record.
    #[error("the producer does not take the record now ({0}); send the record again later")]
    NotTaken(RDKafkaErrorCode),
    /// The topic was there a moment ago.
    #[error("Kafka does not know the topic at the moment, although it did; send the record again later")]
    TopicAway,
    /// Kafka did not take the record in time, and cannot have it.
    #[error("Kafka did not take the record in time, and does not have it; send it again later")]
    Expired,
    /// No broker answers.
    #[error("no Kafka broker can be reached; send the record again later")]
    BrokersAway,
    /// Fewer replicas are in sync than the topic demands.
    #[error("too few replicas of the partition are in sync; send the record again later")]
    NotEnoughReplicas,
    /// The process is about to end.
    #[error("this kproxy is stopping; send the record again, to another one")]
    Stopping,
    /// Kafka did not confirm in time, or the process stopped waiting.
    #[error(
        "Kafka did not confirm the record in time: it may be stored; sending it again may store it twice"
    )]
    Unconfirmed,
    /// The connection broke, or the broker failed, after the record may have been sent.
    #[error(
        "Kafka failed while the record was on its way ({0}): it may be stored; sending it again may store it twice"
    )]
    Broken(RDKafkaErrorCode),
}

/// What a caller has sent too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Quota {
    /// `requests_per_second`.
    #[error("requests")]
    Requests,
    /// `bytes_per_second`.
    #[error("bytes")]
    Bytes,
}

/// Which patience ran out while a request was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Slow {
    /// `read_timeout_ms` without a byte.
    #[error("no byte for {} ms (read_timeout_ms)", .0.as_millis())]
    Silent(Duration),
    /// `request_timeout_ms` for the whole request.
    #[error("not complete after {} ms (request_timeout_ms)", .0.as_millis())]
    Whole(Duration),
    /// `min_body_rate_bytes` a second.
    #[error("below {0} bytes per second (min_body_rate_bytes)")]
    Rate(u64),
}

/// What the client is told besides the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The HTTP status.
    pub status: StatusCode,
    /// A constant word for programs; also the metric's label.
    pub code: &'static str,
    /// Whether Kafka may have the record.
    pub outcome: Outcome,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u32>,
}

impl Failure {
    /// The answer to this failure.
    #[must_use]
    pub fn told(&self) -> Told {
        let not = |status, code| Told::new(status, code, Outcome::NotPersisted);
        let maybe = |status, code| Told::new(status, code, Outcome::PossiblyPersisted);
        match self {
            Self::Query(_) => not(StatusCode::BAD_REQUEST, "bad_request"),
            Self::BadEntry(_) => not(StatusCode::BAD_REQUEST, "bad_record"),
            Self::BadEnvelope(_) => not(StatusCode::BAD_REQUEST, "bad_envelope"),
            Self::EnvelopeType => not(StatusCode::UNSUPPORTED_MEDIA_TYPE, "envelope_type"),
            Self::BatchType => not(StatusCode::UNSUPPORTED_MEDIA_TYPE, "batch_type"),
            Self::EmptyBody => not(StatusCode::BAD_REQUEST, "empty_body"),
            Self::TombstoneWithBody => not(StatusCode::BAD_REQUEST, "tombstone_with_body"),
            Self::EncodingUnknown | Self::BatchEncoded => {
                not(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding_unknown")
            }
            Self::BrokenEncoding => not(StatusCode::BAD_REQUEST, "broken_encoding"),
            Self::BrokenBody => not(StatusCode::BAD_REQUEST, "broken_body"),
            Self::TopicRefused(_) => not(StatusCode::BAD_REQUEST, "topic_refused"),
            Self::Forbidden => not(StatusCode::FORBIDDEN, "topic_forbidden"),
            Self::TopicNotAllowed => not(StatusCode::FORBIDDEN, "topic_not_allowed"),
            Self::NoCredentials => not(StatusCode::UNAUTHORIZED, "no_credentials"),
            Self::BadCredentials => not(StatusCode::UNAUTHORIZED, "bad_credentials"),
            Self::TopicNotGranted => not(StatusCode::FORBIDDEN, "topic_not_granted"),
            Self::AcksNotGranted => not(StatusCode::FORBIDDEN, "acks_not_granted"),
            Self::LoginBusy => not(StatusCode::SERVICE_UNAVAILABLE, "login_busy"),
            Self::TooManyAttempts(seconds) => Told::later(*seconds, "too_many_attempts"),
            Self::Quota(_, seconds) => Told::later(*seconds, "quota_exceeded"),
            Self::NoSuchPath => not(StatusCode::NOT_FOUND, "not_found"),
            Self::Method(_) => not(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::UnknownTopic => not(StatusCode::NOT_FOUND, "unknown_topic"),
            Self::UnknownPartition => not(StatusCode::NOT_FOUND, "unknown_partition"),
            Self::Slow(_) => not(StatusCode::REQUEST_TIMEOUT, "slow_request"),
            Self::BodyTooLarge(_) => not(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::RecordTooLarge => not(StatusCode::PAYLOAD_TOO_LARGE, "record_too_large"),
            Self::RecordRefused(_) => not(StatusCode::UNPROCESSABLE_ENTITY, "record_refused"),
            Self::Full(Full::Requests) => not(StatusCode::SERVICE_UNAVAILABLE, "too_many_requests_in_flight"),
            Self::Full(Full::Bytes) => not(StatusCode::SERVICE_UNAVAILABLE, "too_many_bytes_in_flight"),
            Self::Full(Full::Kafka) => not(StatusCode::SERVICE_UNAVAILABLE, "kafka_overloaded"),
            Self::QueueFull => not(StatusCode::SERVICE_UNAVAILABLE, "queue_full"),
            Self::NotTaken(_) => not(StatusCode::SERVICE_UNAVAILABLE, "not_taken"),
            Self::TopicAway => not(StatusCode::SERVICE_UNAVAILABLE, "topic_away"),
            Self::Expired => not(StatusCode::SERVICE_UNAVAILABLE, "expired"),
            Self::BrokersAway => not(StatusCode::SERVICE_UNAVAILABLE, "brokers_away"),
            Self::NotEnoughReplicas => not(StatusCode::SERVICE_UNAVAILABLE, "not_enough_replicas"),
            Self::Stopping => not(StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            Self::Unconfirmed => maybe(StatusCode::GATEWAY_TIMEOUT, "unconfirmed"),
            Self::Broken(_) => maybe(StatusCode::GATEWAY_TIMEOUT, "kafka_failed"),
        }
    }

    /// What a failed delivery means for the client.
    ///
    /// The code alone does not tell: librdkafka repeats by itself, so a record that is refused in the end may have been stored
    /// by an earlier attempt whose answer was lost. `persisted` is what it remembers of all attempts. With acks from all replicas
    /// (`replicated`) that is too sure of itself: a broker that hands a partition over says that it does not lead it also of
    /// records that it has written and whose replicas it was waiting for, and librdkafka takes that for "not written".
    #[must_use]
    pub fn of_delivery(code: RDKafkaErrorCode, persisted: Persisted, replicated: bool) -> Self {
        use RDKafkaErrorCode as Code;
        let expired = matches!(
            code,
            Code::MessageTimedOut | Code::TimedOutQueue | Code::PurgeQueue | Code::PurgeInflight
        );
        let may_be_stored = match persisted {
            Persisted::No => replicated && !Self::is_of_every_attempt(code),
            Persisted::Possibly | Persisted::Yes => true,
        };
        match (may_be_stored, expired) {
            (false, true) => Self::Expired,
            (false, false) => Self::of_refusal(code),
            (true, true) => Self::Unconfirmed,
            (true, false) => Self::Broken(code),
        }
    }

    /// Whether a refusal was that of every attempt, because it is about the record itself or about who sends it.
    const fn is_of_every_attempt(code: RDKafkaErrorCode) -> bool {
        use RDKafkaErrorCode as Code;
        matches!(
            code,
            Code::UnknownPartition
                | Code::InvalidTopic
                | Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::MessageSizeTooLarge
                | Code::MessageBatchTooLarge
                | Code::InvalidMessageSize
                | Code::InvalidRecord
                | Code::InvalidTimestamp
                | Code::PolicyViolation
        )
    }

    /// What it means that nobody took a record: neither the producer nor a broker has it.
    #[must_use]
    pub const fn of_refusal(code: RDKafkaErrorCode) -> Self {
        use RDKafkaErrorCode as Code;
        match code {
            Code::UnknownTopic | Code::UnknownTopicOrPartition => Self::UnknownTopic,
            Code::UnknownPartition => Self::UnknownPartition,
            Code::InvalidTopic => Self::TopicRefused(code),
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => Self::Forbidden,
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
                Self::RecordTooLarge
            }
            Code::InvalidRecord | Code::InvalidTimestamp | Code::PolicyViolation => Self::RecordRefused(code),
            Code::NotEnoughReplicas | Code::ISRInsufficient => Self::NotEnoughReplicas,
            Code::QueueFull => Self::QueueFull,
            other => Self::NotTaken(other),
        }
    }
}

impl Told {
    /// 429: the same request will be taken, but not for so many seconds.
    const fn later(seconds: u32, code: &'static str) -> Self {
        Self {
            retry_after: Some(seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, Outcome::NotPersisted)
        }
    }

    const fn new(status: StatusCode, code: &'static str, outcome: Outcome) -> Self {
        Self {
            status,
            code,
            outcome,
            // Every 503 passes by itself, most within a second.
            retry_after: if status.as_u16() == 503 { Some(1) } else { None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_answer() {
        use Outcome::{NotPersisted, PossiblyPersisted};
        let code = RDKafkaErrorCode::InvalidRecord;
        let slow = Slow::Silent(Duration::from_millis(100));
        for (failure, status, outcome) in [
            (Failure::Query(QueryError::NoTopic), 400, NotPersisted),
            (Failure::EmptyBody, 400, NotPersisted),
            (Failure::BadEntry(BadEntry::NoValue), 400, NotPersisted),
            (Failure::BatchType, 415, NotPersisted),
            (Failure::BadEnvelope(String::new()), 400, NotPersisted),
            (Failure::EnvelopeType, 415, NotPersisted),
            (Failure::TombstoneWithBody, 400, NotPersisted),
            (Failure::EncodingUnknown, 415, NotPersisted),
            (Failure::BatchEncoded, 415, NotPersisted),
            (Failure::BrokenEncoding, 400, NotPersisted),
            (Failure::BrokenBody, 400, NotPersisted),
            (Failure::TopicRefused(code), 400, NotPersisted),
            (Failure::Forbidden, 403, NotPersisted),
            (Failure::TopicNotAllowed, 403, NotPersisted),
            (Failure::NoCredentials, 401, NotPersisted),
            (Failure::BadCredentials, 401, NotPersisted),
            (Failure::TopicNotGranted, 403, NotPersisted),
            (Failure::AcksNotGranted, 403, NotPersisted),
            (Failure::TooManyAttempts(3), 429, NotPersisted),
            (Failure::Quota(Quota::Bytes, 3), 429, NotPersisted),
            (Failure::LoginBusy, 503, NotPersisted),
            (Failure::NoSuchPath, 404, NotPersisted),
            (Failure::Method("POST"), 405, NotPersisted),
            (Failure::UnknownTopic, 404, NotPersisted),
            (Failure::UnknownPartition, 404, NotPersisted),
            (Failure::Slow(slow), 408, NotPersisted),
            (Failure::BodyTooLarge(1), 413, NotPersisted),
            (Failure::RecordTooLarge, 413, NotPersisted),
            (Failure::RecordRefused(code), 422, NotPersisted),
            (Failure::Full(Full::Requests), 503, NotPersisted),
            (Failure::Full(Full::Bytes), 503, NotPersisted),
            (Failure::Full(Full::Kafka), 503, NotPersisted),
            (Failure::QueueFull, 503, NotPersisted),
            (Failure::NotTaken(code), 503, NotPersisted),
            (Failure::TopicAway, 503, NotPersisted),
            (Failure::Expired, 503, NotPersisted),
            (Failure::BrokersAway, 503, NotPersisted),
            (Failure::NotEnoughReplicas, 503, NotPersisted),
            (Failure::Stopping, 503, NotPersisted),
            (Failure::Unconfirmed, 504, PossiblyPersisted),
            (Failure::Broken(code), 504, PossiblyPersisted),
        ] {
            let told = failure.told();
            assert_eq!(
                (told.status.as_u16(), told.outcome),
                (status, outcome),
                "{failure:?}"
            );
            assert_eq!(
                told.retry_after.is_some(),
                [429, 503].contains(&status),
                "{failure:?}"
            );
        }
    }

    #[test]
    fn a_refused_record_is_told_by_its_code() {
        use RDKafkaErrorCode as Code;
        for (code, expected) in [
            (Code::UnknownTopicOrPartition, "unknown_topic"),
            (Code::UnknownTopic, "unknown_topic"),
            (Code::UnknownPartition, "unknown_partition"),
            (Code::InvalidTopic, "topic_refused"),
            (Code::TopicAuthorizationFailed, "topic_forbidden"),
            (Code::MessageSizeTooLarge, "record_too_large"),
            (Code::InvalidRecord, "record_refused"),
            (Code::NotEnoughReplicas, "not_enough_replicas"),
            (Code::QueueFull, "queue_full"),
            (Code::Fatal, "not_taken"),
            (Code::BrokerTransportFailure, "not_taken"),
        ] {
            for failure in [
                Failure::of_refusal(code),
                Failure::of_delivery(code, Persisted::No, false),
            ] {
                let told = failure.told();
                assert_eq!(
                    (told.code, told.outcome),
                    (expected, Outcome::NotPersisted),
                    "{code:?}"
                );
            }
        }
    }

    #[test]
    fn a_record_that_may_have_been_sent_is_never_called_lost() {
        use RDKafkaErrorCode as Code;
        for code in [
            Code::UnknownTopicOrPartition,
            Code::NotEnoughReplicas,
            Code::NotEnoughReplicasAfterAppend,
            Code::RequestTimedOut,
            Code::BrokerTransportFailure,
            Code::MessageTimedOut,
            Code::PurgeQueue,
            Code::PurgeInflight,
            Code::Fatal,
        ] {
            let told = Failure::of_delivery(code, Persisted::Possibly, false).told();
            assert_eq!(
                (told.status, told.outcome),
                (StatusCode::GATEWAY_TIMEOUT, Outcome::PossiblyPersisted),
                "{code:?}"
            );
        }
    }

    #[test]
    fn a_record_that_expired_unsent_is_told_apart_from_one_that_may_be_stored() {
        for code in [RDKafkaErrorCode::MessageTimedOut, RDKafkaErrorCode::PurgeQueue] {
            assert_eq!(Failure::of_delivery(code, Persisted::No, false), Failure::Expired);
            assert_eq!(
                Failure::of_delivery(code, Persisted::Possibly, false),
                Failure::Unconfirmed
            );
        }
    }

    #[test]
    fn what_replicas_were_waited_for_is_called_lost_only_when_every_attempt_was_refused() {
        use RDKafkaErrorCode as Code;
        for code in [Code::MessageTimedOut, Code::PurgeQueue, Code::PurgeInflight] {
            assert_eq!(
                Failure::of_delivery(code, Persisted::No, true),
                Failure::Unconfirmed
            );
        }
        for code in [Code::NotLeaderForPartition, Code::UnknownTopicOrPartition] {
            assert_eq!(
                Failure::of_delivery(code, Persisted::No, true),
                Failure::Broken(code)
            );
        }
        assert_eq!(
            Failure::of_delivery(Code::MessageSizeTooLarge, Persisted::No, true),
            Failure::RecordTooLarge
        );
    }
}

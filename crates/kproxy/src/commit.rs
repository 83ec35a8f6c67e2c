//! `POST /commit`: one request becomes one record, and its report becomes the answer.
//!
//! The order of the checks is the order of their cost: what can be refused by the head is refused before a byte of the
//! body is read. Nothing is retried here: librdkafka does that within its time.

use std::time::Instant;

use bytes::Bytes;
use hyper::Method;
use hyper::body::Body as _;
use hyper::http::request::Parts;
use tokio::sync::oneshot;

use crate::access::Caller;
use crate::answer::{self, Answer};
use crate::body::Receiver;
use crate::client::Report;
use crate::encoding::Encoding;
use crate::failure::Failure;
use crate::headers::RecordHeaders;
use crate::record::Record;
use crate::request::{self, Commit};
use crate::service::{Arrival, Service};

impl Service {
    /// The record of a request, to Kafka and back.
    pub(super) async fn commit(&self, request: Arrival<'_>) -> Result<Answer, Failure> {
        let Arrival {
            head,
            body,
            began,
            peer,
            noted,
        } = request;
        let caller = self.gate.caller(&head.headers, peer).await?;
        let commit = self.check_head(head)?;
        noted.records(&commit.topic, commit.acks);
        caller.check(&commit.topic, Some(commit.acks))?;
        let encoding = Encoding::of(&head.headers)?;
        let announced = body.size_hint().exact();
        let length = self.check_length(announced, commit.tombstone)?;
        if self.cluster.is_away() {
            return Err(Failure::BrokersAway);
        }
        let headers = RecordHeaders::of(&head.headers, &self.http.header_prefix);
        // Key and headers lie in memory as long as the body.
        let beside = head.uri.query().map_or(0, str::len) + headers.bytes();
        let permit = self.admission.admit(length + beside).map_err(Failure::Full)?;
        self.cluster.check_topic(&commit.topic).await?;
        let (body, permit) = if commit.tombstone {
            (None, permit)
        } else {
            let receiver = self.receiver(began, self.http.max_body, &caller);
            let (body, permit) = receiver.receive(body, encoding, permit).await?;
            (Some(body), permit)
        };
        noted.bytes = body.as_ref().map_or(0, Bytes::len);
        let sent = Instant::now();
        let record = Record {
            topic: &commit.topic,
            key: commit.key.as_deref(),
            value: body.as_deref(),
            partition: commit.partition,
            timestamp: commit.timestamp,
            headers: headers.into_inner(),
        };
        let lane = self.producers.lane(commit.acks, &permit);
        let report = match self.producers.send(lane, record, permit) {
            Ok(report) => {
                // librdkafka has its copy; hyper's buffer can go.
                drop(body);
                self.await_report(report, sent + self.patience).await
            }
            Err(refusal) => Err(refusal),
        };
        let stored = self.judge(&commit.topic, commit.partition.is_some(), report)?;
        self.meters.read_seconds.record(sent - began);
        self.meters.kafka_seconds.record(sent.elapsed());
        self.meters.request_seconds.record(began.elapsed());
        self.meters.body_bytes.increment(noted.bytes as u64);
        self.meters.stored(commit.acks);
        Ok(answer::stored(&commit.topic, stored))
    }

    fn check_head<'h>(&self, head: &'h Parts) -> Result<Commit<'h>, Failure> {
        if head.method != Method::POST {
            return Err(Failure::Method("POST"));
        }
        let query = head.uri.query().unwrap_or_default();
        Ok(request::parse(query, self.http.legacy_acks)?)
    }

    /// The bytes to reserve for a body of this announced length.
    fn check_length(&self, announced: Option<u64>, tombstone: bool) -> Result<usize, Failure> {
        let too_large = Failure::BodyTooLarge(self.http.max_body);
        match announced {
            Some(0) if tombstone => Ok(0),
            _ if tombstone => Err(Failure::TombstoneWithBody),
            // Chunked: the place grows with the body.
            None => Ok(0),
            Some(0) => Err(Failure::EmptyBody),
            Some(length) => match usize::try_from(length) {
                Ok(length) if length <= self.http.max_body => Ok(length),
                Ok(_) | Err(_) => Err(too_large),
            },
        }
    }

    /// For a body of at most `max` bytes.
    pub(super) const fn receiver<'a>(
        &'a self,
        request_began: Instant,
        max: usize,
        caller: &'a Caller<'a>,
    ) -> Receiver<'a> {
        Receiver {
            caller,
            limits: &self.http.limits,
            max,
            request_began,
        }
    }

    /// Waits for Kafka's report on a record.
    pub(super) async fn await_report(&self, report: oneshot::Receiver<Report>, deadline: Instant) -> Report {
        let report = tokio::time::timeout_at(deadline.into(), report).await;
        let report = report.ok().and_then(Result::ok);
        report.unwrap_or(Err(Failure::Unconfirmed))
    }

    /// A topic that the producer or its broker denies was there when the request came: it is away, maybe for a moment. So is
    /// a partition that the client has not `chosen`.
    pub(super) fn judge(&self, topic: &str, chosen: bool, report: Report) -> Report {
        match report {
            Err(Failure::UnknownTopic) => {
                self.cluster.forget_topic(topic);
                Err(Failure::TopicAway)
            }
            Err(Failure::UnknownPartition) if !chosen => Err(Failure::TopicAway),
            report => report,
        }
    }
}

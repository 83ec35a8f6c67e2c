//! `POST /commit`: one request becomes one record, and its report becomes the answer.
//!
//! The order of the checks is the order of their cost: what can be refused by the head is refused before a byte of the
//! body is read. Nothing is retried here: librdkafka does that within its time.

use std::time::Instant;

use bytes::Bytes;
use hyper::Method;
use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;

use crate::admission::Permit;
use crate::answer::{self, Answer};
use crate::body::Receiver;
use crate::client::Report;
use crate::encoding::Encoding;
use crate::failure::Failure;
use crate::headers::RecordHeaders;
use crate::record::Record;
use crate::request::{self, Commit};
use crate::service::Service;

/// Encoded bodies above this many bytes are decoded where it may take long.
const DECODED_AT_ONCE: usize = 16 * 1024;

impl Service {
    /// The record of a request, to Kafka and back. `body` is taken when it is read.
    pub(super) async fn commit(
        &self,
        head: &Parts,
        body: &mut Option<Incoming>,
        began: Instant,
    ) -> Result<Answer, Failure> {
        let commit = self.check_head(head)?;
        let encoding = Encoding::of(&head.headers)?;
        let announced = body.as_ref().and_then(|body| body.size_hint().exact());
        let length = self.check_length(announced, commit.tombstone)?;
        if self.cluster.is_away() {
            return Err(Failure::BrokersAway);
        }
        let headers = RecordHeaders::of(&head.headers, &self.http.header_prefix);
        // Key and headers lie in memory as long as the body.
        let beside = head.uri.query().map_or(0, str::len) + headers.bytes();
        let mut permit = self.admission.admit(length + beside).map_err(Failure::Full)?;
        self.cluster.check_topic(&commit.topic).await?;
        let (body, permit) = if commit.tombstone {
            (None, permit)
        } else {
            let received = self.receiver(began).receive(body.take(), &mut permit).await?;
            let (body, permit) = self.decode(encoding, received, permit).await?;
            (Some(body), permit)
        };
        let bytes = body.as_ref().map_or(0, Bytes::len);
        let sent = Instant::now();
        let record = Record {
            topic: &commit.topic,
            key: commit.key.as_deref(),
            value: body.as_deref(),
            partition: commit.partition,
            timestamp: commit.timestamp,
            headers: headers.into_inner(),
        };
        let report = match self.producers.send(commit.acks, record, permit) {
            Ok(report) => {
                // librdkafka has its copy; hyper's buffer can go.
                drop(body);
                let report = tokio::time::timeout(self.patience, report).await;
                report
                    .ok()
                    .and_then(Result::ok)
                    .unwrap_or(Err(Failure::Unconfirmed))
            }
            Err(refusal) => Err(refusal),
        };
        let stored = self.judge(&commit, report)?;
        self.meters.kafka_seconds.record(sent.elapsed());
        self.meters.body_bytes.increment(bytes as u64);
        self.meters.stored(commit.acks);
        tracing::debug!(
            topic = &*commit.topic,
            partition = stored.partition,
            offset = stored.offset,
            acks = commit.acks.as_str(),
            bytes,
            seconds = began.elapsed().as_secs_f64(),
            "record stored"
        );
        Ok(answer::stored(&commit.topic, stored))
    }

    fn check_head<'h>(&self, head: &'h Parts) -> Result<Commit<'h>, Failure> {
        if head.method != Method::POST {
            return Err(Failure::Method);
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

    fn receiver(&self, request_began: Instant) -> Receiver<'_> {
        Receiver {
            limits: &self.http.limits,
            max: self.http.max_body,
            request_began,
        }
    }

    /// The body as it will be stored, and the permit that has grown with it.
    async fn decode(
        &self,
        encoding: Encoding,
        body: Bytes,
        mut permit: Permit,
    ) -> Result<(Bytes, Permit), Failure> {
        if encoding == Encoding::Identity {
            return Ok((body, permit));
        }
        let max = self.http.max_body;
        let is_small = body.len() <= DECODED_AT_ONCE;
        let decode = move || {
            let decoded = encoding.decode(&body, max, &mut permit)?;
            if decoded.is_empty() {
                return Err(Failure::EmptyBody);
            }
            Ok((decoded, permit))
        };
        if is_small {
            return decode();
        }
        let decoded = tokio::task::spawn_blocking(decode).await;
        decoded.unwrap_or(Err(Failure::BrokenEncoding))
    }

    /// A topic that the producer or its broker denies was there when the request came: it is away, maybe for a moment. So is
    /// a partition that the client did not choose.
    fn judge(&self, commit: &Commit<'_>, report: Report) -> Report {
        match report {
            Err(Failure::UnknownTopic) => {
                self.cluster.forget_topic(&commit.topic);
                Err(Failure::TopicAway)
            }
            Err(Failure::UnknownPartition) if commit.partition.is_none() => Err(Failure::TopicAway),
            report => report,
        }
    }
}

//! `POST /commit`: one request becomes one record, and its report becomes the answer.
//!
//! The order of the checks is the order of their cost: what can be refused by the head is refused before a byte of the
//! body is read. Nothing is retried here: librdkafka does that within its time.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::{Method, StatusCode, http::request::Parts};

use crate::admission::Admission;
use crate::answer::{self, Answer};
use crate::body::Receiver;
use crate::client::Report;
use crate::cluster::Cluster;
use crate::config::{Config, Http};
use crate::failure::Failure;
use crate::meters::Meters;
use crate::producer::Producers;
use crate::request::{self, Commit};
use crate::turn::{OpenRequests, Turn};

/// What every request needs.
pub(crate) struct Service {
    /// Settings of the HTTP side.
    pub(crate) http: Http,
    /// The process's places.
    pub(crate) admission: Arc<Admission>,
    /// What is known of Kafka.
    pub(crate) cluster: Arc<Cluster>,
    /// The way to Kafka.
    pub(crate) producers: Arc<Producers>,
    /// The metrics.
    pub(crate) meters: Meters,
    /// Requests that are not answered yet.
    pub(crate) open: Arc<OpenRequests>,
    patience: std::time::Duration,
    stopping: AtomicBool,
    unconfirmed: AtomicU64,
}

impl Service {
    /// A service that takes requests.
    #[must_use]
    pub(crate) fn new(
        config: &Config,
        cluster: Arc<Cluster>,
        producers: Arc<Producers>,
        meters: Meters,
    ) -> Self {
        Self {
            http: config.http.clone(),
            admission: Admission::new(config.http.max_requests, config.http.max_bytes),
            cluster,
            producers,
            meters,
            open: Arc::default(),
            patience: config.kafka.timeout,
            stopping: AtomicBool::new(false),
            unconfirmed: AtomicU64::new(0),
        }
    }

    /// Requests that Kafka left without confirmation since the last call.
    pub(crate) fn take_unconfirmed(&self) -> u64 {
        self.unconfirmed.swap(0, Ordering::Relaxed)
    }

    /// From now on new requests are refused.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Answers one request. Never fails: hyper would cut the connection without a word.
    ///
    /// # Errors
    /// None.
    pub(crate) async fn answer(
        self: Arc<Self>,
        turn: Arc<Turn>,
        request: Request<Incoming>,
    ) -> Result<Answer, Infallible> {
        let began = turn.serve();
        let (head, body) = request.into_parts();
        let mut body = Some(body);
        let result = self.commit(&head, &mut body, began).await;
        // What is left of the body is read by nobody.
        let unread = body.is_some_and(|body| !body.is_end_stream());
        let mut answer = match result {
            Ok(answer) => {
                self.meters.request_seconds.record(began.elapsed());
                answer
            }
            Err(failure) => {
                let told = failure.told();
                self.meters.failed(told.code);
                if told.status == StatusCode::GATEWAY_TIMEOUT || failure == Failure::Expired {
                    self.unconfirmed.fetch_add(1, Ordering::Relaxed);
                }
                tracing::debug!(
                    status = told.status.as_u16(),
                    code = told.code,
                    path = head.uri.path(),
                    seconds = began.elapsed().as_secs_f64(),
                    "request failed"
                );
                answer::failed(
                    &failure,
                    matches!(failure, Failure::Slow(_) | Failure::BrokenBody),
                )
            }
        };
        if self.stopping.load(Ordering::Relaxed) {
            answer::close(&mut answer);
        }
        turn.answer(unread);
        Ok(answer)
    }

    /// The record of a request, to Kafka and back. `body` is taken when it is read.
    async fn commit(
        &self,
        head: &Parts,
        body: &mut Option<Incoming>,
        began: Instant,
    ) -> Result<Answer, Failure> {
        let commit = self.check_head(head)?;
        let announced = body.as_ref().and_then(|body| body.size_hint().exact());
        let length = self.check_length(announced)?;
        if self.cluster.is_away() {
            return Err(Failure::BrokersAway);
        }
        // The key lies in memory as long as the body.
        let query = head.uri.query().map_or(0, str::len);
        let mut permit = self.admission.admit(length + query).map_err(Failure::Full)?;
        self.cluster.check_topic(&commit.topic).await?;
        let receiver = Receiver {
            limits: &self.http.limits,
            max: self.http.max_body,
            request_began: began,
        };
        let body = body.take().ok_or(Failure::BrokenBody)?;
        let body = receiver.receive(body, &mut permit).await?;
        let bytes = body.len();
        let sent = Instant::now();
        let report = match self.producers.send(&commit, &body, permit) {
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
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Failure::Stopping);
        }
        if head.uri.path() != "/commit" {
            return Err(Failure::NoSuchPath);
        }
        if head.method != Method::POST {
            return Err(Failure::Method);
        }
        let query = head.uri.query().unwrap_or_default();
        Ok(request::parse(query, self.http.legacy_acks)?)
    }

    /// The bytes to reserve for a body of this announced length.
    fn check_length(&self, announced: Option<u64>) -> Result<usize, Failure> {
        let too_large = Failure::BodyTooLarge(self.http.max_body);
        match announced {
            // Chunked: the place grows with the body.
            None => Ok(0),
            Some(0) => Err(Failure::EmptyBody),
            Some(length) => match usize::try_from(length) {
                Ok(length) if length <= self.http.max_body => Ok(length),
                Ok(_) | Err(_) => Err(too_large),
            },
        }
    }

    /// A topic that the producer or its broker denies was there when the request came: it is away, maybe for a moment.
    fn judge(&self, commit: &Commit<'_>, report: Report) -> Report {
        if report != Err(Failure::UnknownTopic) {
            return report;
        }
        self.cluster.forget_topic(&commit.topic);
        Err(Failure::TopicAway)
    }
}

//! What every request needs, and what all answers have in common.
//!
//! The path decides who makes a request's answer (`commit`, `batch`, `rest`); here it is counted, logged and rendered.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use kcommon::shutdown::Stop;

use crate::access::{Gate, Peer};
use crate::admission::Admission;
use crate::answer::{self, Answer};
use crate::cluster::Cluster;
use crate::config::{Config, Http};
use crate::failure::Failure;
use crate::meters::Meters;
use crate::openapi;
use crate::producer::Producers;
use crate::request::Acks;
use crate::streams::{Answering, Stream};
use crate::turn::{OpenRequests, Turn};

/// A request whose head has arrived.
pub(crate) struct Arrival<'r> {
    /// Method, path, query and headers.
    pub(crate) head: &'r Parts,
    /// Its body, as far as nobody has read it.
    pub(crate) body: &'r mut Incoming,
    /// When its first byte came.
    pub(crate) began: Instant,
    /// Whose connection it came through.
    pub(crate) peer: &'r Peer,
    /// What is found out on the way to its answer.
    pub(crate) noted: &'r mut Noted,
}

/// What is known of a request besides its answer, for metrics and the log.
#[derive(Debug)]
pub(crate) struct Noted {
    /// Bytes of its body, as far as it was read and decoded.
    pub(crate) bytes: usize,
    /// How its path tells a failure.
    pub(crate) failed: fn(&Failure) -> Answer,
    acks: Option<Acks>,
    /// Only when single requests are logged.
    topic: Option<String>,
}

impl Default for Noted {
    fn default() -> Self {
        Self {
            bytes: 0,
            failed: answer::failed,
            acks: None,
            topic: None,
        }
    }
}

impl Noted {
    /// It is about records of a topic.
    pub(crate) fn records(&mut self, topic: &str, acks: Acks) {
        self.acks = Some(acks);
        self.topic = tracing::enabled!(tracing::Level::DEBUG).then(|| topic.to_owned());
    }
}

/// What every request needs.
pub(crate) struct Service {
    /// Settings of the HTTP side.
    pub(crate) http: Http,
    /// Who may do what.
    pub(crate) gate: Gate,
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
    /// Patience with Kafka for one request.
    pub(crate) patience: Duration,
    /// Asks connections whose requests overlap to end.
    pub(crate) leave: Stop,
    /// The same for every request, cheaper to ask.
    stopping: AtomicBool,
    unconfirmed: AtomicU64,
}

impl Service {
    /// A service that takes requests.
    #[must_use]
    pub(crate) fn new(
        config: &Config,
        gate: Gate,
        cluster: Arc<Cluster>,
        producers: Arc<Producers>,
        meters: Meters,
    ) -> Self {
        Self {
            http: config.http.clone(),
            gate,
            admission: Admission::new(
                config.http.max_requests,
                config.http.max_bytes,
                config.http.max_body,
            ),
            cluster,
            producers,
            meters,
            open: Arc::default(),
            patience: config.kafka.timeout,
            leave: Stop::new(),
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
        self.leave.request();
    }

    /// Answers a request of a connection that has one at a time. Never fails: hyper would cut the connection without a word.
    ///
    /// # Errors
    /// None.
    pub(crate) async fn answer(
        &self,
        turn: &Turn,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Answer, Infallible> {
        let (head, mut body) = request.into_parts();
        let answer = self.respond(turn.serve(), peer, &head, &mut body).await;
        // What is left of the body is read by nobody.
        turn.answer(!body.is_end_stream());
        Ok(answer)
    }

    /// Answers a request of a connection that has many at a time.
    ///
    /// # Errors
    /// None.
    pub(crate) async fn answer_stream(
        self: Arc<Self>,
        stream: Stream,
        peer: Peer,
        request: Request<Incoming>,
    ) -> Result<Response<Answering>, Infallible> {
        let (head, mut body) = request.into_parts();
        let answer = self.respond(Instant::now(), &peer, &head, &mut body).await;
        Ok(answer.map(|body| stream.answer(body)))
    }

    async fn respond(&self, began: Instant, peer: &Peer, head: &Parts, body: &mut Incoming) -> Answer {
        let mut noted = Noted::default();
        let arrival = Arrival {
            head,
            body,
            began,
            peer,
            noted: &mut noted,
        };
        let (mut answer, result) = match self.route(arrival).await {
            Ok(answer) => (answer, "answered"),
            Err(failure) => (self.refuse(&failure, &noted), failure.told().code),
        };
        if self.is_stopping() {
            answer::close(&mut answer);
        }
        // The access log. Neither query nor headers: keys and credentials are in them.
        tracing::debug!(
            peer = ?peer.address,
            method = %head.method,
            path = head.uri.path(),
            status = answer.status().as_u16(),
            result,
            topic = noted.topic,
            acks = noted.acks.map(Acks::as_str),
            bytes = noted.bytes,
            seconds = began.elapsed().as_secs_f64(),
            "request"
        );
        answer
    }

    /// The answer to a request that failed.
    fn refuse(&self, failure: &Failure, noted: &Noted) -> Answer {
        let told = failure.told();
        self.meters.failed(told.code, noted.acks);
        if told.status == StatusCode::GATEWAY_TIMEOUT || *failure == Failure::Expired {
            self.unconfirmed.fetch_add(1, Ordering::Relaxed);
        }
        let mut answer = (noted.failed)(failure);
        if matches!(failure, Failure::Slow(_) | Failure::BrokenBody) {
            answer::close(&mut answer);
        }
        answer
    }

    /// The answer of whoever serves the path.
    async fn route(&self, request: Arrival<'_>) -> Result<Answer, Failure> {
        if self.is_stopping() {
            return Err(Failure::Stopping);
        }
        match request.head.uri.path() {
            "/commit" => self.commit(request).await,
            "/commit/batch" => self.batch(request).await,
            "/openapi.json" => openapi::answer(&request.head.method),
            _other => self.rest(request).await.unwrap_or(Err(Failure::NoSuchPath)),
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

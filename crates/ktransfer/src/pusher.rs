//! One attempt after the other: sends a record's request to the next server and judges the answer. Owns one connection to each
//! server, which it polls itself; whose attempt may start and is cut is its caller's word ([`Control`]).
//!
//! It decides nothing about what follows an attempt.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use hyper::header::HeaderValue;
use hyper::{StatusCode, Uri};
use kcommon::daemon::Failure;
use kcommon::kafka::PartitionId;
use tokio::time::Instant;

use crate::adaptive::Sign;
use crate::balance::Ended;
use crate::content::{ContentError, Subject};
use crate::link::{Answer, ConnectError, Control, ExchangeError, Link, Timer};
use crate::meters::Meters;
use crate::record::{Record, Value};
use crate::retry::asked_wait;
use crate::target::{Shot, Target, UnpushableError, UriBuffer};
use crate::verdict::{BodyError, Verdict};

/// See the module.
pub struct Pusher {
    target: Rc<Target>,
    meters: Rc<Meters>,
    /// One connection for each server.
    links: Vec<Option<Link>>,
    timer: Timer,
    uri: UriBuffer,
    /// What is pushed in place of the record's own body.
    body: Option<Value>,
}

/// How an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// No connection to the server.
    #[error("no connection")]
    Connect(#[source] ConnectError),
    /// No answer.
    #[error("the exchange failed")]
    Exchange(#[source] ExchangeError),
    /// An answer that is neither success nor rejection, and for how long it asks to wait.
    #[error("the backend answered {0}")]
    Answer(StatusCode, Option<Duration>),
    /// An answer with a status of success whose body says otherwise.
    #[error("the backend answered {0}, but {1}")]
    Denied(StatusCode, BodyError),
    /// An answer that refuses the record for good.
    #[error("the backend rejected the record with {0}")]
    Rejected(StatusCode),
}

impl AttemptError {
    /// Whether it was our own doing, which says nothing about the backend.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::Connect(ConnectError::Cut) | Self::Exchange(ExchangeError::Cut | ExchangeError::Shut)
        )
    }

    /// The status of the answer, if there was one.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Answer(status, _) | Self::Denied(status, _) | Self::Rejected(status) => Some(*status),
            Self::Connect(_) | Self::Exchange(_) => None,
        }
    }

    /// How long the backend asked to wait.
    #[must_use]
    pub const fn asked(&self) -> Option<Duration> {
        match self {
            Self::Answer(_, asked) => *asked,
            _ => None,
        }
    }

    /// What it says about the backend as a whole; `None` = nothing: a 500 may be the record's fault, a cut is ours.
    #[must_use]
    pub fn sign(&self) -> Option<Sign> {
        match self {
            Self::Answer(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, asked) => {
                Some(Sign::Overloaded(*asked))
            }
            Self::Answer(StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT, _) => Some(Sign::Away),
            Self::Answer(status, _) if status.is_server_error() => None,
            Self::Answer(..) | Self::Denied(..) | Self::Rejected(_) => Some(Sign::Taken),
            Self::Connect(_) | Self::Exchange(_) => (!self.is_ours()).then_some(Sign::Away),
        }
    }
}

impl Pusher {
    /// A pusher without connections.
    #[must_use]
    pub fn new(target: Rc<Target>, meters: Rc<Meters>) -> Self {
        Self {
            links: (0..target.servers().len()).map(|_| None).collect(),
            target,
            meters,
            timer: Timer::new(),
            uri: UriBuffer::default(),
            body: None,
        }
    }

    /// The URI of a record.
    ///
    /// # Errors
    /// The record can never be pushed.
    pub fn uri(&mut self, record: &Record, partition: PartitionId) -> Result<Uri, UnpushableError> {
        self.target.uri(record, partition, &mut self.uri)
    }

    /// Makes of the record's body what the module pushes, for the attempts that follow.
    ///
    /// # Errors
    /// Nothing can be made of it: the attempts push it as it is.
    pub fn transform(&mut self, record: &Record, partition: PartitionId) -> Result<(), ContentError> {
        self.body = None;
        let module = self.target.module();
        if let Some(content) = &module.content {
            let made = content.transform(&Subject {
                topic: module.topic.as_str(),
                partition,
                offset: record.offset,
                key: record.key_bytes(),
                timestamp: record.timestamp,
                body: &record.value(),
            })?;
            self.body = made.map(|made| Value::from(&made[..]));
        }
        Ok(())
    }

    /// One attempt; a connection that the backend closed while it was idle is repeated once, on a new one to the same
    /// server, and does not count.
    ///
    /// # Errors
    /// The record is not delivered, as far as anybody knows.
    pub async fn attempt(
        &mut self,
        record: &Record,
        (uri, partition): (Uri, PartitionId),
        control: &impl Control,
    ) -> Result<(), AttemptError> {
        let choice = self.target.servers().next();
        let shot = Shot {
            record,
            partition,
            uri,
            value: self.body.clone().unwrap_or_else(|| record.value()),
        };
        let mut outcome = self.exchange(&shot, choice.server, control).await;
        if matches!(outcome, Err(AttemptError::Exchange(ExchangeError::Stale))) {
            self.meters.repeated.increment(1);
            outcome = self.exchange(&shot, choice.server, control).await;
        }
        let outcome = outcome.and_then(|answer| self.judge(&answer));
        self.target.servers().ended(&choice, ended(&outcome));
        self.note(&outcome);
        outcome
    }

    fn judge(&self, answer: &Answer) -> Result<(), AttemptError> {
        let status = answer.status;
        match self.target.module().rules.judge(status, &answer.body) {
            Verdict::Delivered => Ok(()),
            Verdict::Rejected => Err(AttemptError::Rejected(status)),
            Verdict::Retry => Err(AttemptError::Answer(status, self.asked(answer))),
            Verdict::Denied(error) => Err(AttemptError::Denied(status, error)),
        }
    }

    /// How long an answer asks to wait, where the module listens to that.
    fn asked(&self, answer: &Answer) -> Option<Duration> {
        let longest = self.target.module().retry.longest_asked?;
        let advice = answer.advice.as_ref()?;
        let date = advice.date.as_ref().map(HeaderValue::as_bytes);
        let asked = asked_wait(advice.retry_after.as_bytes(), date, SystemTime::now());
        asked.map(|asked| asked.min(longest))
    }

    /// What the outcome says about the backends as a whole.
    fn note(&self, outcome: &Result<(), AttemptError>) {
        let mut outage = self.target.outage.borrow_mut();
        match outcome {
            Err(error) if error.is_ours() => {}
            Err(AttemptError::Answer(status, _)) if !status.is_server_error() => outage.answered(),
            Ok(()) | Err(AttemptError::Rejected(_) | AttemptError::Denied(..)) => outage.answered(),
            Err(error) => outage.failed(Instant::now(), || Failure::from_error(error).to_string()),
        }
    }

    async fn exchange(
        &mut self,
        shot: &Shot<'_>,
        number: usize,
        control: &impl Control,
    ) -> Result<Answer, AttemptError> {
        let target = Rc::clone(&self.target);
        let server = target
            .servers()
            .get(number)
            .expect("the target numbers its own servers");
        let open = self.links.get_mut(number).and_then(Option::take);
        let open = open.filter(|link| server.has(link.peer()));
        let limits = target.limits();
        let mut link = match open {
            Some(link) => link,
            None => {
                let connected =
                    Link::connect(&target.servers().dial(server), limits, &mut self.timer, control).await;
                connected.map_err(AttemptError::Connect)?
            }
        };
        let request = target.request(server, shot, link.take_headers());
        let exchanged = link.exchange(request, limits, &mut self.timer, control).await;
        let answer = exchanged.map_err(AttemptError::Exchange)?;
        if answer.reusable
            && let Some(place) = self.links.get_mut(number)
        {
            *place = Some(link);
        }
        Ok(answer)
    }
}

/// What the outcome says about the server.
fn ended(outcome: &Result<(), AttemptError>) -> Ended {
    match outcome {
        Err(error) if error.is_ours() => Ended::Ours,
        Err(AttemptError::Connect(_) | AttemptError::Exchange(_)) => Ended::Failed,
        Err(AttemptError::Answer(status, _)) if status.is_server_error() => Ended::Failed,
        Ok(()) | Err(_) => Ended::Answered,
    }
}

#[cfg(test)]
mod tests;

//! A worker: takes a record, pushes it, says how that ended, takes the next. It owns one connection to each server and
//! polls them itself; it rests without a timer when there is nothing to do.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::task::Context;

use hyper::{StatusCode, Uri};
use kcommon::daemon::Failure;
use tokio::time::Instant;

use crate::assignment::Epoch;
use crate::dispatcher::{Dispatcher, End, Seat};
use crate::lease::BootTime;
use crate::link::{ConnectError, Control, ExchangeError, Link, Timer};
use crate::meters::Meters;
use crate::retry::Next;
use crate::scheduler::Job;
use crate::target::{Target, UriBuffer};
use crate::throttle::Throttle;
use crate::verdict::Verdict;

/// See the module.
pub struct Worker {
    seat: Seat,
    dispatcher: Rc<RefCell<Dispatcher>>,
    target: Rc<Target>,
    meters: Rc<Meters>,
    /// One connection for each server.
    links: Vec<Option<Link>>,
    timer: Timer,
    uri: UriBuffer,
}

/// How an attempt failed.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("no connection")]
    Connect(#[source] ConnectError),
    #[error("the exchange failed")]
    Exchange(#[source] ExchangeError),
    #[error("the backend answered {0}")]
    Answer(StatusCode),
}

/// The dispatcher's word on one push.
struct Permission<'a> {
    dispatcher: &'a RefCell<Dispatcher>,
    seat: Seat,
    epoch: Epoch,
}

impl Control for Permission<'_> {
    fn may_start(&self) -> bool {
        self.dispatcher.borrow().may_start(self.epoch)
    }

    fn deadline(&self) -> BootTime {
        self.dispatcher.borrow().deadline()
    }

    fn is_cut(&self, cx: &mut Context<'_>) -> bool {
        self.dispatcher.borrow_mut().is_cut(self.seat, cx)
    }
}

impl Worker {
    /// A worker that has not begun.
    #[must_use]
    pub fn new(
        seat: Seat,
        dispatcher: Rc<RefCell<Dispatcher>>,
        target: Rc<Target>,
        meters: Rc<Meters>,
    ) -> Self {
        let links = (0..target.len()).map(|_| None).collect();
        Self {
            seat,
            dispatcher,
            target,
            meters,
            links,
            timer: Timer::new(),
            uri: UriBuffer::default(),
        }
    }

    /// Works until the task is dropped.
    pub async fn run(mut self) -> Infallible {
        let bell = self.dispatcher.borrow().seat(self.seat);
        loop {
            let job = self.dispatcher.borrow_mut().take(self.seat);
            match job {
                Some(job) => {
                    // All who have an answer take their next record before the first of them writes. The requests then
                    // come in a row, and wake the backend once for many: less CPU for each, on both sides.
                    tokio::task::yield_now().await;
                    let end = self.push(&job).await;
                    self.dispatcher.borrow_mut().end(self.seat, job, end);
                }
                None => bell.notified().await,
            }
        }
    }

    async fn push(&mut self, job: &Job) -> End {
        let started = Instant::now();
        let Some(partition) = self.dispatcher.borrow().partition(job.lane.epoch()) else {
            return End::NotStarted;
        };
        let uri = match self.target.uri(&job.record, partition, &mut self.uri) {
            Ok(uri) => uri,
            Err(error) => {
                self.meters.unpushable.increment(1);
                self.warn(
                    &self.target.losses,
                    job,
                    &error,
                    "record passed over: no request can be made of it",
                );
                return End::Done;
            }
        };
        let outcome = self.attempt(job, uri).await;
        self.meters.seconds.record(started.elapsed());
        match outcome {
            Ok(()) => {
                self.meters.delivered.increment(1);
                End::Done
            }
            Err(AttemptError::Exchange(ExchangeError::Shut) | AttemptError::Connect(ConnectError::Cut)) => {
                End::NotStarted
            }
            Err(AttemptError::Exchange(ExchangeError::Cut)) => End::Cut,
            Err(error) => self.failed(job, &error),
        }
    }

    /// One attempt; a connection that the backend closed while it was idle is repeated once, on a new one to the same
    /// server, and does not count.
    async fn attempt(&mut self, job: &Job, uri: Uri) -> Result<(), AttemptError> {
        let number = self.target.next_server();
        let mut outcome = self.exchange(job, uri.clone(), number).await;
        if matches!(outcome, Err(AttemptError::Exchange(ExchangeError::Stale))) {
            self.meters.repeated.increment(1);
            outcome = self.exchange(job, uri, number).await;
        }
        self.note(&outcome);
        let status = outcome?;
        match self.target.verdict(status) {
            Verdict::Delivered => Ok(()),
            Verdict::Retry => Err(AttemptError::Answer(status)),
        }
    }

    /// What the outcome says about the backends as a whole.
    fn note(&self, outcome: &Result<StatusCode, AttemptError>) {
        let mut outage = self.target.outage.borrow_mut();
        match outcome {
            Ok(status) if status.is_server_error() && self.target.verdict(*status) == Verdict::Retry => {
                outage.failed(Instant::now(), || AttemptError::Answer(*status).to_string());
            }
            Ok(_) => outage.answered(),
            // Our own doing.
            Err(
                AttemptError::Connect(ConnectError::Cut)
                | AttemptError::Exchange(ExchangeError::Cut | ExchangeError::Shut),
            ) => {}
            Err(error) => outage.failed(Instant::now(), || Failure::from_error(error).to_string()),
        }
    }

    async fn exchange(&mut self, job: &Job, uri: Uri, number: usize) -> Result<StatusCode, AttemptError> {
        let target = Rc::clone(&self.target);
        let server = target.server(number).expect("the target numbers its own servers");
        let open = self.links.get_mut(number).and_then(Option::take);
        let permission = Permission {
            dispatcher: &self.dispatcher,
            seat: self.seat,
            epoch: job.lane.epoch(),
        };
        let limits = target.limits();
        let mut link = match open {
            Some(link) => link,
            None => {
                let connected = Link::connect(&server.address, limits, &mut self.timer, &permission).await;
                connected.map_err(AttemptError::Connect)?
            }
        };
        let request = target.request(server, uri, job.record.value(), link.take_headers());
        let exchanged = link.exchange(request, limits, &mut self.timer, &permission).await;
        let (status, reusable) = exchanged.map_err(AttemptError::Exchange)?;
        if reusable && let Some(place) = self.links.get_mut(number) {
            *place = Some(link);
        }
        Ok(status)
    }

    fn failed(&self, job: &Job, error: &AttemptError) -> End {
        let attempts = job.record.failures.saturating_add(1);
        match self.target.module().retry.after_failure(attempts, Instant::now()) {
            Next::RetryAt(at) => {
                self.meters.retried.increment(1);
                self.warn(
                    &self.target.failures,
                    job,
                    error,
                    "push failed; it will be repeated",
                );
                End::RetryAt(at)
            }
            Next::Exhausted => {
                self.meters.exhausted.increment(1);
                self.warn(
                    &self.target.losses,
                    job,
                    error,
                    "record dropped: its last attempt failed",
                );
                End::Done
            }
        }
    }

    fn warn(
        &self,
        throttle: &RefCell<Throttle>,
        job: &Job,
        error: &(dyn std::error::Error + 'static),
        what: &'static str,
    ) {
        let Some(held_back) = throttle.borrow_mut().pass(Instant::now()) else {
            return;
        };
        let partition = self
            .dispatcher
            .borrow()
            .partition(job.lane.epoch())
            .map(|partition| partition.0);
        tracing::warn!(
            module = self.target.module().name,
            partition,
            offset = job.record.offset.get(),
            attempt = job.record.failures.saturating_add(1),
            lines_held_back = held_back,
            error,
            "{what}"
        );
    }
}

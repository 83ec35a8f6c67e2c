//! A worker: takes a record, pushes it, says how that ended, takes the next. It polls its own connections; it rests without a
//! timer when there is nothing to do.

mod content;

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::task::Context;
use std::time::{Duration, SystemTime};

use kcommon::daemon::Failure;
use tokio::time::Instant;

use crate::adaptive::Sign;
use crate::assignment::Epoch;
use crate::dispatcher::{Dispatcher, End, Seat, Trouble};
use crate::lease::BootTime;
use crate::letter::{Account, Exhausted};
use crate::link::{Control, ExchangeError};
use crate::meters::Meters;
use crate::pusher::{AttemptError, Pusher};
use crate::retry::{Failed, Next};
use crate::scheduler::Job;
use crate::target::Target;
use crate::throttle::Throttle;

/// See the module.
pub struct Worker {
    seat: Seat,
    dispatcher: Rc<RefCell<Dispatcher>>,
    target: Rc<Target>,
    meters: Rc<Meters>,
    pusher: Pusher,
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
        Self {
            seat,
            dispatcher,
            pusher: Pusher::new(Rc::clone(&target), Rc::clone(&meters)),
            target,
            meters,
        }
    }

    /// Works until the task is dropped.
    pub async fn run(mut self) -> Infallible {
        let bell = self.dispatcher.borrow().seat(self.seat);
        loop {
            let job = self.dispatcher.borrow_mut().take(self.seat);
            match job {
                Some(mut job) => {
                    // All who have an answer take their next record before the first of them writes. The requests then
                    // come in a row, and wake the backend once for many: less CPU for each, on both sides.
                    tokio::task::yield_now().await;
                    let end = self.push(&mut job).await;
                    self.dispatcher.borrow_mut().end(self.seat, job, end);
                }
                None => bell.notified().await,
            }
        }
    }

    async fn push(&mut self, job: &mut Job) -> End {
        let started = Instant::now();
        let Some(partition) = self.dispatcher.borrow().partition(job.lane.epoch()) else {
            return End::NotStarted;
        };
        let uri = match self.pusher.uri(&job.record, partition) {
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
        if let Err(error) = self.pusher.transform(&job.record, partition)
            && let Some(end) = self.not_transformed(job, &error)
        {
            return end;
        }
        let permission = Permission {
            dispatcher: &self.dispatcher,
            seat: self.seat,
            epoch: job.lane.epoch(),
        };
        let outcome = self
            .pusher
            .attempt(&job.record, (uri, partition), &permission)
            .await;
        let took = started.elapsed();
        self.meters.seconds.record(took);
        self.tell_slow(job, took, &outcome);
        if self.target.module().retry.slows_down {
            self.note(&outcome, started);
        }
        match outcome {
            Ok(()) => {
                self.meters.delivered.increment(1);
                End::Done
            }
            Err(AttemptError::Exchange(ExchangeError::Cut)) => End::Cut,
            Err(error) if error.is_ours() => End::NotStarted,
            Err(error) => self.failed(job, started, &error),
        }
    }

    /// What the outcome says about the backend as a whole.
    fn note(&self, outcome: &Result<(), AttemptError>, started: Instant) {
        let sign = match outcome {
            Ok(()) => Some(Sign::Taken),
            Err(error) => error.sign(),
        };
        if let Some(sign) = sign {
            self.dispatcher.borrow_mut().note(sign, started, fastrand::f64);
        }
    }

    fn failed(&self, job: &mut Job, started: Instant, error: &AttemptError) -> End {
        let rejected = matches!(error, AttemptError::Rejected(_));
        let now = Instant::now();
        let trouble = self.dispatcher.borrow_mut().failed(job, started, error.status());
        let failed = Failed {
            attempts: trouble.attempts,
            elapsed: now - trouble.first,
            asked: error.asked(),
        };
        let retry = &self.target.module().retry;
        match retry.after_failure(&failed, now, fastrand::f64) {
            Next::RetryAt(at) if !rejected => {
                self.meters.retried.increment(1);
                self.warn(
                    &self.target.failures,
                    job,
                    error,
                    "push failed; it will be repeated",
                );
                End::RetryAt(at)
            }
            _ => {
                let counter = if rejected {
                    &self.meters.rejected
                } else {
                    &self.meters.exhausted
                };
                counter.increment(1);
                self.undelivered(job, &trouble, error)
            }
        }
    }

    /// The record will not be delivered: what the module does with it.
    fn undelivered(&self, job: &Job, trouble: &Trouble, error: &AttemptError) -> End {
        let rejected = matches!(error, AttemptError::Rejected(_));
        let (what, end) = match (self.target.module().last.policy(), rejected) {
            (Exhausted::Drop, false) => ("record dropped: its last attempt failed", End::Done),
            (Exhausted::Drop, true) => ("record dropped: the backend rejected it", End::Done),
            (Exhausted::DeadLetter | Exhausted::Log, _) => {
                let account = Account {
                    rejected,
                    status: error.status(),
                    error: Failure::from_error(error).to_string(),
                    attempts: trouble.attempts,
                    first: trouble.first_time,
                    last: SystemTime::now(),
                };
                // Counted when it is stored.
                let what = "record not delivered: it is stored elsewhere";
                self.warn(&self.target.losses, job, error, what);
                return End::Leave(Box::new(account));
            }
            (Exhausted::Block, _) => ("record not delivered: its key waits for an operator", End::Block),
            (Exhausted::Stop, _) => (
                "record not delivered: its partition waits for an operator",
                End::Stop,
            ),
        };
        self.meters.undelivered.increment(1);
        self.warn(&self.target.losses, job, error, what);
        end
    }

    /// A push that took long is told, whatever its end.
    fn tell_slow(&self, job: &Job, took: Duration, outcome: &Result<(), AttemptError>) {
        if self.target.module().slow.is_none_or(|slow| took <= slow) {
            return;
        }
        self.meters.slow.increment(1);
        let now = Instant::now();
        let Some(held_back) = self.target.slow.borrow_mut().pass(now) else {
            return;
        };
        let partition = self.dispatcher.borrow().partition(job.lane.epoch());
        tracing::warn!(
            module = self.target.module().name,
            partition = partition.map(|partition| partition.0),
            offset = job.record.offset.get(),
            took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            delivered = outcome.is_ok(),
            lines_held_back = held_back,
            "slow push"
        );
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
            attempt = job.record.failures.max(1),
            lines_held_back = held_back,
            error,
            "{what}"
        );
    }
}

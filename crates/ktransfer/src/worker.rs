//! A worker: takes a record, pushes it, says how that ended, takes the next. It polls its own connections; it rests without a
//! timer when there is nothing to do.

mod content;

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::task::Context;

use tokio::time::Instant;

use crate::adaptive::Sign;
use crate::assignment::Epoch;
use crate::dispatcher::{Dispatcher, End, Seat};
use crate::lease::BootTime;
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
        self.meters.seconds.record(started.elapsed());
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
            _ if rejected => {
                self.meters.rejected.increment(1);
                self.warn(
                    &self.target.losses,
                    job,
                    error,
                    "record dropped: the backend rejected it",
                );
                End::Done
            }
            _ => {
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
            attempt = job.record.failures.max(1),
            lines_held_back = held_back,
            error,
            "{what}"
        );
    }
}

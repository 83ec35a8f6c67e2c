//! The workers of a module: what `worker` does with a record, against the backend of the model.

use std::rc::Rc;
use std::task::{Context, Waker};

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::Module;
use crate::assignment::Assignment;
use crate::dispatcher::{End, Seat};
use crate::letter::Account;
use crate::scheduler::Job;
use crate::simulation::env::{Env, What};
use crate::simulation::kafka::body_of;
use crate::simulation::mutation::{Mutation, mutated};
use crate::simulation::truth::OnWire;

/// A worker.
#[derive(Debug)]
pub(super) enum Worker {
    Rests(Rc<Notify>),
    /// About to take a record.
    Wakes(Rc<Notify>),
    /// With a record; `push` once its first byte is written.
    Busy {
        bell: Rc<Notify>,
        job: Job,
        flight: u64,
        push: Option<u64>,
        cut: bool,
    },
}

impl Module {
    pub(super) fn wake(&mut self, at: usize, env: &mut Env<'_>) {
        match self.workers[at].as_mut() {
            Some(Worker::Rests(bell)) if bell.notified().now_or_never().is_some() => {
                self.workers[at] = Some(Worker::Wakes(Rc::clone(bell)));
                let late = env.dice.below(2);
                env.after(late, What::Take(at));
            }
            Some(Worker::Busy { flight, cut, .. }) if !*cut => {
                let cx = Context::from_waker(Waker::noop());
                if self.dispatcher.is_cut(Seat(at), &cx) {
                    *cut = true;
                    let late = if env.dice.one_in(3) {
                        env.dice.below(50)
                    } else {
                        env.dice.below(6)
                    };
                    env.after(late, What::Cut(at, *flight));
                }
            }
            _ => {}
        }
    }

    pub(super) fn take(&mut self, at: usize, env: &mut Env<'_>) {
        let Some(Worker::Wakes(bell)) = self.workers[at].take_if(|worker| matches!(worker, Worker::Wakes(_)))
        else {
            return;
        };
        let Some(job) = self.dispatcher.take(Seat(at)) else {
            self.workers[at] = Some(Worker::Rests(bell));
            return;
        };
        self.flights += 1;
        let connecting = if env.dice.one_in(8) {
            env.dice.below(60)
        } else {
            env.dice.below(2)
        };
        env.after(connecting, What::Write(at, self.flights));
        self.workers[at] = Some(Worker::Busy {
            bell,
            job,
            flight: self.flights,
            push: None,
            cut: false,
        });
    }

    /// The poll that asks the dispatcher and writes the request.
    pub(super) fn write(&mut self, at: usize, number: u64, env: &mut Env<'_>) {
        let Some(Worker::Busy {
            job,
            flight,
            push: push @ None,
            ..
        }) = self.workers[at].as_mut()
        else {
            return;
        };
        if *flight != number {
            return;
        }
        let epoch = job.lane.epoch();
        if !self.dispatcher.may_start(epoch) {
            return self.end(at, End::NotStarted, env);
        }
        let Some(partition) = self.dispatcher.partition(epoch) else {
            return;
        };
        let key = job.record.key_bytes().and_then(|key| key.first().copied());
        let (generation, body) = body_of(&job.record.value());
        let on_wire = OnWire {
            process: self.process,
            assignment: Assignment { partition, epoch },
            offset: job.record.offset.get(),
            body,
            generation,
            key,
        };
        let started = env.truth.push_starts(on_wire, env.now);
        *push = Some(started);
        let stuck = key.is_some_and(|key| env.backend.stuck.contains(&(partition, key)));
        let fails = stuck || env.backend.failing > 0 && env.dice.one_in(env.backend.failing);
        let takes = env.dice.between(1, env.backend.slowest.max(1));
        env.pushes.push((env.now + takes, at, number, started, !fails));
    }

    pub(super) fn finish(&mut self, at: usize, number: u64, delivered: bool, env: &mut Env<'_>) {
        if !self.is_flight(at, number) {
            return;
        }
        if delivered {
            return self.end(at, End::Done, env);
        }
        let Some(Worker::Busy { job, push, .. }) = self.workers[at].as_mut() else {
            return;
        };
        let trouble = self.dispatcher.failed(job, env.instant(), None);
        if env.backend.given_up > 0 && env.dice.one_in(env.backend.given_up) {
            if mutated(Mutation::DoneBeforeItIsStored) {
                // The backend has not taken it.
                if let Some(push) = push.take() {
                    env.truth.push_ends(push, false, env.now);
                }
                return self.end(at, End::Done, env);
            }
            let account = Account {
                rejected: false,
                status: None,
                error: String::new(),
                attempts: trouble.attempts,
                first: trouble.first_time,
                last: trouble.first_time,
            };
            return self.end(at, End::Leave(Box::new(account)), env);
        }
        let retry = env.dice.between(20, 200);
        let due = env.instant() + std::time::Duration::from_millis(retry);
        self.end(at, End::RetryAt(due), env);
    }

    pub(super) fn cut(&mut self, at: usize, number: u64, env: &mut Env<'_>) {
        if self.is_flight(at, number) {
            self.end(at, End::Cut, env);
        }
    }

    fn is_flight(&self, at: usize, number: u64) -> bool {
        matches!(&self.workers[at], Some(Worker::Busy { flight, .. }) if *flight == number)
    }

    fn end(&mut self, at: usize, end: End, env: &mut Env<'_>) {
        let Some(Worker::Busy { bell, job, push, .. }) = self.workers[at].take() else {
            return;
        };
        if let Some(push) = push {
            env.truth.push_ends(push, end == End::Done, env.now);
        }
        let end = if end == End::Cut && push.is_none() {
            End::NotStarted
        } else {
            end
        };
        if mutated(Mutation::OldEpochCounts) {
            self.dispatcher.count_in_the_present_epoch(&job);
        }
        self.dispatcher.end(Seat(at), job, end);
        self.workers[at] = Some(Worker::Wakes(bell));
        env.after(0, What::Take(at));
    }
}

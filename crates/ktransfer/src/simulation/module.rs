//! The module of one member: the real dispatcher with its ledgers, scheduler and commits, driven as `module`, `fetch`
//! and `worker` drive it, against the model's logs and backend.

mod fetching;
mod letters;
mod rereading;
mod workers;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;

use futures_util::FutureExt;
use kcommon::kafka::{CommitOffset, PartitionId};
use tokio::sync::Notify;

use super::dice::Time;
use super::env::{Env, Settings, What};
use super::mutation::{Mutation, mutated};
use crate::acks::{Acks, Builder};
use crate::assignment::{Assignment, Order, Report};
use crate::budget::Budget;
use crate::committer::Stored;
use crate::dispatcher::{Bounds, Dispatcher, Seat};
use crate::lease::Lease;
use crate::letter::Letter;
use crate::meters::Meters;
use rereading::Reader;
use workers::Worker;

/// Half as often as in `module`: half of all events would be ticks.
const TICK: Time = 100;
const QUIET_TICK: Time = 250;

struct Fetching {
    assignment: Assignment,
    position: i64,
    room: Rc<Notify>,
}

pub(super) struct Module {
    process: u64,
    dispatcher: Dispatcher,
    lease: Lease,
    workers: Vec<Option<Worker>>,
    fetching: BTreeMap<PartitionId, Fetching>,
    /// Assignments that wait until an older epoch of their partition has nothing on the wire.
    waiting: Vec<(Assignment, Acks)>,
    /// Drains that are answered already and yet to begin, for a mutation.
    early: Vec<Report>,
    /// The newest position that was reported for each partition, for a mutation.
    reported: BTreeMap<PartitionId, CommitOffset>,
    bell: Rc<Notify>,
    thirst: Rc<Notify>,
    letters_bell: Rc<Notify>,
    /// On their way to where they are stored.
    letters: BTreeMap<u64, Letter>,
    letter: u64,
    reader: Reader,
    lease_cut: bool,
    /// Which of the process's modules this is.
    number: u64,
    flights: u64,
    /// It has panicked.
    pub(super) dead: bool,
}

impl Module {
    pub(super) fn new(
        (process, number): (u64, u64),
        settings: &Settings,
        lease: Lease,
        env: &mut Env<'_>,
    ) -> Self {
        let bounds = Bounds {
            workers: settings.workers,
            max_uncommitted: settings.max_uncommitted,
            evicts: true,
            pace: crate::pace::Limits::default(),
            commit_interval: if mutated(Mutation::CommitsAreRare) {
                settings.commit_interval * 10
            } else {
                settings.commit_interval
            },
            slows_down: false,
        };
        let meters = Rc::new(Meters::new("simulated"));
        let dispatcher = Dispatcher::new(
            bounds,
            lease.clone(),
            Budget::new(settings.budget, 1),
            Stored::default(),
            meters,
        );
        let workers = (0..settings.workers).map(|at| Some(Worker::Wakes(dispatcher.seat(Seat(at)))));
        env.after(TICK, What::Tick(number));
        for at in 0..settings.workers {
            env.after(0, What::Take(at));
        }
        Self {
            process,
            workers: workers.collect(),
            bell: dispatcher.bell(),
            thirst: dispatcher.thirst(),
            letters_bell: dispatcher.letters(),
            letters: BTreeMap::new(),
            letter: 0,
            reader: Reader::default(),
            dispatcher,
            lease,
            fetching: BTreeMap::new(),
            waiting: Vec::new(),
            early: Vec::new(),
            reported: BTreeMap::new(),
            lease_cut: false,
            number,
            // No two of a process are the same: an end of a push of its last module may still come.
            flights: number << 32,
            dead: false,
        }
    }

    pub(super) fn handle(&mut self, what: What, env: &mut Env<'_>) {
        if self.dead {
            return;
        }
        match what {
            What::Tick(number) if number == self.number => self.tick(env),
            What::Tick(_) => {}
            // Whatever wakes the module's loop looks at the lease.
            What::LeaseEnds => {}
            What::Take(at) => self.take(at, env),
            What::Write(at, flight) => self.write(at, flight, env),
            What::Finish(at, flight, delivered) => self.finish(at, flight, delivered, env),
            What::Cut(at, flight) => self.cut(at, flight, env),
            What::Fetch(partition, epoch) => self.fetch(partition, epoch, env),
            What::Offer(number) if number == self.number => self.offer(env),
            What::Stored(number, letter) if number == self.number => self.stored(letter, env),
            What::Offer(_) | What::Stored(..) => {}
            What::Reread(number) if number == self.number => self.reread(env),
            What::Reread(_) => {}
            other => panic!("{other:?} is not the module's"),
        }
    }

    /// What the tasks that were woken do.
    pub(super) fn settle(&mut self, env: &mut Env<'_>) {
        if self.dead {
            return;
        }
        if !self.lease_cut && self.lease.cut_in().is_zero() {
            self.lease_cut = true;
            self.dispatcher.cut_all();
        }
        if self.bell.notified().now_or_never().is_some() {
            self.assign_waiting(env);
        }
        if self.letters_bell.notified().now_or_never().is_some() {
            env.after(0, What::Offer(self.number));
        }
        if self.thirst.notified().now_or_never().is_some() {
            self.begin_reading(env);
        }
        for at in 0..self.workers.len() {
            self.wake(at, env);
        }
        for (partition, fetching) in &self.fetching {
            if fetching.room.notified().now_or_never().is_some() {
                env.after(0, What::Fetch(*partition, fetching.assignment.epoch));
            }
        }
    }

    // Orders and reports.

    pub(super) fn obey(&mut self, order: Order, env: &mut Env<'_>) {
        if self.dead {
            return;
        }
        match order {
            Order::Assign { assignment, done } => {
                let done = self.perverted(assignment, done, env);
                self.waiting.push((assignment, done));
                self.assign_waiting(env);
            }
            Order::Revoke { assignment, .. } if mutated(Mutation::ReleaseBeforeDrain) => {
                self.early.push(Report::Drained {
                    assignment,
                    done: None,
                    cut: 0,
                });
            }
            Order::Revoke { assignment, deadline } => {
                self.stop_fetching(assignment);
                self.dispatcher.revoke(assignment, deadline);
            }
            Order::Lost { assignment } => {
                self.stop_fetching(assignment);
                self.dispatcher.lose(assignment);
            }
            Order::Partitions(_) => {}
            Order::CommitDone { assignment, outcome } => self.dispatcher.commit_done(assignment, outcome),
        }
    }

    pub(super) fn next_report(&mut self, env: &mut Env<'_>) -> Option<Report> {
        if self.dead {
            return None;
        }
        let mut report = self.early.pop().or_else(|| self.dispatcher.next_report())?;
        if let Report::Commit { assignment, done } = &mut report {
            if mutated(Mutation::NothingAboveIsStored) {
                *done = Acks::none(done.base());
            }
            self.reported.insert(assignment.partition, done.base());
            let base = done.base().get();
            let last = env.truth.last_ended(assignment.epoch).unwrap_or(0);
            if mutated(Mutation::CommitsLastPlusOne) && last >= base {
                *done = Acks::none(CommitOffset::try_from(last + 1).unwrap());
            }
            if mutated(Mutation::CommitsTheLast) && base > 0 {
                *done = Acks::none(CommitOffset::try_from(base - 1).unwrap());
            }
            env.truth.reported(*assignment, done, env.now);
        }
        Some(report)
    }

    fn assign_waiting(&mut self, env: &mut Env<'_>) {
        for (assignment, done) in std::mem::take(&mut self.waiting) {
            let waits = !mutated(Mutation::NoWaitForOlderEpochs) && !mutated(Mutation::OldEpochCounts);
            if waits && self.dispatcher.is_busy(assignment.partition) {
                self.waiting.push((assignment, done));
                continue;
            }
            let position = done.base();
            let room = self.dispatcher.assign(assignment, done, env.instant());
            let fetching = Fetching {
                assignment,
                position: position.get(),
                room,
            };
            self.fetching.insert(assignment.partition, fetching);
            let late = env.dice.below(30);
            env.after(late, What::Fetch(assignment.partition, assignment.epoch));
        }
    }

    /// What is done at the begin of an assignment; a mutation makes more of it.
    fn perverted(&self, assignment: Assignment, done: Acks, env: &Env<'_>) -> Acks {
        let partition = assignment.partition;
        if mutated(Mutation::PositionOutlivesTheClaim)
            && let Some(reported) = self.reported.get(&partition)
            && *reported > done.base()
        {
            return Acks::none(*reported);
        }
        if mutated(Mutation::AcksOutliveTheMove) {
            let mut more = Builder::new(done.base());
            for offset in env.truth.ended_here(partition) {
                more.add(&(offset..offset + 1));
            }
            return more.finish();
        }
        done
    }

    fn stop_fetching(&mut self, assignment: Assignment) {
        self.waiting.retain(|(waiting, _)| *waiting != assignment);
        let current = self.fetching.get(&assignment.partition);
        if current.is_some_and(|fetching| fetching.assignment == assignment) {
            self.fetching.remove(&assignment.partition);
        }
    }

    // Time.

    fn tick(&mut self, env: &mut Env<'_>) {
        self.dispatcher.tick(env.instant());
        let quiet = self.dispatcher.doze();
        env.after(if quiet { QUIET_TICK } else { TICK }, What::Tick(self.number));
        let left = self.lease.cut_in();
        self.lease_cut = self.lease_cut && left.is_zero();
        let left = u64::try_from(left.as_millis()).unwrap_or(Time::MAX);
        if (1..=QUIET_TICK).contains(&left) {
            env.after(left + 1, What::LeaseEnds);
        }
    }

    // For the world.

    /// It ends without a word; its connections are closed.
    pub(super) fn die(&mut self, env: &mut Env<'_>) {
        for worker in &self.workers {
            if let Some(Worker::Busy { push: Some(push), .. }) = worker {
                env.truth.push_ends(*push, false, env.now);
            }
        }
        self.dead = true;
    }

    /// The partitions that it delivers.
    pub(super) fn runs(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.fetching.keys().copied()
    }
}

impl Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module")
            .field("runs", &self.fetching.keys())
            .field("waiting", &self.waiting)
            .field("dead", &self.dead)
            .finish_non_exhaustive()
    }
}

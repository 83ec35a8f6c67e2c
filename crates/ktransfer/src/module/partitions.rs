//! A module's partitions: begun, given up and lost as coordination orders. A fetch has ended, and its queue is gone, before
//! its partition can be assigned again.

use std::convert::Infallible;
use std::rc::Rc;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Running;
use crate::acks::Acks;
use crate::assignment::{Assignment, Order};
use crate::dispatcher::Fullness;
use crate::fetch::{Fetch, Progress};
use crate::stall::{Limit, Stall};

/// A fetch task and what is known of it.
pub(super) struct Fetching {
    pub(super) assignment: Assignment,
    pub(super) task: JoinHandle<Infallible>,
    pub(super) progress: Rc<Progress>,
    stall: Stall,
    /// Whether it was told that the partition is full.
    pub(super) full_told: bool,
}

impl Fetching {
    /// What keeps records out of the partition, if it stands still.
    pub(super) fn stalled(&mut self, known: &Fullness, now: Instant) -> Option<Limit> {
        let still = self.stall.observe(known.limit.is_some(), known.reached, now);
        known.limit.filter(|_limit| still)
    }
}

impl Running {
    pub(super) async fn obey(&mut self, order: Order) {
        match order {
            Order::Assign { assignment, done } => {
                self.waiting.push((assignment, done));
                self.assign_waiting();
            }
            Order::Revoke { assignment, deadline } => {
                self.stop_fetching(assignment).await;
                self.dispatcher.borrow_mut().revoke(assignment, deadline);
            }
            Order::Lost { assignment } => {
                self.stop_fetching(assignment).await;
                self.dispatcher.borrow_mut().lose(assignment);
            }
            Order::Partitions(all) => self.dispatcher.borrow_mut().of_partitions(all),
            Order::CommitDone { assignment, outcome } => {
                self.dispatcher.borrow_mut().commit_done(assignment, outcome);
            }
        }
    }

    /// Begins the assignments whose partition is free of earlier epochs.
    pub(super) fn assign_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for (assignment, done) in waiting {
            if self.dispatcher.borrow().is_busy(assignment.partition) {
                self.waiting.push((assignment, done));
            } else {
                self.begin(assignment, done);
            }
        }
    }

    fn begin(&mut self, assignment: Assignment, done: Acks) {
        tracing::info!(
            module = self.source.module.name,
            partition = assignment.partition.0,
            epoch = assignment.epoch.get(),
            position = done.base().get(),
            done_above = done.count(),
            "partition assigned"
        );
        let room = self
            .dispatcher
            .borrow_mut()
            .assign(assignment, done, Instant::now());
        let progress = Rc::new(Progress::default());
        let fetch = Fetch::new(Rc::clone(&self.source), assignment, room, Rc::clone(&progress));
        let task = tokio::task::spawn_local(fetch.run());
        self.fetching.insert(
            assignment.partition,
            Fetching {
                assignment,
                task,
                progress,
                stall: Stall::default(),
                full_told: false,
            },
        );
    }

    async fn stop_fetching(&mut self, assignment: Assignment) {
        self.waiting.retain(|(waiting, _)| *waiting != assignment);
        if self
            .fetching
            .get(&assignment.partition)
            .is_none_or(|fetching| fetching.assignment != assignment)
        {
            return;
        }
        if let Some(fetching) = self.fetching.remove(&assignment.partition) {
            fetching.task.abort();
            // Its queue has to be gone before the partition can be assigned again.
            if let Err(error) = fetching.task.await
                && error.is_panic()
            {
                tracing::error!(
                    module = self.source.module.name,
                    partition = assignment.partition.0,
                    "the fetch of a partition had panicked"
                );
            }
            tracing::info!(
                module = self.source.module.name,
                partition = assignment.partition.0,
                epoch = assignment.epoch.get(),
                "partition no longer fetched"
            );
        }
    }
}

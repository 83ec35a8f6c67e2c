//! Ownership of a module's partitions through ZooKeeper: the shell around [`crate::claims`].
//!
//! One coordinator per module and life of it, on the process's own runtime: a module whose thread is busy does
//! not delay a heartbeat, a commit or another module. It tells its module what to do by [`Order`]s and hears from
//! it by [`Report`]s, over bounded channels; it waits for nothing that the module might never do without a limit.
//!
//! A session that ends takes all claims with it: the module is told [`Order::Lost`] for each, and with the next
//! session everything begins anew. A session that goes on through another client takes nothing with it: each claim is
//! read again, and goes on when it is confirmed. When the module itself ends, without draining, the coordinator gives up its
//! claims and its `ids` znode before it ends too, so that the supervisor can start both again.

pub(crate) mod first_start;
pub(crate) mod group;
mod health;
pub(crate) mod jobs;
mod life;
pub(crate) mod looks;
mod member;
pub mod meters;
mod parties;
pub(crate) mod servers;
pub(crate) mod store;
mod unowned;

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::assignment::{CommitOutcome, Order, Report};
use crate::claims::{Claims, Step};
pub use crate::config::InitialOffset;
use group::Group;
use health::Health;
use jobs::Answer;
use life::Life;
use looks::Looks;
use meters::Meters;
use store::Store;

pub(crate) use member::is_classic;
pub use member::new_id;
pub use parties::{Ended, Link, Module, Process};

/// A module that has been unable to run for so long leaves the group, so that the others take its share.
const UNABLE_PATIENCE: Duration = Duration::from_secs(10);

/// A module that finds every partition owned joins the group only when it has lived for so long: one that crashes in a
/// loop moves nothing, and leaves no members behind whose sessions last longer than they did.
const JOIN_DELAY: Duration = Duration::from_secs(2);

/// What the end of a coordinator may take beyond the drain of its module.
const GRACE: Duration = Duration::from_secs(5);

/// Coordinates one module until `stop` or until the module ends. Ends at the latest `drain_timeout` and 5 s after.
pub async fn run(module: Module, process: Process, link: Link, stop: CancellationToken) -> Ended {
    let meters = Meters::new(&module.name);
    let mut coordinator = Coordinator {
        module,
        process,
        link,
        stop,
        meters,
        outbox: VecDeque::new(),
        life: None,
        began: Instant::now(),
        joined: false,
        ending: None,
        said: None,
    };
    coordinator.session_changed();
    coordinator.tell_health();
    let ended = loop {
        if let Some(ended) = coordinator.ended() {
            break ended;
        }
        let event = coordinator.next_event().await;
        coordinator.handle(event);
    };
    coordinator.meters.held.set(0.0);
    coordinator.meters.unowned.set(0.0);
    coordinator.meters.stopped.set(0.0);
    coordinator.meters.acks_stored.set(0.0);
    ended
}

/// Deletes whatever the process still has of a module in its present session: the `ids` znode and the owner znodes.
/// For a coordinator that ended by a panic, which could not do it itself; call it when the module has ended too, and
/// before it is started again. Gives up after 5 s: then the end of the session does it.
pub async fn sweep(module: &Module, process: &Process) {
    let mut sessions = process.sessions.clone();
    let Some(session) = sessions.current() else { return };
    let mut group = Group::new(Store::new(session, module, process));
    let _elapsed = tokio::time::timeout(GRACE, group.sweep()).await.is_err();
}

struct Coordinator {
    module: Module,
    process: Process,
    link: Link,
    stop: CancellationToken,
    meters: Meters,
    /// Orders that the module has not taken yet: a handful for each partition at most.
    outbox: VecDeque<Order>,
    /// `None` while there is no session.
    life: Option<Life>,
    began: Instant,
    /// Whether we have asked to be a member.
    joined: bool,
    /// Why we are ending, and when we do so in any case.
    ending: Option<(Ended, Instant)>,
    /// What was told last.
    said: Option<Health>,
}

enum Event {
    Session,
    Stop,
    Time,
    Sent,
    Answer(Answer),
    Report(Report),
    ModuleEnded,
    Look(looks::Event),
}

impl Coordinator {
    async fn next_event(&mut self) -> Event {
        let wake = self.wake();
        let (jobs, looks) = match &mut self.life {
            Some(life) => (Some(&mut life.jobs), Some(&mut life.looks)),
            None => (None, None),
        };
        let module_lives = !matches!(self.ending, Some((Ended::ModuleEnded, _)));
        tokio::select! {
            // A lost session first: nothing else counts then. Time before what comes in numbers, so that a look
            // at the group is never starved by commits.
            biased;
            () = self.process.sessions.changed() => Event::Session,
            () = self.stop.cancelled(), if self.ending.is_none() => Event::Stop,
            () = tokio::time::sleep_until(wake) => Event::Time,
            permit = self.link.orders.reserve(), if module_lives && !self.outbox.is_empty() => match permit {
                Ok(permit) => {
                    if let Some(order) = self.outbox.pop_front() {
                        permit.send(order);
                    }
                    Event::Sent
                }
                Err(_closed) => Event::ModuleEnded,
            },
            Some(answer) = async { jobs?.next().await } => Event::Answer(answer),
            event = Looks::event(looks) => Event::Look(event),
            report = self.link.reports.recv(), if module_lives => report.map_or(Event::ModuleEnded, Event::Report),
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Sent => {}
            Event::Session => self.session_changed(),
            Event::Stop => self.begin_stop(),
            Event::ModuleEnded => self.module_ended(),
            Event::Time => {
                let present = self.wants_to_be_present();
                if let Some(life) = &mut self.life {
                    let joins = !self.joined && present && life.can_look();
                    self.joined |= joins;
                    life.tick(present, joins);
                }
            }
            Event::Answer(answer) => {
                if let Some(life) = &mut self.life {
                    let steps = life.answered(answer, &self.meters);
                    self.perform(steps);
                }
            }
            Event::Report(report) => self.reported(report),
            Event::Look(looks::Event::Changed) => {
                if let Some(life) = &mut self.life {
                    life.looks.soon();
                }
            }
            Event::Look(looks::Event::Seen { outcome, overtaken }) => {
                let may_join = !self.joined && self.may_be_present();
                if let Some(life) = &mut self.life {
                    let steps = life.looked(outcome, overtaken, &self.meters);
                    if may_join && life.has_free() {
                        // There is something for us.
                        life.looks.all_now(Instant::now());
                    }
                    self.perform(steps);
                }
            }
        }
        self.tell_health();
    }

    /// Whether we are done.
    fn ended(&self) -> Option<Ended> {
        let (ended, by) = self.ending?;
        let idle = self.life.as_ref().is_none_or(Life::is_idle);
        let told = ended == Ended::ModuleEnded || self.outbox.is_empty();
        if idle && told {
            return Some(ended);
        }
        if Instant::now() < by {
            return None;
        }
        let left = self.life.as_ref().map_or(0, |life| life.claims.len());
        tracing::error!(
            module = self.module.name,
            partitions = left,
            "not everything could be released in time; the end of the session will do it"
        );
        Some(ended)
    }

    fn wake(&self) -> Instant {
        let far = Instant::now() + UNABLE_PATIENCE;
        let life = self.life.as_ref().map_or(far, |life| {
            let joins = !self.joined && self.may_be_present() && life.can_look();
            let join = joins.then(|| self.began + JOIN_DELAY);
            join.map_or(life.wake(), |at| at.min(life.wake()))
        });
        self.ending.map_or(life, |(_ended, by)| life.min(by))
    }

    fn session_changed(&mut self) {
        let session = self.process.sessions.current();
        if let (Some(life), Some(session)) = (&mut self.life, &session)
            && life.store.session.id() == session.id()
        {
            let steps = life.reattached(session.clone());
            self.perform(steps);
            return;
        }
        if let Some(mut life) = self.life.take() {
            let steps = life.claims.lost();
            life.perform(steps, &mut self.outbox, &self.meters);
            self.meters.held.set(0.0);
        }
        let Some(session) = session.filter(|_session| self.ending.is_none()) else {
            return;
        };
        let store = Store::new(session, &self.module, &self.process);
        let claims = Claims::new(
            self.process.member.clone(),
            self.process.epochs.clone(),
            self.module.drain_timeout,
        );
        let sessions = self.process.sessions.clone();
        self.life = Some(Life::new(store, claims, sessions, &self.module));
    }

    /// First the `ids` znode, so that the others' quotas grow before our partitions are free; then the drain.
    fn begin_stop(&mut self) {
        let deadline = Instant::now() + self.module.drain_timeout;
        self.ending = Some((Ended::Stopped, deadline + GRACE));
        if let Some(life) = &mut self.life {
            life.leave();
            let steps = life.claims.stop(deadline);
            self.perform(steps);
        }
    }

    fn module_ended(&mut self) {
        let now = Instant::now();
        self.ending = Some((Ended::ModuleEnded, now + GRACE));
        self.outbox.clear();
        if let Some(life) = &mut self.life {
            life.leave();
            let steps = life.claims.abandon(now);
            self.perform(steps);
        }
    }

    fn reported(&mut self, report: Report) {
        let steps = match (&mut self.life, report) {
            (Some(life), Report::Commit { assignment, done }) => life.claims.commit(assignment, done),
            (
                Some(life),
                Report::Drained {
                    assignment,
                    done,
                    cut,
                },
            ) => {
                if cut > 0 {
                    tracing::warn!(
                        module = self.module.name,
                        partition = %assignment.partition,
                        requests = cut,
                        "requests were cut at the end of the drain; their records will be pushed again"
                    );
                }
                life.claims.drained(assignment, done, Instant::now())
            }
            (Some(life), Report::Truncated { assignment, position }) => {
                life.claims.truncated(assignment, position, Instant::now())
            }
            (None, Report::Commit { assignment, .. }) => {
                vec![Step::Tell(Order::CommitDone {
                    assignment,
                    outcome: CommitOutcome::Refused,
                })]
            }
            (None, Report::Drained { .. } | Report::Truncated { .. }) => Vec::new(),
        };
        self.perform(steps);
    }

    fn perform(&mut self, steps: Vec<Step>) {
        if let Some(life) = &mut self.life {
            life.perform(steps, &mut self.outbox, &self.meters);
            return;
        }
        for step in steps {
            // Without a session there are only answers.
            if let Step::Tell(order) = step {
                self.outbox.push_back(order);
            }
        }
    }

    /// Whether nothing speaks against being a member.
    fn may_be_present(&self) -> bool {
        let unable = self.life.as_ref().and_then(Life::unable);
        let too_long = unable.is_some_and(|since| since.elapsed() >= UNABLE_PATIENCE);
        self.ending.is_none() && !too_long
    }

    fn wants_to_be_present(&self) -> bool {
        let worth_it = self.joined || self.began.elapsed() >= JOIN_DELAY;
        let worth_it = worth_it || self.life.as_ref().is_some_and(Life::has_free);
        self.may_be_present() && worth_it
    }

    fn tell_health(&mut self) {
        let health = match &self.life {
            Some(life) => life.health(),
            None => Health::Starting("waiting for a ZooKeeper session"),
        };
        if self.said.as_ref() == Some(&health) {
            return;
        }
        match &health {
            Health::Starting(step) => self.link.latch.not_ready(*step),
            Health::Problem(reason) => {
                tracing::warn!(
                    module = self.module.name,
                    reason,
                    "the module does not run as it should"
                );
                self.link.latch.not_ready(reason);
            }
            Health::Well => {
                tracing::info!(module = self.module.name, "the module takes part");
                self.link.latch.ready();
            }
        }
        self.said = Some(health);
    }
}

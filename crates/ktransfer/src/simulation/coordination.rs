//! The coordination of one member in one session: the real claims, the real requests and the real looks at the group,
//! polled by hand. It does what `coordinator::life` does, at the times of the model.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future as _;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use kcommon::kafka::{PartitionId, TopicName};

use super::dice::Time;
use super::env::{Env, Settings, What};
use super::kafka::Kafka;
use super::mutation::{Mutation, mutated};
use super::session::{Client, Label};
use crate::assignment::{CommitOutcome, Order, Report};
use crate::claims::{CLAIMS_IN_FLIGHT, Claims, Step, View};
use crate::config::InitialOffset;
use crate::coordinator::first_start::prepare;
use crate::coordinator::group::Seen;
use crate::coordinator::jobs::{self, Answer, Job};
use crate::coordinator::looks::{Event, Looks, Outcome};
use crate::coordinator::servers::ZooKeeper as _;
use crate::coordinator::store::Store;

pub(super) const MODULE: &str = "m";
pub(super) const TOPIC: &str = "t";

/// Labels of requests: heartbeats, and looks; jobs have greater ones.
pub(super) const BEAT: Label = 0;
const LOOK: Label = 1;
const FIRST_JOB: Label = 2;

pub(super) fn topic() -> TopicName {
    TopicName::try_from(TOPIC.to_owned()).unwrap()
}

pub(super) struct Coordination {
    pub(super) client: Client,
    pub(super) claims: Claims,
    store: Store<Client, Kafka>,
    looks: Looks<Client, Kafka>,
    jobs: BTreeMap<Label, Job>,
    labels: Label,
    partitions: BTreeSet<PartitionId>,
    ready: bool,
    pub(super) present: bool,
    leaving: bool,
    /// When the next tick comes.
    ticks_at: Time,
    drain: Duration,
    initial: InitialOffset,
}

impl Coordination {
    pub(super) fn new(
        client: Client,
        member: &str,
        claims: Claims,
        settings: &Settings,
        kafka: &Kafka,
    ) -> Self {
        let store = Store {
            session: client.clone(),
            module: MODULE.to_owned(),
            topic: topic(),
            member: member.to_owned(),
            watermarks: kafka.clone(),
        };
        Self {
            client,
            claims,
            looks: Looks::new(store.clone()),
            store,
            jobs: BTreeMap::new(),
            labels: FIRST_JOB,
            partitions: BTreeSet::new(),
            ready: false,
            present: true,
            leaving: false,
            ticks_at: 0,
            drain: settings.drain,
            initial: settings.initial,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.claims.is_empty() && !self.leaving
    }

    /// The brokers are asked for the topic.
    pub(super) fn ask_topic(&mut self, env: &mut Env<'_>) {
        let answers = env.kafka.lock().up;
        if answers {
            let known = self.partitions.len();
            self.partitions.extend(env.kafka.partitions());
            if self.ready && self.partitions.len() > known {
                self.looks.soon();
            }
            if !self.ready && self.jobs.is_empty() {
                self.prepare(env);
            }
        }
        if self.ready {
            let store = self.store.clone();
            let job = async move { Answer::Identity(store.topic_identity().await) };
            self.start(job.boxed(), env);
        }
        env.after(
            if self.ready { 5_000 } else { 1_000 },
            What::Topic(self.client.id().0),
        );
    }

    fn prepare(&mut self, env: &mut Env<'_>) {
        let store = self.store.clone();
        let partitions: Vec<PartitionId> = self.partitions.iter().copied().collect();
        let initial = self.initial;
        let job = async move { Answer::Prepared(prepare(&store, &partitions, initial).await) };
        self.start(job.boxed(), env);
    }

    fn start(&mut self, job: Job, env: &mut Env<'_>) {
        self.labels += 1;
        self.jobs.insert(self.labels, job);
        self.poll(self.labels, env);
    }

    /// Something that `label` waits for has come.
    pub(super) fn poll(&mut self, label: Label, env: &mut Env<'_>) {
        if label == LOOK {
            return self.look_event(env);
        }
        let Some(job) = self.jobs.get_mut(&label) else {
            return;
        };
        self.client.lock().label = label;
        let polled = job.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(answer) = polled {
            self.jobs.remove(&label);
            let steps = self.answered(answer, env);
            self.perform(steps, env);
        }
    }

    /// A watch fired, or the look under way has ended.
    fn look_event(&mut self, env: &mut Env<'_>) {
        self.client.lock().label = LOOK;
        let polled = {
            let event = std::pin::pin!(Looks::event(Some(&mut self.looks)));
            event.poll(&mut Context::from_waker(Waker::noop()))
        };
        match polled {
            Poll::Pending => {}
            Poll::Ready(Event::Changed) => self.looks.soon(),
            Poll::Ready(Event::Seen { outcome, overtaken }) => self.looked(outcome, overtaken, env),
        }
        self.plan_look(env);
    }

    fn looked(&mut self, outcome: Outcome, overtaken: BTreeSet<PartitionId>, env: &mut Env<'_>) {
        match outcome {
            Ok(Some(seen)) => self.seen(seen, overtaken, env),
            Ok(None) => {
                self.ready = false;
                self.prepare(env);
            }
            Err(_unknown) => self.looks.failed(env.instant()),
        }
    }

    fn seen(&mut self, seen: Seen, overtaken: BTreeSet<PartitionId>, env: &mut Env<'_>) {
        let mut view = View {
            session: self.client.id().0,
            partitions: self.partitions.clone(),
            members: seen.members,
            classic: seen.classic,
            owners: seen.owners,
            overtaken,
        };
        if mutated(Mutation::QuotaOffByOne) {
            view.partitions.pop_last();
        }
        let steps = self.claims.seen(&view, env.instant());
        self.perform(steps, env);
    }

    fn answered(&mut self, answer: Answer, env: &mut Env<'_>) -> Vec<Step> {
        let now = env.instant();
        match answer {
            Answer::Claims(answer) => {
                let confirm = |epoch| env.confirmed.push(epoch);
                jobs::take(answer, now, &mut self.claims, &mut self.looks, confirm)
            }
            Answer::Deregistered => {
                self.leaving = false;
                Vec::new()
            }
            Answer::Prepared(outcome) => {
                self.ready = outcome.is_ok();
                self.looks.all_now(now);
                Vec::new()
            }
            Answer::Identity(Ok(Some(topic))) => self.claims.topic_is(&topic, now + self.drain),
            Answer::Identity(_unknown) => Vec::new(),
            Answer::Topic(_) => panic!("the model asks for the topic itself"),
        }
    }

    pub(super) fn perform(&mut self, steps: Vec<Step>, env: &mut Env<'_>) {
        let work = jobs::begin(&self.store, steps);
        for order in work.orders {
            env.order(self.client.id().0, order);
        }
        for job in work.jobs {
            self.start(job, env);
        }
        // A claim, a commit or a release, and a look at the offset; the first start and the topic's identity are more.
        let most = 2 * self.claims.len() + CLAIMS_IN_FLIGHT + 2;
        assert!(self.jobs.len() <= most, "requests are bounded by what is held");
        self.plan_look(env);
    }

    /// The module says something.
    pub(super) fn report(&mut self, report: Report, env: &mut Env<'_>) {
        let steps = match report {
            Report::Commit { assignment, done } => {
                env.truth.tried(assignment.partition, done.base().get());
                self.claims.commit(assignment, done)
            }
            Report::Drained { assignment, done, .. } => self.claims.drained(assignment, done, env.instant()),
            Report::Truncated { assignment, position } => {
                self.claims.truncated(assignment, position, env.instant())
            }
        };
        self.perform(steps, env);
    }

    /// Looks at the group if it is time.
    pub(super) fn tick(&mut self, env: &mut Env<'_>) {
        if env.now < self.ticks_at {
            return;
        }
        let due = self.looks.due();
        if due.is_none() {
            // Under way: its answers poll it.
            return self.plan_look(env);
        }
        self.look_event(env);
        if self.ready && self.looks.due().is_some_and(|due| due <= env.instant()) {
            self.looks.begin(self.present, env.instant());
            self.look_event(env);
        }
    }

    fn plan_look(&mut self, env: &mut Env<'_>) {
        if self.ticks_at <= env.now {
            // A watch may fire before a look is due, and a release may be.
            let due = self.looks.due().filter(|_due| self.ready);
            let wait = due.map_or(250, |due| {
                let wait = due.saturating_duration_since(env.instant());
                u64::try_from(wait.as_millis()).unwrap().clamp(1, 250)
            });
            self.ticks_at = env.now + wait;
            env.after(wait, What::Look(self.client.id().0));
        }
    }

    /// Our `ids` znode goes first.
    pub(super) fn leave(&mut self, env: &mut Env<'_>) {
        self.present = false;
        self.looks.cancel();
        self.leaving = true;
        let store = self.store.clone();
        let leaving = async move {
            store.deregister().await;
            Answer::Deregistered
        };
        self.start(leaving.boxed(), env);
    }

    /// The same session goes on through another client; the requests of the former are at an end.
    pub(super) fn reattached(&mut self, client: Client, env: &mut Env<'_>) {
        let labels: Vec<Label> = self.jobs.keys().copied().collect();
        let (before, after): (Vec<Label>, Vec<Label>) =
            labels.into_iter().partition(|_label| env.dice.one_in(2));
        for label in before {
            self.poll(label, env);
        }
        self.client = client.clone();
        self.store.session = client;
        self.looks = Looks::new(self.store.clone());
        let steps = self.claims.reattached();
        self.perform(steps, env);
        for label in after {
            env.after(1, What::Answered(self.client.id().0, label, 0));
        }
    }

    pub(super) fn stop(&mut self, drain: Duration, env: &mut Env<'_>) {
        let steps = self.claims.stop(env.instant() + drain);
        self.perform(steps, env);
    }

    pub(super) fn abandon(&mut self, env: &mut Env<'_>) {
        let steps = self.claims.abandon(env.instant());
        // Orders to a module that is no more have nowhere to go.
        let requests = steps.into_iter().filter(|step| !matches!(step, Step::Tell(_)));
        self.perform(requests.collect(), env);
    }

    /// The session is over.
    pub(super) fn lost(mut self, env: &mut Env<'_>) -> Claims {
        if !mutated(Mutation::ClaimsOutliveTheSession) {
            for step in self.claims.lost() {
                if let Step::Tell(order) = step {
                    env.order(self.client.id().0, order);
                }
            }
        }
        self.claims
    }
}

/// What a module hears of a commit while there is no session.
pub(super) fn refused(report: &Report) -> Option<Order> {
    match report {
        Report::Commit { assignment, .. } => Some(Order::CommitDone {
            assignment: *assignment,
            outcome: CommitOutcome::Refused,
        }),
        Report::Drained { .. } | Report::Truncated { .. } => None,
    }
}

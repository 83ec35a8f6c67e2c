//! One session of a module's coordination: the claims, the requests on their way, and when to look again.

mod topic;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::FuturesUnordered;
use kcommon::kafka::PartitionId;
use kcommon::zookeeper::{Session, layout};
use tokio::time::Instant;

use super::group::Seen;
use super::health::Health;
use super::jobs::{self, Answer, ClaimsAnswer, Job};
use super::looks::{FULL_EVERY, Looks, Outcome};
use super::meters::Meters;
use super::parties::Module;
use super::store::Store;
use super::unowned::Unowned;
use crate::assignment::Order;
use crate::claims::{Claims, Step, View};
use crate::config::InitialOffset;
use crate::sessions::Sessions;

/// How often it is looked whether the topic is still the same.
const IDENTITY_EVERY: Duration = Duration::from_secs(30);

/// How far the module has come towards running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Its topic, or the start of it, is not known yet.
    Waiting,
    /// Its znodes are being made.
    Preparing,
    /// It can claim.
    Ready,
}

pub(super) struct Life {
    pub(super) store: Store,
    pub(super) looks: Looks,
    pub(super) claims: Claims,
    pub(super) jobs: FuturesUnordered<Job>,
    sessions: Sessions,
    initial: InitialOffset,
    /// Never shrinks: a topic that the brokers do not know for a moment has not lost its partitions.
    partitions: BTreeSet<PartitionId>,
    /// Their number as the module was told.
    told: usize,
    progress: Progress,
    /// Why the module cannot run, or cannot see what it should.
    problem: Option<String>,
    /// Since when no broker has answered, or they have not known the topic.
    unable: Option<Instant>,
    unowned: Unowned,
    /// Whether the last look found a partition without owner.
    free: bool,
    /// Whether we were a member after the last look.
    member: bool,
    /// Whether the deletion of our `ids` znode is on its way.
    leaving: bool,
    /// `None` while the brokers are being asked.
    next_topic: Option<Instant>,
    next_identity: Instant,
    /// Until when the number of partitions may fall, because the topic was created anew.
    renewal_ends: Instant,
    drain_timeout: Duration,
}

impl Life {
    pub(super) fn new(store: Store, claims: Claims, sessions: Sessions, module: &Module) -> Self {
        let now = Instant::now();
        Self {
            looks: Looks::new(store.clone()),
            store,
            claims,
            jobs: FuturesUnordered::new(),
            sessions,
            initial: module.initial_offset,
            partitions: BTreeSet::new(),
            told: 0,
            progress: Progress::Waiting,
            problem: None,
            unable: None,
            unowned: Unowned::default(),
            free: false,
            member: false,
            leaving: false,
            next_topic: Some(now),
            next_identity: now + IDENTITY_EVERY,
            renewal_ends: now,
            drain_timeout: module.drain_timeout,
        }
    }

    /// Sends the requests among `steps` and puts the orders into `outbox`.
    pub(super) fn perform(&mut self, steps: Vec<Step>, outbox: &mut VecDeque<Order>, meters: &Meters) {
        let work = jobs::begin(&self.store, steps);
        self.jobs.extend(work.jobs);
        let lost = work
            .orders
            .iter()
            .filter(|order| matches!(order, Order::Lost { .. }))
            .count();
        meters.lost.increment(lost as u64);
        outbox.extend(work.orders);
    }

    /// Takes an answer in; what follows from it.
    pub(super) fn answered(&mut self, answer: Answer, meters: &Meters) -> Vec<Step> {
        let now = Instant::now();
        match answer {
            Answer::Claims(answer) => self.claims_answered(answer, now, meters),
            Answer::Topic(answer) => {
                self.topic(answer, now);
                Vec::new()
            }
            Answer::Identity(answer) => self.identity(answer, now),
            Answer::Prepared(outcome) => {
                self.prepared(outcome);
                Vec::new()
            }
            Answer::Deregistered => {
                self.leaving = false;
                Vec::new()
            }
        }
    }

    fn claims_answered(&mut self, answer: ClaimsAnswer, now: Instant, meters: &Meters) -> Vec<Step> {
        let is_commit = if let ClaimsAnswer::Committed(assignment, committed) = &answer {
            if committed.is_err() && self.claims.is_classic() {
                tracing::warn!(
                    module = self.store.module,
                    topic = %self.store.topic,
                    partition = %assignment.partition,
                    "somebody else wrote the offset of a partition of ours while a classic member is in the \
                     group; writing ours again"
                );
            }
            meters.committed(&self.store.module, assignment.partition, committed);
            true
        } else {
            false
        };
        let confirm = |epoch| self.sessions.confirm(epoch);
        let steps = jobs::take(answer, now, &mut self.claims, &mut self.looks, confirm);
        if is_commit {
            meters.acks_stored.set(gauge(self.claims.stored_above()));
        } else {
            meters.held.set(gauge(self.claims.owned() as u64));
        }
        steps
    }

    /// The same session goes on through another client. What the former one has on its way ends by itself.
    pub(super) fn reattached(&mut self, session: Session) -> Vec<Step> {
        self.store.session = session;
        self.looks = Looks::new(self.store.clone());
        self.claims.reattached()
    }

    /// Deletes our `ids` znode. The request is sent when this returns, and so before any that follows; its answer
    /// comes like any other.
    pub(super) fn leave(&mut self) {
        // A look under way may be about to create it.
        self.looks.cancel();
        self.leaving = true;
        let store = self.store.clone();
        let mut leaving = async move {
            store.deregister().await;
            Answer::Deregistered
        }
        .boxed();
        match (&mut leaving).now_or_never() {
            Some(_answered) => self.leaving = false,
            None => self.jobs.push(leaving),
        }
    }

    /// Whether nothing is held and nothing that matters is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.claims.is_empty() && !self.leaving
    }

    /// When [`Life::tick`] has something to do.
    pub(super) fn wake(&self) -> Instant {
        let times = [self.look_at(), self.next_topic];
        times
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + FULL_EVERY)
    }

    fn look_at(&self) -> Option<Instant> {
        let due = self.looks.due().filter(|_due| self.progress == Progress::Ready)?;
        let release = self.claims.next_release(self.partitions.len());
        // A release that was due at the last look waits for its drain, not for another look.
        let release = release.filter(|at| *at > self.looks.last());
        Some(release.map_or(due, |at| due.min(at)))
    }

    /// Begins what is due: asks for the topic, looks at the group. `present` says whether we want to be a member, and
    /// `joins` that we want it for the first time.
    pub(super) fn tick(&mut self, present: bool, joins: bool) {
        let now = Instant::now();
        if self.next_topic.is_some_and(|at| at <= now) {
            self.next_topic = None;
            let store = self.store.clone();
            let asking =
                async move { Answer::Topic(store.watermarks.partitions(&store.session, &store.topic).await) };
            self.jobs.push(asking.boxed());
        }
        if self.progress != Progress::Ready {
            return;
        }
        if self.next_identity <= now {
            self.next_identity = now + IDENTITY_EVERY;
            let store = self.store.clone();
            self.jobs
                .push(async move { Answer::Identity(store.topic_identity().await) }.boxed());
        }
        if self.look_at().is_some_and(|at| joins || at <= now) {
            self.looks.begin(present, now);
        }
    }

    /// Takes the outcome of a look in; what follows from it.
    pub(super) fn looked(
        &mut self,
        outcome: Outcome,
        overtaken: BTreeSet<PartitionId>,
        meters: &Meters,
    ) -> Vec<Step> {
        let now = Instant::now();
        match outcome {
            Ok(Some(seen)) => self.seen(seen, overtaken, meters),
            Ok(None) => {
                tracing::warn!(
                    module = self.store.module,
                    "the module's znodes were deleted; making them again"
                );
                self.progress = Progress::Waiting;
                self.next_topic = Some(now);
                Vec::new()
            }
            Err(error) => {
                tracing::debug!(module = self.store.module, %error, "the group could not be read");
                self.looks.failed(now);
                Vec::new()
            }
        }
    }

    /// Whether a look may begin now.
    pub(super) fn can_look(&self) -> bool {
        self.progress == Progress::Ready && self.looks.due().is_some()
    }

    /// Whether the last look found a partition that nobody owns.
    pub(super) fn has_free(&self) -> bool {
        self.free
    }

    /// Since when nothing can be delivered: no broker has answered, or they have not known the topic.
    pub(super) fn unable(&self) -> Option<Instant> {
        self.unable
    }

    /// Whether the module runs as it should.
    pub(super) fn health(&self) -> Health {
        if let Some(problem) = &self.problem {
            return Health::Problem(problem.clone());
        }
        match self.progress {
            Progress::Waiting => return Health::Starting("asking the brokers for the topic"),
            Progress::Preparing => return Health::Starting("making the module's znodes"),
            Progress::Ready if !self.member => return Health::Starting("joining the group"),
            Progress::Ready => {}
        }
        let mut stopped = self.claims.stopped();
        let Some((partition, error)) = stopped.next() else {
            return Health::Well;
        };
        let more = match stopped.count() {
            0 => String::new(),
            more => format!(" (and {more} more partitions)"),
        };
        let znode = layout::offset(&self.store.module, self.store.topic.as_str(), partition);
        Health::Problem(format!(
            "partition {partition} is not delivered{more}: its offset znode {znode} is {error}; write the next \
             offset to deliver into it"
        ))
    }

    fn seen(&mut self, seen: Seen, overtaken: BTreeSet<PartitionId>, meters: &Meters) -> Vec<Step> {
        let now = Instant::now();
        self.member = seen.members.contains(&self.store.member);
        let view = View {
            session: self.store.session.id().0,
            partitions: self.partitions.clone(),
            members: seen.members,
            classic: seen.classic,
            owners: seen.owners,
            overtaken,
        };
        let before = self.claims.is_classic();
        let mut steps = self.claims.seen(&view, now);
        if std::mem::replace(&mut self.told, self.partitions.len()) != self.partitions.len() {
            steps.insert(0, Step::Tell(Order::Partitions(self.partitions.len())));
        }
        match (before, self.claims.is_classic()) {
            (false, true) => tracing::warn!(
                module = self.store.module,
                "a classic member is in the group: following its plan, and adopting no offset that others write"
            ),
            (true, false) => tracing::info!(
                module = self.store.module,
                "no classic member is in the group any more: sharing by quota"
            ),
            _ => {}
        }
        let unowned = view
            .partitions
            .iter()
            .filter(|partition| !view.owners.contains_key(partition) && !view.overtaken.contains(partition));
        let unowned: Vec<PartitionId> = unowned.copied().collect();
        let overdue = self.unowned.note(&unowned, now);
        self.free = !unowned.is_empty();
        if let Some(first) = overdue.first() {
            tracing::error!(
                module = self.store.module,
                topic = %self.store.topic,
                count = overdue.len(),
                %first,
                members = view.members.len(),
                "partitions have had no owner for 5 s: nobody delivers them"
            );
        }
        meters.unowned.set(gauge(self.unowned.overdue() as u64));
        meters.held.set(gauge(self.claims.owned() as u64));
        meters.stopped.set(gauge(self.claims.stopped().count() as u64));
        meters.acks_stored.set(gauge(self.claims.stored_above()));
        steps
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn gauge(count: u64) -> f64 {
    count as f64
}

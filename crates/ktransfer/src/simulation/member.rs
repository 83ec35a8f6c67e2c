//! One process: its session's keeper with the lease, its coordination, and its module. Both sides hear of each other
//! over queues, in order and late.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::time::Duration;

use kcommon::kafka::PartitionId;
use tokio::time::Instant;

use super::coordination::{BEAT, Coordination, refused};
use super::dice::{Dice, Time, boot_time};
use super::kafka::Kafka;
use super::module::Module;
use super::mutation::{Mutation, mutated};
use super::session::{Client, Label, Request};
use super::truth::Truth;
use crate::assignment::{Epoch, Epochs, Order, Report};
use crate::claims::Claims;
use crate::lease::{BootTime, Lease, Terms};

/// What can happen to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// An answer for whom this label stands, in this session.
    Answered(i64, Label, u64),
    Beat(i64),
    Look(i64),
    Topic(i64),
    /// The session is over, and the keeper has learned it.
    SessionOver(i64),
    /// So has the coordinator.
    ClaimsOver(i64),
    Connect,
    /// The next order reaches the module.
    Order,
    /// The next report reaches the coordinator.
    Report,
    /// Of the module with this number.
    Tick(u64),
    /// The lease may have run out.
    LeaseEnds,
    Take(usize),
    Write(usize, u64),
    Finish(usize, u64, bool),
    Cut(usize, u64),
    Fetch(PartitionId, Epoch),
    /// A clean stop begins.
    Stop,
    /// It ends, whatever is left.
    Exit,
    /// The module's task ends with a panic; the process goes on.
    ModuleDies,
}

impl What {
    /// Whether it happens on the module's thread.
    pub(super) fn is_of_module(self) -> bool {
        use What::{Cut, Fetch, Finish, LeaseEnds, Order, Take, Tick, Write};
        matches!(
            self,
            Order | Tick(_) | LeaseEnds | Take(_) | Write(..) | Finish(..) | Cut(..) | Fetch(..)
        )
    }
}

/// What a process sees of the world, and how it acts on it.
pub(super) struct Env<'a> {
    pub(super) now: Time,
    pub(super) base: Instant,
    pub(super) dice: &'a mut Dice,
    pub(super) truth: &'a mut Truth,
    pub(super) kafka: &'a Kafka,
    pub(super) backend: &'a Backend,
    /// Events of this process, with their times.
    pub(super) events: Vec<(Time, What)>,
    /// Pushes that the backend will have taken, or refused, by then.
    pub(super) pushes: Vec<(Time, usize, u64, u64, bool)>,
    pub(super) orders: Vec<Order>,
    /// Epochs that were confirmed to be ours after the session was attached to anew.
    pub(super) confirmed: Vec<Epoch>,
}

/// The backend of this moment.
#[derive(Debug, Default)]
pub(super) struct Backend {
    /// Keys that fail whatever their record is.
    pub(super) stuck: BTreeSet<(PartitionId, u8)>,
    /// One in so many pushes fails; 0: none.
    pub(super) failing: u64,
    /// The longest that a push takes.
    pub(super) slowest: Time,
}

impl Env<'_> {
    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_millis(self.now)
    }

    pub(super) fn after(&mut self, wait: Time, what: What) {
        self.events.push((self.now + wait, what));
    }

    pub(super) fn order(&mut self, session: i64, order: Order) {
        if let Order::Assign { assignment, done } = &order {
            self.truth.assigned(*assignment, session, done);
        }
        self.orders.push(order);
    }
}

/// What all processes of a run have in common.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) timeout: Time,
    pub(super) drain: Duration,
    pub(super) commit_interval: Duration,
    pub(super) max_uncommitted: usize,
    pub(super) workers: usize,
    pub(super) epochs: Epochs,
}

impl Settings {
    pub(super) fn terms(&self) -> Terms {
        Terms::new(Duration::from_millis(self.timeout))
    }
}

pub(super) struct Member {
    /// Which process this is: no two are the same.
    pub(super) process: u64,
    pub(super) id: String,
    settings: Settings,
    lease: Lease,
    pub(super) client: Option<Client>,
    pub(super) coordination: Option<Coordination>,
    pub(super) module: Module,
    /// How many modules it had before this one.
    modules: u64,
    pub(super) orders: VecDeque<Order>,
    pub(super) reports: VecDeque<Report>,
    beats: BTreeMap<u64, (BootTime, Time)>,
    pub(super) stopping: bool,
    /// The claims of a session that is over, for a mutation.
    left_over: Option<Claims>,
}

impl Member {
    pub(super) fn new(process: u64, settings: &Settings, env: &mut Env<'_>) -> Self {
        let lease = Lease::with_clock(boot_time);
        env.truth
            .processes
            .insert(process, super::truth::Process::default());
        let module = Module::new((process, 0), settings, lease.clone(), env);
        env.after(1, What::Connect);
        Self {
            process,
            id: format!("host:{process}"),
            settings: settings.clone(),
            lease,
            client: None,
            coordination: None,
            module,
            modules: 0,
            orders: VecDeque::new(),
            reports: VecDeque::new(),
            beats: BTreeMap::new(),
            stopping: false,
            left_over: None,
        }
    }

    /// A session was made; asked for at `sent`.
    pub(super) fn connected(&mut self, client: Client, env: &mut Env<'_>) {
        let session = client.id_number();
        let claims = self.left_over.take().unwrap_or_else(|| {
            Claims::new(self.id.clone(), self.settings.epochs.clone(), self.settings.drain)
        });
        let mut coordination =
            Coordination::new(client.clone(), &self.id, (claims, self.settings.drain), env.kafka);
        coordination.present = !self.stopping;
        self.coordination = Some(coordination);
        self.client = Some(client);
        env.after(0, What::Beat(session));
        env.after(1, What::Topic(session));
    }

    fn session(&self) -> Option<i64> {
        self.client.as_ref().map(Client::id_number)
    }

    pub(super) fn handle(&mut self, what: What, env: &mut Env<'_>) {
        match what {
            What::Answered(session, BEAT, number) => self.beat_answered(session, number, env),
            What::Answered(session, label, _number) => {
                if let Some(coordination) = self.of(session) {
                    coordination.poll(label, env);
                }
                self.module_gone(env);
            }
            What::Beat(session) => self.beat(session, env),
            What::Look(session) => {
                if let Some(coordination) = self.of(session) {
                    coordination.tick(env);
                }
            }
            What::Topic(session) => {
                if let Some(coordination) = self.of(session) {
                    coordination.ask_topic(env);
                }
            }
            What::SessionOver(session) => self.session_over(session, env),
            What::ClaimsOver(session) => self.claims_over(session, env),
            What::Report => self.report(env),
            What::Stop => self.stop(env),
            What::ModuleDies => self.module_dies(env),
            What::Order => {
                if let Some(order) = self.orders.pop_front() {
                    self.module.obey(order, env);
                }
            }
            What::Connect | What::Exit => panic!("{what:?} is the world's"),
            what => self.module.handle(what, env),
        }
        self.exchange(env);
    }

    /// Orders and reports go on their way.
    fn exchange(&mut self, env: &mut Env<'_>) {
        for epoch in std::mem::take(&mut env.confirmed) {
            self.lease.confirm(epoch);
        }
        for order in std::mem::take(&mut env.orders) {
            self.orders.push_back(order);
            let late = if env.dice.one_in(20) {
                env.dice.below(150)
            } else {
                env.dice.below(4)
            };
            env.after(late, What::Order);
        }
        self.module.settle(env);
        while let Some(report) = self.module.next_report(env) {
            self.reports.push_back(report);
            let late = if env.dice.one_in(20) {
                env.dice.below(150)
            } else {
                env.dice.below(4)
            };
            env.after(late, What::Report);
        }
    }

    fn of(&mut self, session: i64) -> Option<&mut Coordination> {
        self.coordination
            .as_mut()
            .filter(|coordination| coordination.client.id_number() == session)
    }

    // The keeper.

    fn beat(&mut self, session: i64, env: &mut Env<'_>) {
        let Some(client) = self
            .client
            .as_ref()
            .filter(|client| client.id_number() == session)
        else {
            return;
        };
        let number = client.send(BEAT, Request::Heartbeat);
        self.beats.insert(number, (boot_time(), env.now));
        let every = self.settings.terms().heartbeat();
        env.after(u64::try_from(every.as_millis()).unwrap(), What::Beat(session));
    }

    fn beat_answered(&mut self, session: i64, number: u64, env: &mut Env<'_>) {
        let Some(client) = self
            .client
            .as_ref()
            .filter(|client| client.id_number() == session)
        else {
            return;
        };
        let (Some(Ok(_)), Some((mut sent, at))) = (client.taken(number), self.beats.remove(&number)) else {
            return;
        };
        let terms = self.settings.terms();
        if mutated(Mutation::LeaseFromTheAnswer) {
            sent = boot_time();
        }
        if mutated(Mutation::EndlessLease) {
            let long = Terms::new(Duration::from_secs(100_000));
            self.lease.extend(sent, long);
        }
        self.lease.extend(sent, terms);
        let margin = u64::try_from(terms.margin().as_millis()).unwrap();
        if let Some(process) = env.truth.processes.get_mut(&self.process) {
            process.deadline = process.deadline.max(at + self.settings.timeout - margin);
            process.cut = process.cut.max(at + self.settings.timeout - margin + margin / 2);
        }
    }

    /// The session goes on through another client.
    pub(super) fn attached(&mut self, client: Client, env: &mut Env<'_>) {
        let session = client.id_number();
        let Some(former) = self.client.take_if(|former| former.id_number() == session) else {
            return;
        };
        former.expire();
        self.beats.clear();
        // Before the lease can be extended.
        self.lease.hold(self.settings.epochs.next());
        self.client = Some(client.clone());
        if let Some(coordination) = self.of(session) {
            coordination.reattached(client, env);
        }
        self.exchange(env);
    }

    fn session_over(&mut self, session: i64, env: &mut Env<'_>) {
        let Some(client) = self.client.take_if(|client| client.id_number() == session) else {
            return;
        };
        client.expire();
        self.beats.clear();
        if !mutated(Mutation::ClaimsOutliveTheSession) && !mutated(Mutation::NothingIsVoid) {
            self.lease.void(self.settings.epochs.next());
        }
        let late = env.dice.below(4);
        env.after(late, What::ClaimsOver(session));
    }

    fn claims_over(&mut self, session: i64, env: &mut Env<'_>) {
        let over = |coordination: &mut Coordination| coordination.client.id_number() == session;
        let Some(coordination) = self.coordination.take_if(over) else {
            return;
        };
        let claims = coordination.lost(env);
        if mutated(Mutation::ClaimsOutliveTheSession) {
            self.left_over = Some(claims);
        }
        if self.module.dead {
            self.begin_again(env);
        }
        if self.stopping {
            env.after(0, What::Exit);
        } else {
            let retry = env.dice.between(200, 600);
            env.after(retry, What::Connect);
        }
    }

    // Between coordination and module.

    fn report(&mut self, env: &mut Env<'_>) {
        let Some(report) = self.reports.pop_front() else {
            return;
        };
        if let Some(coordination) = &mut self.coordination {
            coordination.report(report, env);
        } else if let Some(order) = refused(&report) {
            env.orders.push(order);
        }
        self.module_gone(env);
    }

    fn stop(&mut self, env: &mut Env<'_>) {
        let drain = self.settings.drain;
        self.stopping = true;
        match &mut self.coordination {
            Some(coordination) => {
                coordination.leave(env);
                coordination.stop(drain, env);
            }
            None => env.after(0, What::Exit),
        }
        env.after(u64::try_from(drain.as_millis()).unwrap() + 5_000, What::Exit);
        self.module_gone(env);
    }

    /// A process that stops ends when its last claim has; a module that died comes back.
    fn module_gone(&mut self, env: &mut Env<'_>) {
        let idle = self.coordination.as_ref().is_some_and(Coordination::is_idle);
        if idle && self.stopping {
            env.after(1, What::Exit);
        } else if idle && self.module.dead {
            self.begin_again(env);
        }
    }

    fn module_dies(&mut self, env: &mut Env<'_>) {
        if self.stopping || self.module.dead {
            return;
        }
        self.module.die(env);
        self.orders.clear();
        self.reports.clear();
        match &mut self.coordination {
            Some(coordination) => {
                coordination.leave(env);
                coordination.abandon(env);
                self.module_gone(env);
            }
            None => self.begin_again(env),
        }
    }

    /// The supervisor starts the module anew, and a coordinator with it.
    fn begin_again(&mut self, env: &mut Env<'_>) {
        self.modules += 1;
        let named = (self.process, self.modules);
        self.module = Module::new(named, &self.settings, self.lease.clone(), env);
        self.orders.clear();
        if let Some(client) = self.client.clone() {
            let session = client.id_number();
            let claims = Claims::new(self.id.clone(), self.settings.epochs.clone(), self.settings.drain);
            self.coordination = Some(Coordination::new(
                client,
                &self.id,
                (claims, self.settings.drain),
                env.kafka,
            ));
            env.after(1, What::Topic(session));
        }
    }
}

impl Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(&self.id)
            .field("session", &self.session())
            .field(
                "claims",
                &self
                    .coordination
                    .as_ref()
                    .map(|coordination| &coordination.claims),
            )
            .field("module", &self.module)
            .finish_non_exhaustive()
    }
}

//! One process: its session's keeper with the lease, its coordination, and its module. Both sides hear of each other
//! over queues, in order and late.

mod keeper;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;

use super::coordination::{BEAT, Coordination, refused};
use super::dice::{Time, boot_time};
use super::env::{Env, Settings, What};
use super::module::Module;
use super::session::Client;
use crate::assignment::{Order, Report};
use crate::claims::Claims;
use crate::lease::{BootTime, Lease};

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
        let claims = self.left_over.take().unwrap_or_else(|| self.no_claims());
        let mut coordination = Coordination::new(client.clone(), &self.id, claims, &self.settings, env.kafka);
        coordination.present = !self.stopping;
        self.coordination = Some(coordination);
        self.client = Some(client);
        env.after(0, What::Beat(session));
        env.after(1, What::Topic(session));
    }

    fn no_claims(&self) -> Claims {
        Claims::new(self.id.clone(), self.settings.epochs.clone(), self.settings.drain)
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
        if what.is_of_module() {
            self.run_module(env);
        }
    }

    /// Orders go on their way.
    fn exchange(&mut self, env: &mut Env<'_>) {
        for epoch in std::mem::take(&mut env.confirmed) {
            self.lease.confirm(epoch);
        }
        for order in std::mem::take(&mut env.orders) {
            self.orders.push_back(order);
            env.soon(What::Order);
        }
    }

    /// What the tasks of the module do next; its reports go on their way.
    fn run_module(&mut self, env: &mut Env<'_>) {
        self.module.settle(env);
        while let Some(report) = self.module.next_report(env) {
            self.reports.push_back(report);
            env.soon(What::Report);
        }
    }

    fn of(&mut self, session: i64) -> Option<&mut Coordination> {
        self.coordination
            .as_mut()
            .filter(|coordination| coordination.client.id_number() == session)
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
            let claims = self.no_claims();
            let coordination = Coordination::new(client, &self.id, claims, &self.settings, env.kafka);
            self.coordination = Some(coordination);
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

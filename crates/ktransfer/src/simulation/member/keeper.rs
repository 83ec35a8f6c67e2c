//! What keeps the session of a process, as `sessions` does: heartbeats, the lease, and its end.

use std::time::Duration;

use super::Member;
use crate::lease::Terms;
use crate::simulation::coordination::{BEAT, Coordination};
use crate::simulation::dice::boot_time;
use crate::simulation::env::{Env, What};
use crate::simulation::mutation::{Mutation, mutated};
use crate::simulation::session::{Client, Request};

impl Member {
    fn client_of(&self, session: i64) -> Option<&Client> {
        self.client
            .as_ref()
            .filter(|client| client.id_number() == session)
    }

    pub(super) fn beat(&mut self, session: i64, env: &mut Env<'_>) {
        let Some(client) = self.client_of(session) else {
            return;
        };
        let number = client.send(BEAT, Request::Heartbeat);
        self.beats.insert(number, (boot_time(), env.now));
        let every = self.settings.terms().heartbeat();
        env.after(u64::try_from(every.as_millis()).unwrap(), What::Beat(session));
    }

    pub(super) fn beat_answered(&mut self, session: i64, number: u64, env: &mut Env<'_>) {
        let Some(client) = self.client_of(session) else {
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
    pub(in crate::simulation) fn attached(&mut self, client: Client, env: &mut Env<'_>) {
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

    pub(super) fn session_over(&mut self, session: i64, env: &mut Env<'_>) {
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

    pub(super) fn claims_over(&mut self, session: i64, env: &mut Env<'_>) {
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
}

//! What a module says of records that fail or end undelivered: to its gauges, to `/readyz`, and once to the log when something
//! begins or ends.

use std::rc::Rc;

use futures_util::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{ModuleError, Running};
use crate::consumer::Brokers;
use crate::dispatcher::{Failing, Stuck};
use crate::fetch::Source;
use crate::letter::Sender;
use crate::letters::{DeadLetters, Desk, LastResort, LogFile};

/// What was told and is not over.
#[derive(Debug, Default)]
pub(super) struct Told {
    blocked: bool,
    stalled: bool,
}

/// Begins to store the module's letters, if its policy makes any.
pub(super) fn store_letters(
    source: &Source,
    brokers: &Brokers,
    tasks: &mut JoinSet<ModuleError>,
) -> Option<Rc<Desk>> {
    let module = &source.module;
    for warning in module.warnings() {
        tracing::warn!(module = module.name, warning, "configuration");
    }
    let sender = Sender {
        module: module.name.clone(),
        topic: module.topic.to_string(),
    };
    let desk = || {
        let stored = source.meters.undelivered.clone();
        Rc::new(Desk::new(Rc::clone(&source.dispatcher), sender, stored))
    };
    match &module.last {
        LastResort::DeadLetter(topic) => {
            let desk = desk();
            let letters = DeadLetters::new(Rc::clone(&desk), topic.to_string(), brokers.clone());
            tasks.spawn_local(letters.run().map(|never| match never {}));
            Some(desk)
        }
        LastResort::Log(settings) => {
            let desk = desk();
            let letters = LogFile::new(Rc::clone(&desk), settings.clone());
            tasks.spawn_local(letters.run().map(|never| match never {}));
            Some(desk)
        }
        LastResort::Drop | LastResort::Block | LastResort::Stop => None,
    }
}

impl Running {
    /// Sets the gauges and tells of changes; returns why the module is not ready, if it is that.
    pub(super) fn tell_undelivered(&mut self, now: Instant) -> Option<String> {
        let dispatcher = self.dispatcher.borrow();
        let (blocked, stopped) = (dispatcher.blocked(), dispatcher.stopped());
        let leaving = dispatcher.leaving();
        let failing = dispatcher.failing(self.source.module.stalled.as_ref(), now);
        drop(dispatcher);
        let meters = &self.source.meters;
        let count = |stuck: Option<Stuck>| stuck.map_or(0, |stuck| stuck.count);
        meters.blocked.set(number(count(blocked)));
        meters.stopped.set(number(count(stopped)));
        meters.leaving.set(number(leaving));
        meters.failing.set(number(failing.records));
        meters.stalled.set(number(failing.stalled));
        let oldest = failing.oldest.map(|(_, oldest)| now - oldest.first);
        meters
            .oldest_failing
            .set(oldest.unwrap_or_default().as_secs_f64());
        self.tell_blocked(blocked);
        self.tell_stalled(&failing, now);
        let waits = self.desk.as_ref().and_then(|desk| desk.trouble());
        waits
            .or_else(|| blocked.map(blocked_reason))
            .or_else(|| self.stalled_reason(&failing, now))
    }

    fn tell_blocked(&mut self, blocked: Option<Stuck>) {
        let module = self.source.module.name.as_str();
        match (self.told.blocked, blocked) {
            (false, Some(stuck)) => tracing::error!(
                module,
                keys = stuck.count,
                partition = stuck.example.0.0,
                offset = stuck.example.1.get(),
                "keys blocked: they wait for an operator"
            ),
            (true, None) => tracing::info!(module, "no key is blocked any more"),
            _ => {}
        }
        self.told.blocked = blocked.is_some();
    }

    fn tell_stalled(&mut self, failing: &Failing, now: Instant) {
        let module = self.source.module.name.as_str();
        let stalled = failing.stalled > 0;
        match (self.told.stalled, stalled) {
            (false, true) => {
                let oldest = failing.oldest.map(|(_, oldest)| oldest);
                let age = oldest.map(|oldest| (now - oldest.first).as_secs());
                tracing::error!(
                    module,
                    keys = failing.stalled,
                    oldest_offset = oldest.map(|oldest| oldest.offset.get()),
                    oldest_attempts = oldest.map(|oldest| oldest.attempts),
                    oldest_age_seconds = age,
                    last_status = oldest
                        .and_then(|oldest| oldest.status)
                        .map(|status| status.as_u16()),
                    "keys stalled: their records have failed for long"
                );
            }
            (true, false) => tracing::info!(module, "no key is stalled any more"),
            _ => {}
        }
        self.told.stalled = stalled;
    }

    fn stalled_reason(&self, failing: &Failing, now: Instant) -> Option<String> {
        let (epoch, oldest) = failing.oldest.filter(|_oldest| failing.stalled > 0)?;
        let partition = self.dispatcher.borrow().partition(epoch)?;
        let answer = oldest.status.map_or("no answer".to_owned(), |status| {
            format!("the answer {}", status.as_u16())
        });
        Some(format!(
            "{} keys are stalled, the oldest in partition {partition} at offset {}: {} attempts in {} s, the last with {answer}",
            failing.stalled,
            oldest.offset,
            oldest.attempts,
            (now - oldest.first).as_secs(),
        ))
    }
}

fn blocked_reason(stuck: Stuck) -> String {
    let (partition, offset) = stuck.example;
    format!(
        "{} keys are blocked, the first in partition {partition} at offset {offset}: their last attempts failed; make the \
         backend take them and change the module's file, or move the offset",
        stuck.count
    )
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
const fn number(count: usize) -> f64 {
    count as f64
}

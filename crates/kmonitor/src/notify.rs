//! Tells people: what goes wrong, what is over, and every few hours what still is not.
//!
//! [`looks`] says what a round shows, [`rules`] when that becomes an event, [`message`] what is written about it; all three
//! are pure. Around them: this file follows the rounds on the board and hands messages to [`courier`]s, one task for each
//! receiver, which [`webhook`] and [`mail`] carry. Nothing here holds up a round, and nothing is written to ZooKeeper or
//! Kafka: which of two kmonitors sends is said in their files. What is open is kept in memory only.

mod courier;
mod keys;
mod looks;
mod mail;
mod message;
mod queue;
mod receiver;
mod rules;
mod settings;
mod template;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use self::courier::Courier;
use self::message::{MOST_EVENTS, Message};
use self::rules::{Event, Rules, Step, Tracker};
use crate::board::Board;
use crate::clock::Clock;
use crate::meters;
use crate::view::ClusterView;

pub(crate) use self::keys::{KEYS, RECEIVER_KEYS, RULE_KEYS};
pub(crate) use self::settings::{File, Settings, read};

/// How long messages may take that are not delivered when the stop is requested.
const GRACE: Duration = Duration::from_secs(5);

/// The pause before rounds are followed again after a mistake of ours.
const AGAIN: Duration = Duration::from_secs(2);

/// The running notifiers.
#[derive(Debug)]
pub(crate) struct Notifiers {
    following: AbortOnDropHandle<()>,
    couriers: Vec<Courier>,
    deliveries: JoinSet<()>,
}

/// What following the rounds needs. Clones share the couriers.
#[derive(Clone, Debug)]
struct Desk {
    rules: Arc<Rules>,
    is_primary: bool,
    couriers: Vec<Courier>,
    board: Board,
    clock: Clock,
    /// Messages so far.
    count: Arc<AtomicU64>,
}

impl Notifiers {
    /// Follows every round that ends from now on.
    #[must_use]
    pub(crate) fn start(settings: Settings, board: &Board, clock: Clock) -> Self {
        let receivers = settings.receivers.into_iter();
        let couriers: Vec<Courier> = receivers
            .map(|receiver| Courier::new(receiver, settings.queue, settings.attempts))
            .collect();
        let mut deliveries = JoinSet::new();
        for courier in &couriers {
            deliveries.spawn(courier.clone().run());
        }
        tracing::info!(
            primary = settings.is_primary,
            receivers = couriers.len(),
            "notifiers started"
        );
        let desk = Desk {
            rules: Arc::new(settings.rules),
            is_primary: settings.is_primary,
            couriers: couriers.clone(),
            board: board.clone(),
            clock,
            count: Arc::new(AtomicU64::new(0)),
        };
        let rounds = board.listen();
        Self {
            following: AbortOnDropHandle::new(tokio::spawn(follow_always(desk, rounds))),
            couriers,
            deliveries,
        }
    }

    /// Ends: what is already on its way gets [`GRACE`].
    pub(crate) async fn finish(mut self) {
        self.following.abort();
        for courier in &self.couriers {
            courier.close();
        }
        let all = async { while self.deliveries.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            for courier in &self.couriers {
                let (receiver, waiting) = courier.waiting();
                tracing::warn!(receiver, waiting, "messages may be undelivered at the end");
            }
        }
        self.deliveries.shutdown().await;
    }
}

/// A panic is our own mistake: it costs what was known of open events, which are found again.
async fn follow_always(desk: Desk, mut rounds: broadcast::Receiver<Bytes>) {
    loop {
        let following = AbortOnDropHandle::new(tokio::spawn(follow(desk.clone(), rounds)));
        match following.await {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(%error, "the notifiers failed and are started again");
            }
        }
        tokio::time::sleep(AGAIN).await;
        rounds = desk.board.listen();
    }
}

async fn follow(desk: Desk, mut rounds: broadcast::Receiver<Bytes>) {
    let mut clusters: BTreeMap<String, (u64, Tracker)> = BTreeMap::new();
    // Which round it was is on the board; having missed some changes nothing.
    while !matches!(rounds.recv().await, Err(RecvError::Closed)) {
        for (name, published) in &desk.board.views().clusters {
            let view = &published.view;
            let (seen, tracker) = clusters.entry(name.clone()).or_default();
            let is_new = std::mem::replace(seen, view.round) != view.round;
            if is_new && view.round > 0 {
                desk.round(view, tracker);
            }
        }
    }
}

impl Desk {
    fn round(&self, view: &ClusterView, tracker: &mut Tracker) {
        let events = tracker.follow(view, &self.rules, self.clock.now());
        meters::open_events(&view.cluster, tracker.open());
        for event in &events {
            self.tell_log(event);
        }
        if !self.is_primary {
            return;
        }
        for (place, courier) in self.couriers.iter().enumerate() {
            let concerned = events.iter().filter(|event| event.receivers.contains(&place));
            let concerned: Vec<Event> = concerned.cloned().collect();
            for events in concerned.chunks(MOST_EVENTS) {
                let count = self.count.fetch_add(1, Ordering::Relaxed);
                courier.take(Message {
                    id: format!("{}-{}-{count}", view.at_ms, std::process::id()),
                    cluster: view.cluster.clone(),
                    at_ms: view.at_ms,
                    events: events.to_vec(),
                });
            }
        }
    }

    fn tell_log(&self, event: &Event) {
        let (cluster, module) = (&event.cluster, event.key.module.as_deref().unwrap_or_default());
        let (condition, reason) = (event.key.condition, &event.facts.reason);
        let sent = self.is_primary && !event.receivers.is_empty();
        match event.step {
            Step::Open => tracing::info!(cluster, module, %condition, reason, sent, "event opened"),
            Step::Close => tracing::info!(cluster, module, %condition, reason, sent, "event closed"),
            Step::Remind => tracing::debug!(cluster, module, %condition, reason, sent, "event is still open"),
        }
    }
}

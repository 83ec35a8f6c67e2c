//! One receiver's task: takes messages from its queue and tells them, one after another, each a limited number of times.
//!
//! A receiver that hangs or is away costs its own queue only: rounds never wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::message::Message;
use super::queue::Queue;
use super::receiver::Receiver;
use crate::meters::ReceiverMeters;

/// The pause before the second attempt; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A receiver and what waits for it. Clones share the queue.
#[derive(Clone, Debug)]
pub(crate) struct Courier {
    receiver: Arc<Receiver>,
    queue: Arc<Queue<Message>>,
    attempts: u32,
    meters: ReceiverMeters,
}

impl Courier {
    /// With an empty queue of `limit` messages; each is tried at most `attempts` times.
    #[must_use]
    pub(crate) fn new(receiver: Receiver, limit: usize, attempts: u32) -> Self {
        let meters = ReceiverMeters::new(&receiver.name);
        Self {
            receiver: Arc::new(receiver),
            queue: Arc::new(Queue::new(limit)),
            attempts,
            meters,
        }
    }

    /// Adds a message to the queue, without waiting.
    pub(crate) fn take(&self, message: Message) {
        if let Some(dropped) = self.queue.push(message) {
            self.meters.dropped.increment(1);
            tracing::warn!(
                receiver = self.receiver.name,
                message = dropped.id,
                events = dropped.events.len(),
                "the queue is full; its oldest message is dropped"
            );
        }
        self.show_length();
    }

    /// No message comes any more: [`Courier::run`] ends with the last one.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    /// The name of the receiver, and how many messages wait.
    #[must_use]
    pub(crate) fn waiting(&self) -> (&str, usize) {
        (&self.receiver.name, self.queue.len())
    }

    /// Tells everything that is taken, until the queue is closed and empty.
    pub(crate) async fn run(self) {
        while let Some(message) = self.queue.pop().await {
            self.show_length();
            self.deliver(&message).await;
        }
    }

    async fn deliver(&self, message: &Message) {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=self.attempts {
            match self.receiver.tell(message).await {
                Ok(proof) => {
                    self.meters.delivered.increment(1);
                    tracing::info!(
                        receiver = self.receiver.name,
                        message = message.id,
                        cluster = message.cluster,
                        events = message.events.len(),
                        attempt,
                        took_ms = started.elapsed().as_millis(),
                        code = proof.code,
                        answer = proof.answer,
                        "message delivered"
                    );
                    return;
                }
                Err(failed) if failed.is_passing && attempt < self.attempts => {
                    self.meters.retried.increment(1);
                    tracing::debug!(
                        receiver = self.receiver.name,
                        message = message.id,
                        attempt,
                        error = failed.why,
                        "message is not delivered yet"
                    );
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
                Err(failed) => {
                    self.meters.failed.increment(1);
                    tracing::warn!(
                        receiver = self.receiver.name,
                        message = message.id,
                        cluster = message.cluster,
                        events = message.events.len(),
                        attempt,
                        error = failed.why,
                        "message given up: the receiver does not know of these events"
                    );
                    return;
                }
            }
        }
    }

    fn show_length(&self) {
        self.meters
            .queue
            .set(f64::from(u32::try_from(self.queue.len()).unwrap_or(u32::MAX)));
    }
}

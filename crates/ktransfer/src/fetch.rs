//! The fetch of one partition in one epoch: takes records from the client's queue while there is room, decides by the
//! filters which are to be pushed, and enters every one into the ledger, in order.
//!
//! It runs until its task is aborted. An offset out of range is decided here, by the module's `out_of_range`: below the log start
//! records are lost, counted and logged; above the log end the log was truncated if anything was taken in, else the partition
//! stands still and says so until the log reaches it.

mod entry;
mod range;
mod truncation;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::Stream;
use kcommon::kafka::{CommitOffset, RecordOffset};
use rdkafka::consumer::MessageStream;
use rdkafka::consumer::stream_consumer::StreamPartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::assignment::Assignment;
use crate::config::Module;
use crate::consumer::{Assigned, Consumer, Events};
use crate::content::Subject;
use crate::dispatcher::{Admitted, Dispatcher, Fetched};
use crate::headers;
use crate::key::{KeyHasher, KeyId};
use crate::meters::Meters;
use crate::throttle::Throttle;

/// How long a question to the brokers may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The wait before a fetch that failed begins again, and between looks at a log that ends below our position.
const RETRY: Duration = Duration::from_secs(1);
/// After so many records the other tasks of the module have their turn.
const BURST: u32 = 64;
/// Lines about undecodable records and about failures: one in so long for each partition.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// What the module's loop may know of a fetch.
#[derive(Debug, Default)]
pub struct Progress {
    /// The queue was empty when last asked, and everything taken from it is in the ledger.
    idle: Cell<bool>,
    /// The client's position is one of this fetch, not a leftover of the partition's last assignment.
    current: Cell<bool>,
    /// Why the partition does not move.
    stopped: RefCell<Option<String>>,
}

impl Progress {
    /// The client reports this position for the partition (`None`: none yet). Returns it when everything below it is in
    /// the ledger.
    pub fn judge(&self, position: Option<CommitOffset>) -> Option<CommitOffset> {
        if position.is_none() {
            self.current.set(true);
        }
        position.filter(|_known| self.idle.get() && self.current.get())
    }

    /// Why the partition stands still, if it does.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        self.stopped.borrow().clone()
    }
}

/// What all fetches of a module share.
pub struct Source {
    /// The module's client.
    pub consumer: Arc<Consumer>,
    /// The module.
    pub module: Rc<Module>,
    /// Where records go.
    pub dispatcher: Rc<RefCell<Dispatcher>>,
    /// Makes key identities.
    pub hasher: KeyHasher,
    /// What is counted.
    pub meters: Rc<Meters>,
}

impl Source {
    /// The identity of what the record has an order with, if it has one.
    #[must_use]
    pub fn key_id(&self, key: Option<&[u8]>) -> Option<KeyId> {
        self.module.order.id(&self.hasher, key)
    }
}

impl Source {
    /// A record's headers, if the module keeps them.
    #[must_use]
    pub fn headers(&self, message: &BorrowedMessage<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.module.keeps_headers()
            && let Some(headers) = message.headers()
        {
            for header in headers.iter() {
                headers::encode(&mut bytes, header.key, header.value);
            }
        }
        bytes
    }
}

/// See the module.
pub struct Fetch {
    source: Rc<Source>,
    assignment: Assignment,
    room: Rc<Notify>,
    progress: Rc<Progress>,
    undecodable: Throttle,
    failures: Throttle,
    /// Since when the broker has had no record at our position.
    out_since: Option<Instant>,
}

/// A partition and its queue. In this order: the queue is dropped before the partition is unassigned, or it would take
/// records of a later assignment.
struct Held {
    queue: StreamPartitionQueue<Events>,
    _assigned: Assigned,
}

/// Why a stream of records ended.
enum Broken {
    OutOfRange,
    Failed(KafkaError),
    /// A record cannot be read, and this key of the module says to stop there.
    Unreadable(&'static str),
}

impl Fetch {
    /// A fetch that has not begun; `room` is what [`Dispatcher::assign`] returned.
    #[must_use]
    pub fn new(source: Rc<Source>, assignment: Assignment, room: Rc<Notify>, progress: Rc<Progress>) -> Self {
        let throttle = || Throttle::new(LOG_INTERVAL);
        Self {
            source,
            assignment,
            room,
            progress,
            undecodable: throttle(),
            failures: throttle(),
            out_since: None,
        }
    }

    /// Fetches until the task is aborted.
    pub async fn run(mut self) -> Infallible {
        loop {
            let Some(from) = self.source.dispatcher.borrow().reached(self.assignment.epoch) else {
                // The partition has ended, and this task is about to.
                std::future::pending::<()>().await;
                continue;
            };
            self.progress.idle.set(false);
            self.progress.current.set(false);
            match self.stream(from).await {
                Broken::OutOfRange => {
                    // What came before the error is in the ledger: only what lies between it and the log start is lost.
                    let reached = self.source.dispatcher.borrow().reached(self.assignment.epoch);
                    self.out_of_range(reached.unwrap_or(from)).await;
                }
                Broken::Unreadable(key) => {
                    self.stop(format!(
                        "a record cannot be read; change {key}, or move the offset past it"
                    ));
                    std::future::pending::<()>().await;
                }
                Broken::Failed(error) => {
                    self.warn_failure(&error);
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn stream(&mut self, from: CommitOffset) -> Broken {
        let source = Rc::clone(&self.source);
        let (topic, partition) = (source.module.topic.as_str(), self.assignment.partition);
        // Before the assignment: a record that came in between would go to the client's common queue, which nobody reads.
        let Some(queue) = source.consumer.split_partition_queue(topic, partition.0) else {
            return Broken::Failed(KafkaError::Subscription(format!(
                "no queue for partition {partition}"
            )));
        };
        let assigned = match Assigned::new(&source.consumer, topic, partition, from) {
            Ok(assigned) => assigned,
            Err(error) => return Broken::Failed(error),
        };
        let held = Held {
            queue,
            _assigned: assigned,
        };
        let mut records = held.queue.stream();
        let mut burst = 0;
        loop {
            self.wait_for_room().await;
            match self.next(&mut records).await {
                Ok(message) => {
                    self.progress.current.set(true);
                    self.progress.stopped.take();
                    self.out_since = None;
                    if let Err(broken) = self.admit(&message).await {
                        return broken;
                    }
                }
                Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)) => {
                    return Broken::OutOfRange;
                }
                // The client goes on by itself: a broker is away, a leader moves, the topic is not known yet.
                Err(error) => self.warn_failure(&error),
            }
            burst += 1;
            if burst == BURST {
                burst = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    async fn next<'a>(
        &self,
        records: &mut MessageStream<'a, Events>,
    ) -> Result<BorrowedMessage<'a>, KafkaError> {
        poll_fn(|cx| match Pin::new(&mut *records).poll_next(cx) {
            Poll::Ready(Some(message)) => {
                self.progress.idle.set(false);
                Poll::Ready(message)
            }
            // A queue's stream never ends by itself.
            Poll::Ready(None) | Poll::Pending => {
                self.progress.idle.set(true);
                Poll::Pending
            }
        })
        .await
    }

    async fn wait_for_room(&self) {
        while !self.source.dispatcher.borrow().admits(self.assignment.epoch) {
            self.source
                .dispatcher
                .borrow_mut()
                .wait_for_room(self.assignment.epoch);
            self.room.notified().await;
        }
    }

    async fn admit(&mut self, message: &BorrowedMessage<'_>) -> Result<(), Broken> {
        let Ok(offset) = RecordOffset::try_from(message.offset()) else {
            return Ok(());
        };
        let value = message.payload().unwrap_or_default();
        let key = message.key();
        let timestamp = message.timestamp().to_millis().unwrap_or(-1);
        let source = Rc::clone(&self.source);
        let entry = self.entry(&Subject {
            topic: source.module.topic.as_str(),
            partition: self.assignment.partition,
            offset,
            key,
            timestamp,
            body: value,
        })?;
        let headers = source.headers(message);
        let fetched = Fetched {
            offset,
            key,
            id: source.key_id(key),
            timestamp,
            headers: &headers,
            value,
            entry,
        };
        loop {
            let admitted = self
                .source
                .dispatcher
                .borrow_mut()
                .admit(self.assignment.epoch, &fetched);
            match admitted {
                Admitted::Taken => return Ok(()),
                Admitted::NoRoom => self.room.notified().await,
            }
        }
    }

    fn stop(&self, reason: String) {
        if self.progress.stopped.borrow().as_ref() != Some(&reason) {
            tracing::error!(
                module = self.source.module.name,
                partition = self.assignment.partition.0,
                reason,
                "partition stopped"
            );
            self.progress.stopped.replace(Some(reason));
        }
    }

    fn warn_failure(&mut self, error: &KafkaError) {
        if let Some(held_back) = self.failures.pass(Instant::now()) {
            tracing::warn!(
                module = self.source.module.name,
                partition = self.assignment.partition.0,
                lines_held_back = held_back,
                error = error as &dyn std::error::Error,
                "fetching failed; trying on"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(offset: i64) -> Option<CommitOffset> {
        CommitOffset::try_from(offset).ok()
    }

    #[test]
    fn a_position_of_the_last_assignment_is_not_believed() {
        let progress = Progress::default();
        progress.idle.set(true);
        assert_eq!(
            progress.judge(position(5000)),
            None,
            "left over from before the seek"
        );
        assert_eq!(progress.judge(None), None);
        assert_eq!(progress.judge(position(62)), position(62));
    }

    #[test]
    fn a_position_beside_a_record_that_is_not_entered_is_not_believed() {
        let progress = Progress::default();
        progress.current.set(true);
        assert_eq!(progress.judge(position(5)), None);
        progress.idle.set(true);
        assert_eq!(progress.judge(position(5)), position(5));
    }
}

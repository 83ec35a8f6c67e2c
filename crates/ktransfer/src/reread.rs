//! Reads bodies again that were dropped when memory was short, once their keys move on: a task per module with a Kafka client
//! of its own, because the module's stands at the other end of the log. The client is made when bodies are wanted and dropped
//! when none have been for a minute.
//!
//! It reads one partition after the other, each time ascending over what is wanted first, and at most [`RANGE`] bytes. What is
//! not in the log any more ends unpushed, counted and logged: below the log's start as lost, elsewhere as compacted away.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kcommon::kafka::{PartitionId, RecordOffset};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::assignment::Assignment;
use crate::consumer::{self, Brokers, Consumer};
use crate::dispatcher::{Dispatcher, Fetched, Gone, Restored};
use crate::fetch::Source;
use crate::ledger::Entry;
use crate::scheduler::Wanted;
use crate::throttle::Throttle;

/// Bodies of one partition that are read before the next one has its turn.
const RANGE: usize = 1 << 20;
/// Over so many offsets between two wanted records is read, not jumped.
const NEAR: i64 = 2000;
/// How long the client is kept while nothing is wanted.
const IDLE: Duration = Duration::from_secs(60);
/// How long the next record may take to come.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a partition whose records do not come leaves the others to themselves.
const PUT_OFF: Duration = Duration::from_secs(10);
/// The wait before a client that cannot be made is made again.
const RETRY: Duration = Duration::from_secs(1);
/// The wait for room in memory.
const NO_ROOM: Duration = Duration::from_millis(20);
/// One line about records that are gone, and one about failures, in so long.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// See the module.
pub struct Reread {
    source: Rc<Source>,
    dispatcher: Rc<RefCell<Dispatcher>>,
    brokers: Brokers,
    /// Partitions whose records did not come, and until when they wait.
    put_off: HashMap<PartitionId, Instant>,
    gone: Throttle,
    failures: Throttle,
}

/// The client, and what it will read next.
struct Reader {
    consumer: Arc<Consumer>,
    topic: String,
    next: Option<(PartitionId, i64)>,
}

impl Reader {
    /// Makes the client read from `offset` on, unless it is about to.
    fn go_to(&mut self, partition: PartitionId, offset: i64) -> Result<(), KafkaError> {
        let near = |next: i64| (next..=next.saturating_add(NEAR)).contains(&offset);
        if self.next.is_some_and(|(at, next)| at == partition && near(next)) {
            return Ok(());
        }
        self.next = None;
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&self.topic, partition.0, Offset::Offset(offset))?;
        self.consumer.assign(&list)?;
        self.next = Some((partition, offset));
        Ok(())
    }

    /// The log's start and end.
    async fn ends(&self, partition: PartitionId) -> Result<(i64, i64), KafkaError> {
        let (consumer, topic) = (Arc::clone(&self.consumer), self.topic.clone());
        let asked =
            tokio::task::spawn_blocking(move || consumer.fetch_watermarks(&topic, partition.0, PATIENCE));
        asked.await.unwrap_or(Err(KafkaError::Canceled))
    }

    /// Up to where the log was read without an error.
    fn passed(&self, partition: PartitionId) -> Option<i64> {
        let positions = self.consumer.position().ok()?;
        let element = positions.find_partition(&self.topic, partition.0)?;
        match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }
}

impl Reread {
    /// A task that has not begun.
    #[must_use]
    pub fn new(source: Rc<Source>, brokers: Brokers) -> Self {
        Self {
            dispatcher: Rc::clone(&source.dispatcher),
            source,
            brokers,
            put_off: HashMap::new(),
            gone: Throttle::new(LOG_INTERVAL),
            failures: Throttle::new(LOG_INTERVAL),
        }
    }

    /// Reads what is wanted until the task is dropped.
    pub async fn run(mut self) -> Infallible {
        let thirst = self.dispatcher.borrow().thirst();
        loop {
            thirst.notified().await;
            match self.connect().await {
                Ok(mut reader) => {
                    self.serve(&mut reader).await;
                    // It takes a moment; nothing depends on its end.
                    drop(tokio::task::spawn_blocking(move || drop(reader)));
                }
                Err(error) => {
                    self.warn(None, &error);
                    tokio::time::sleep(RETRY).await;
                    thirst.notify_one();
                }
            }
        }
    }

    async fn connect(&self) -> Result<Reader, KafkaError> {
        let (name, brokers) = (self.source.module.name.clone(), self.brokers.clone());
        let made = tokio::task::spawn_blocking(move || consumer::connect_reader(&name, &brokers));
        Ok(Reader {
            consumer: made.await.unwrap_or(Err(KafkaError::Canceled))?,
            topic: self.source.module.topic.to_string(),
            next: None,
        })
    }

    /// Reads until nothing has been wanted for [`IDLE`].
    async fn serve(&mut self, reader: &mut Reader) {
        let thirst = self.dispatcher.borrow().thirst();
        loop {
            let thirsty = self.dispatcher.borrow().thirsty();
            if thirsty.is_empty() {
                if tokio::time::timeout(IDLE, thirst.notified()).await.is_err() {
                    return;
                }
                continue;
            }
            let mut progress = false;
            for assignment in thirsty {
                let now = Instant::now();
                self.put_off.retain(|_, until| *until > now);
                if !self.put_off.contains_key(&assignment.partition) {
                    progress |= self.range(reader, assignment).await;
                }
            }
            if !progress {
                tokio::time::sleep(NO_ROOM).await;
            }
        }
    }

    /// Reads some of what a partition wants; returns whether anything came of it.
    async fn range(&mut self, reader: &mut Reader, assignment: Assignment) -> bool {
        let mut wanted = VecDeque::from(self.dispatcher.borrow().wanted(assignment.epoch));
        let (partition, all, mut bytes) = (assignment.partition, wanted.len(), 0);
        while let Some(first) = wanted.front()
            && bytes < RANGE
        {
            if let Err(error) = reader.go_to(partition, first.cold.offset) {
                self.warn(Some(partition), &error);
                break;
            }
            let taken = match tokio::time::timeout(PATIENCE, reader.consumer.recv()).await {
                Ok(Ok(message)) => {
                    reader.next = Some((partition, message.offset() + 1));
                    self.take(assignment, &message, &mut wanted)
                }
                Ok(Err(
                    KafkaError::PartitionEOF(_)
                    | KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset),
                )) => {
                    self.at_an_end(reader, assignment, &mut wanted).await;
                    None
                }
                // The client goes on by itself.
                Ok(Err(error)) => {
                    self.warn(Some(partition), &error);
                    Some(0)
                }
                Err(_elapsed) => {
                    self.put_off.insert(partition, Instant::now() + PUT_OFF);
                    None
                }
            };
            match taken {
                Some(more) => bytes += more,
                None => {
                    reader.next = None;
                    break;
                }
            }
        }
        wanted.len() < all
    }

    /// Takes a record that was read; returns its bytes, or nothing when this reading is over.
    fn take(
        &mut self,
        assignment: Assignment,
        message: &BorrowedMessage<'_>,
        wanted: &mut VecDeque<Wanted>,
    ) -> Option<usize> {
        // The reading began at the first one wanted, and jumps only to one that is.
        self.end_below(assignment, wanted, (message.offset(), Gone::Compacted));
        let first = wanted
            .front()
            .filter(|first| first.cold.offset == message.offset());
        let (Some(first), Ok(offset)) = (first, RecordOffset::try_from(message.offset())) else {
            return Some(0);
        };
        let headers = self.source.headers(message);
        let fetched = Fetched {
            offset,
            key: message.key(),
            id: self.source.key_id(message.key()),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
            headers: &headers,
            value: message.payload().unwrap_or_default(),
            entry: Entry::Pending,
        };
        let restored = self
            .dispatcher
            .borrow_mut()
            .restore(assignment.epoch, first, &fetched);
        match restored {
            Restored::Taken | Restored::NotWanted => {
                wanted.pop_front();
                Some(fetched.parts().cost())
            }
            Restored::NoRoom => None,
            Restored::Other => {
                // Whatever follows there is another log: this much of it was read.
                let _given_up = self.source.truncated(assignment, Some(message.offset()));
                None
            }
        }
    }

    /// The log has no further record, or none at all where it was read.
    async fn at_an_end(&mut self, reader: &Reader, assignment: Assignment, wanted: &mut VecDeque<Wanted>) {
        let partition = assignment.partition;
        let (start, end) = match reader.ends(partition).await {
            Ok(ends) => ends,
            Err(error) => return self.warn(Some(partition), &error),
        };
        self.end_below(assignment, wanted, (start, Gone::Lost));
        if let Some(passed) = reader.passed(partition) {
            self.end_below(assignment, wanted, (passed.min(end), Gone::Compacted));
        }
        if wanted.front().is_some_and(|first| first.cold.offset >= end) {
            let _given_up = self.source.truncated(assignment, Some(end));
        }
    }

    /// The wanted records below an offset are not in the log any more.
    fn end_below(
        &mut self,
        assignment: Assignment,
        wanted: &mut VecDeque<Wanted>,
        (offset, gone): (i64, Gone),
    ) {
        while let Some(first) = wanted.front().copied().filter(|first| first.cold.offset < offset) {
            wanted.pop_front();
            self.dispatcher.borrow_mut().gone(assignment.epoch, &first, gone);
            let Some(held_back) = self.gone.pass(Instant::now()) else {
                continue;
            };
            let (module, partition) = (&self.source.module.name, assignment.partition.0);
            let offset = first.cold.offset;
            match gone {
                Gone::Lost => tracing::error!(
                    module,
                    partition,
                    offset,
                    lines_held_back = held_back,
                    "record lost: Kafka deleted it while it waited behind a record of its key that failed"
                ),
                Gone::Compacted => tracing::warn!(
                    module,
                    partition,
                    offset,
                    lines_held_back = held_back,
                    "record passed over: compaction removed it while it waited behind a record of its key that failed"
                ),
            }
        }
    }

    fn warn(&mut self, partition: Option<PartitionId>, error: &KafkaError) {
        if let Some(held_back) = self.failures.pass(Instant::now()) {
            tracing::warn!(
                module = self.source.module.name,
                partition = partition.map(|partition| partition.0),
                lines_held_back = held_back,
                error = error as &dyn std::error::Error,
                "reading bodies again failed; trying on"
            );
        }
    }
}

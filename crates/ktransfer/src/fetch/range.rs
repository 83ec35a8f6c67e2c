//! A partition whose next record the broker does not have: it waits, goes on elsewhere, or stands still.

use std::sync::Arc;

use kcommon::kafka::CommitOffset;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use tokio::time::Instant;

use super::{Fetch, PATIENCE, RETRY};
use crate::range::{Next, Resort, Side};

/// What the broker keeps of the partition.
#[derive(Clone, Copy)]
struct Log {
    start: i64,
    end: i64,
}

impl Fetch {
    /// The broker keeps no record at `from`: find out which side, and decide.
    pub(super) async fn out_of_range(&mut self, from: CommitOffset) {
        let (module, partition) = (&self.source.module, self.assignment.partition);
        let truncated = self.source.consumer.context().take_truncation();
        if truncated.is_some() && self.source.truncated(self.assignment, truncated) {
            return std::future::pending().await;
        }
        let log = match self.watermarks().await {
            Ok((start, end)) => Log { start, end },
            Err(error) => {
                tracing::warn!(
                    module = module.name,
                    partition = partition.0,
                    error = &error as &dyn std::error::Error,
                    "cannot ask for the log's start and end; asking again"
                );
                return tokio::time::sleep(RETRY).await;
            }
        };
        let side = if from.get() < log.start {
            Side::Below
        } else if from.get() > log.end {
            Side::Above
        } else {
            return self.in_range().await;
        };
        let now = Instant::now();
        let since = *self.out_since.get_or_insert(now);
        match self.source.module.out_of_range.next(side, since, now) {
            Next::WaitUntil(until) => {
                self.stop(format!(
                    "its position {from} is outside of its log, which has {} to {}; asking again until out_of_range.after_ms is over",
                    log.start, log.end
                ));
                tokio::time::sleep_until(until.min(now + RETRY)).await;
            }
            Next::Go(resort) => match side {
                Side::Below => self.below(from, log, resort).await,
                Side::Above => self.above(from, log, resort).await,
            },
        }
    }

    /// In range by now.
    async fn in_range(&mut self) {
        if self.source.truncated(self.assignment, None) {
            // The log has grown over what it had lost. The end of this epoch is on its way.
            return std::future::pending().await;
        }
        self.out_since = None;
        self.progress.stopped.take();
        tokio::time::sleep(RETRY).await;
    }

    /// The log begins above the position.
    async fn below(&mut self, from: CommitOffset, log: Log, resort: Resort) {
        let (to, what) = match resort {
            Resort::Earliest => (
                log.start,
                "records lost: Kafka deleted them before they were fetched; going on at the log start",
            ),
            Resort::Latest => (
                log.end,
                "records lost: Kafka deleted some before they were fetched; going on at the log end",
            ),
            Resort::Stop => {
                self.stop(format!(
                    "its position {from} is below the log start {}: Kafka deleted the records; set the offset in ZooKeeper to a \
                     number from {} to {}, or change out_of_range.below",
                    log.start, log.start, log.end
                ));
                return tokio::time::sleep(RETRY).await;
            }
        };
        let lost = to - from.get();
        self.source
            .meters
            .lost
            .increment(u64::try_from(lost).unwrap_or_default());
        tracing::error!(
            module = self.source.module.name,
            partition = self.assignment.partition.0,
            position = from.get(),
            log_start = log.start,
            log_end = log.end,
            lost,
            "{what}"
        );
        if let Ok(to) = CommitOffset::try_from(to) {
            self.source
                .dispatcher
                .borrow_mut()
                .reach(self.assignment.epoch, to);
        }
        self.out_since = None;
        self.progress.stopped.take();
    }

    /// The log ends below the position.
    async fn above(&mut self, from: CommitOffset, log: Log, resort: Resort) {
        if self.source.truncated(self.assignment, Some(log.end)) {
            // The end of this epoch is on its way.
            return std::future::pending().await;
        }
        let to = match resort {
            Resort::Earliest => log.start,
            Resort::Latest => log.end,
            Resort::Stop => {
                self.stop(format!(
                    "its position {from} is above the log end {}; was the topic created anew? Set the offset in ZooKeeper to a \
                     number up to {}",
                    log.end, log.end
                ));
                return tokio::time::sleep(RETRY).await;
            }
        };
        tracing::error!(
            module = self.source.module.name,
            partition = self.assignment.partition.0,
            position = from.get(),
            log_start = log.start,
            log_end = log.end,
            going_on_at = to,
            "the position is above the log end; going on as out_of_range.above says"
        );
        if let Ok(to) = CommitOffset::try_from(to) {
            let mut dispatcher = self.source.dispatcher.borrow_mut();
            dispatcher.begin_anew(self.assignment.epoch, to);
        }
        // A new epoch is on its way.
        std::future::pending::<()>().await;
    }

    async fn watermarks(&self) -> Result<(i64, i64), KafkaError> {
        let consumer = Arc::clone(&self.source.consumer);
        let topic = self.source.module.topic.to_string();
        let partition = self.assignment.partition.0;
        let asked =
            tokio::task::spawn_blocking(move || consumer.fetch_watermarks(&topic, partition, PATIENCE));
        asked.await.unwrap_or(Err(KafkaError::Canceled))
    }
}

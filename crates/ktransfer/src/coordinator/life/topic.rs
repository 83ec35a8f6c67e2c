//! The topic of the life: which partitions it has, whether it is still the same, and the znodes to begin with.

use std::time::Duration;

use futures_util::FutureExt;
use kcommon::kafka::PartitionId;
use kcommon::zookeeper::Error;
use tokio::time::Instant;

use super::super::first_start::{PrepareError, prepare};
use super::super::health::chain;
use super::super::jobs::Answer;
use super::{Life, Progress};
use crate::acks::TopicIdentity;
use crate::claims::Step;
use crate::watermarks::WatermarkError;

/// How often the topic is asked for once the module runs, and while it cannot yet.
const EVERY: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(1);

/// After it was another, a broker may go on telling of the old one's partitions for so long.
const RENEWAL: Duration = Duration::from_secs(15);

impl Life {
    /// What the brokers say about the topic.
    pub(super) fn topic(&mut self, answer: Result<Option<Vec<PartitionId>>, WatermarkError>, now: Instant) {
        let topic = &self.store.topic;
        match answer {
            Ok(Some(partitions)) => {
                self.unable = None;
                let known = self.partitions.len();
                if now < self.renewal_ends {
                    self.partitions.clear();
                }
                self.partitions.extend(partitions);
                if self.partitions.len() > known && self.progress == Progress::Ready {
                    tracing::info!(module = self.store.module, %topic, from = known, to = self.partitions.len(),
                        "the topic has grown");
                    self.looks.soon();
                }
                if self.progress == Progress::Waiting && !self.partitions.is_empty() {
                    self.prepare();
                } else if self.progress == Progress::Ready {
                    self.problem = None;
                }
            }
            Ok(None) => {
                self.unable.get_or_insert(now);
                self.problem = Some(format!(
                    "the brokers know no topic {topic}; waiting until it is created"
                ));
            }
            Err(error) => {
                self.unable.get_or_insert(now);
                self.problem = Some(format!("topic {topic}: {}", chain(&error)));
            }
        }
        let wait = if self.progress == Progress::Ready {
            EVERY
        } else {
            RETRY
        };
        self.next_topic = Some(now + wait);
    }

    /// What ZooKeeper says about the topic: another one of the same name starts anew.
    pub(super) fn identity(
        &mut self,
        answer: Result<Option<TopicIdentity>, Error>,
        now: Instant,
    ) -> Vec<Step> {
        let topic = match answer {
            Ok(Some(topic)) => topic,
            // Deleted at this moment, or not in ZooKeeper at all.
            Ok(None) => return Vec::new(),
            Err(error) => {
                tracing::debug!(module = self.store.module, %error, "the topic's identity could not be read");
                return Vec::new();
            }
        };
        let steps = self.claims.topic_is(&topic, now + self.drain_timeout);
        if !steps.is_empty() {
            tracing::error!(
                module = self.store.module,
                topic = %self.store.topic,
                identity = %topic,
                partitions = steps.len(),
                "the topic was deleted and created anew; its partitions are given up and claimed again"
            );
            // It may have fewer partitions than before: this is the one proof that the old ones are gone.
            self.partitions.clear();
            self.renewal_ends = now + RENEWAL;
            self.next_topic = Some(now);
        }
        steps
    }

    fn prepare(&mut self) {
        self.progress = Progress::Preparing;
        let (store, initial) = (self.store.clone(), self.initial);
        let partitions: Vec<PartitionId> = self.partitions.iter().copied().collect();
        self.jobs
            .push(async move { Answer::Prepared(prepare(&store, &partitions, initial).await) }.boxed());
    }

    /// The znodes are made, or not.
    pub(super) fn prepared(&mut self, outcome: Result<(), PrepareError>) {
        match outcome {
            Ok(()) => {
                self.progress = Progress::Ready;
                self.problem = None;
                self.looks.all_now(Instant::now());
            }
            Err(error) => {
                self.progress = Progress::Waiting;
                self.problem = Some(chain(&error));
            }
        }
    }
}

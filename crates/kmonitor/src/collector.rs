//! One cluster's task: a round every interval, for ever.
//!
//! Nothing ends it but the request to stop. A round that cannot read ZooKeeper leaves the cluster without numbers until
//! one can. Each round is bounded in time, so what is on the board is never older than an interval and a round.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kcommon::readiness::Latch;
use kcommon::zookeeper::layout;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::board::Board;
use crate::clock::Clock;
use crate::config::Cluster;
use crate::follow::{Fixed, Follower, Outcome};
use crate::meters::ClusterMeters;
use crate::render::Fragment;
use crate::round::{Failed, KafkaTrouble, Round, Sources};

/// After this a round is given up.
const ROUND_LIMIT: Duration = Duration::from_secs(20);

/// The longest pause before another attempt after a failed round.
const RETRY: Duration = Duration::from_secs(2);

/// The pause after the first good round.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Malformed znodes that are named in the log after one round.
const NAMED: usize = 10;

/// What a cluster's task is told at its start.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The cluster.
    pub(crate) cluster: Cluster,
    /// What its numbers are judged by.
    pub(crate) fixed: Fixed,
    /// From the end of a round to the start of the next.
    pub(crate) offset_interval: Duration,
    /// The age at which the tree and Kafka's metadata are read again.
    pub(crate) tree_interval: Duration,
    /// Where the numbers go.
    pub(crate) board: Board,
    /// What time it is.
    pub(crate) clock: Clock,
    /// Ready once the first round has ended, well or not: from then on `/delay` says what is known.
    pub(crate) latch: Latch,
}

/// What the log has been told, so that a trouble that lasts is told once, and its end too.
#[derive(Debug, Default)]
struct Told {
    zookeeper_down: bool,
    kafka: Option<KafkaTrouble>,
    garbage: BTreeSet<(String, String, i32)>,
}

/// Watches a cluster until the future is dropped. A panic is our own mistake: it costs this cluster one round, and the
/// others nothing.
pub(crate) async fn watch(watch: Watch) {
    let watch = Arc::new(watch);
    let name = &watch.cluster.name;
    watch.latch.not_ready("its first round has not ended yet");
    loop {
        let rounds = AbortOnDropHandle::new(tokio::spawn(rounds(Arc::clone(&watch))));
        if let Err(error) = rounds.await {
            tracing::error!(cluster = name, %error, "the cluster's task failed and is started again");
        }
        let view = watch.fixed.unseen(watch.clock.now());
        watch.board.put(Fragment::stale(name), view);
        tokio::time::sleep(RETRY).await;
    }
}

async fn rounds(watch: Arc<Watch>) {
    let name = &watch.cluster.name;
    let meters = ClusterMeters::new(name);
    let mut sources = Sources::new(watch.cluster.clone(), watch.tree_interval);
    let mut follower = Follower::new(watch.fixed.clone());
    let mut told = Told::default();
    let mut good: u64 = 0;
    loop {
        let started = Instant::now();
        let outcome = tokio::time::timeout(ROUND_LIMIT, sources.round()).await;
        let took = started.elapsed();
        let pause = match outcome.unwrap_or(Err(Failed::RoundTimeout(ROUND_LIMIT))) {
            Ok(round) => {
                good += 1;
                meters.succeeded(&round, took);
                let kafka = round.kafka.err().map(|error| error.to_string());
                let found = Outcome::Found {
                    snapshot: &round.snapshot,
                    kafka: kafka.as_deref(),
                };
                let view = follower.follow(found, took.as_secs_f64(), watch.clock.now());
                watch.board.put(Fragment::new(name, &round.snapshot), view);
                told.succeeded(name, round);
                // A state takes two looks; the first two come soon after one another.
                if good == 1 {
                    FIRST_PAUSE.min(watch.offset_interval)
                } else {
                    watch.offset_interval
                }
            }
            Err(failed) => {
                sources.forget_zookeeper();
                meters.failed(took);
                let why = chain(&failed);
                let failed_round = Outcome::Failed { why: &why };
                let view = follower.follow(failed_round, took.as_secs_f64(), watch.clock.now());
                watch.board.put(Fragment::stale(name), view);
                told.failed(name, &why);
                RETRY.min(watch.offset_interval)
            }
        };
        watch.latch.ready();
        learn(&sources, &mut follower, watch.clock).await;
        tokio::time::sleep(pause).await;
    }
}

/// Asks Kafka for the times of records that are older than anybody has watched; what it tells shows in the next round.
async fn learn(sources: &Sources, follower: &mut Follower, clock: Clock) {
    let wanted = follower.wanted(clock.now());
    if wanted.is_empty() {
        return;
    }
    let asking = tokio::time::timeout(ROUND_LIMIT, sources.written(wanted));
    for (record, written_ms) in asking.await.unwrap_or_default() {
        follower.learn(&record, written_ms, clock.now());
    }
}

impl Told {
    fn succeeded(&mut self, cluster: &str, round: Round) {
        if std::mem::take(&mut self.zookeeper_down) {
            tracing::info!(cluster, "zookeeper is read again");
        }
        let trouble = round.kafka.err();
        match trouble {
            Some(error) if self.kafka != trouble => tracing::warn!(cluster, %error, "lags are unknown"),
            None if self.kafka.is_some() => tracing::info!(cluster, "kafka tells every log end again"),
            _ => {}
        }
        self.kafka = trouble;
        let new = round.garbage.difference(&self.garbage);
        for (module, topic, partition) in new.take(NAMED) {
            let znode = format!("{}/{partition}", layout::offsets(module, topic));
            tracing::warn!(
                cluster,
                znode,
                "no offset in the znode: write a decimal number into it, or delete it"
            );
        }
        self.garbage = round.garbage;
    }

    fn failed(&mut self, cluster: &str, why: &str) {
        if !std::mem::replace(&mut self.zookeeper_down, true) {
            tracing::warn!(
                cluster,
                error = why,
                "zookeeper cannot be read; the cluster is shown empty"
            );
        }
    }
}

/// The error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

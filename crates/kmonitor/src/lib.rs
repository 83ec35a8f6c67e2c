//! kmonitor: how far each ktransfer module is behind in each partition of its topic.
//!
//! It reads and never writes: commits from ZooKeeper, log ends from Kafka, one task per cluster. What it cannot know it leaves
//! out. Nothing but the request to stop ends it: a malformed znode, a dead broker or a lost ZooKeeper make that partition or
//! cluster unknown, and the rest goes on.

mod board;
mod burrow;
mod clock;
mod collector;
pub mod config;
mod exposition;
mod falcon;
mod follow;
mod groups;
mod history;
mod http;
mod lag;
mod log_batch;
mod logs;
mod members;
mod meters;
mod module;
mod notify;
mod now;
mod page;
mod published;
mod push;
mod query;
mod rate;
mod render;
mod ring;
mod round;
#[cfg(test)]
mod samples;
mod search;
mod snapshot;
mod state;
mod subscription;
mod tidings;
mod topics;
mod tree;
mod view;
mod zabbix;

use kcommon::daemon::{Context, Failure};
use kcommon::meters as recorder;
use tokio::task::JoinSet;

use crate::board::Board;
use crate::clock::Clock;
use crate::collector::Watch;
use crate::config::{Cluster, Config};
use crate::notify::Notifiers;

pub use meters::help::HELP as METRICS;

/// Watches the clusters and answers until the stop is requested.
///
/// Ready when the port is open and every cluster's first round has ended, well or not: a cluster that cannot be read is told
/// in the answers and in the metrics, and keeps nobody from asking about the others.
///
/// # Errors
/// The port cannot be opened.
pub async fn run(config: Config, context: Context) -> Result<(), Failure> {
    let port = config.http.port;
    let listener = http::bind(port).await.map_err(|error| {
        Failure::new(format!(
            "port {port} cannot be opened ({error}): free it, or change http_server.port"
        ))
    })?;
    tracing::info!(port, clusters = config.clusters.len(), "answering");
    context.supervisor.started();
    let clock = Clock::start();
    let fixed = |cluster: &Cluster| config.fixed(cluster);
    let unseen = config
        .clusters
        .iter()
        .map(|cluster| fixed(cluster).unseen(clock.now()));
    let board = Board::new(unseen);
    let notifiers = config
        .notifiers
        .clone()
        .map(|settings| Notifiers::start(settings, &board, clock));
    let mut tasks = JoinSet::new();
    for cluster in &config.clusters {
        tasks.spawn(collector::watch(Watch {
            latch: context.readiness.latch(format!("cluster {}", cluster.name)),
            fixed: fixed(cluster),
            cluster: cluster.clone(),
            offset_interval: config.offset_interval,
            tree_interval: config.tree_interval,
            board: board.clone(),
            clock,
        }));
    }
    if let Some(falcon) = config.falcon {
        tasks.spawn(push::run(falcon, board.clone()));
    }
    let shown = recorder::show({
        let board = board.clone();
        move || exposition::text(board.views().clusters.values())
    });
    http::serve(listener, config.http, board, context.stop).await;
    drop(shown);
    // Nothing of theirs is worth waiting for: they only read.
    tasks.shutdown().await;
    if let Some(notifiers) = notifiers {
        notifiers.finish().await;
    }
    Ok(())
}

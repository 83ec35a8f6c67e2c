//! kmonitor: how far each ktransfer module is behind in each partition of its topic.
//!
//! It reads and never writes: commits from ZooKeeper, log ends from Kafka, one task per cluster. What it cannot know it leaves
//! out. Nothing but the request to stop ends it: a malformed znode, a dead broker or a lost ZooKeeper make that partition or
//! cluster unknown, and the rest goes on.

mod board;
mod collector;
pub mod config;
mod http;
mod lag;
mod log_batch;
mod logs;
mod meters;
mod module;
mod query;
mod render;
mod round;
mod snapshot;
mod subscription;
mod topics;
mod tree;

use kcommon::daemon::{Context, Failure};
use tokio::task::JoinSet;

use crate::board::Board;
use crate::collector::Watch;
use crate::config::Config;

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
    let board = Board::new(config.clusters.iter().map(|cluster| cluster.name.as_str()));
    let mut tasks = JoinSet::new();
    for cluster in config.clusters {
        tasks.spawn(collector::watch(Watch {
            latch: context.readiness.latch(format!("cluster {}", cluster.name)),
            cluster,
            offset_interval: config.offset_interval,
            tree_interval: config.tree_interval,
            board: board.clone(),
        }));
    }
    http::serve(listener, config.http, board, context.stop).await;
    // Nothing of theirs is worth waiting for: they only read.
    tasks.shutdown().await;
    Ok(())
}

//! How the partitions of a module stand, for people who ask.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Dispatcher, Phase};

/// How a partition stands in this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The partition.
    pub partition: i32,
    /// `running`; `stopped` (a record that ended undelivered waits for an operator); `draining` (given up, pushes on their way may end); `lost` (its claim is gone); `truncated` (its log lost records).
    pub phase: String,
    /// Why nothing of it is fetched, if so.
    pub stopped: Option<String>,
    /// The next offset to commit: everything below it is done.
    pub position: i64,
    /// What the fetch has reached.
    pub reached: i64,
    /// Records between the two that were taken in, done or not.
    pub uncommitted: usize,
    /// Bytes of records in memory.
    pub held_bytes: usize,
    /// Pushes on their way.
    pub in_flight: usize,
    /// The oldest record that is not done.
    pub oldest: Option<Oldest>,
}

/// The oldest record of a partition that is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oldest {
    /// Its offset.
    pub offset: i64,
    /// Attempts that have failed.
    pub failed_attempts: u32,
    /// Milliseconds since the first of them began; 0 when none has failed.
    pub failing_ms: u64,
    /// The status of the last answer, if the last attempt had one.
    pub last_status: Option<u16>,
}

impl Dispatcher {
    /// How all partitions stand, by number.
    #[must_use]
    pub fn standings(&self, now: Instant) -> Vec<Standing> {
        let mut standings: Vec<_> = self
            .partitions
            .iter()
            .map(|(epoch, known)| {
                let oldest = known.ledger.oldest().map(|offset| {
                    let seq = known.ledger.pending(offset);
                    let trouble = seq.and_then(|seq| self.troubles.of(*epoch, seq));
                    let since = trouble.map(|trouble| now.saturating_duration_since(trouble.first));
                    Oldest {
                        offset: offset.get(),
                        failed_attempts: trouble.map_or(0, |trouble| trouble.attempts),
                        failing_ms: since
                            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
                        last_status: trouble
                            .and_then(|trouble| trouble.status)
                            .map(|status| status.as_u16()),
                    }
                });
                Standing {
                    partition: known.assignment.partition.0,
                    phase: phase(known.phase).to_owned(),
                    stopped: None,
                    position: known.ledger.commit_position().get(),
                    reached: known.ledger.reached().get(),
                    uncommitted: known.ledger.len(),
                    held_bytes: known.share.held(),
                    in_flight: known.in_flight,
                    oldest,
                }
            })
            .collect();
        standings.sort_by_key(|standing| standing.partition);
        standings
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Running => "running",
        Phase::Stopped { .. } => "stopped",
        Phase::Draining { .. } => "draining",
        Phase::Lost => "lost",
        Phase::Truncated => "truncated",
    }
}

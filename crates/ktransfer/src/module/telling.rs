//! What a module says of its state: to `/readyz`, to its gauges, and once to the log when something begins or ends.

use kcommon::kafka::{PartitionId, RecordOffset};
use tokio::time::Instant;

use super::partitions::Fetching;
use super::{Question, Running};
use crate::dispatcher::Fullness;
use crate::stall::Limit;

impl Running {
    /// Tells how the partitions stand.
    pub(super) fn answer(&self, question: Question) {
        let mut standings = self.dispatcher.borrow().standings(Instant::now());
        for standing in &mut standings {
            let fetching = self.fetching.get(&PartitionId(standing.partition));
            standing.stopped = fetching.and_then(|fetching| fetching.progress.stopped());
        }
        // Whoever asked may have gone.
        drop(question.send(standings));
    }

    /// Whether the backends take anything.
    pub(super) fn tell_outage(&mut self, now: Instant) {
        let mut outage = self.target.outage.borrow_mut();
        outage.watch(now, self.dispatcher.borrow().in_flight());
        let module = self.source.module.name.as_str();
        let reason = outage.reason(now);
        match &reason {
            Some(reason) => {
                if !self.outage_told {
                    tracing::error!(
                        module,
                        reason,
                        "the backend takes nothing; its records wait or are dropped"
                    );
                }
                self.backend.not_ready(reason.clone());
            }
            None => {
                if self.outage_told {
                    tracing::info!(module, "the backend answers again");
                }
                self.backend.ready();
            }
        }
        self.outage_told = reason.is_some();
        let down = if self.outage_told { 1.0 } else { 0.0 };
        self.source.meters.backend_down.set(down);
    }

    /// Whether the backends want less at a time.
    pub(super) fn tell_slowed(&mut self, now: Instant) {
        let (limit, slowed) = self.dispatcher.borrow().concurrency();
        let module = self.source.module.name.as_str();
        match self.slowed.look(slowed, now) {
            Some(true) => tracing::warn!(
                module,
                pushes_at_a_time = limit,
                "module slowed down: its backend answers 429 or 503, or is away"
            ),
            Some(false) => tracing::info!(module, "module at full speed again"),
            None => {}
        }
    }

    /// Which partitions stand still, and why.
    pub(super) fn tell_stopped(&mut self, now: Instant) {
        let (mut full, mut first) = (0.0, None);
        for (partition, fetching) in &mut self.fetching {
            let fullness = self.dispatcher.borrow().fullness(fetching.assignment.epoch);
            let stalled = fullness.and_then(|known| fetching.stalled(&known, now));
            tell_full(
                &self.source.module.name,
                (*partition, &mut *fetching),
                stalled,
                fullness,
            );
            full += f64::from(u8::from(stalled.is_some()));
            let stopped = fetching.progress.stopped();
            let at = self.dispatcher.borrow().stopped_at(fetching.assignment.epoch);
            let stopped = stopped.or(at.map(|offset| {
                format!(
                    "its record at offset {offset} was not delivered; move the offset past it, or make the backend take it and \
                     change the module's file"
                )
            }));
            let reason = match (stopped, stalled) {
                (Some(reason), _) => Some(format!("partition {partition} is stopped: {reason}")),
                (None, Some(limit)) => Some(full_reason(*partition, limit, fullness)),
                (None, None) => None,
            };
            first = first.or(reason);
        }
        self.source.meters.full.set(full);
        match first.or(self.tell_undelivered(now)) {
            Some(reason) => self.latch.not_ready(reason),
            None => self.latch.ready(),
        }
    }
}

fn oldest(fullness: Option<Fullness>) -> Option<i64> {
    fullness.and_then(|known| known.oldest).map(RecordOffset::get)
}

fn full_reason(partition: PartitionId, limit: Limit, fullness: Option<Fullness>) -> String {
    let at = oldest(fullness).map_or(String::new(), |offset| format!(" behind offset {offset}"));
    format!(
        "partition {partition} takes no further record{at}: {}",
        limit.advice()
    )
}

/// One line when a partition begins to stand still, and one when it goes on.
fn tell_full(
    module: &str,
    (partition, fetching): (PartitionId, &mut Fetching),
    stalled: Option<Limit>,
    fullness: Option<Fullness>,
) {
    let partition = partition.0;
    match (fetching.full_told, stalled) {
        (false, Some(limit)) => tracing::error!(
            module,
            partition,
            oldest_offset = oldest(fullness),
            uncommitted = fullness.map(|known| known.uncommitted),
            advice = limit.advice(),
            "partition full: it takes no further record until its oldest ones are done"
        ),
        (true, None) => tracing::info!(module, partition, "partition no longer full"),
        _ => {}
    }
    fetching.full_told = stalled.is_some();
}

//! One module for as long as it is enabled: one life after the other, by what its file says.

use std::time::Duration;

use kcommon::config::Invalid;
use kcommon::readiness::Latch;
use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::life::{Ended, Life};
use super::source::{Said, Source};
use crate::meters::{INVALID, RESTARTS};

/// The wait before a module that failed is started again; doubles up to [`LONGEST_BACK_OFF`].
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);
/// A module that has run for so long begins with the first back-off again.
const HEALTHY: Duration = Duration::from_secs(60);

/// A module's seat in the process.
pub(super) struct Seat {
    name: String,
    shared: Shared,
    latch: Latch,
    source: Source,
    back_off: Duration,
}

impl Seat {
    pub(super) fn new(name: String, said: watch::Receiver<Said>, shared: Shared) -> Self {
        let latch = shared.readiness.latch(format!("module {name}"));
        let source = Source::new(
            name.clone(),
            said,
            shared.readiness.clone(),
            shared.states.clone(),
        );
        Self {
            name,
            shared,
            latch,
            source,
            back_off: FIRST_BACK_OFF,
        }
    }

    /// Runs the module until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut said = self.source.module();
        while !stop.is_cancelled() {
            self.shared.states.running(&self.name, said.is_ok());
            said = match said {
                Ok(valid) => {
                    self.source.accept();
                    let began = tokio::time::Instant::now();
                    let Some(cluster) = self.shared.clusters.get(&valid.cluster).cloned() else {
                        // The clusters are those of the start, and the file's are others now.
                        match self.wait_for_restart(&stop).await {
                            Some(changed) => said = changed,
                            None => return,
                        }
                        continue;
                    };
                    let ended = Life::new(valid.clone(), &self.shared, cluster, &self.latch)
                        .run(&mut self.source, &stop)
                        .await;
                    self.shared.states.running(&self.name, false);
                    self.shared.states.runs(&self.name, None);
                    match ended {
                        Ended::Stopped => return,
                        Ended::Changed(changed) => {
                            tracing::info!(module = self.name, "module file changed; starting again with it");
                            Ok(*changed)
                        }
                        Ended::Failed(reason) => {
                            self.pause(&reason, began.elapsed(), &stop).await;
                            Ok(valid)
                        }
                    }
                }
                Err(invalid) => match self.wait_for_another(&invalid, &stop).await {
                    Some(said) => said,
                    None => return,
                },
            };
        }
    }

    /// Waits until the file names a cluster of this process; `None`: stopped.
    async fn wait_for_restart(&mut self, stop: &CancellationToken) -> Option<Said> {
        self.shared.states.running(&self.name, false);
        tracing::error!(
            module = self.name,
            "module not started: its cluster is new in the main file; restart ktransfer"
        );
        self.latch
            .not_ready("its cluster is new in the main file, which is read at the start: restart ktransfer");
        stop.run_until_cancelled(self.source.changed()).await
    }

    /// Says what is wrong, and waits until the file says something else; `None`: stopped.
    async fn wait_for_another(&mut self, invalid: &Invalid, stop: &CancellationToken) -> Option<Said> {
        tracing::error!(module = self.name, problems = %invalid, "module not started: its configuration is wrong");
        self.latch.not_ready(format!("wrong configuration: {invalid}"));
        gauge!(INVALID).increment(1.0);
        let said = stop.run_until_cancelled(self.source.changed()).await;
        gauge!(INVALID).decrement(1.0);
        said
    }

    /// A module that failed waits, longer each time.
    async fn pause(&mut self, reason: &str, lived: Duration, stop: &CancellationToken) {
        if lived > HEALTHY {
            self.back_off = FIRST_BACK_OFF;
        }
        let back_off = self.back_off;
        counter!(RESTARTS, "module" => self.name.clone()).increment(1);
        tracing::error!(
            module = self.name,
            reason,
            ?back_off,
            "module failed; starting it again after a pause"
        );
        self.latch
            .not_ready(format!("failed: {reason}; it is started again"));
        stop.run_until_cancelled(tokio::time::sleep(back_off)).await;
        self.back_off = (back_off * 2).min(LONGEST_BACK_OFF);
    }
}

//! What a dispatcher does whose module has a pace: workers rest until the next push may begin.

use tokio::time::Instant;

use super::Dispatcher;
use crate::scheduler::Job;

impl Dispatcher {
    /// The topic has so many partitions.
    pub fn of_partitions(&mut self, all: usize) {
        self.all_partitions = all;
        self.share_pace();
    }

    /// The pace follows the partitions that are owned.
    pub(super) fn share_pace(&mut self) {
        let owned = self.partitions.len();
        if let Some(pace) = &mut self.pace {
            pace.own(owned, self.all_partitions, Instant::now());
        }
    }

    /// Whether the pace lets a push begin; if not, the loop wakes a worker when it does.
    pub(super) fn is_in_time(&mut self) -> bool {
        let Some(pace) = &mut self.pace else {
            return true;
        };
        let waited = pace.waits_until();
        let admits = pace.admits(Instant::now());
        if !admits && pace.waits_until() != waited {
            self.bell.notify_one();
        }
        admits
    }

    /// A record is taken: it counts, and the next worker looks whether it may take one too.
    pub(super) fn spend(&mut self, job: &Job) {
        let Some(pace) = &mut self.pace else {
            return;
        };
        let bytes = job.record.value().len();
        pace.spend(bytes);
        self.meters.paced_records.increment(1);
        self.meters.paced_bytes.increment(bytes as u64);
        if self.scheduler.has_ready() {
            self.flights.wake(1);
        }
    }

    /// Wakes a worker when the next push may begin.
    pub(super) fn wake_paced(&mut self, now: Instant) {
        if self.pace.as_mut().is_some_and(|pace| pace.is_over(now)) {
            self.flights.wake(1);
        }
    }
}

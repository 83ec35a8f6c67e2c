//! A defect for the simulation: what a ledger must never do.

use super::Dispatcher;
use crate::scheduler::Job;

impl Dispatcher {
    /// Acknowledges the record of an older epoch in the present one of its partition, as if a handle were a handle.
    pub(crate) fn count_in_the_present_epoch(&mut self, job: &Job) {
        let epoch = job.lane.epoch();
        let Some(partition) = self.partition(epoch) else {
            return;
        };
        let newest = self
            .partitions
            .values_mut()
            .filter(|other| other.assignment.partition == partition && other.assignment.epoch > epoch)
            .max_by_key(|other| other.assignment.epoch);
        if let Some(newest) = newest {
            newest.done(&job.record);
        }
    }
}

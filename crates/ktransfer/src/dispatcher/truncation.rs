//! What the dispatcher does with a partition whose log has lost records that had been taken in.

use kcommon::kafka::CommitOffset;

use super::Dispatcher;
use super::partition::Phase;
use crate::assignment::{Epoch, Report};

impl Dispatcher {
    /// The log has lost what was taken in from `end` on (`None`: nobody knows from where on), and may hold other records there:
    /// nothing of the epoch is pushed any more, and coordination is asked for a new one. Returns how many of the records
    /// that are not done are lost; `None`, and nothing is done, when this epoch has taken in nothing yet or is at its end.
    pub fn truncated(&mut self, epoch: Epoch, end: Option<CommitOffset>) -> Option<usize> {
        let partition = self.partitions.get_mut(&epoch)?;
        if !partition.is_running() || !partition.ledger.has_admitted() {
            return None;
        }
        partition.phase = Phase::Truncated;
        self.scheduler.close(partition.lane);
        let position = partition.ledger.commit_position();
        let lost = end.map_or(0, |end| partition.ledger.pending_from(end));
        let report = Report::Truncated {
            assignment: partition.assignment,
            position: end.map_or(position, |end| end.min(position)),
        };
        self.meters.truncations.increment(1);
        self.meters.lost.increment(lost as u64);
        self.report(report);
        Some(lost)
    }

    /// The log ends below an epoch that has taken in nothing: coordination is asked for a new one at `position`.
    pub fn begin_anew(&mut self, epoch: Epoch, position: CommitOffset) {
        let Some(partition) = self.partitions.get_mut(&epoch).filter(|known| known.is_running()) else {
            return;
        };
        partition.phase = Phase::Truncated;
        self.scheduler.close(partition.lane);
        let assignment = partition.assignment;
        self.report(Report::Truncated { assignment, position });
    }
}

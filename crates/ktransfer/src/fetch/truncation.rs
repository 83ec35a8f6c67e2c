//! A log that has lost records which were read from it.

use kcommon::kafka::CommitOffset;

use super::Source;
use crate::assignment::Assignment;

impl Source {
    /// The log has lost what was read from `end` on (`None`: nobody knows from where on), and may hold other records there:
    /// gives the epoch up, unless it has taken in nothing yet. Returns whether it does.
    #[must_use]
    pub fn truncated(&self, assignment: Assignment, end: Option<i64>) -> bool {
        let from = end.map(|end| CommitOffset::try_from(end).unwrap_or(CommitOffset::ZERO));
        let lost = self.dispatcher.borrow_mut().truncated(assignment.epoch, from);
        if let Some(lost) = lost {
            tracing::error!(
                module = self.module.name,
                partition = assignment.partition.0,
                log_end = end,
                lost,
                "log truncated: Kafka lost records that had been read, and may hold others in their place; going on where it \
                 ended, or at the oldest record that is not done if that is lower"
            );
        }
        lost.is_some()
    }
}

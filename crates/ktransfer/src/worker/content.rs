//! What a worker does with a record whose body cannot be made into what is pushed.

use super::Worker;
use crate::content::{ContentError, OnError};
use crate::dispatcher::End;
use crate::scheduler::Job;

impl Worker {
    /// How the record ends, unless it is pushed as it is.
    pub(super) fn not_transformed(&self, job: &Job, error: &ContentError) -> Option<End> {
        // Once for a record, however often it is pushed.
        if job.record.failures == 0 {
            self.meters.transform_errors.increment(1);
            self.warn(
                &self.target.losses,
                job,
                error,
                "record whose body cannot be transformed",
            );
        }
        match self.target.module().content.as_ref()?.on_error {
            OnError::Skip => Some(End::Done),
            // With `stop` its fetch has transformed it before, and found no error.
            OnError::Push | OnError::Stop => None,
        }
    }
}

//! The two clocks of the process, read together.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::now::Now;

/// Tells the time since it was made, on a clock that does not jump, and the wall's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    /// Begins at 0.
    #[must_use]
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// What time it is.
    #[must_use]
    pub(crate) fn now(self) -> Now {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono_ms: i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX),
            wall_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX),
        }
    }
}

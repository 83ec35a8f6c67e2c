//! The request to stop, and the signals that make it.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The request to stop. Clones share it; once made it stands.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
}

impl Stop {
    /// A request that nobody has made yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns when the stop is requested; at once when it already is.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Whether the stop is requested.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Requests the stop.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// The token behind it, for child tokens and libraries.
    #[must_use]
    pub const fn token(&self) -> &CancellationToken {
        &self.token
    }
}

/// SIGTERM and SIGINT of this process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over; from now on they do not end the process by themselves. Needs a Tokio runtime.
    ///
    /// # Errors
    /// The system refuses the handler.
    pub fn take() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next signal.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The first signal requests the stop; returns at the second one, when the caller ends the process without waiting for
    /// anything.
    pub async fn watch(mut self, stop: Stop) {
        let signal = self.next().await;
        tracing::info!(signal, "stopping; a second signal ends the process at once");
        stop.request();
        let signal = self.next().await;
        tracing::error!(signal, "second signal: ending without waiting for what is open");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_every_clone_and_stands() {
        let stop = Stop::new();
        let clone = stop.clone();
        assert!(!clone.is_requested());
        stop.request();
        clone.requested().await;
        assert!(clone.is_requested());
        clone.requested().await;
    }
}

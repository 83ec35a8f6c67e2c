//! What reading the configuration again has changed, and how it is asked for.

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

/// What has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Modules that were started.
    pub added: Vec<String>,
    /// Modules that are drained and given up.
    pub removed: Vec<String>,
    /// Modules that are drained and started again.
    pub changed: Vec<String>,
    /// Modules whose files are wrong: those that run go on with what they had.
    pub refused: Vec<Refused>,
    /// How many modules say the same as before.
    pub unchanged: usize,
    /// What is wrong with the main file, if something is: what it said before goes on.
    pub main_refused: Vec<String>,
    /// Keys of the main file that differ from what the process was started with and are read at the start only.
    pub needs_restart: Vec<&'static str>,
}

/// A module whose file is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Its name.
    pub module: String,
    /// What is wrong, one line each.
    pub problems: Vec<String>,
}

impl Reloaded {
    /// Whether anything differs from before.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let same = Self {
            unchanged: self.unchanged,
            ..Self::default()
        };
        *self == same
    }

    pub(super) fn tell(&self, asked_by: &str) {
        if !self.needs_restart.is_empty() {
            tracing::warn!(keys = ?self.needs_restart, "keys of the main file have changed that are read at the start only");
        }
        let refused: Vec<&str> = self
            .refused
            .iter()
            .map(|refused| refused.module.as_str())
            .collect();
        tracing::info!(
            asked_by,
            added = ?self.added,
            removed = ?self.removed,
            changed = ?self.changed,
            ?refused,
            unchanged = self.unchanged,
            "configuration read again"
        );
    }
}

/// Asks for the configuration to be read again at once. Clones ask the same process.
#[derive(Clone, Debug)]
pub struct Reloader(mpsc::Sender<oneshot::Sender<Reloaded>>);

/// The other end of a [`Reloader`].
pub(super) type Requests = mpsc::Receiver<oneshot::Sender<Reloaded>>;

impl Reloader {
    pub(super) fn new() -> (Self, Requests) {
        // Whoever asks while others wait gets an answer of its own.
        let (sender, requests) = mpsc::channel(16);
        (Self(sender), requests)
    }

    /// What has changed; `None` when the process is ending.
    pub async fn reload(&self) -> Option<Reloaded> {
        let (answer, reloaded) = oneshot::channel();
        self.0.send(answer).await.ok()?;
        reloaded.await.ok()
    }
}

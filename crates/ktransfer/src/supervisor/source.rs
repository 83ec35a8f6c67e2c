//! What a module's file says, as its supervisor hears it: only what differs from what was said last.

use kcommon::config::Invalid;
use kcommon::readiness::{Latch, Readiness};
use tokio::sync::watch;

use super::states::States;
use crate::config::Module;

/// What a module's file says: a module, or why it cannot run.
pub(super) type Said = Result<Module, Invalid>;

/// A module's file, which its fleet reads.
pub(super) struct Source {
    name: String,
    said: watch::Receiver<Said>,
    readiness: Readiness,
    states: States,
    /// Says why a changed file is refused while the module goes on with what it had. Dropping it takes the reason away.
    refused: Option<Latch>,
}

impl Source {
    pub(super) fn new(
        name: String,
        said: watch::Receiver<Said>,
        readiness: Readiness,
        states: States,
    ) -> Self {
        Self {
            name,
            said,
            readiness,
            states,
            refused: None,
        }
    }

    /// What the file says now.
    pub(super) fn module(&mut self) -> Said {
        self.said.borrow_and_update().clone()
    }

    /// Waits until the file says something else. Pends for ever once nobody follows it any more.
    ///
    /// # Cancel safety
    /// Safe: a change that was not returned is returned again.
    pub(super) async fn changed(&mut self) -> Said {
        if self.said.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.module()
    }

    /// The file was changed to something wrong, and the module goes on with what it had: says so until [`Source::accept`].
    pub(super) fn refuse(&mut self, invalid: &Invalid) {
        tracing::error!(
            module = self.name,
            problems = %invalid,
            "changed module file refused; the module goes on with the last valid one"
        );
        let latch = self.readiness.latch(format!("module {} file", self.name));
        latch.not_ready(format!("the changed file is refused: {invalid}"));
        self.refused = Some(latch);
        self.states.refused(&self.name, true);
    }

    /// The file says what the module runs with.
    pub(super) fn accept(&mut self) {
        if self.refused.take().is_some() {
            tracing::info!(module = self.name, "the module file is right again");
            self.states.refused(&self.name, false);
        }
    }
}

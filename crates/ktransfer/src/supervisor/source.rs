//! A module's file, looked at once a second: a change is read and checked, and only a valid one that means something else
//! reaches the module.

use std::fs::Metadata;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use kcommon::config::Invalid;

use crate::config::{Enabled, Module};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What a changed file says.
pub(super) enum Change {
    /// A module, different from the last valid one.
    Valid(Box<Module>),
    /// Nothing that could run.
    Invalid(Invalid),
}

/// What tells one content of a file from another without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    modified: Option<SystemTime>,
    bytes: u64,
}

impl Mark {
    fn of(metadata: &Metadata) -> Self {
        Self {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
        }
    }
}

/// A module's file and what it said last.
pub(super) struct Watched {
    enabled: Enabled,
    path: Option<PathBuf>,
    mark: Option<Mark>,
    last: Result<Module, Invalid>,
}

impl Watched {
    pub(super) fn new(enabled: Enabled) -> Self {
        let path = enabled.path().map(PathBuf::from);
        let mark = path
            .as_ref()
            .and_then(|path| std::fs::metadata(path).ok())
            .as_ref()
            .map(Mark::of);
        Self {
            last: enabled.module.clone(),
            enabled,
            path,
            mark,
        }
    }

    /// What the file said last.
    pub(super) fn module(&self) -> Result<Module, Invalid> {
        self.last.clone()
    }

    /// Waits until the file says something else.
    ///
    /// # Cancel safety
    /// Safe: a change that was not returned is found again.
    pub(super) async fn changed(&mut self) -> Change {
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(path) = &self.path else { continue };
            let mark = tokio::fs::metadata(path).await.ok().as_ref().map(Mark::of);
            if mark == self.mark {
                continue;
            }
            let enabled = self.enabled.clone();
            let Ok(module) = tokio::task::spawn_blocking(move || enabled.reload()).await else {
                continue;
            };
            self.mark = mark;
            if let (Ok(new), Ok(last)) = (&module, &self.last)
                && new == last
            {
                continue;
            }
            self.last = module;
            return match &self.last {
                Ok(module) => Change::Valid(Box::new(module.clone())),
                Err(invalid) => Change::Invalid(invalid.clone()),
            };
        }
    }
}

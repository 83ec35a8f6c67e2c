//! Ready is the absence of reasons against it. Each part that can make the daemon useless holds a [`Latch`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All latches of a process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    shared: Arc<Mutex<Latches>>,
}

#[derive(Debug, Default)]
struct Latches {
    next_id: u64,
    by_id: BTreeMap<u64, State>,
}

#[derive(Debug)]
struct State {
    name: String,
    /// Why the part is not ready; `None` = ready.
    reason: Option<String>,
}

/// One part's word on whether the daemon is ready. Starts as not ready, "starting"; a dropped latch has no say any more.
#[derive(Debug)]
pub struct Latch {
    id: u64,
    readiness: Readiness,
}

impl Readiness {
    /// No latch yet: ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new latch; `name` is shown beside its reason (`zookeeper`, `module test_module_1`).
    #[must_use]
    pub fn latch(&self, name: impl Into<String>) -> Latch {
        let mut latches = self.lock();
        let id = latches.next_id;
        latches.next_id += 1;
        let state = State {
            name: name.into(),
            reason: Some("starting".to_owned()),
        };
        latches.by_id.insert(id, state);
        Latch {
            id,
            readiness: self.clone(),
        }
    }

    /// Name and reason of every latch that is not ready, oldest latch first; empty = ready.
    #[must_use]
    pub fn reasons(&self) -> Vec<(String, String)> {
        let latches = self.lock();
        let states = latches.by_id.values();
        states
            .filter_map(|state| {
                state
                    .reason
                    .as_ref()
                    .map(|reason| (state.name.clone(), reason.clone()))
            })
            .collect()
    }

    /// A panic elsewhere leaves the map whole: every change is one assignment.
    fn lock(&self) -> MutexGuard<'_, Latches> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latch {
    /// Not ready, for this reason. Setting the same reason again costs nothing.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    /// Ready.
    pub fn ready(&self) {
        self.set(None);
    }

    fn set(&self, reason: Option<String>) {
        if let Some(state) = self.readiness.lock().by_id.get_mut(&self.id)
            && state.reason != reason
        {
            state.reason = reason;
        }
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.readiness.lock().by_id.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_the_absence_of_reasons() {
        let readiness = Readiness::new();
        assert!(readiness.reasons().is_empty());
        let kafka = readiness.latch("kafka");
        let zookeeper = readiness.latch("zookeeper");
        assert_eq!(
            readiness.reasons()[0],
            ("kafka".to_owned(), "starting".to_owned())
        );
        kafka.ready();
        zookeeper.not_ready("session expired");
        assert_eq!(
            readiness.reasons(),
            [("zookeeper".to_owned(), "session expired".to_owned())]
        );
        drop(zookeeper);
        assert!(readiness.reasons().is_empty());
    }

    #[test]
    fn two_latches_may_share_a_name() {
        let readiness = Readiness::new();
        let first = readiness.latch("module a");
        let second = readiness.latch("module a");
        first.ready();
        drop(first);
        assert_eq!(readiness.reasons().len(), 1);
        second.ready();
        assert!(readiness.reasons().is_empty());
    }
}

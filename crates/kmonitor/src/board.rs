//! The answers as they are handed out: rendered once a round, shared by all who ask.
//!
//! A cluster's task puts its newest fragment here; the answer about all clusters is put together then, not when somebody
//! asks, so a thousand callers cost a thousand reference counts. A cluster that has not ended a round is shown like one
//! that cannot be read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::render::{self, Fragment};

/// One answer in both forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The JSON object.
    pub(crate) json: Bytes,
    /// The lines for `zabbix_sender`.
    pub(crate) zabbix: Bytes,
    /// Partitions that exist and have no number in the answer.
    pub(crate) unknown: u64,
    /// The clusters that could not be read in their last round, sorted.
    pub(crate) stale: Vec<String>,
}

/// The current answers. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    fragments: BTreeMap<String, Fragment>,
    by_cluster: BTreeMap<String, Arc<Answer>>,
    all: Arc<Answer>,
}

impl Answer {
    fn of(fragments: &BTreeMap<String, Fragment>) -> Self {
        let stale = fragments.iter().filter(|(_, fragment)| fragment.stale);
        Self {
            json: render::json(fragments.values()).into(),
            zabbix: render::zabbix(fragments.values()).into(),
            unknown: fragments.values().map(|fragment| fragment.unknown).sum(),
            stale: stale.map(|(cluster, _)| cluster.clone()).collect(),
        }
    }
}

impl Board {
    /// The board of these clusters, none of which has been read yet.
    #[must_use]
    pub(crate) fn new<'a>(clusters: impl Iterator<Item = &'a str>) -> Self {
        let fragments: BTreeMap<String, Fragment> = clusters
            .map(|cluster| (cluster.to_owned(), Fragment::stale(cluster)))
            .collect();
        let by_cluster = fragments
            .iter()
            .map(|(cluster, fragment)| (cluster.clone(), Arc::new(alone(cluster, fragment))))
            .collect();
        let all = Arc::new(Answer::of(&fragments));
        let shared = Shared {
            fragments,
            by_cluster,
            all,
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
        }
    }

    /// Replaces what is known about `cluster`.
    pub(crate) fn put(&self, cluster: &str, fragment: Fragment) {
        let answer = Arc::new(alone(cluster, &fragment));
        let mut shared = self.lock();
        shared.fragments.insert(cluster.to_owned(), fragment);
        shared.by_cluster.insert(cluster.to_owned(), answer);
        shared.all = Arc::new(Answer::of(&shared.fragments));
    }

    /// The answer about all clusters.
    #[must_use]
    pub(crate) fn all(&self) -> Arc<Answer> {
        Arc::clone(&self.lock().all)
    }

    /// The answer about one cluster; `None` if there is no such cluster.
    #[must_use]
    pub(crate) fn cluster(&self, cluster: &str) -> Option<Arc<Answer>> {
        self.lock().by_cluster.get(cluster).map(Arc::clone)
    }

    /// A panic while it was held leaves old answers, each whole.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn alone(cluster: &str, fragment: &Fragment) -> Answer {
    Answer::of(&BTreeMap::from([(cluster.to_owned(), fragment.clone())]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{ModuleLag, Snapshot};

    fn fragment(cluster: &str) -> Fragment {
        let topics = BTreeMap::from([("t".to_owned(), BTreeMap::from([(0, Ok(1))]))]);
        let modules = BTreeMap::from([("m".to_owned(), Some(ModuleLag { topics }))]);
        Fragment::new(cluster, &Snapshot { modules })
    }

    #[test]
    fn a_cluster_is_empty_and_stale_until_its_first_round() {
        let board = Board::new(["b", "a"].into_iter());
        assert_eq!(board.all().json, r#"{"a":{},"b":{}}"#);
        assert_eq!(board.all().stale, ["a", "b"]);
        assert_eq!(board.cluster("a").unwrap().json, r#"{"a":{}}"#);
        assert_eq!(board.cluster("c"), None);
    }

    #[test]
    fn each_cluster_changes_alone() {
        let board = Board::new(["a", "b"].into_iter());
        board.put("b", fragment("b"));
        assert_eq!(board.all().json, r#"{"a":{},"b":{"m":{"0":1}}}"#);
        assert_eq!(board.all().zabbix, "- b.m.0.delay 1\n");
        assert_eq!(board.all().stale, ["a"]);
        assert!(board.cluster("b").unwrap().stale.is_empty());
        board.put("b", Fragment::stale("b"));
        assert_eq!(
            board.all().json,
            r#"{"a":{},"b":{}}"#,
            "a frozen number would be a lie"
        );
    }
}

//! The answers as they are handed out: rendered once a round, shared by all who ask.
//!
//! A cluster's task puts its newest numbers here. The answer of `/delay` about all clusters is put together then; the larger
//! JSON texts when somebody first asks for them. So a thousand callers cost a thousand reference counts. A cluster that has
//! not ended a round is shown like one that cannot be read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use tokio::sync::broadcast;

use crate::published::{self, Published};
use crate::render::{self, Fragment};
use crate::tidings;
use crate::view::ClusterView;

/// Rounds that a listener may be behind before it is dropped.
const TIDINGS: usize = 64;

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
    tidings: broadcast::Sender<Bytes>,
}

#[derive(Debug)]
struct Shared {
    fragments: BTreeMap<String, Fragment>,
    by_cluster: BTreeMap<String, Arc<Answer>>,
    all: Arc<Answer>,
    views: Arc<Views>,
}

/// The views of all clusters, with the texts that concern all of them.
#[derive(Debug, Default)]
pub(crate) struct Views {
    /// By name.
    pub(crate) clusters: BTreeMap<String, Arc<Published>>,
    clusters_json: OnceLock<Bytes>,
    modules_json: OnceLock<Bytes>,
}

impl Views {
    /// The answer of `/api/v1/clusters`.
    #[must_use]
    pub(crate) fn clusters_json(&self) -> Bytes {
        let made = self.clusters_json.get_or_init(|| {
            let views = self.clusters.values();
            let texts: Vec<String> = views.map(|one| published::text(&one.view)).collect();
            format!("{{\"clusters\":[{}]}}", texts.join(",")).into()
        });
        made.clone()
    }

    /// The answer of `/api/v1/modules` about all clusters.
    #[must_use]
    pub(crate) fn modules_json(&self) -> Bytes {
        let made = self.modules_json.get_or_init(|| list(self.clusters.values()));
        made.clone()
    }

    /// The same about one cluster; `None` if there is no such cluster.
    #[must_use]
    pub(crate) fn modules_of(&self, cluster: &str) -> Option<Bytes> {
        Some(list(std::iter::once(self.clusters.get(cluster)?)))
    }
}

fn list<'a>(clusters: impl Iterator<Item = &'a Arc<Published>>) -> Bytes {
    let filled = clusters.map(|one| one.modules()).filter(|text| !text.is_empty());
    let texts: Vec<&[u8]> = filled.map(AsRef::as_ref).collect();
    let mut json = b"{\"modules\":[".to_vec();
    json.extend(texts.join(&b","[..]));
    json.extend(b"]}");
    json.into()
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
    pub(crate) fn new(clusters: impl Iterator<Item = ClusterView>) -> Self {
        let views: BTreeMap<String, Arc<Published>> = clusters
            .map(|view| (view.cluster.clone(), Arc::new(Published::new(view))))
            .collect();
        let fragments: BTreeMap<String, Fragment> = views
            .keys()
            .map(|cluster| (cluster.clone(), Fragment::stale(cluster)))
            .collect();
        let by_cluster = fragments
            .iter()
            .map(|(cluster, fragment)| (cluster.clone(), Arc::new(alone(cluster, fragment))))
            .collect();
        let shared = Shared {
            all: Arc::new(Answer::of(&fragments)),
            fragments,
            by_cluster,
            views: Arc::new(Views {
                clusters: views,
                ..Views::default()
            }),
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            tidings: broadcast::channel(TIDINGS).0,
        }
    }

    /// Replaces what is known about a cluster, and tells the listeners.
    pub(crate) fn put(&self, fragment: Fragment, view: ClusterView) {
        let cluster = view.cluster.clone();
        let answer = Arc::new(alone(&cluster, &fragment));
        let published = Arc::new(Published::new(view));
        let mut shared = self.lock();
        shared.fragments.insert(cluster.clone(), fragment);
        shared.by_cluster.insert(cluster.clone(), answer);
        shared.all = Arc::new(Answer::of(&shared.fragments));
        let mut clusters = shared.views.clusters.clone();
        let before = clusters.insert(cluster, Arc::clone(&published));
        shared.views = Arc::new(Views {
            clusters,
            ..Views::default()
        });
        drop(shared);
        let tiding = tidings::round(before.as_ref().map(|before| &before.view), &published.view);
        // It fails when nobody listens.
        drop(self.tidings.send(tiding.into()));
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

    /// What is known about all clusters.
    #[must_use]
    pub(crate) fn views(&self) -> Arc<Views> {
        Arc::clone(&self.lock().views)
    }

    /// Every round that ends from now on, as an event of a stream.
    #[must_use]
    pub(crate) fn listen(&self) -> broadcast::Receiver<Bytes> {
        self.tidings.subscribe()
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
    use crate::now::Now;
    use crate::samples::{self, fixed};

    fn put(board: &Board, cluster: &str) {
        let fragment = Fragment::new(cluster, &samples::snapshot(&["m"]));
        board.put(fragment, samples::cluster(cluster));
    }

    fn board() -> Board {
        let unseen = ["b", "a"].map(|name| fixed(name).unseen(Now::default()));
        Board::new(unseen.into_iter())
    }

    #[test]
    fn a_cluster_is_empty_and_stale_until_its_first_round() {
        let board = board();
        assert_eq!(board.all().json, r#"{"a":{},"b":{}}"#);
        assert_eq!(board.all().stale, ["a", "b"]);
        assert_eq!(board.cluster("a").unwrap().json, r#"{"a":{}}"#);
        assert_eq!(board.cluster("c"), None);
        assert_eq!(board.views().modules_json(), r#"{"modules":[]}"#);
        assert_eq!(board.views().modules_of("c"), None);
        let clusters: serde_json::Value = serde_json::from_slice(&board.views().clusters_json()).unwrap();
        assert_eq!(clusters["clusters"][1]["state"], "unknown");
        assert_eq!(clusters["clusters"][1]["sources"]["zookeeper"]["up"], false);
    }

    #[test]
    fn each_cluster_changes_alone() {
        let board = board();
        put(&board, "b");
        assert_eq!(board.all().json, r#"{"a":{},"b":{"m":{"0":12}}}"#);
        assert_eq!(board.all().zabbix, "- b.m.0.delay 12\n");
        assert_eq!(board.all().stale, ["a"]);
        assert!(board.cluster("b").unwrap().stale.is_empty());
        board.put(Fragment::stale("b"), fixed("b").unseen(Now::default()));
        assert_eq!(
            board.all().json,
            r#"{"a":{},"b":{}}"#,
            "a frozen number would be a lie"
        );
    }

    #[test]
    fn texts_are_rendered_once_a_round_and_shared() {
        let board = board();
        put(&board, "b");
        let views = board.views();
        let b = &views.clusters["b"];
        assert_eq!(b.module("m").unwrap().as_ptr(), b.module("m").unwrap().as_ptr());
        assert_eq!(
            views.modules_json().as_ptr(),
            board.views().modules_json().as_ptr()
        );
        assert_eq!(b.module("n"), None);
        let detail: serde_json::Value = serde_json::from_slice(b.module("m").unwrap()).unwrap();
        assert_eq!(detail["cluster"], "b");
        assert_eq!(detail["lag"], 12);
        assert_eq!(detail["partitions"][0]["lag"], 12);
        assert_eq!(detail["partitions"][1]["lag"], serde_json::Value::Null);
        let listed: serde_json::Value = serde_json::from_slice(&views.modules_json()).unwrap();
        assert_eq!(listed["modules"][0]["module"], "m");
        assert_eq!(listed["modules"][0].get("partitions"), None);
        let before = views.modules_json();
        put(&board, "a");
        assert_ne!(
            board.views().modules_json(),
            before,
            "the next round is another text"
        );
    }

    #[tokio::test]
    async fn listeners_are_told_of_each_round_and_those_who_sleep_are_dropped() {
        let board = board();
        let mut listener = board.listen();
        put(&board, "b");
        let told = String::from_utf8(listener.recv().await.unwrap().to_vec()).unwrap();
        assert!(
            told.starts_with("event: round\n") && told.ends_with("\n\n"),
            "{told}"
        );
        assert!(told.contains(r#""cluster":"b""#), "{told}");
        for _ in 0..=TIDINGS {
            put(&board, "b");
        }
        assert!(matches!(
            listener.recv().await,
            Err(broadcast::error::RecvError::Lagged(_))
        ));
    }
}

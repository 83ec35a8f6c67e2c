//! A small cluster for the tests of those who render one: module `m` with partition 0, 12 behind, and partition 1, whose log end
//! is not known; seen twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use kcommon::kafka::CommitOffset;

use crate::follow::{Fixed, Follower, Outcome};
use crate::lag::{self, Committed, LogRange};
use crate::now::Now;
use crate::snapshot::{Facts, ModuleFacts, Snapshot};
use crate::state::Limits;
use crate::view::ClusterView;

/// What does not change about it.
pub(crate) fn fixed(cluster: &str) -> Fixed {
    Fixed {
        name: cluster.to_owned(),
        limits: Limits {
            lagging_ms: 60_000,
            stalled_ms: 60_000,
            stopped_ms: 10_000,
        },
        interval_seconds: 10.0,
        has_zookeeper: true,
    }
}

/// What a round finds.
pub(crate) fn snapshot(modules: &[&str]) -> Snapshot {
    let facts = |log: Option<LogRange>| {
        let committed = Committed::At(CommitOffset::try_from(88).unwrap());
        Facts {
            committed,
            changed_ms: Some(1_800_000_000_000),
            log,
            lag: lag::lag(committed, log),
            owner: Some(Arc::from("host:uuid")),
        }
    };
    let known = Some(LogRange { start: 0, end: 100 });
    let topics = BTreeMap::from([(
        "t".to_owned(),
        BTreeMap::from([(0, facts(known)), (1, facts(None))]),
    )]);
    let module = ModuleFacts {
        topics,
        instances: ["host:uuid".to_owned()].into(),
    };
    Snapshot {
        modules: modules
            .iter()
            .map(|name| ((*name).to_owned(), Some(module.clone())))
            .collect(),
    }
}

/// The cluster after two rounds with these modules.
pub(crate) fn cluster_of(cluster: &str, modules: &[&str]) -> ClusterView {
    let mut follower = Follower::new(fixed(cluster));
    let snapshot = snapshot(modules);
    let found = Outcome::Found {
        snapshot: &snapshot,
        kafka: None,
    };
    let now = |second: i64| Now {
        mono_ms: second * 1000,
        wall_ms: 1_800_000_000_000 + second * 1000,
    };
    follower.follow(found, 0.01, now(0));
    follower.follow(found, 0.01, now(10))
}

/// The cluster after two rounds.
pub(crate) fn cluster(cluster: &str) -> ClusterView {
    cluster_of(cluster, &["m"])
}

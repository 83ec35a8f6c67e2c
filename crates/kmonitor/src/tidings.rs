//! What listeners are told when a round ends, as one event of a stream of server-sent events: the cluster's numbers in short,
//! and the modules whose state has changed. Pure.

use serde::Serialize;

use crate::published;
use crate::state::State;
use crate::view::ClusterView;

/// Changes that one event names; `more_changes` counts the rest.
const MOST_CHANGES: usize = 100;

#[derive(Serialize)]
struct Tiding<'a> {
    cluster: &'a str,
    round: u64,
    at_ms: i64,
    state: State,
    code: u8,
    modules: u64,
    partition_count: u64,
    unknown: u64,
    lag: Option<u64>,
    lag_seconds: Option<f64>,
    changes: Vec<Change<'a>>,
    more_changes: usize,
}

/// `from` is null for a module that is new, `to` for one that is gone.
#[derive(Serialize)]
struct Change<'a> {
    module: &'a str,
    from: Option<State>,
    to: Option<State>,
    reason: &'a str,
}

/// The event of a round; `before` is what the one before it has shown.
#[must_use]
pub(crate) fn round(before: Option<&ClusterView>, view: &ClusterView) -> String {
    let mut changes = before.map(|before| changes(before, view)).unwrap_or_default();
    let more_changes = changes.len().saturating_sub(MOST_CHANGES);
    changes.truncate(MOST_CHANGES);
    let tiding = Tiding {
        cluster: &view.cluster,
        round: view.round,
        at_ms: view.at_ms,
        state: view.standing.state,
        code: view.standing.code,
        modules: view.modules,
        partition_count: view.sums.partitions,
        unknown: view.sums.unknown,
        lag: view.sums.lag,
        lag_seconds: view.sums.lag_seconds,
        changes,
        more_changes,
    };
    format!("event: round\ndata: {}\n\n", published::text(&tiding))
}

fn changes<'a>(before: &'a ClusterView, view: &'a ClusterView) -> Vec<Change<'a>> {
    let state = |view: &'a ClusterView, name: &str| view.by_module.get(name).map(|one| &one.standing);
    let gone = before
        .by_module
        .keys()
        .filter(|name| !view.by_module.contains_key(*name));
    let names = view.by_module.keys().chain(gone);
    names
        .filter_map(|name| {
            let (was, is) = (state(before, name), state(view, name));
            let (from, to) = (was.map(|was| was.state), is.map(|is| is.state));
            (from != to).then(|| Change {
                module: name,
                from,
                to,
                reason: is.map_or("", |is| is.reason.as_str()),
            })
        })
        .collect()
}

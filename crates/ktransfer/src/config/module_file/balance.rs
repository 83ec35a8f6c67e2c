//! The keys of how a module chooses among its servers.

use std::collections::BTreeMap;
use std::time::Duration;

use kcommon::config::{Document, Key, Kind, Need, Problem};
use serde::Deserialize;

use super::{DAY_MS, ModuleFile};
use crate::balance::{Aside, Policy, Settings};

/// Names and choice of servers.
pub(super) const KEYS: &[Key] = &[
    Key {
        path: "dns_refresh_ms",
        kind: Kind::Int { min: 0, max: DAY_MS },
        need: Need::Default("30000"),
        meaning: "Milliseconds between two lookups of the servers' names. Connections to an address that a name has lost are given up. \
                  With 0 a name is looked up for new connections only, and open ones stay.",
        changed: "New; the original looked a name up for each new connection.",
    },
    Key {
        path: "balance",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "How a server is chosen. Without this section the servers take turns, whatever they answer.",
        changed: "New.",
    },
    Key {
        path: "balance.policy",
        kind: Kind::OneOf(&["turns", "least_in_flight"]),
        need: Need::Default("turns"),
        meaning: "Who takes the next push: each in turn, or who has the fewest on their way from this instance, so that a slow server gets less.",
        changed: "New.",
    },
    Key {
        path: "balance.weights",
        kind: Kind::Section,
        need: Need::Default("{}"),
        meaning: "Shares of servers, by their `host:port` as in `backend_servers`; the others have 1.",
        changed: "New.",
    },
    Key {
        path: "balance.weights.*",
        kind: Kind::Int { min: 1, max: 1000 },
        need: Need::Optional,
        meaning: "The share of this server.",
        changed: "New.",
    },
    Key {
        path: "balance.set_aside_after",
        kind: Kind::Int { min: 0, max: 1000 },
        need: Need::Default("5"),
        meaning: "Failures in a row (no connection, no answer, 5xx) after which a server gets no more pushes for a while; 0 = never. When \
                  all are set aside, those that failed least go on.",
        changed: "New.",
    },
    Key {
        path: "balance.set_aside_ms",
        kind: Kind::Int { min: 10, max: DAY_MS },
        need: Need::Default("1000"),
        meaning: "Milliseconds for which a server is set aside. Then one push finds out whether it is back; if not, the time doubles.",
        changed: "New.",
    },
    Key {
        path: "balance.set_aside_max_ms",
        kind: Kind::Int { min: 10, max: DAY_MS },
        need: Need::Default("60000"),
        meaning: "The longest such time. A server that has been good for so long begins with `set_aside_ms` again.",
        changed: "New.",
    },
];

/// The section as written.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::config) struct BalanceFile {
    policy: Policy,
    weights: BTreeMap<String, u32>,
    set_aside_after: u32,
    set_aside_ms: u64,
    set_aside_max_ms: u64,
}

impl BalanceFile {
    /// How servers are chosen; `None` = in turn, whatever they answer.
    pub(in crate::config) fn settings(
        document: &Document<ModuleFile>,
        problems: &mut Vec<Problem>,
    ) -> Option<Settings> {
        let file = document.file.balance.as_ref()?;
        let servers: Vec<String> = document
            .file
            .backend_servers
            .iter()
            .map(ToString::to_string)
            .collect();
        for name in file.weights.keys().filter(|name| !servers.contains(name)) {
            let message = "is none of backend_servers; write it as it stands there";
            problems.push(document.problem(&format!("balance.weights.{name}"), message));
        }
        if file.set_aside_max_ms < file.set_aside_ms {
            let message = "is shorter than balance.set_aside_ms";
            problems.push(document.problem("balance.set_aside_max_ms", message));
        }
        let weights = servers
            .iter()
            .map(|name| file.weights.get(name).copied().unwrap_or(1));
        Some(Settings {
            policy: file.policy,
            weights: weights.collect(),
            aside: (file.set_aside_after > 0).then(|| Aside {
                failures: file.set_aside_after,
                first: Duration::from_millis(file.set_aside_ms),
                longest: Duration::from_millis(file.set_aside_max_ms),
            }),
        })
    }
}

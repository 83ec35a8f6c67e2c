//! What is known about one cluster, with the JSON texts made of it: each at most once a round, when somebody first asks, and
//! shared by all who ask until the next round.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use serde::Serialize;

use crate::view::{ClusterView, ModuleView, PartitionView};

/// A cluster's view and its texts.
#[derive(Debug)]
pub(crate) struct Published {
    /// The numbers.
    pub(crate) view: ClusterView,
    modules: OnceLock<Bytes>,
    by_module: BTreeMap<String, OnceLock<Bytes>>,
}

#[derive(Serialize)]
struct Listed<'a> {
    cluster: &'a str,
    #[serde(flatten)]
    module: &'a ModuleView,
}

#[derive(Serialize)]
struct Detail<'a> {
    cluster: &'a str,
    round: u64,
    at_ms: i64,
    #[serde(flatten)]
    module: &'a ModuleView,
    history_at_ms: &'a [i64],
    partitions: &'a [PartitionView],
}

impl Published {
    /// Nothing is rendered yet.
    #[must_use]
    pub(crate) fn new(view: ClusterView) -> Self {
        let by_module = view.by_module.keys();
        Self {
            by_module: by_module.map(|name| (name.clone(), OnceLock::new())).collect(),
            modules: OnceLock::new(),
            view,
        }
    }

    /// The objects of all modules, separated by commas.
    #[must_use]
    pub(crate) fn modules(&self) -> &Bytes {
        self.modules.get_or_init(|| {
            let cluster = &self.view.cluster;
            let listed = self.view.by_module.values();
            let texts: Vec<String> = listed.map(|module| text(&Listed { cluster, module })).collect();
            texts.join(",").into()
        })
    }

    /// One module with its partitions; `None` if there is no such module.
    #[must_use]
    pub(crate) fn module(&self, name: &str) -> Option<&Bytes> {
        let module = self.view.by_module.get(name)?;
        let detail = || Detail {
            cluster: &self.view.cluster,
            round: self.view.round,
            at_ms: self.view.at_ms,
            module,
            history_at_ms: &self.view.history_at_ms,
            partitions: &module.partitions,
        };
        Some(self.by_module.get(name)?.get_or_init(|| text(&detail()).into()))
    }
}

/// A value as JSON.
#[must_use]
pub(crate) fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value)
        .expect("a view has no map whose keys are not text, and nothing else can fail")
}

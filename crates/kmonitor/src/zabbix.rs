//! What Zabbix asks to find clusters, modules and partitions by itself: the JSON of low-level discovery, and the numbers of all
//! partitions in one flat list for dependent items. Pure.

use serde::Serialize;

use crate::published;
use crate::view::{ClusterView, ModuleView, PartitionView};

#[derive(Serialize)]
struct Macros<'a> {
    #[serde(rename = "{#CLUSTER}")]
    cluster: &'a str,
    #[serde(rename = "{#MODULE}", skip_serializing_if = "Option::is_none")]
    module: Option<&'a str>,
    #[serde(rename = "{#TOPIC}", skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(rename = "{#PARTITION}", skip_serializing_if = "Option::is_none")]
    partition: Option<String>,
}

#[derive(Serialize)]
struct Flat<'a> {
    cluster: &'a str,
    module: &'a str,
    topic: &'a str,
    partition: i32,
    code: u8,
    lag: Option<u64>,
    lag_seconds: Option<f64>,
    lost: Option<u64>,
    owned: u8,
}

/// What is discovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Every cluster of the file, whether it can be read or not.
    Clusters,
    /// Every module.
    Modules,
    /// Every partition of every module.
    Partitions,
}

/// The list of one kind, as Zabbix 4.2 and later take it.
#[must_use]
pub(crate) fn discovery(kind: Kind, clusters: &[&ClusterView]) -> String {
    let cluster = |one: &'_ ClusterView| one.cluster.clone();
    match kind {
        Kind::Clusters => {
            let names: Vec<String> = clusters.iter().map(|one| cluster(one)).collect();
            let list: Vec<Macros<'_>> = names.iter().map(|cluster| of(cluster, None, None)).collect();
            published::text(&list)
        }
        Kind::Modules => {
            let list: Vec<Macros<'_>> = modules(clusters)
                .map(|(cluster, module)| of(&cluster.cluster, Some(&module.module), None))
                .collect();
            published::text(&list)
        }
        Kind::Partitions => {
            let list: Vec<Macros<'_>> = partitions(clusters)
                .map(|(cluster, module, one)| of(&cluster.cluster, Some(&module.module), Some(one)))
                .collect();
            published::text(&list)
        }
    }
}

/// The numbers of every partition. What is unknown is null, which Zabbix discards.
#[must_use]
pub(crate) fn numbers(clusters: &[&ClusterView]) -> String {
    let list: Vec<Flat<'_>> = partitions(clusters)
        .map(|(cluster, module, one)| Flat {
            cluster: &cluster.cluster,
            module: &module.module,
            topic: &one.topic,
            partition: one.partition,
            code: one.standing.code,
            lag: one.lag,
            lag_seconds: one.lag_seconds,
            lost: one.lost,
            owned: u8::from(one.owner.is_some()),
        })
        .collect();
    published::text(&list)
}

fn of<'a>(cluster: &'a str, module: Option<&'a str>, one: Option<&'a PartitionView>) -> Macros<'a> {
    Macros {
        cluster,
        module,
        topic: one.map(|one| &*one.topic),
        partition: one.map(|one| one.partition.to_string()),
    }
}

fn modules<'a>(clusters: &'a [&'a ClusterView]) -> impl Iterator<Item = (&'a ClusterView, &'a ModuleView)> {
    clusters
        .iter()
        .flat_map(|cluster| cluster.by_module.values().map(move |module| (*cluster, module)))
}

fn partitions<'a>(
    clusters: &'a [&'a ClusterView],
) -> impl Iterator<Item = (&'a ClusterView, &'a ModuleView, &'a PartitionView)> {
    modules(clusters)
        .flat_map(|(cluster, module)| module.partitions.iter().map(move |one| (cluster, module, one)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn each_kind_is_a_list_of_macros_with_text_values() {
        let view = samples::cluster("c");
        let list = |kind| discovery(kind, &[&view]);
        assert_eq!(list(Kind::Clusters), r##"[{"{#CLUSTER}":"c"}]"##);
        assert_eq!(list(Kind::Modules), r##"[{"{#CLUSTER}":"c","{#MODULE}":"m"}]"##);
        assert_eq!(
            list(Kind::Partitions),
            concat!(
                r##"[{"{#CLUSTER}":"c","{#MODULE}":"m","{#TOPIC}":"t","{#PARTITION}":"0"},"##,
                r##"{"{#CLUSTER}":"c","{#MODULE}":"m","{#TOPIC}":"t","{#PARTITION}":"1"}]"##
            )
        );
        assert_eq!(discovery(Kind::Modules, &[]), "[]");
    }

    #[test]
    fn the_numbers_of_a_partition_are_found_by_its_names_and_unknown_is_null() {
        let view = samples::cluster("c");
        let list: serde_json::Value = serde_json::from_str(&numbers(&[&view])).unwrap();
        assert_eq!(list[0]["lag"], 12);
        assert_eq!(list[0]["owned"], 1);
        assert_eq!(list[1]["partition"], 1);
        assert!(list[1]["lag"].is_null());
        assert_eq!(list[1]["code"], 9);
    }
}

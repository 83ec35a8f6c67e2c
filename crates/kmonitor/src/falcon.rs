//! The numbers in the form of Open-Falcon's agent (`/v1/push`), which Nightingale takes too. Pure.
//!
//! A tag may hold no comma, equals sign or blank; they become underscores. What is unknown is left out: the agent has no word
//! for it. A series keeps its type and step.

use serde::Serialize;

use crate::view::{ClusterView, ModuleView, PartitionView};

/// Items in one request: the agent refuses large ones.
pub(crate) const MOST_ITEMS: usize = 1000;

/// One number of one series.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item {
    endpoint: String,
    metric: &'static str,
    timestamp: i64,
    step: u64,
    value: f64,
    counter_type: &'static str,
    tags: String,
}

/// What all items of a push share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp<'a> {
    /// The name of this machine in Falcon.
    pub(crate) endpoint: &'a str,
    /// The interval of the pushes, in seconds.
    pub(crate) step: u64,
    /// Unix time in seconds.
    pub(crate) timestamp: i64,
}

impl Stamp<'_> {
    fn item(self, metric: &'static str, tags: &str, value: f64) -> Item {
        Item {
            endpoint: self.endpoint.to_owned(),
            metric,
            timestamp: self.timestamp,
            step: self.step,
            value,
            counter_type: "GAUGE",
            tags: tags.to_owned(),
        }
    }
}

/// Every known number of a cluster.
#[must_use]
pub(crate) fn items(cluster: &ClusterView, stamp: Stamp<'_>) -> Vec<Item> {
    let mut items = Vec::new();
    let name = tag(&cluster.cluster);
    let sources = [
        ("kafka", Some(&cluster.sources.kafka)),
        ("zookeeper", cluster.sources.zookeeper.as_ref()),
    ];
    for (source, told) in sources {
        if let Some(told) = told {
            let tags = format!("cluster={name},source={source}");
            items.push(stamp.item("kmonitor.source.up", &tags, f64::from(u8::from(told.up))));
        }
    }
    for module in cluster.by_module.values() {
        of_module(&mut items, &name, module, stamp);
    }
    items
}

fn of_module(items: &mut Vec<Item>, cluster: &str, module: &ModuleView, stamp: Stamp<'_>) {
    let name = tag(&module.module);
    let tags = format!("cluster={cluster},module={name}");
    items.push(stamp.item("kmonitor.module.state", &tags, f64::from(module.standing.code)));
    for (metric, value) in [
        ("kmonitor.module.lag", module.sums.lag.map(number)),
        ("kmonitor.module.lag.seconds", module.sums.lag_seconds),
        ("kmonitor.module.lost", Some(number(module.sums.lost))),
    ] {
        items.extend(value.map(|value| stamp.item(metric, &tags, value)));
    }
    for one in &module.partitions {
        let PartitionView { topic, partition, .. } = one;
        // Sorted by their names, as the agent does.
        let tags = format!("cluster={cluster},module={name},partition={partition},topic={topic}");
        items.push(stamp.item("kmonitor.state", &tags, f64::from(one.standing.code)));
        for (metric, value) in [
            ("kmonitor.lag", one.lag.map(number)),
            ("kmonitor.lag.seconds", one.lag_seconds),
        ] {
            items.extend(value.map(|value| stamp.item(metric, &tags, value)));
        }
    }
}

fn tag(name: &str) -> String {
    let legal = |character: char| match character {
        ',' | '=' => '_',
        other if other.is_whitespace() || other.is_control() => '_',
        other => other,
    };
    name.chars().map(legal).collect()
}

#[expect(clippy::cast_precision_loss, reason = "the agent takes floating point")]
const fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn every_known_number_is_an_item_and_unknown_ones_are_none() {
        let view = samples::cluster_of("c", &["a,b= c"]);
        let stamp = Stamp {
            endpoint: "host",
            step: 60,
            timestamp: 1_800_000_000,
        };
        let items = items(&view, stamp);
        let json = serde_json::to_string(&items).unwrap();
        assert!(json.contains(concat!(
            r#"{"endpoint":"host","metric":"kmonitor.lag","timestamp":1800000000,"step":60,"value":12.0,"#,
            r#""counterType":"GAUGE","tags":"cluster=c,module=a_b__c,partition=0,topic=t"}"#
        )));
        let lags = items.iter().filter(|item| item.metric == "kmonitor.lag");
        assert_eq!(lags.count(), 1, "the lag of partition 1 is unknown");
        let states = items.iter().filter(|item| item.metric == "kmonitor.state");
        assert_eq!(states.count(), 2);
        assert!(json.contains(r#""tags":"cluster=c,source=zookeeper""#));
    }
}

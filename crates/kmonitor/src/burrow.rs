//! The answers of Burrow's HTTP API, version 3, as far as tools that were made for it ask: clusters, topics, consumers, their
//! status and lag. A consumer is a module. Pure.
//!
//! Burrow looks at windows of commits; here a window is the present commit, so `start` is `end`. What is not known is left out
//! where Burrow's form allows it, and else has `complete` 0.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::state::State;
use crate::view::{ClusterView, ModuleView, PartitionView};

/// What a path below `/v3/kafka` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question<'a> {
    /// The names of the clusters.
    Clusters,
    /// The names of a cluster's topics.
    Topics(&'a str),
    /// The log ends of a topic.
    Topic(&'a str, &'a str),
    /// The names of a cluster's modules.
    Consumers(&'a str),
    /// The offsets of a module.
    Consumer(&'a str, &'a str),
    /// The partitions of a module that are not well.
    Status(&'a str, &'a str),
    /// All partitions of a module.
    Lag(&'a str, &'a str),
}

impl<'a> Question<'a> {
    /// Reads the decoded segments of the path after `/v3/kafka`; `None` = nothing that is answered.
    #[must_use]
    pub(crate) fn parse(segments: &[&'a str]) -> Option<Self> {
        Some(match *segments {
            [] => Self::Clusters,
            [cluster, "topic"] => Self::Topics(cluster),
            [cluster, "topic", topic] => Self::Topic(cluster, topic),
            [cluster, "consumer"] => Self::Consumers(cluster),
            [cluster, "consumer", group] => Self::Consumer(cluster, group),
            [cluster, "consumer", group, "status"] => Self::Status(cluster, group),
            [cluster, "consumer", group, "lag"] => Self::Lag(cluster, group),
            _ => return None,
        })
    }

    /// The answer, without the part `request`; an `Err` has the same form and goes with 404.
    ///
    /// # Errors
    /// There is no such cluster, topic or module.
    pub(crate) fn answer(self, clusters: &BTreeMap<String, &ClusterView>) -> Result<Value, Value> {
        let cluster = |name: &str| {
            clusters
                .get(name)
                .copied()
                .ok_or_else(|| missing("cluster not found"))
        };
        let module = |of: &str, name: &str| {
            let found = clusters.get(of).and_then(|view| view.by_module.get(name));
            found.ok_or_else(|| missing("cluster or consumer not found"))
        };
        match self {
            Self::Clusters => {
                let names: Vec<&String> = clusters.keys().collect();
                Ok(json!({"error": false, "message": "cluster list returned", "clusters": names}))
            }
            Self::Topics(name) => {
                let modules = cluster(name)?.by_module.values();
                let topics: BTreeSet<&str> = modules.flat_map(|one| &one.topics).map(AsRef::as_ref).collect();
                Ok(json!({"error": false, "message": "topic list returned", "topics": topics}))
            }
            Self::Topic(name, topic) => ends(cluster(name)?, topic),
            Self::Consumers(name) => {
                let names: Vec<&String> = cluster(name)?.by_module.keys().collect();
                Ok(json!({"error": false, "message": "consumer list returned", "consumers": names}))
            }
            Self::Consumer(of, name) => Ok(detail(module(of, name)?)),
            Self::Status(of, name) => match module(of, name) {
                Ok(found) => Ok(status(of, found, false)),
                Err(_) => Err(not_found(of, name)),
            },
            Self::Lag(of, name) => match module(of, name) {
                Ok(found) => Ok(status(of, found, true)),
                Err(_) => Err(not_found(of, name)),
            },
        }
    }
}

fn missing(message: &str) -> Value {
    json!({"error": true, "message": message})
}

fn not_found(cluster: &str, group: &str) -> Value {
    let status = json!({"cluster": cluster, "group": group, "status": "NOTFOUND", "complete": 1.0, "partitions": [],
        "partition_count": 0, "maxlag": null, "totallag": 0});
    json!({"error": false, "message": "cluster or consumer not found", "status": status})
}

/// Log ends in the order of the partitions, as far as some module reads them.
fn ends(cluster: &ClusterView, topic: &str) -> Result<Value, Value> {
    let partitions = cluster.by_module.values().flat_map(|module| &module.partitions);
    let of_topic = partitions.filter(|one| &*one.topic == topic);
    let ends: BTreeMap<i32, Option<i64>> = of_topic.map(|one| (one.partition, one.log_end)).collect();
    if ends.is_empty() {
        return Err(missing("cluster or topic not found"));
    }
    let offsets: Vec<Option<i64>> = ends.into_values().collect();
    Ok(json!({"error": false, "message": "topic offsets returned", "offsets": offsets}))
}

fn detail(module: &ModuleView) -> Value {
    let mut topics: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for one in &module.partitions {
        let offsets: Vec<Value> = window(one).into_iter().collect();
        let partition = json!({"offsets": offsets, "owner": owner(one), "client_id": "",
            "current-lag": one.lag.unwrap_or_default()});
        topics.entry(&one.topic).or_default().push(partition);
    }
    json!({"error": false, "message": "consumer detail returned", "topics": topics})
}

fn status(cluster: &str, module: &ModuleView, all: bool) -> Value {
    let shown = module
        .partitions
        .iter()
        .filter(|one| all || word(one.standing.state) != "OK");
    let partitions: Vec<Value> = shown.map(partition).collect();
    let largest = module.partitions.iter().max_by_key(|one| one.lag);
    let known = module.sums.partitions - module.sums.unknown;
    let complete = match module.sums.partitions {
        0 => 0.0,
        all => share(known, all),
    };
    let group = match word(module.standing.state) {
        "OK" => "OK",
        "WARN" => "WARN",
        _ => "ERR",
    };
    let status = json!({"cluster": cluster, "group": module.module, "status": group, "complete": complete,
        "partitions": partitions, "partition_count": module.sums.partitions, "maxlag": largest.map(partition),
        "totallag": module.sums.lag.unwrap_or_default()});
    json!({"error": false, "message": "consumer status returned", "status": status})
}

fn partition(one: &PartitionView) -> Value {
    let window = window(one);
    json!({"topic": &*one.topic, "partition": one.partition, "owner": owner(one), "client_id": "",
        "status": word(one.standing.state), "start": window, "end": window,
        "current_lag": one.lag.unwrap_or_default(), "complete": f64::from(u8::from(one.lag.is_some()))})
}

/// The present commit; `None` if there is none.
fn window(one: &PartitionView) -> Option<Value> {
    let (offset, timestamp) = (one.committed?, one.last_commit_ms.unwrap_or_default());
    Some(json!({"offset": offset, "timestamp": timestamp, "observedAt": timestamp, "lag": one.lag}))
}

fn owner(one: &PartitionView) -> &str {
    one.owner.as_deref().unwrap_or_default()
}

/// Burrow's word for a state.
const fn word(state: State) -> &'static str {
    match state {
        State::Ok => "OK",
        State::Lagging | State::NoOffset => "WARN",
        State::Stalled => "STALL",
        State::Stopped => "STOP",
        State::Rewound => "REWIND",
        State::Ahead | State::Lost | State::Unknown => "ERR",
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share of some partitions")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn ask(path: &str) -> Result<Value, Value> {
        let view = samples::cluster("c");
        let clusters = BTreeMap::from([("c".to_owned(), &view)]);
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        Question::parse(&segments).unwrap().answer(&clusters)
    }

    #[test]
    fn clusters_topics_and_consumers_are_listed() {
        assert_eq!(ask("").unwrap()["clusters"], json!(["c"]));
        assert_eq!(ask("c/consumer").unwrap()["consumers"], json!(["m"]));
        assert_eq!(ask("c/topic").unwrap()["topics"], json!(["t"]));
        assert_eq!(ask("c/topic/t").unwrap()["offsets"], json!([100, null]));
        assert_eq!(ask("c/consumer/m").unwrap()["topics"]["t"][0]["current-lag"], 12);
        assert_eq!(Question::parse(&["c", "other"]), None);
    }

    #[test]
    fn status_shows_what_is_not_well_and_lag_shows_all() {
        let status = ask("c/consumer/m/status").unwrap()["status"].clone();
        assert_eq!(status["status"], "ERR", "one partition cannot be read");
        assert_eq!(status["partition_count"], 2);
        assert_eq!(status["complete"], 0.5);
        assert_eq!(status["totallag"], 12);
        assert_eq!(status["partitions"].as_array().unwrap().len(), 1);
        assert_eq!(status["partitions"][0]["partition"], 1);
        let lag = ask("c/consumer/m/lag").unwrap()["status"].clone();
        assert_eq!(lag["partitions"].as_array().unwrap().len(), 2);
        assert_eq!(lag["maxlag"]["current_lag"], 12);
        assert_eq!(lag["maxlag"]["owner"], "host:uuid");
        assert_eq!(lag["maxlag"]["end"]["offset"], 88);
    }

    #[test]
    fn what_is_not_there_is_said_as_burrow_says_it() {
        assert_eq!(ask("d/consumer").unwrap_err()["error"], true);
        assert_eq!(
            ask("c/consumer/n/status").unwrap_err()["status"]["status"],
            "NOTFOUND"
        );
        assert_eq!(ask("c/consumer/n").unwrap_err()["error"], true);
        assert_eq!(ask("c/topic/u").unwrap_err()["error"], true);
    }
}

//! Kafka's own consumer groups, in the form in which modules are found in ZooKeeper, so that everything that follows need not
//! know the difference. Pure.
//!
//! A partition that the group owns and has committed nothing in has no lag: where a consumer begins is its own setting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kcommon::kafka::CommitOffset;
use kcommon::kafka::raw::groups::{Group, Member};

use crate::module::{Module, OffsetNode, Offsets, Owners};
use crate::snapshot::Found;

/// The group as a module; `None` if its commits or its members could not be read.
#[must_use]
pub(crate) fn found(group: &Group) -> Option<Found> {
    let (members, commits) = (group.members.as_ref().ok()?, group.commits.as_ref().ok()?);
    let mut offsets = Offsets::new();
    let mut owners = Owners::new();
    for member in members {
        let id: Arc<str> = Arc::from(id(member));
        for (topic, partition) in &member.owns {
            let of_topic = owners.entry(topic.clone()).or_default();
            of_topic.insert(*partition, Arc::clone(&id));
            let nodes = offsets.entry(topic.clone()).or_default();
            nodes.insert(*partition, OffsetNode::Unset);
        }
    }
    for (topic, partition, offset) in commits {
        if let Ok(committed) = CommitOffset::try_from(*offset) {
            let node = OffsetNode::Offset {
                committed,
                changed_ms: None,
            };
            offsets.entry(topic.clone()).or_default().insert(*partition, node);
        }
    }
    let partitions = |nodes: &BTreeMap<i32, OffsetNode>| nodes.keys().copied().collect();
    let module = Module {
        subscribed: offsets.keys().cloned().collect(),
        offsets: offsets
            .iter()
            .map(|(topic, nodes)| (topic.clone(), partitions(nodes)))
            .collect(),
        instances: members.iter().map(id).collect(),
    };
    Some(Found {
        module,
        offsets,
        owners,
    })
}

/// The name under which a group is shown: its own, unless a module of ZooKeeper has it.
#[must_use]
pub(crate) fn shown_as(group: &str, modules: &BTreeSet<&str>) -> String {
    if modules.contains(group) {
        format!("{group} (kafka)")
    } else {
        group.to_owned()
    }
}

/// The host comes first, as in the ids of instances in ZooKeeper.
fn id(member: &Member) -> String {
    let host = member.host.trim_start_matches('/');
    format!("{host}:{}", member.id)
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode;

    use super::*;
    use crate::lag::Committed;
    use crate::module;

    fn group() -> Group {
        Group {
            members: Ok(vec![Member {
                client: "app".to_owned(),
                host: "/10.0.0.1".to_owned(),
                id: "app-1".to_owned(),
                owns: vec![("t".to_owned(), 0), ("t".to_owned(), 1)],
            }]),
            commits: Ok(vec![("t".to_owned(), 0, 7), ("u".to_owned(), 3, 0)]),
        }
    }

    #[test]
    fn commits_and_owners_become_those_of_a_module() {
        let found = found(&group()).unwrap();
        let committed = module::committed(&found.offsets["t"]);
        assert_eq!(committed[&0], Committed::At(CommitOffset::try_from(7).unwrap()));
        assert_eq!(
            committed[&1],
            Committed::Never,
            "where it starts is its own setting"
        );
        assert_eq!(
            module::committed(&found.offsets["u"])[&3],
            Committed::At(CommitOffset::ZERO)
        );
        assert_eq!(&*found.owners["t"][&1], "10.0.0.1:app-1");
        assert_eq!(found.module.subscribed.len(), 2);
        assert_eq!(found.module.instances.first().unwrap(), "10.0.0.1:app-1");
    }

    #[test]
    fn a_group_that_cannot_be_read_as_a_whole_is_not_half_known() {
        let failed = RDKafkaErrorCode::GroupAuthorizationFailed;
        let blind = Group {
            commits: Err(failed),
            ..group()
        };
        assert!(found(&blind).is_none());
        let ownerless = Group {
            members: Err(failed),
            ..group()
        };
        assert!(found(&ownerless).is_none());
    }

    #[test]
    fn a_group_beside_a_module_of_its_name_is_told_apart() {
        let modules = BTreeSet::from(["m"]);
        assert_eq!(shown_as("m", &modules), "m (kafka)");
        assert_eq!(shown_as("n", &modules), "n");
    }
}

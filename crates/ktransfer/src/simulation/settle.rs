//! The end of a run: the faults are over, what operators broke they repair, and the group must come to rest. Every
//! partition is owned and run by one member, everything is delivered, and the stored position is the end of the log.

use std::collections::BTreeMap;
use std::time::Duration;

use kcommon::kafka::{CommitOffset, PartitionId};
use kcommon::zookeeper::layout;

use super::coordination::{MODULE, topic};
use super::dice::Time;
use super::env::Backend;
use super::session::Change;
use super::truth::Invariant;
use super::world::{Event, World};
use super::zookeeper::OPERATOR;
use crate::quota::quota;

/// What the slowest way to rest takes: a session that ends, drains, looks, and retries after each other.
const PATIENCE: Time = 90_000;

/// How often it is looked whether the group rests.
const LOOK_EVERY: Time = 500;

impl World {
    /// Ends the faults and waits until the group rests, or says why it does not.
    pub(super) fn settle(&mut self) {
        self.faults.over = true;
        self.faults.slow = 4;
        self.kafka.lock().up = true;
        self.backend = Backend {
            slowest: 50,
            ..Backend::default()
        };
        if self.server.down {
            self.server.restart(self.now);
        }
        if self.members.is_empty() {
            self.at(0, Event::Start);
        }
        self.repair();
        let deadline = self.now + PATIENCE;
        while self.truth.violation.is_none() {
            self.run(self.now + LOOK_EVERY);
            let Some(unrest) = self.unrest() else { return };
            if self.now >= deadline {
                self.truth
                    .violated(Invariant::OneOwner, format!("the group does not rest: {unrest}"));
            }
        }
    }

    fn repair(&mut self) {
        for member in &self.members {
            self.truth.disturbed(member.process, self.now);
        }
        for partition in self.kafka.partitions() {
            let (_owner, Some(stored)) = self.stored(partition) else {
                continue;
            };
            if CommitOffset::from_znode(&stored).is_ok() {
                continue;
            }
            let start = self.kafka.lock().logs[super::kafka::index(partition)].start;
            let change = Change::Set {
                path: layout::offset(MODULE, topic().as_str(), partition),
                data: start.to_string().into_bytes(),
                version: None,
            };
            self.server
                .transact(OPERATOR, &[change])
                .expect("the znode is there");
        }
    }

    /// Why the group does not rest.
    fn unrest(&self) -> Option<String> {
        let partitions = self.kafka.partitions();
        let mut runs: BTreeMap<PartitionId, u64> = BTreeMap::new();
        for member in &self.members {
            for partition in member.module.runs() {
                if let Some(other) = runs.insert(partition, member.process) {
                    return Some(format!("{partition} is run by {other} and by {}", member.process));
                }
            }
        }
        for partition in &partitions {
            if let Some(unrest) = self.partition_unrest(*partition, &runs) {
                return Some(unrest);
            }
        }
        let ids: Vec<String> = self.members.iter().map(|member| member.id.clone()).collect();
        for member in &self.members {
            let held = member
                .coordination
                .as_ref()
                .map_or(0, |coordination| coordination.claims.len());
            let quota = quota(partitions.len(), &ids, &member.id);
            if held != quota {
                return Some(format!("{} holds {held}, its quota is {quota}", member.id));
            }
        }
        None
    }

    fn partition_unrest(&self, partition: PartitionId, runs: &BTreeMap<PartitionId, u64>) -> Option<String> {
        let (owner, stored) = self.stored(partition);
        let Some(process) = runs.get(&partition) else {
            return Some(format!("{partition} is run by nobody"));
        };
        let session = self
            .index_of(*process)
            .and_then(|at| self.members[at].client.as_ref())
            .map(super::session::Client::id_number);
        if owner.is_none() || owner != session {
            return Some(format!(
                "{partition} is owned by {owner:?} and run by session {session:?}"
            ));
        }
        let end = self.kafka.lock().logs[super::kafka::index(partition)].end;
        let stored = stored.and_then(|stored| CommitOffset::from_znode(&stored).ok());
        if stored.map(CommitOffset::get) != Some(end) {
            return Some(format!(
                "{stored:?} is stored for {partition}, whose log ends at {end}"
            ));
        }
        self.truth.is_owed(partition)
    }
}

/// How long the faults of a run last.
pub(super) fn length(seed: u64) -> Time {
    u64::try_from(Duration::from_secs(2 + seed % 6).as_millis()).unwrap()
}

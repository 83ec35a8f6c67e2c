//! What ZooKeeper would answer, and the rules that no write may break.

use std::collections::{BTreeMap, BTreeSet};

use kcommon::kafka::{CommitOffset, PartitionId};

use super::PARTITIONS;
use crate::acks::Map;
use crate::assignment::Assignment;
use crate::claims::{Claimed, Step, Stored, View, Written};

/// The znodes: what ZooKeeper would answer, atomically.
#[derive(Default)]
pub(super) struct Model {
    pub(super) offsets: BTreeMap<PartitionId, Stored>,
    pub(super) owners: BTreeMap<PartitionId, i64>,
    /// Sessions that have not expired, with the member's id while it is registered.
    pub(super) sessions: BTreeMap<i64, String>,
}

pub(super) enum Answer {
    Claimed(PartitionId, Claimed),
    Committed(Assignment, Result<Written, Stored>),
    Released(PartitionId),
    Looked(PartitionId, u64, Option<Stored>),
}

impl Model {
    pub(super) fn new() -> Self {
        let offset = |p| {
            (
                PartitionId(p),
                Stored {
                    bytes: b"0".to_vec(),
                    version: 0,
                },
            )
        };
        Self {
            offsets: (0..PARTITIONS).map(offset).collect(),
            ..Self::default()
        }
    }

    pub(super) fn write(&mut self, partition: PartitionId, bytes: Vec<u8>) -> i32 {
        let stored = self.offsets.get_mut(&partition).unwrap();
        stored.bytes = bytes;
        stored.version += 1;
        stored.version
    }

    /// Applies a request of `session`; `None` if the session has expired, whose answers nobody gets.
    pub(super) fn apply(&mut self, session: i64, step: &Step) -> Option<Answer> {
        self.sessions.get(&session)?;
        Some(match step {
            Step::Claim(partition) => {
                if self.owners.contains_key(partition) {
                    return Some(Answer::Claimed(*partition, Claimed::NotOurs));
                }
                self.owners.insert(*partition, session);
                let bytes = self.offsets[partition].bytes.clone();
                self.write(*partition, bytes);
                let map = Map::empty(None, CommitOffset::ZERO);
                Answer::Claimed(*partition, Claimed::Ours(self.offsets[partition].clone(), map))
            }
            Step::Commit {
                assignment,
                version,
                position,
                ..
            } => Answer::Committed(
                *assignment,
                self.commit(session, assignment.partition, *version, *position),
            ),
            Step::Release {
                partition, stored, ..
            } => {
                self.release(session, *partition, stored);
                Answer::Released(*partition)
            }
            Step::Sweep(partition) => {
                let stored = self.offsets[partition].clone();
                self.release(session, *partition, &stored);
                Answer::Released(*partition)
            }
            Step::Look { partition, look, .. } => {
                Answer::Looked(*partition, *look, Some(self.offsets[partition].clone()))
            }
            Step::Confirm(_) => unreachable!("no session is attached to anew here"),
            Step::Tell(_) => unreachable!("orders go to the module"),
        })
    }

    fn commit(
        &mut self,
        session: i64,
        partition: PartitionId,
        version: i32,
        position: CommitOffset,
    ) -> Result<Written, Stored> {
        let ours = self.owners.get(&partition) == Some(&session);
        let stored = self.offsets[&partition].clone();
        if stored.version == version {
            assert!(ours, "a commit of {partition} passed the fence of its new owner");
            if let Ok(before) = stored.position() {
                assert!(
                    position >= before,
                    "a commit of {partition} went back from {before} to {position}"
                );
            }
            return Ok(Written::Stored(self.write(partition, position.to_znode())));
        }
        if ours { Err(stored) } else { Ok(Written::Fenced) }
    }

    /// As the shell does it: the bytes with their version if nobody wrote meanwhile, else what an operator wrote.
    fn release(&mut self, session: i64, partition: PartitionId, stored: &Stored) {
        if self.owners.get(&partition) != Some(&session) {
            return;
        }
        let current = self.offsets[&partition].clone();
        let bytes = if current.version == stored.version {
            stored.bytes.clone()
        } else {
            current.bytes
        };
        self.write(partition, bytes);
        self.owners.remove(&partition);
    }

    pub(super) fn expire(&mut self, session: i64) {
        self.sessions.remove(&session);
        self.owners.retain(|_partition, owner| *owner != session);
    }

    pub(super) fn view(&self, session: i64) -> View {
        let mut members: Vec<String> = self
            .sessions
            .values()
            .filter(|id| !id.is_empty())
            .cloned()
            .collect();
        members.sort();
        let partitions = (0..PARTITIONS).map(PartitionId).collect();
        View {
            session,
            partitions,
            members,
            owners: self.owners.clone(),
            overtaken: BTreeSet::new(),
            classic: None,
        }
    }
}

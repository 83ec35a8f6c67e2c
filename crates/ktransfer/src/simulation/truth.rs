//! What really happened, and the invariants of `docs/architecture.md` that it must satisfy: at each write of a znode, at
//! the start and end of each push, and at each step. It knows everything and tells nobody.

mod replay;
mod znodes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kcommon::kafka::PartitionId;

use super::dice::Time;
use super::kafka::{Kafka, index};
use crate::acks::Acks;
use crate::assignment::{Assignment, Epoch};

/// What a worker that is awake may need to close a connection that is to be cut.
const CUT_PATIENCE: Time = 60;

/// An invariant, by its number in `docs/architecture.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invariant {
    NoLoss = 1,
    Order = 2,
    OnePusher = 3,
    NextOffset = 4,
    OneOwner = 10,
    Replay = 13,
}

#[derive(Clone, Debug)]
pub(super) struct Violation {
    pub(super) invariant: Invariant,
    pub(super) text: String,
}

/// A request on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct OnWire {
    pub(super) process: u64,
    pub(super) assignment: Assignment,
    pub(super) offset: i64,
    /// The offset that its body was made for.
    pub(super) body: i64,
    /// Of which of the topics that had this name it is.
    pub(super) generation: u8,
    pub(super) key: Option<u8>,
}

/// What is true of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    /// No push starts from here on, by the latest heartbeat that was answered.
    pub(super) deadline: Time,
    /// Nothing is on the wire from here on.
    pub(super) cut: Time,
    /// It stands still until then, or stood until then.
    pub(super) stands_still_until: Time,
    /// The thread of its module does; the rest of it goes on.
    pub(super) module_stands_still_until: Time,
    /// From then on nothing came between it and ZooKeeper.
    pub(super) calm_from: Time,
}

#[derive(Debug)]
struct Life {
    session: i64,
    partition: PartitionId,
    position: i64,
    began: Time,
    /// The transaction of its claim.
    claim: i64,
    /// The topic that its owner took it for; `None`: one that was gone already.
    generation: Option<u8>,
    /// What this epoch need not push, and since when: it has, or its owner was told that it is done.
    ended: BTreeMap<i64, Time>,
    /// The newest of what its module wanted to be stored.
    reported: VecDeque<(Time, Acks)>,
}

/// What has to be delivered, and what of it is.
#[derive(Debug, Default)]
struct Owed {
    /// Below it nothing is owed.
    settled: i64,
    delivered: BTreeSet<i64>,
}

#[derive(Debug, Default)]
struct Partition {
    owner: Option<i64>,
    /// Sessions whose owner znode an operator deleted: they learn of it in their time.
    robbed: BTreeSet<i64>,
    /// What the backend is owed: the newest is since an operator last moved the offset, those before it as if that
    /// had not been. A write of a member says that it has followed the newest move.
    owed: Vec<Owed>,
    /// The operator has deleted the offset, or written what a member had stored: that the owner has followed the
    /// moves before it is not said.
    unsaid: bool,
    /// What a member stored last, and what one has tried to store.
    ours: Option<i64>,
    tried: Option<i64>,
    /// The znode was deleted: its versions began anew, and those who lost their owner znode to an operator may still
    /// pass the fence. Nobody can say which of two operators' deletions they have seen.
    unfenced: bool,
    /// The transactions that changed the offset last, and before that, and the one of the last claim.
    changed: i64,
    changed_before: i64,
    claimed: i64,
    /// Whether it ever had an offset.
    begun: bool,
    /// The topic was created anew, and nobody has claimed the partition since who knows it; the claim of who did.
    past: bool,
    anew: i64,
    /// The sessions that wrote the offset and the map last.
    writers: (i64, i64),
}

impl Partition {
    /// Takes out what a member may have followed when it writes.
    fn followed(&mut self) -> Vec<Owed> {
        let mut owed = std::mem::take(&mut self.owed);
        if !self.unsaid {
            owed.drain(..owed.len().saturating_sub(1));
        }
        owed
    }
}

#[derive(Debug)]
pub(super) struct Truth {
    kafka: Kafka,
    partitions: Vec<Partition>,
    /// The transaction of the module's first start, which gave each partition of that moment an offset.
    first: Option<i64>,
    /// Whether that begins with the newest records.
    pub(super) latest: bool,
    /// How often the topic was created anew.
    pub(super) generation: u8,
    lives: BTreeMap<Epoch, Life>,
    pub(super) wire: BTreeMap<u64, OnWire>,
    pub(super) processes: BTreeMap<u64, Process>,
    pushes: u64,
    pub(super) violation: Option<Violation>,
}

impl Truth {
    pub(super) fn new(kafka: Kafka) -> Self {
        Self {
            kafka,
            partitions: Vec::new(),
            first: None,
            latest: false,
            generation: 0,
            lives: BTreeMap::new(),
            wire: BTreeMap::new(),
            processes: BTreeMap::new(),
            pushes: 0,
            violation: None,
        }
    }

    pub(super) fn violated(&mut self, invariant: Invariant, text: String) {
        self.violation.get_or_insert(Violation { invariant, text });
    }

    fn partition(&mut self, partition: PartitionId) -> &mut Partition {
        let at = index(partition);
        if self.partitions.len() <= at {
            self.partitions.resize_with(at + 1, Partition::default);
        }
        &mut self.partitions[at]
    }

    /// Whether the process stands still, or has not had the time to cut since.
    fn stood_still(&self, process: u64, now: Time) -> bool {
        self.processes.get(&process).is_none_or(|process| {
            let still = process.stands_still_until.max(process.module_stands_still_until);
            now <= still + CUT_PATIENCE
        })
    }

    /// The topic is deleted and created anew: all that is delivered is of the past, and its records are owed.
    pub(super) fn anew(&mut self, generation: u8) {
        self.generation = generation;
        for known in &mut self.partitions {
            known.past = true;
            known.owed = vec![Owed::default()];
        }
    }

    /// Whether each partition's offset says for which topic it is meant. Between the question of the first start, where the
    /// logs begin or end, and a partition's first claim it does not: `docs/delivery-guarantees.md` says so.
    pub(super) fn topics_are_stored(&self) -> bool {
        self.first.is_some() && self.partitions.iter().all(|known| known.claimed != 0)
    }

    // Pushes.

    /// A partition is handed to a module.
    pub(super) fn assigned(&mut self, assignment: Assignment, session: i64, done: &Acks, now: Time) {
        let generation = self.generation;
        let known = self.partition(assignment.partition);
        let (past, claim) = (known.past, known.claimed);
        let life = Life {
            session,
            partition: assignment.partition,
            position: done.base().get(),
            began: now,
            claim,
            generation: (!past).then_some(generation),
            ended: done.ranges().flatten().map(|offset| (offset, 0)).collect(),
            reported: VecDeque::new(),
        };
        self.lives.insert(assignment.epoch, life);
    }

    pub(super) fn push_starts(&mut self, push: OnWire, now: Time) -> u64 {
        self.check_owner(&push, now);
        if push.body != push.offset {
            self.violated(Invariant::Order, format!("{push:?} has the body of another"));
        }
        self.check_order(&push);
        self.pushes += 1;
        self.wire.insert(self.pushes, push);
        self.pushes
    }

    fn check_owner(&mut self, push: &OnWire, now: Time) {
        let partition = push.assignment.partition;
        let Some(session) = self.lives.get(&push.assignment.epoch).map(|life| life.session) else {
            return self.violated(
                Invariant::OnePusher,
                format!("{push:?} of an epoch that was never assigned"),
            );
        };
        let known = self.partition(partition);
        let (owner, robbed) = (known.owner, known.robbed.contains(&session));
        let excused = !known.robbed.is_empty();
        if owner != Some(session) && !robbed {
            let text = format!("{push:?} starts at {now} by session {session}, and {owner:?} owns it");
            self.violated(Invariant::OnePusher, text);
        }
        let deadline = self.processes[&push.process].deadline;
        if now >= deadline {
            let text = format!("{push:?} starts at {now}, past the lease, which ended at {deadline}");
            self.violated(Invariant::OnePusher, text);
        }
        let other = self.wire.values().find(|other| {
            other.assignment.partition == partition
                && other.assignment.epoch != push.assignment.epoch
                && (other.process == push.process || !excused && !self.stood_still(other.process, now))
        });
        if let Some(other) = other {
            let text = format!("{push:?} starts at {now} while {other:?} is on the wire");
            self.violated(Invariant::OnePusher, text);
        }
    }

    fn check_order(&mut self, push: &OnWire) {
        let Some(key) = push.key else { return };
        let Some(life) = self.lives.get(&push.assignment.epoch) else {
            return;
        };
        let same = |other: &&OnWire| other.assignment.epoch == push.assignment.epoch && other.key == push.key;
        // Beside the records of a topic that is gone those of the present one say nothing.
        let known = life.generation == Some(self.generation) && push.generation == self.generation;
        let beside = self.wire.values().find(same).copied();
        let logs = self.kafka.lock();
        let log = &logs.logs[index(push.assignment.partition)];
        let before = log.from(life.position.max(log.start)).iter().find(|record| {
            known
                && record.offset < push.offset
                && record.key == Some(key)
                && record.wanted
                && !life.ended.contains_key(&record.offset)
        });
        let before = before.copied();
        let after = life.ended.contains_key(&push.offset);
        drop(logs);
        if let Some(beside) = beside {
            self.violated(Invariant::Order, format!("{push:?} starts beside {beside:?}"));
        } else if let Some(before) = before {
            self.violated(
                Invariant::Order,
                format!("{push:?} starts before {before:?} has ended"),
            );
        } else if after {
            self.violated(
                Invariant::Order,
                format!("{push:?} starts again after it was delivered"),
            );
        }
    }

    /// The backend has taken the record.
    pub(super) fn delivered(&mut self, push: &OnWire) {
        let (partition, offset) = (push.assignment.partition, push.offset);
        if push.generation != self.generation {
            return;
        }
        for owed in &mut self.partition(partition).owed {
            if offset >= owed.settled {
                owed.delivered.insert(offset);
            }
        }
    }

    /// A record that was given up is stored elsewhere, and so is owed no more.
    pub(super) fn stored_elsewhere(
        &mut self,
        assignment: Assignment,
        (offset, generation): (i64, u8),
        now: Time,
    ) {
        if generation == self.generation {
            for owed in &mut self.partition(assignment.partition).owed {
                if offset >= owed.settled {
                    owed.delivered.insert(offset);
                }
            }
        }
        if let Some(life) = self.lives.get_mut(&assignment.epoch) {
            life.ended.insert(offset, now);
        }
    }

    /// The worker is done with its request; `done` if it saw that the backend took it.
    pub(super) fn push_ends(&mut self, push: u64, done: bool, now: Time) {
        if let Some(push) = self.wire.remove(&push)
            && done
            && let Some(life) = self.lives.get_mut(&push.assignment.epoch)
        {
            life.ended.insert(push.offset, now);
        }
    }

    /// The process is gone, and its connections with it.
    pub(super) fn died(&mut self, process: u64) {
        self.processes.remove(&process);
        self.wire.retain(|_push, on_wire| on_wire.process != process);
    }

    /// What was ever done in a partition, for a mutation.
    pub(super) fn ended_here(&self, partition: PartitionId) -> BTreeSet<i64> {
        let here = self.lives.values().filter(|life| life.partition == partition);
        here.flat_map(|life| life.ended.keys().copied()).collect()
    }

    /// What was done last in an epoch, for a mutation.
    pub(super) fn last_ended(&self, epoch: Epoch) -> Option<i64> {
        self.lives
            .get(&epoch)
            .and_then(|life| life.ended.keys().next_back().copied())
    }

    /// At each step: nothing is on the wire past its cut.
    pub(super) fn check_wire(&mut self, now: Time) {
        let late = self.wire.values().find(|push| {
            let cut = self.processes.get(&push.process).map_or(0, |process| process.cut);
            now > cut + CUT_PATIENCE && !self.stood_still(push.process, now)
        });
        if let Some(late) = late.copied() {
            self.violated(
                Invariant::OnePusher,
                format!("{late:?} is on the wire at {now}, past the cut"),
            );
        }
    }
}

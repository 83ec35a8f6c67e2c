//! What goes wrong in a run. Each run has its own few kinds of faults, so that some runs are deep in one kind and others
//! mix them all.

use kcommon::kafka::PartitionId;
use kcommon::zookeeper::layout;

use super::coordination::{MODULE, topic};
use super::dice::{Dice, Time};
use super::env::What;
use super::kafka::KEYS;
use super::mutation::{Mutation, mutated};
use super::session::Change;
use super::world::{Event, World};
use super::zookeeper::OPERATOR;
use crate::config::InitialOffset;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A process stands still, for up to three time-outs.
    StandStill,
    /// The thread of a module does, and the rest of its process goes on.
    ModuleStandsStill,
    Crash,
    Stop,
    ModuleDies,
    /// A connection breaks; the client notices at once or late.
    Cut,
    /// ZooKeeper is away.
    Outage,
    /// An operator sets an offset.
    Move,
    /// An operator writes what is no offset.
    Garbage,
    DeleteOffset,
    DeleteOwner,
    DeleteAcks,
    GarbageInAcks,
    DeleteId,
    /// A tool writes the offset that is there.
    WriteAgain,
    Retention,
    Grow,
    /// A key fails, or does so no more.
    Stuck,
    Brokers,
    /// One process more.
    Join,
    /// Compaction removes a record.
    Compact,
    /// The topic is deleted and created anew.
    Anew,
}

const ALL: [Fault; 22] = [
    Fault::StandStill,
    Fault::ModuleStandsStill,
    Fault::Crash,
    Fault::Stop,
    Fault::ModuleDies,
    Fault::Cut,
    Fault::Outage,
    Fault::Move,
    Fault::Garbage,
    Fault::DeleteOffset,
    Fault::DeleteOwner,
    Fault::DeleteAcks,
    Fault::GarbageInAcks,
    Fault::DeleteId,
    Fault::WriteAgain,
    Fault::Retention,
    Fault::Grow,
    Fault::Stuck,
    Fault::Brokers,
    Fault::Join,
    Fault::Compact,
    Fault::Anew,
];

/// What operators do to the znodes that say which topic is meant: beside a topic that is created anew they decide what is
/// owed, and nobody could say it.
const OF_OPERATORS: [Fault; 6] = [
    Fault::Move,
    Fault::Garbage,
    Fault::DeleteOffset,
    Fault::DeleteAcks,
    Fault::GarbageInAcks,
    Fault::WriteAgain,
];

/// The most processes at a time.
const MOST: usize = 5;

/// The kinds of faults of one run.
#[derive(Debug)]
pub(super) struct Faults {
    kinds: Vec<Fault>,
    often: Time,
    /// The longest delay of most messages.
    pub(super) slow: Time,
    pub(super) over: bool,
}

impl Faults {
    pub(super) fn choose(dice: &mut Dice, initial: InitialOffset) -> Self {
        let mut kinds: Vec<Fault> = ALL.iter().copied().filter(|_kind| dice.one_in(3)).collect();
        if dice.one_in(2) {
            kinds.retain(|kind| *kind != Fault::Anew);
        } else if kinds.contains(&Fault::Anew) {
            kinds.retain(|kind| !OF_OPERATORS.contains(kind));
        }
        if initial == InitialOffset::Latest {
            // Who deletes all offsets asks for the newest records again.
            kinds.retain(|kind| *kind != Fault::DeleteOffset);
        }
        if mutated(Mutation::NothingIsVoid) {
            // It takes a module that stands still when its process has done so for longer than its session.
            kinds = vec![Fault::ModuleStandsStill, Fault::StandStill];
        }
        if kinds.is_empty() {
            kinds.push(Fault::Crash);
        }
        Self {
            kinds,
            often: dice.between(150, 2_000),
            slow: if dice.one_in(4) { dice.between(20, 200) } else { 4 },
            over: false,
        }
    }

    /// The next fault, and when.
    pub(super) fn next(&self, dice: &mut Dice) -> (Time, Fault) {
        (
            dice.between(1, 2 * self.often),
            self.kinds[dice.index(self.kinds.len())],
        )
    }
}

impl World {
    pub(super) fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::StandStill | Fault::ModuleStandsStill | Fault::Crash | Fault::Stop | Fault::ModuleDies => {
                self.strike_process(fault);
            }
            Fault::Cut => {
                let sessions: Vec<i64> = self.connections.keys().copied().collect();
                if !sessions.is_empty() {
                    let session = sessions[self.dice.index(sessions.len())];
                    let silence = if self.dice.one_in(2) {
                        0
                    } else {
                        self.dice.below(self.settings.timeout)
                    };
                    self.cut(session, silence);
                }
            }
            Fault::Outage => self.outage(),
            Fault::Retention => {
                let partition = self.any_partition();
                self.kafka.expire(partition, &mut self.dice);
            }
            Fault::Compact => {
                let partition = self.any_partition();
                self.kafka.compact(partition, &mut self.dice);
            }
            Fault::Anew => self.create_anew(),
            Fault::Grow => {
                if self.kafka.partitions().len() < 8 {
                    self.kafka.grow();
                }
            }
            Fault::Stuck => {
                let key = u8::try_from(self.dice.below(KEYS - 1)).unwrap();
                let place = (self.any_partition(), key);
                if !self.backend.stuck.remove(&place) {
                    self.backend.stuck.insert(place);
                }
            }
            Fault::Brokers => {
                let mut logs = self.kafka.lock();
                logs.up = !logs.up;
            }
            Fault::Join => {
                if self.members.len() < MOST {
                    self.at(0, Event::Start);
                }
            }
            fault => self.operate(fault),
        }
    }

    fn any_partition(&mut self) -> PartitionId {
        let partitions = self.kafka.partitions();
        partitions[self.dice.index(partitions.len())]
    }

    fn strike_process(&mut self, fault: Fault) {
        if self.members.is_empty() {
            return;
        }
        let at = self.dice.index(self.members.len());
        let process = self.members[at].process;
        match fault {
            Fault::StandStill => {
                let still = self.dice.between(100, 3 * self.settings.timeout);
                let until = self.now + still;
                if let Some(known) = self.truth.processes.get_mut(&process) {
                    known.stands_still_until = known.stands_still_until.max(until);
                }
                self.truth.disturbed(process, until);
            }
            Fault::ModuleStandsStill => {
                let longest = if self.dice.one_in(2) {
                    1_000
                } else {
                    3 * self.settings.timeout
                };
                let until = self.now + self.dice.between(50, longest);
                if let Some(known) = self.truth.processes.get_mut(&process) {
                    known.module_stands_still_until = known.module_stands_still_until.max(until);
                }
                self.truth.disturbed(process, until);
            }
            Fault::Crash => {
                self.gone(at, false);
                let wait = self.dice.between(100, 4_000);
                self.at(wait, Event::Start);
            }
            Fault::Stop => self.at(0, Event::Member(process, What::Stop)),
            _ => self.at(0, Event::Member(process, What::ModuleDies)),
        }
    }

    fn create_anew(&mut self) {
        if self.server.down || !self.truth.topics_are_stored() {
            return;
        }
        let generation = self.kafka.anew(&mut self.dice);
        let path = layout::broker_topic(topic().as_str());
        // Older clusters give their topics no id.
        let data = if self.dice.one_in(2) {
            format!(r#"{{"topic_id":"{generation}"}}"#)
        } else {
            "{}".to_owned()
        };
        let deletion = Change::Delete { path: path.clone() };
        let creation = Change::Create {
            path,
            data: data.into_bytes(),
            ephemeral: false,
        };
        for change in [deletion, creation] {
            let changed = self.server.transact(OPERATOR, &[change]);
            changed.expect("the topic is there");
        }
        self.truth.anew(generation);
    }

    fn outage(&mut self) {
        if std::mem::replace(&mut self.server.down, true) {
            self.server.restart(self.now);
            for member in &self.members {
                self.truth.disturbed(member.process, self.now);
            }
            return;
        }
        let sessions: Vec<i64> = self.connections.keys().copied().collect();
        for session in sessions {
            let silence = self.dice.below(500);
            self.cut(session, silence);
        }
    }

    /// What operators and tools do to the znodes of a partition.
    fn operate(&mut self, fault: Fault) {
        if self.server.down {
            return;
        }
        let partition = self.any_partition();
        let topic = topic();
        let offset = layout::offset(MODULE, topic.as_str(), partition);
        let acks = layout::acks(MODULE, topic.as_str(), partition);
        let (start, end) = {
            let logs = self.kafka.lock();
            let log = &logs.logs[super::kafka::index(partition)];
            (log.start, log.end)
        };
        let change = match fault {
            Fault::Move => {
                let to = i64::try_from(self.dice.between(0, u64::try_from(end - start).unwrap())).unwrap();
                set(offset, (start + to).to_string().into_bytes())
            }
            Fault::Garbage => set(offset, b"garbage".to_vec()),
            Fault::WriteAgain => match self.stored(partition).1 {
                Some(data) => set(offset, data),
                None => return,
            },
            Fault::DeleteOffset => Change::Delete { path: offset },
            Fault::DeleteAcks => Change::Delete { path: acks },
            Fault::GarbageInAcks => set(acks, b"garbage".to_vec()),
            Fault::DeleteOwner => Change::Delete {
                path: layout::owner(MODULE, topic.as_str(), partition),
            },
            _ => {
                if self.members.is_empty() {
                    return;
                }
                let at = self.dice.index(self.members.len());
                Change::Delete {
                    path: layout::id(MODULE, &self.members[at].id),
                }
            }
        };
        // What is not there cannot be changed, as every tool would say.
        if self.server.transact(OPERATOR, &[change]).is_err() {
            self.server.applied.clear();
        }
    }
}

fn set(path: String, data: Vec<u8>) -> Change {
    Change::Set {
        path,
        data,
        version: None,
    }
}

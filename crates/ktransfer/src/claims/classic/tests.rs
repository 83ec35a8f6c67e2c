//! Members of both kinds on one model of ZooKeeper, joining and leaving in every order while leaders move.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kcommon::kafka::{CommitOffset, PartitionId};
use tokio::time::Instant;

use super::original::Original;
use super::{Classic, NOBODY_PLANS, Plan};
use crate::acks::{Acks, Map};
use crate::assignment::{Assignment, Epochs, Order};
use crate::claims::{Claimed, Claims, Step, Stored, View, Written};

const PARTITIONS: i32 = 8;
const STEP: Duration = Duration::from_millis(250);

/// A small deterministic generator (xorshift64*).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn number(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }

    pub(super) fn below(&mut self, limit: u64) -> usize {
        usize::try_from(self.number(limit)).unwrap()
    }
}

/// What both kinds read and write.
#[derive(Default)]
pub(super) struct Znodes {
    pub(super) ids: BTreeMap<String, i64>,
    /// Of the children of `ids`.
    pub(super) changes: i32,
    pub(super) owners: BTreeMap<PartitionId, i64>,
    pub(super) leaders: Vec<(PartitionId, i32)>,
    offsets: BTreeMap<PartitionId, (i64, i32)>,
    /// Up to where every record was pushed at least once.
    pushed: BTreeMap<PartitionId, i64>,
}

impl Znodes {
    /// Somebody begins at the stored offset.
    pub(super) fn begin(&self, partition: PartitionId) -> i64 {
        let (offset, _version) = self.offsets[&partition];
        assert!(
            offset <= self.pushed[&partition],
            "records of {partition} are skipped"
        );
        offset
    }

    pub(super) fn pushed(&mut self, partition: PartitionId, position: i64) {
        let pushed = self.pushed.get_mut(&partition).unwrap();
        *pushed = position.max(*pushed);
    }

    /// As the classic members do: whatever the version.
    pub(super) fn write(&mut self, partition: PartitionId, offset: i64) -> i32 {
        let stored = self.offsets.get_mut(&partition).unwrap();
        *stored = (offset, stored.1 + 1);
        stored.1
    }

    fn stored(&self, partition: PartitionId) -> Stored {
        let (offset, version) = self.offsets[&partition];
        Stored {
            bytes: offset.to_string().into_bytes(),
            version,
        }
    }

    fn join(&mut self, id: &str, session: i64) {
        self.ids.insert(id.to_owned(), session);
        self.changes += 1;
    }

    fn leave(&mut self, id: &str, session: i64) {
        self.ids.remove(id);
        self.changes += 1;
        self.owners.retain(|_partition, owner| *owner != session);
    }
}

/// A member of ours: the state machine, and a module that pushes.
struct Ours {
    id: String,
    session: i64,
    claims: Claims,
    running: BTreeMap<Assignment, (i64, bool)>,
    requests: VecDeque<Step>,
    /// The leaders as of this change of the group.
    leaders: (i32, Vec<(PartitionId, i32)>),
}

impl Ours {
    fn new(id: String, session: i64, epochs: &Epochs) -> Self {
        Self {
            claims: Claims::new(id.clone(), epochs.clone(), Duration::from_secs(10)),
            id,
            session,
            running: BTreeMap::new(),
            requests: VecDeque::new(),
            leaders: (-1, Vec::new()),
        }
    }

    fn step(&mut self, znodes: &mut Znodes, dice: &mut Dice, world: &Seen) {
        if dice.below(4) == 0 {
            self.look(znodes, world);
        }
        for _ in 0..dice.below(4) {
            if let Some(step) = self.requests.pop_front() {
                self.request(step, znodes, world.now);
            }
        }
        if world.pushing {
            self.push(znodes, dice);
        }
        let draining: Vec<_> = self
            .running
            .iter()
            .filter(|(_, (_, draining))| *draining)
            .map(|(a, (p, _))| (*a, *p))
            .collect();
        for (assignment, position) in draining {
            if dice.below(8) == 0 {
                self.running.remove(&assignment);
                let steps = self
                    .claims
                    .drained(assignment, Some(Acks::none(offset(position))), world.now);
                self.take(steps, znodes);
            }
        }
    }

    fn look(&mut self, znodes: &mut Znodes, world: &Seen) {
        if self.leaders.0 != znodes.changes {
            self.leaders = (znodes.changes, znodes.leaders.clone());
        }
        let mixed = znodes.ids.keys().any(|id| id.starts_with("original"));
        let classic = (mixed && world.classic).then(|| Classic {
            changes: znodes.changes,
            members: znodes.ids.keys().cloned().collect(),
            leaders: self.leaders.1.clone(),
        });
        let view = View {
            session: self.session,
            partitions: (0..PARTITIONS).map(PartitionId).collect(),
            members: znodes.ids.keys().cloned().collect(),
            classic,
            owners: znodes.owners.clone(),
            overtaken: BTreeSet::new(),
        };
        let steps = self.claims.seen(&view, world.now);
        self.take(steps, znodes);
    }

    fn take(&mut self, steps: Vec<Step>, znodes: &Znodes) {
        for step in steps {
            match step {
                Step::Tell(Order::Assign { assignment, done }) => {
                    let position = done.base();
                    assert_eq!(position.get(), znodes.begin(assignment.partition));
                    self.running.insert(assignment, (position.get(), false));
                }
                Step::Tell(Order::Revoke { assignment, .. }) => {
                    self.running.get_mut(&assignment).unwrap().1 = true;
                }
                Step::Tell(Order::Lost { assignment }) => {
                    self.running.remove(&assignment);
                }
                Step::Tell(Order::CommitDone { .. }) => {}
                request => self.requests.push_back(request),
            }
        }
    }

    fn push(&mut self, znodes: &mut Znodes, dice: &mut Dice) {
        let mut steps = Vec::new();
        for (assignment, (position, draining)) in &mut self.running {
            if *draining {
                continue;
            }
            *position += i64::try_from(dice.number(3)).unwrap();
            znodes.pushed(assignment.partition, *position);
            if dice.below(4) == 0 {
                steps.extend(self.claims.commit(*assignment, Acks::none(offset(*position))));
            }
        }
        self.take(steps, znodes);
    }

    fn request(&mut self, step: Step, znodes: &mut Znodes, now: Instant) {
        let steps = match step {
            Step::Claim(partition) => {
                let owner = *znodes.owners.entry(partition).or_insert(self.session);
                let claimed = if owner == self.session {
                    znodes.write(partition, znodes.offsets[&partition].0);
                    Claimed::Ours(znodes.stored(partition), Map::empty(None, CommitOffset::ZERO))
                } else {
                    Claimed::NotOurs
                };
                self.claims.claimed(partition, claimed, now)
            }
            Step::Commit {
                assignment,
                version,
                position,
                ..
            } => {
                let found = znodes.stored(assignment.partition);
                let committed = if found.version == version {
                    Ok(Written::Stored(
                        znodes.write(assignment.partition, position.get()),
                    ))
                } else {
                    Err(found)
                };
                self.claims.committed(assignment, committed, now)
            }
            Step::Release {
                partition,
                stored,
                insist,
                ..
            } => {
                if insist || znodes.stored(partition).version == stored.version {
                    znodes.write(partition, stored.position().unwrap().get());
                }
                znodes.owners.remove(&partition);
                self.claims.released(partition);
                Vec::new()
            }
            Step::Look { partition, look, .. } => {
                self.claims
                    .looked(partition, look, Some(znodes.stored(partition)), now)
            }
            other => unreachable!("{other:?}: no answer is lost here"),
        };
        self.take(steps, znodes);
    }
}

/// What a step of the world is like.
struct Seen {
    now: Instant,
    /// Whether ours follow the classic plan.
    classic: bool,
    /// Whether there are records to push.
    pushing: bool,
}

struct World {
    dice: Dice,
    seen: Seen,
    znodes: Znodes,
    ours: Vec<Ours>,
    originals: Vec<Original>,
    epochs: Epochs,
    sessions: i64,
}

impl World {
    fn new(seed: u64, classic: bool) -> Self {
        let all = || (0..PARTITIONS).map(PartitionId);
        let mut world = Self {
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            seen: Seen {
                now: Instant::now(),
                classic,
                pushing: true,
            },
            znodes: Znodes {
                offsets: all().map(|partition| (partition, (0, 0))).collect(),
                pushed: all().map(|partition| (partition, 0)).collect(),
                ..Znodes::default()
            },
            ours: Vec::new(),
            originals: Vec::new(),
            epochs: Epochs::default(),
            sessions: 0,
        };
        world.move_leaders();
        world.join(false);
        // Ours has everything when the first original comes.
        (0..40).for_each(|_| world.step());
        world.join(true);
        world
    }

    fn move_leaders(&mut self) {
        let dice = &mut self.dice;
        let leader = |partition| (PartitionId(partition), i32::try_from(dice.number(3)).unwrap());
        self.znodes.leaders = (0..PARTITIONS).map(leader).collect();
    }

    fn join(&mut self, original: bool) {
        self.sessions += 1;
        let session = self.sessions;
        // The order of the ids is not the order of joining.
        let kind = if original { "original" } else { "ours" };
        let id = format!("{kind}-{}-{session}", self.dice.number(100));
        self.znodes.join(&id, session);
        if original {
            self.originals.push(Original::new(id, session, self.seen.now));
        } else {
            self.ours.push(Ours::new(id, session, &self.epochs));
        }
    }

    /// A process is killed, and its session has ended.
    fn kill(&mut self, original: bool) {
        let (id, session) = if original && !self.originals.is_empty() {
            let member = self.originals.swap_remove(0);
            (member.id, member.session)
        } else if !original && self.ours.len() > 1 {
            let member = self.ours.swap_remove(0);
            (member.id, member.session)
        } else {
            return;
        };
        self.znodes.leave(&id, session);
    }

    fn step(&mut self) {
        self.seen.now += STEP;
        for ours in &mut self.ours {
            ours.step(&mut self.znodes, &mut self.dice, &self.seen);
        }
        let (znodes, dice, now) = (&mut self.znodes, &mut self.dice, self.seen.now);
        self.originals.retain_mut(|original| {
            let lives = original.step(znodes, dice, now);
            if !lives {
                znodes.leave(&original.id, original.session);
            }
            lives
        });
    }

    /// Members come and go, and leaders move, for five minutes.
    fn churn(&mut self) {
        for _ in 0..1_200 {
            match self.dice.below(400) {
                0 if self.ours.len() < 3 => self.join(false),
                1 | 2 if self.originals.len() < 3 => self.join(true),
                3 => self.kill(false),
                4 => self.kill(true),
                5..8 => self.move_leaders(),
                _ => {}
            }
            self.step();
        }
    }

    /// Nothing happens any more for ten minutes, and nothing is left to push for the last two.
    fn settle(&mut self) {
        for step in 0..2_400 {
            self.seen.pushing = step < 1_920;
            self.step();
        }
    }

    /// What is wrong in the end.
    fn fault(&self) -> Option<String> {
        for partition in (0..PARTITIONS).map(PartitionId) {
            let originals = self
                .originals
                .iter()
                .filter(|member| member.held.contains_key(&partition))
                .count();
            let running: Vec<&Ours> = self
                .ours
                .iter()
                .filter(|member| {
                    member
                        .running
                        .keys()
                        .any(|assignment| assignment.partition == partition)
                })
                .collect();
            if originals + running.len() != 1 || !self.znodes.owners.contains_key(&partition) {
                return Some(format!(
                    "{partition} is run by {originals} originals and {} of ours",
                    running.len()
                ));
            }
        }
        None
    }
}

fn offset(number: i64) -> CommitOffset {
    CommitOffset::try_from(number).unwrap()
}

fn run(seed: u64, classic: bool) -> World {
    let mut world = World::new(seed, classic);
    world.churn();
    world.settle();
    world
}

#[test]
fn in_a_mixed_fleet_every_partition_has_one_owner_in_the_end() {
    for seed in 0..200 {
        assert_eq!(run(seed, true).fault(), None, "seed {seed}");
    }
}

#[test]
fn in_a_mixed_fleet_no_commit_of_ours_is_lost() {
    for seed in 0..200 {
        let mut world = run(seed, true);
        let positions: Vec<(PartitionId, i64)> = world
            .ours
            .iter()
            .flat_map(|member| &member.running)
            .map(|(assignment, (position, _))| (assignment.partition, *position))
            .collect();
        // Everything is committed, and then an original that was forgotten writes what it had.
        for member in &mut world.ours {
            let running: Vec<_> = member.running.iter().map(|(a, (p, _))| (*a, *p)).collect();
            for (assignment, position) in running {
                let steps = member.claims.commit(assignment, Acks::none(offset(position)));
                member.take(steps, &world.znodes);
            }
        }
        for _ in 0..40 {
            world.step();
        }
        if world.originals.is_empty() {
            continue;
        }
        for (partition, _position) in &positions {
            world.znodes.write(*partition, 0);
        }
        for _ in 0..80 {
            world.step();
        }
        for (partition, position) in positions {
            assert_eq!(
                world.znodes.begin(partition),
                position,
                "seed {seed}: {partition}"
            );
        }
    }
}

#[test]
fn without_the_classic_plan_partitions_are_left_without_owner() {
    let faults: Vec<Option<String>> = (0..50)
        .map(|seed| {
            let mut world = World::new(seed, false);
            // Before an original has tried for so long that it gives up, and the fleet is one of a kind again.
            for _ in 0..200 {
                world.step();
            }
            world.fault()
        })
        .collect();
    assert!(faults.iter().flatten().count() > 40, "{faults:?}");
}

#[test]
fn the_plan_is_cut_from_the_order_of_leaders_and_numbers() {
    let classic = Classic {
        changes: 0,
        members: ["a", "b", "c"].map(str::to_owned).into(),
        leaders: [(0, 2), (1, 1), (2, 2), (3, 1), (4, 0)]
            .map(|(partition, leader)| (PartitionId(partition), leader))
            .into(),
    };
    let planned = |me| {
        classic
            .planned(me)
            .into_iter()
            .map(|partition| partition.0)
            .collect::<Vec<_>>()
    };
    // By leader: 4; 1, 3; 0, 2.
    assert_eq!(planned("a"), [1, 4]);
    assert_eq!(planned("b"), [0, 3]);
    assert_eq!(planned("c"), [2]);
    assert_eq!(planned("d"), [0; 0]);
}

#[test]
fn what_nobody_plans_is_taken_after_a_while_until_the_plan_changes() {
    let classic = |changes| Classic {
        changes,
        members: vec!["a".into(), "b".into()],
        leaders: vec![(PartitionId(0), 1), (PartitionId(1), 1)],
    };
    let (start, other) = (Instant::now(), PartitionId(1));
    let mut plan = Plan::new(classic(1), "a");
    assert_eq!(plan.wants(&[PartitionId(0), other], start), [PartitionId(0)]);
    assert_eq!(plan.wants(&[other], start + NOBODY_PLANS - STEP), []);
    assert!(!plan.keeps(other));
    assert_eq!(plan.wants(&[other], start + NOBODY_PLANS), [other]);
    assert!(plan.keeps(other));
    // It was owned in between.
    assert_eq!(plan.wants(&[], start + NOBODY_PLANS), []);
    assert_eq!(plan.wants(&[other], start + NOBODY_PLANS), []);
    assert!(plan.is_from(&classic(1)) && !plan.is_from(&classic(2)));
    assert!(!Plan::new(classic(2), "a").keeps(other));
}

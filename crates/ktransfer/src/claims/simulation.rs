//! Several members, a model of ZooKeeper, and everything in a random order: requests are applied and answered
//! late, answers are lost, sessions end unnoticed, operators move offsets. After every step the safety rules are
//! checked against the model, which knows everything; at the end the faults stop and the group must settle.

mod model;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kcommon::kafka::{CommitOffset, PartitionId};
use tokio::time::Instant;

use super::{CLAIMS_IN_FLIGHT, Claimed, Claims, Step, View};
use crate::acks::Acks;
use crate::assignment::{Assignment, Epochs, Order};
use crate::quota::quota;
use model::{Answer, Model};

const PARTITIONS: i32 = 7;

/// A small deterministic generator (xorshift64*): the seed alone decides a run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit).unwrap()
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

/// One process: its claims, its module, and its requests on their way.
struct Member {
    id: String,
    session: i64,
    claims: Claims,
    /// What the module runs: position and whether it drains.
    running: BTreeMap<Assignment, (CommitOffset, bool)>,
    committing: BTreeSet<Assignment>,
    requests: VecDeque<Step>,
    answers: VecDeque<Answer>,
    /// The look under way, with what it has found.
    look: Option<View>,
}

impl Member {
    fn new(id: String, session: i64, epochs: &Epochs) -> Self {
        Self {
            claims: Claims::new(id.clone(), epochs.clone(), Duration::from_secs(10)),
            id,
            session,
            running: BTreeMap::new(),
            committing: BTreeSet::new(),
            requests: VecDeque::new(),
            answers: VecDeque::new(),
            look: None,
        }
    }

    fn take(&mut self, steps: Vec<Step>) {
        for step in steps {
            let Step::Tell(order) = step else {
                self.requests.push_back(step);
                continue;
            };
            match order {
                Order::Assign { assignment, done } => {
                    let twice = self
                        .running
                        .keys()
                        .any(|other| other.partition == assignment.partition);
                    assert!(!twice, "{} runs {} in two epochs", self.id, assignment.partition);
                    self.running.insert(assignment, (done.base(), false));
                }
                Order::Revoke { assignment, .. } => self.running.get_mut(&assignment).unwrap().1 = true,
                Order::Lost { assignment } => {
                    self.running.remove(&assignment);
                    self.committing.remove(&assignment);
                }
                Order::CommitDone { assignment, outcome } => {
                    let waited = self.committing.remove(&assignment);
                    let current = self.running.contains_key(&assignment);
                    assert!(waited || !current, "an answer to no commit: {outcome:?}");
                }
            }
        }
    }

    /// The module pushes, commits, or finishes draining.
    fn module(&mut self, dice: &mut Dice, now: Instant) {
        let Some((assignment, (position, draining))) = self
            .running
            .iter()
            .nth(dice.below(1 + u64::try_from(self.running.len()).unwrap()))
        else {
            return;
        };
        let (assignment, position, draining) = (*assignment, *position, *draining);
        if draining && dice.one_in(2) {
            self.running.remove(&assignment);
            self.committing.remove(&assignment);
            let steps = self.claims.drained(assignment, Some(Acks::none(position)), now);
            self.take(steps);
        } else if dice.one_in(2) {
            let further = CommitOffset::try_from(position.get() + 3).unwrap();
            self.running.get_mut(&assignment).unwrap().0 = further;
        } else if self.committing.insert(assignment) {
            let steps = self.claims.commit(assignment, Acks::none(position));
            self.take(steps);
        }
    }

    fn answer(&mut self, answer: Answer, now: Instant) {
        if let (Some(look), Answer::Claimed(partition, _) | Answer::Released(partition)) =
            (&mut self.look, &answer)
        {
            look.overtaken.insert(*partition);
        }
        let steps = match answer {
            Answer::Claimed(partition, claimed) => self.claims.claimed(partition, claimed, now),
            Answer::Committed(assignment, committed) => self.claims.committed(assignment, committed, now),
            Answer::Looked(partition, look, found) => self.claims.looked(partition, look, found, now),
            Answer::Released(partition) => {
                self.claims.released(partition);
                Vec::new()
            }
        };
        self.take(steps);
    }
}

struct World {
    dice: Dice,
    now: Instant,
    model: Model,
    members: Vec<Member>,
    epochs: Epochs,
    sessions: i64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            now: Instant::now(),
            model: Model::new(),
            members: Vec::new(),
            epochs: Epochs::default(),
            sessions: 0,
        };
        for id in ["a", "b", "c"] {
            let session = world.session(id);
            world
                .members
                .push(Member::new(id.to_owned(), session, &world.epochs));
        }
        world
    }

    fn session(&mut self, id: &str) -> i64 {
        self.sessions += 1;
        self.model.sessions.insert(self.sessions, id.to_owned());
        self.sessions
    }

    fn step(&mut self, faults: bool) {
        self.now += Duration::from_millis(u64::try_from(self.dice.below(400)).unwrap());
        let at = self.dice.below(u64::try_from(self.members.len()).unwrap());
        match self.dice.below(if faults { 24 } else { 20 }) {
            0..4 => self.pass(at),
            4..10 => self.apply(at, faults),
            10..16 => {
                if let Some(answer) = self.members[at].answers.pop_front() {
                    self.members[at].answer(answer, self.now);
                }
            }
            16..20 => self.members[at].module(&mut self.dice, self.now),
            20 => self.operator(),
            21 if self.dice.one_in(3) => self.model.expire(self.members[at].session),
            22 => self.notice(at),
            _ => {}
        }
        self.check();
    }

    /// A look at the group begins, or ends: what is answered meanwhile overtakes it.
    fn pass(&mut self, at: usize) {
        let member = &mut self.members[at];
        if !self.model.sessions.contains_key(&member.session) {
            return;
        }
        match member.look.take() {
            None => member.look = Some(self.model.view(member.session)),
            Some(view) => {
                let steps = member.claims.seen(&view, self.now);
                member.take(steps);
            }
        }
    }

    fn apply(&mut self, at: usize, faults: bool) {
        let member = &mut self.members[at];
        let Some(step) = member.requests.pop_front() else {
            return;
        };
        let Some(answer) = self.model.apply(member.session, &step) else {
            return;
        };
        let answer = match answer {
            // The claim was applied, its answer lost, and the shell wrong about it.
            Answer::Claimed(partition, Claimed::Ours(..)) if faults && self.dice.one_in(8) => {
                Answer::Claimed(partition, Claimed::NotOurs)
            }
            answer => answer,
        };
        member.answers.push_back(answer);
    }

    fn operator(&mut self) {
        let partition = PartitionId(i32::try_from(self.dice.below(7)).unwrap());
        let bytes: &[u8] = if self.dice.one_in(3) { b"garbage" } else { b"1000" };
        self.model.write(partition, bytes.to_vec());
    }

    /// A member learns that its session has ended and makes a new one.
    fn notice(&mut self, at: usize) {
        if self.model.sessions.contains_key(&self.members[at].session) {
            return;
        }
        let id = self.members[at].id.clone();
        let session = self.session(&id);
        let steps = self.members[at].claims.lost();
        let member = &mut self.members[at];
        member.take(steps);
        assert!(
            member.running.is_empty(),
            "{id} goes on without a session: {:?}",
            member.running
        );
        *member = Member::new(id, session, &self.epochs);
    }

    fn check(&self) {
        let mut live = BTreeMap::new();
        for member in self
            .members
            .iter()
            .filter(|member| self.model.sessions.contains_key(&member.session))
        {
            for assignment in member.running.keys() {
                let other = live.insert(assignment.partition, &member.id);
                assert_eq!(other, None, "{} has two live pushers", assignment.partition);
                assert_eq!(
                    self.model.owners.get(&assignment.partition),
                    Some(&member.session),
                    "{} is run by who does not own it",
                    assignment.partition
                );
            }
            let claims = member
                .requests
                .iter()
                .filter(|step| matches!(step, Step::Claim(_)))
                .count();
            assert!(claims <= CLAIMS_IN_FLIGHT);
        }
    }

    /// Without faults the group comes to rest: every partition is run by one member, as many as its quota.
    fn settle(&mut self) {
        for partition in 0..PARTITIONS {
            if self.model.offsets[&PartitionId(partition)].position().is_err() {
                self.model.write(PartitionId(partition), b"2000".to_vec());
            }
        }
        for at in 0..self.members.len() {
            self.notice(at);
        }
        for _ in 0..6_000 {
            self.step(false);
        }
        let members = self.model.view(0).members;
        let mut run = BTreeSet::new();
        for member in &self.members {
            let quota = quota(usize::try_from(PARTITIONS).unwrap(), &members, &member.id);
            assert_eq!(member.running.len(), quota, "{} of {members:?}", member.id);
            assert_eq!(member.claims.len(), quota);
            run.extend(member.running.keys().map(|assignment| assignment.partition));
        }
        assert_eq!(
            run.len(),
            usize::try_from(PARTITIONS).unwrap(),
            "every partition is run by one member"
        );
    }
}

#[test]
fn whatever_happens_a_partition_has_one_pusher_and_in_the_end_it_has_one() {
    for seed in 0..150 {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..1_500 {
                world.step(true);
            }
            world.settle();
        });
        assert!(run.is_ok(), "seed {seed}");
    }
}

#[test]
fn a_stopped_member_hands_everything_over() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        for _ in 0..1_500 {
            world.step(false);
        }
        let (session, now) = (world.members[0].session, world.now);
        world.model.sessions.insert(session, String::new());
        let steps = world.members[0].claims.stop(now + Duration::from_secs(10));
        world.members[0].take(steps);
        for _ in 0..3_000 {
            world.step(false);
        }
        assert!(
            world.members[0].claims.is_empty() && world.members[0].running.is_empty(),
            "seed {seed}"
        );
        assert!(
            !world.model.owners.values().any(|owner| *owner == session),
            "seed {seed}"
        );
        let others: usize = world.members[1..].iter().map(|member| member.running.len()).sum();
        assert_eq!(others, 7, "seed {seed}: the others run everything");
    }
}

#[test]
fn a_module_that_ended_leaves_no_claim_behind() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        for _ in 0..700 {
            world.step(false);
        }
        let (session, now) = (world.members[1].session, world.now);
        world.model.sessions.insert(session, String::new());
        world.members[1].running.clear();
        world.members[1].committing.clear();
        let steps = world.members[1].claims.abandon(now);
        // Orders to a module that is no more have nowhere to go.
        let requests = steps.into_iter().filter(|step| !matches!(step, Step::Tell(_)));
        world.members[1].requests.extend(requests);
        for _ in 0..3_000 {
            let member = &mut world.members[1];
            member.running.clear();
            world.step(false);
        }
        assert!(
            world.members[1].claims.is_empty(),
            "seed {seed}: {:?}",
            world.members[1].claims
        );
        assert!(
            !world.model.owners.values().any(|owner| *owner == session),
            "seed {seed}"
        );
    }
}

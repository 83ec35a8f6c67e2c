//! Order per key, no idle worker beside a ready key, fairness between partitions: against a naive model.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use kcommon::kafka::{CommitOffset, RecordOffset};
use proptest::prelude::*;

use super::*;
use crate::assignment::Epochs;
use crate::key::KeyHasher;
use crate::ledger::{Admission, Entry, Ledger};

fn record(ledger: &mut Ledger, offset: i64, key: Option<u8>) -> Record {
    let offset = RecordOffset::try_from(offset).unwrap();
    let Admission::Entered(seq) = ledger.admit(offset, Entry::Pending) else {
        panic!("not entered")
    };
    let hasher = KeyHasher::new([1; 16]);
    match key {
        Some(key) => Record::new(offset, seq, Some((&[key], Some(hasher.id(&[key])))), b"value"),
        None => Record::new(offset, seq, None, b"value"),
    }
}

fn ledger() -> Ledger {
    Ledger::new(CommitOffset::ZERO, usize::MAX)
}

#[test]
fn one_key_is_serial_and_two_keys_are_parallel() {
    let (mut scheduler, mut ledger) = (Scheduler::default(), ledger());
    let lane = scheduler.open(Epochs::default().next());
    assert!(scheduler.enqueue(lane, record(&mut ledger, 0, Some(1))));
    assert!(!scheduler.enqueue(lane, record(&mut ledger, 1, Some(1))));
    assert!(scheduler.enqueue(lane, record(&mut ledger, 2, Some(2))));
    let first = scheduler.take().unwrap();
    let second = scheduler.take().unwrap();
    assert_eq!((first.record.offset.get(), second.record.offset.get()), (0, 2));
    assert!(scheduler.take().is_none());
    let (lane, key, _) = first.into_parts();
    assert!(scheduler.end(lane, key));
    assert_eq!(scheduler.take().unwrap().record.offset.get(), 1);
}

#[test]
fn records_without_key_have_no_order() {
    let (mut scheduler, mut ledger) = (Scheduler::default(), ledger());
    let lane = scheduler.open(Epochs::default().next());
    for offset in 0..3 {
        assert!(scheduler.enqueue(lane, record(&mut ledger, offset, None)));
    }
    assert_eq!((0..3).filter_map(|_| scheduler.take()).count(), 3);
}

#[test]
fn a_key_in_back_off_holds_nothing_but_itself() {
    let (mut scheduler, mut ledger) = (Scheduler::default(), ledger());
    let lane = scheduler.open(Epochs::default().next());
    for (offset, key) in [(0, 1), (1, 1), (2, 2)] {
        scheduler.enqueue(lane, record(&mut ledger, offset, Some(key)));
    }
    let now = Instant::now();
    let due = now + Duration::from_secs(1);
    let failed = scheduler.take().unwrap();
    assert!(scheduler.retry(failed, due).is_none());
    assert_eq!(scheduler.take().unwrap().record.offset.get(), 2);
    assert!(scheduler.take().is_none());
    assert_eq!((scheduler.next_wake(), scheduler.wake(now)), (Some(due), 0));
    assert_eq!(scheduler.wake(due), 1);
    assert_eq!(scheduler.take().unwrap().record.offset.get(), 0);
    assert!(scheduler.take().is_none(), "the successor waits for the head");
}

#[test]
fn a_backlog_on_one_partition_does_not_starve_another() {
    let (mut scheduler, epochs) = (Scheduler::default(), Epochs::default());
    let (busy, live) = (scheduler.open(epochs.next()), scheduler.open(epochs.next()));
    let (mut old, mut new) = (ledger(), ledger());
    for offset in 0..100 {
        scheduler.enqueue(busy, record(&mut old, offset, None));
    }
    scheduler.enqueue(live, record(&mut new, 1_000_000, None));
    let lanes: Vec<_> = (0..2).map(|_| scheduler.take().unwrap().lane).collect();
    assert!(lanes.contains(&live));
}

#[test]
fn a_closed_lane_takes_its_records_and_timers_along() {
    let (mut scheduler, epochs, mut first) = (Scheduler::default(), Epochs::default(), ledger());
    let lane = scheduler.open(epochs.next());
    for offset in 0..3 {
        scheduler.enqueue(lane, record(&mut first, offset, Some(1)));
    }
    let now = Instant::now();
    let away = scheduler.take().unwrap();
    assert!(scheduler.retry(away, now).is_none());
    assert_eq!(scheduler.close(lane), 3 * 6);
    let mut second = ledger();
    let again = scheduler.open(epochs.next());
    scheduler.enqueue(again, record(&mut second, 0, Some(1)));
    let job = scheduler.take().unwrap();
    assert_eq!(scheduler.wake(now), 0, "a timer of the old epoch wakes nothing");
    assert!(scheduler.take().is_none());
    let stale = Job {
        lane,
        record: record(&mut second, 9, Some(1)),
        key: job.key,
    };
    assert!(scheduler.retry(stale, now).is_some());
    assert!(
        !scheduler.end(lane, job.key),
        "an end of the old epoch ends nothing"
    );
    assert!(scheduler.take().is_none());
}

/// Per partition and key the offsets that wait, and what is away: no cleverness.
#[derive(Default)]
struct Naive {
    waiting: BTreeMap<(usize, u16), VecDeque<i64>>,
    away: HashSet<(usize, u16)>,
}

impl Naive {
    fn ready(&self, lane: usize) -> Option<i64> {
        let heads = self
            .waiting
            .iter()
            .filter(|(place, _)| place.0 == lane && !self.away.contains(place));
        heads.filter_map(|(_, queue)| queue.front().copied()).min()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue { lane: usize, key: Option<u8> },
    Take,
    End(usize),
    Fail(usize),
    PutBack(usize),
    Wake,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..3, proptest::option::weighted(0.9, 0u8..5)).prop_map(|(lane, key)| Step::Enqueue { lane, key }),
        6 => Just(Step::Take),
        4 => any::<usize>().prop_map(Step::End),
        2 => any::<usize>().prop_map(Step::Fail),
        1 => any::<usize>().prop_map(Step::PutBack),
        1 => Just(Step::Wake),
    ]
}

/// The scheduler and the model side by side.
struct Pair {
    scheduler: Scheduler,
    lanes: Vec<LaneId>,
    ledgers: Vec<Ledger>,
    naive: Naive,
    keys: HashMap<(usize, i64), u16>,
    jobs: Vec<(usize, Job)>,
    resting: Vec<(usize, u16)>,
    next_offset: i64,
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        let (mut scheduler, epochs) = (Scheduler::default(), Epochs::default());
        let lanes: Vec<_> = (0..3).map(|_| scheduler.open(epochs.next())).collect();
        let ledgers = (0..3).map(|_| ledger()).collect();
        Self {
            scheduler,
            lanes,
            ledgers,
            naive: Naive::default(),
            keys: HashMap::new(),
            jobs: Vec::new(),
            resting: Vec::new(),
            next_offset: 0,
            now: Instant::now(),
        }
    }

    fn enqueue(&mut self, lane: usize, key: Option<u8>) {
        let offset = self.next_offset;
        self.next_offset += 1;
        let name = key.map_or_else(|| 1000 + u16::try_from(offset).unwrap(), u16::from);
        self.keys.insert((lane, offset), name);
        self.naive
            .waiting
            .entry((lane, name))
            .or_default()
            .push_back(offset);
        let record = record(&mut self.ledgers[lane], offset, key);
        self.scheduler.enqueue(self.lanes[lane], record);
    }

    fn take(&mut self) {
        let ready: Vec<_> = (0..3).map(|lane| self.naive.ready(lane)).collect();
        match self.scheduler.take() {
            None => assert_eq!(ready, vec![None; 3], "a worker stays idle beside a ready key"),
            Some(job) => {
                let lane = self.lanes.iter().position(|id| *id == job.lane).unwrap();
                let offset = job.record.offset.get();
                assert_eq!(
                    ready[lane],
                    Some(offset),
                    "not the oldest ready head of its partition"
                );
                let place = (lane, self.keys[&(lane, offset)]);
                self.naive.waiting.get_mut(&place).unwrap().pop_front();
                assert!(self.naive.away.insert(place), "two pushes of one key");
                self.jobs.push((lane, job));
            }
        }
    }

    fn back(&mut self, at: usize) -> Option<(usize, u16, i64, Job)> {
        if self.jobs.is_empty() {
            return None;
        }
        let (lane, job) = self.jobs.swap_remove(at % self.jobs.len());
        let offset = job.record.offset.get();
        Some((lane, self.keys[&(lane, offset)], offset, job))
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Enqueue { lane, key } => self.enqueue(*lane, *key),
            Step::Take => self.take(),
            Step::End(at) => {
                if let Some((lane, key, _, job)) = self.back(*at) {
                    self.naive.away.remove(&(lane, key));
                    let (lane, key, _) = job.into_parts();
                    self.scheduler.end(lane, key);
                }
            }
            Step::Fail(at) => {
                if let Some((lane, key, offset, job)) = self.back(*at) {
                    self.naive
                        .waiting
                        .get_mut(&(lane, key))
                        .unwrap()
                        .push_front(offset);
                    self.resting.push((lane, key));
                    assert!(
                        self.scheduler
                            .retry(job, self.now + Duration::from_millis(1))
                            .is_none()
                    );
                }
            }
            Step::PutBack(at) => {
                if let Some((lane, key, offset, job)) = self.back(*at) {
                    self.naive
                        .waiting
                        .get_mut(&(lane, key))
                        .unwrap()
                        .push_front(offset);
                    self.naive.away.remove(&(lane, key));
                    assert!(self.scheduler.put_back(job).is_none());
                }
            }
            Step::Wake => {
                self.now += Duration::from_millis(1);
                assert_eq!(self.scheduler.wake(self.now), self.resting.len());
                for place in self.resting.drain(..) {
                    self.naive.away.remove(&place);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn every_choice_equals_the_naive_one(steps in prop::collection::vec(step(), 1..300)) {
        let mut pair = Pair::new();
        for step in steps {
            pair.apply(&step);
        }
    }
}

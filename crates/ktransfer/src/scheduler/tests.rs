//! Order per key, no idle worker beside a ready key, fairness between partitions, and bodies that go and come back: against a
//! naive model.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use kcommon::kafka::{CommitOffset, RecordOffset};
use proptest::prelude::*;

use super::*;
use crate::assignment::Epochs;
use crate::key::{KeyHasher, OrderBy};
use crate::ledger::{Admission, Entry, Ledger};
use crate::record::Parts;

fn record(ledger: &mut Ledger, offset: i64, key: Option<u8>) -> (Option<KeyId>, Record) {
    let offset = RecordOffset::try_from(offset).unwrap();
    let Admission::Entered(seq) = ledger.admit(offset, Entry::Pending) else {
        panic!("not entered")
    };
    let bytes = key.map(|key| [key]);
    let record = Record::new(
        offset,
        seq,
        timestamp(offset.get()),
        &Parts {
            key: bytes.as_ref().map(|key| &key[..]),
            headers: &[],
            value: b"value",
        },
    );
    (key.map(id), record)
}

fn id(key: u8) -> KeyId {
    KeyHasher::new([1; 16]).id(&[key])
}

fn timestamp(offset: i64) -> i64 {
    1_000_000 + offset
}

impl Scheduler {
    fn add(&mut self, lane: LaneId, (id, record): (Option<KeyId>, Record)) -> bool {
        self.enqueue(lane, id, record)
    }
}

fn ledger() -> Ledger {
    Ledger::new(CommitOffset::ZERO, usize::MAX)
}

/// A lane in which records with these keys wait, from offset 0 on.
fn waiting(keys: &[Option<u8>]) -> (Scheduler, Ledger, LaneId) {
    let (mut scheduler, mut ledger) = (Scheduler::default(), ledger());
    let lane = scheduler.open(Epochs::default().next());
    for (offset, key) in (0..).zip(keys) {
        scheduler.add(lane, record(&mut ledger, offset, *key));
    }
    (scheduler, ledger, lane)
}

impl Scheduler {
    /// The next record is pushed, and ends; whether its key is ready again.
    fn push(&mut self) -> bool {
        let (lane, key, _) = self.take().unwrap().into_parts();
        self.end(lane, key)
    }
}

#[test]
fn one_key_is_serial_and_two_keys_are_parallel() {
    let (mut scheduler, mut ledger, lane) = waiting(&[]);
    assert!(scheduler.add(lane, record(&mut ledger, 0, Some(1))));
    assert!(!scheduler.add(lane, record(&mut ledger, 1, Some(1))));
    assert!(scheduler.add(lane, record(&mut ledger, 2, Some(2))));
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
    let (mut scheduler, _, _) = waiting(&[None; 3]);
    assert_eq!((0..3).filter_map(|_| scheduler.take()).count(), 3);
}

#[test]
fn a_key_in_back_off_holds_nothing_but_itself() {
    let (mut scheduler, mut ledger, lane) = waiting(&[]);
    for (offset, key) in [(0, 1), (1, 1), (2, 2)] {
        scheduler.add(lane, record(&mut ledger, offset, Some(key)));
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
        scheduler.add(busy, record(&mut old, offset, None));
    }
    scheduler.add(live, record(&mut new, 1_000_000, None));
    let lanes: Vec<_> = (0..2).map(|_| scheduler.take().unwrap().lane).collect();
    assert!(lanes.contains(&live));
}

#[test]
fn a_closed_lane_takes_its_records_and_timers_along() {
    let (mut scheduler, epochs, mut first) = (Scheduler::default(), Epochs::default(), ledger());
    let lane = scheduler.open(epochs.next());
    for offset in 0..3 {
        scheduler.add(lane, record(&mut first, offset, Some(1)));
    }
    let now = Instant::now();
    let away = scheduler.take().unwrap();
    assert!(scheduler.retry(away, now).is_none());
    assert_eq!(scheduler.close(lane), 3 * Parts::of(b"k", b"value").cost());
    let mut second = ledger();
    let again = scheduler.open(epochs.next());
    scheduler.add(again, record(&mut second, 0, Some(1)));
    let job = scheduler.take().unwrap();
    assert_eq!(scheduler.wake(now), 0, "a timer of the old epoch wakes nothing");
    assert!(scheduler.take().is_none());
    let stale = Job {
        lane,
        record: record(&mut second, 9, Some(1)).1,
        key: job.key,
    };
    assert!(scheduler.retry(stale, now).is_some());
    assert!(
        !scheduler.end(lane, job.key),
        "an end of the old epoch ends nothing"
    );
    assert!(scheduler.take().is_none());
}

fn bodies(scheduler: &mut Scheduler, ledger: &mut Ledger, lane: LaneId) -> Vec<i64> {
    let wanted = scheduler.wanted(lane, 100, 100);
    for wanted in &wanted {
        assert!(scheduler.still_wants(lane, wanted));
        let offset = RecordOffset::try_from(wanted.cold.offset).unwrap();
        let seq = ledger.pending(offset).unwrap();
        let record = Record::new(offset, seq, timestamp(offset.get()), &Parts::of(b"k", b"value"));
        scheduler.restore(lane, wanted, record);
    }
    wanted.iter().map(|wanted| wanted.cold.offset).collect()
}

#[test]
fn bodies_of_a_stuck_key_go_from_its_end_and_come_back_when_it_moves_on() {
    let (mut scheduler, mut ledger, lane) = waiting(&[Some(1); 6]);
    let now = Instant::now();
    let failed = scheduler.take().unwrap();
    let one = failed.record.size();
    assert!(scheduler.retry(failed, now).is_none());
    let evicted = scheduler.evict(lane, one + 1);
    assert_eq!(
        evicted,
        Evicted {
            records: 2,
            bytes: 2 * one
        }
    );
    let rest = scheduler.evict(lane, usize::MAX);
    assert_eq!((rest.records, scheduler.cold(lane)), (3, 5), "the head stays");
    assert_eq!(scheduler.evict(lane, usize::MAX), Evicted::default());
    assert!(scheduler.is_cold(lane, id(1)) && !scheduler.is_cold(lane, id(2)));
    assert!(scheduler.wanted(lane, 100, 100).is_empty(), "it does not move");

    scheduler.wake(now);
    assert!(!scheduler.push(), "its next record has no body");
    assert!(scheduler.is_thirsty(lane));
    assert_eq!(bodies(&mut scheduler, &mut ledger, lane), [1, 2, 3, 4, 5]);
    assert_eq!((scheduler.cold(lane), scheduler.is_thirsty(lane)), (0, false));
    for offset in 1..6 {
        let job = scheduler.take().unwrap();
        assert_eq!(job.record.offset.get(), offset);
        let (lane, key, _) = job.into_parts();
        scheduler.end(lane, key);
    }
}

#[test]
fn a_record_that_is_gone_makes_way_for_the_next_and_its_key_for_nothing() {
    let (mut scheduler, mut ledger, lane) = waiting(&[Some(1); 3]);
    let job = scheduler.take().unwrap();
    assert_eq!(scheduler.evict(lane, 1).records, 1, "no more than is asked for");
    let (lane, key, _) = job.into_parts();
    assert!(scheduler.end(lane, key));
    assert!(!scheduler.push());
    let wanted = scheduler.wanted(lane, 100, 100);
    assert_eq!(wanted.len(), 1);
    assert!(scheduler.is_next(lane, &wanted[0]));
    scheduler.give_up(lane, &wanted[0]);
    assert!(!scheduler.still_wants(lane, &wanted[0]));
    assert_eq!((scheduler.cold(lane), scheduler.is_thirsty(lane)), (0, false));
    assert!(
        scheduler.add(lane, record(&mut ledger, 3, Some(1))),
        "the key begins anew"
    );
}

#[test]
fn what_is_kept_of_a_record_without_its_body_is_small() {
    assert_eq!(size_of::<Cold>(), 16);
}

#[test]
fn memory_of_a_former_crowd_is_given_back() {
    let (mut scheduler, mut ledger, lane) = waiting(&[]);
    let hasher = KeyHasher::new([1; 16]);
    for offset in 0..20_000_i64 {
        let (_, record) = record(&mut ledger, offset, Some(1));
        scheduler.enqueue(lane, Some(hasher.id(&offset.to_be_bytes())), record);
    }
    let crowded = scheduler.lane(lane).unwrap().capacity();
    while let Some(job) = scheduler.take() {
        let (lane, key, _) = job.into_parts();
        scheduler.end(lane, key);
    }
    scheduler.shrink();
    let after = scheduler.lane(lane).unwrap().capacity();
    assert!(crowded >= 4 * 20_000 && after < 100, "{crowded}, then {after}");
}

/// Per partition and key the offsets that wait, what is away, and what has no body: no cleverness.
#[derive(Default)]
struct Naive {
    waiting: BTreeMap<(usize, u16), VecDeque<i64>>,
    away: HashSet<(usize, u16)>,
    bodiless: HashSet<(usize, i64)>,
    /// Keys with two bodies or more that wait, in the order in which they came to that.
    long: Vec<(usize, u16)>,
}

impl Naive {
    fn ready(&self, lane: usize) -> Option<i64> {
        let heads = self
            .waiting
            .iter()
            .filter(|(place, _)| place.0 == lane && !self.away.contains(place));
        heads
            .filter_map(|(_, queue)| queue.front().copied())
            .filter(|offset| !self.bodiless.contains(&(lane, *offset)))
            .min()
    }

    fn is_cold(&self, place: (usize, u16)) -> bool {
        let queue = self.waiting.get(&place);
        queue.is_some_and(|queue| {
            queue
                .iter()
                .any(|offset| self.bodiless.contains(&(place.0, *offset)))
        })
    }

    fn bodies(&self, place: (usize, u16)) -> Vec<i64> {
        let queue = self.waiting.get(&place).into_iter().flatten().copied();
        queue
            .filter(|offset| !self.bodiless.contains(&(place.0, *offset)))
            .collect()
    }

    /// To be called after every step, of which each concerns one key.
    fn settle(&mut self) {
        let long: Vec<_> = self
            .waiting
            .keys()
            .copied()
            .filter(|place| self.bodies(*place).len() >= 2)
            .collect();
        self.long.retain(|place| long.contains(place));
        for place in long {
            if !self.long.contains(&place) {
                self.long.push(place);
            }
        }
    }

    fn evict(&mut self, lane: usize, records: usize) -> usize {
        for evicted in 0..records {
            let Some(place) = self.long.iter().copied().find(|place| place.0 == lane) else {
                return evicted;
            };
            let last = self.bodies(place).pop().unwrap();
            self.bodiless.insert((lane, last));
            self.settle();
        }
        records
    }
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue {
        lane: usize,
        key: Option<u8>,
        short: bool,
    },
    Take,
    End(usize),
    Fail(usize),
    PutBack(usize),
    Wake,
    Evict {
        lane: usize,
        records: usize,
    },
    Reread {
        lane: usize,
        records: usize,
        gone: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..3, proptest::option::weighted(0.9, 0u8..5), proptest::bool::weighted(0.2))
            .prop_map(|(lane, key, short)| Step::Enqueue { lane, key, short }),
        6 => Just(Step::Take),
        4 => any::<usize>().prop_map(Step::End),
        2 => any::<usize>().prop_map(Step::Fail),
        1 => any::<usize>().prop_map(Step::PutBack),
        1 => Just(Step::Wake),
        1 => (0usize..3, 0usize..6).prop_map(|(lane, records)| Step::Evict { lane, records }),
        2 => (0usize..3, 1usize..8, proptest::bool::weighted(0.2))
            .prop_map(|(lane, records, gone)| Step::Reread { lane, records, gone }),
    ]
}

/// The scheduler and the model side by side.
struct Pair {
    order: OrderBy,
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
    fn new(order: OrderBy) -> Self {
        let (mut scheduler, epochs) = (Scheduler::default(), Epochs::default());
        let lanes: Vec<_> = (0..3).map(|_| scheduler.open(epochs.next())).collect();
        let ledgers = (0..3).map(|_| ledger()).collect();
        Self {
            order,
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

    fn enqueue(&mut self, lane: usize, key: Option<u8>, short: bool) {
        let offset = self.next_offset;
        self.next_offset += 1;
        let alone = 1000 + u16::try_from(offset).unwrap();
        let name = match self.order {
            OrderBy::Key => key.map_or(alone, u16::from),
            OrderBy::Partition => 0,
            OrderBy::Nothing => alone,
        };
        self.keys.insert((lane, offset), name);
        // All that can be evicted are of the same size.
        let (_, record) = record(&mut self.ledgers[lane], offset, key.or(Some(9)));
        let bytes = key.map(|key| [key]);
        let id = self
            .order
            .id(&KeyHasher::new([1; 16]), bytes.as_ref().map(|key| &key[..]));
        let at = self.lanes[lane];
        let place = (lane, name);
        let cold = id.is_some_and(|id| self.scheduler.is_cold(at, id));
        assert_eq!(cold, self.naive.is_cold(place), "a cold key is known as such");
        let can_cool = id.is_some_and(|id| self.scheduler.can_cool(at, id));
        let waits = self
            .naive
            .waiting
            .get(&place)
            .is_some_and(|queue| !queue.is_empty());
        assert_eq!(can_cool, waits);
        self.naive.waiting.entry(place).or_default().push_back(offset);
        if let Some(id) = id.filter(|_| cold || (short && can_cool)) {
            self.naive.bodiless.insert((lane, offset));
            let timestamp = record.timestamp;
            self.scheduler.enqueue_cold(at, id, Cold { offset, timestamp });
        } else {
            self.scheduler.enqueue(at, id, record);
        }
    }

    fn take(&mut self) -> bool {
        let ready: Vec<_> = (0..3).map(|lane| self.naive.ready(lane)).collect();
        let Some(job) = self.scheduler.take() else {
            assert_eq!(ready, vec![None; 3], "a worker stays idle beside a ready key");
            return false;
        };
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
        true
    }

    fn back(&mut self, at: usize) -> Option<(usize, u16, i64, Job)> {
        if self.jobs.is_empty() {
            return None;
        }
        let (lane, job) = self.jobs.swap_remove(at % self.jobs.len());
        let offset = job.record.offset.get();
        Some((lane, self.keys[&(lane, offset)], offset, job))
    }

    fn end(&mut self, at: usize) {
        if let Some((lane, key, _, job)) = self.back(at) {
            self.naive.away.remove(&(lane, key));
            let (id, key, record) = job.into_parts();
            let _moved = self.ledgers[lane].ack(record.seq);
            self.scheduler.end(id, key);
        }
    }

    fn fail(&mut self, at: usize) {
        if let Some((lane, key, offset, job)) = self.back(at) {
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

    fn put_back(&mut self, at: usize) {
        if let Some((lane, key, offset, job)) = self.back(at) {
            self.naive
                .waiting
                .get_mut(&(lane, key))
                .unwrap()
                .push_front(offset);
            self.naive.away.remove(&(lane, key));
            assert!(self.scheduler.put_back(job).is_none());
        }
    }

    fn wake(&mut self) {
        self.now += Duration::from_millis(1);
        assert_eq!(self.scheduler.wake(self.now), self.resting.len());
        for place in self.resting.drain(..) {
            self.naive.away.remove(&place);
        }
    }

    fn reread(&mut self, lane: usize, records: usize, gone: bool) {
        let at = self.lanes[lane];
        let wanted = self.scheduler.wanted(at, 3, records);
        assert!(wanted.is_sorted_by_key(|wanted| wanted.cold.offset));
        for (number, wanted) in wanted.iter().take(records).enumerate() {
            let offset = wanted.cold.offset;
            assert!(
                self.naive.bodiless.remove(&(lane, offset)),
                "a body is there already"
            );
            assert_eq!(wanted.cold.timestamp, timestamp(offset));
            assert!(self.scheduler.still_wants(at, wanted));
            let place = (lane, self.keys[&(lane, offset)]);
            let record_offset = RecordOffset::try_from(offset).unwrap();
            let seq = self.ledgers[lane].pending(record_offset).unwrap();
            if gone && number % 2 == 0 {
                self.naive
                    .waiting
                    .get_mut(&place)
                    .unwrap()
                    .retain(|other| *other != offset);
                let _moved = self.ledgers[lane].ack(seq);
                self.scheduler.give_up(at, wanted);
            } else {
                let key = [u8::try_from(place.1).unwrap()];
                let record = Record::new(record_offset, seq, timestamp(offset), &Parts::of(&key, b"value"));
                self.scheduler.restore(at, wanted, record);
            }
            self.naive.settle();
            assert!(
                !self.scheduler.still_wants(at, wanted),
                "a body comes back only once"
            );
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Enqueue { lane, key, short } => self.enqueue(*lane, *key, *short),
            Step::Take => {
                self.take();
            }
            Step::End(at) => self.end(*at),
            Step::Fail(at) => self.fail(*at),
            Step::PutBack(at) => self.put_back(*at),
            Step::Wake => self.wake(),
            Step::Evict { lane, records } => {
                let bytes = records * Parts::of(b"k", b"value").cost();
                let evicted = self.scheduler.evict(self.lanes[*lane], bytes);
                assert_eq!(evicted.records, self.naive.evict(*lane, *records));
            }
            Step::Reread { lane, records, gone } => self.reread(*lane, *records, *gone),
        }
        self.naive.settle();
        for (lane, id) in self.lanes.iter().enumerate() {
            let cold = self.naive.bodiless.iter().filter(|place| place.0 == lane).count();
            assert_eq!(self.scheduler.cold(*id), cold);
        }
    }

    /// Everything that waits is pushed in the end, by nothing but pushes that succeed and bodies that come back.
    fn finish(&mut self) {
        self.wake();
        loop {
            while !self.jobs.is_empty() {
                self.end(0);
            }
            for lane in 0..3 {
                self.reread(lane, 4, false);
            }
            if !self.take() {
                break;
            }
        }
        assert!(
            self.naive.waiting.values().all(VecDeque::is_empty),
            "records are stuck: {:?}",
            self.naive.waiting
        );
        for (ledger, lane) in self.ledgers.iter().zip(&self.lanes) {
            assert!(ledger.is_empty() && self.scheduler.cold(*lane) == 0);
        }
    }
}

proptest! {
    #[test]
    fn every_choice_equals_the_naive_one(
        order in prop::sample::select(vec![OrderBy::Key, OrderBy::Key, OrderBy::Partition, OrderBy::Nothing]),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut pair = Pair::new(order);
        for step in steps {
            pair.apply(&step);
        }
        pair.finish();
    }
}

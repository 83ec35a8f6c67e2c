//! Each rule, and a module before a backend that returns after ten minutes: the real dispatcher and retry policy against a model of
//! the backend, on a clock that stands still between events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use futures_util::FutureExt as _;
use kcommon::kafka::{PartitionId, RecordOffset};
use tokio::sync::Notify;

use super::*;
use crate::acks::Acks;
use crate::assignment::{Assignment, Epochs};
use crate::budget::Budget;
use crate::committer::Stored;
use crate::dispatcher::{Bounds, Dispatcher, End, Fetched, Seat};
use crate::key::KeyHasher;
use crate::lease::{BootTime, Lease, Terms};
use crate::ledger::Entry;
use crate::meters::Meters;
use crate::retry::{Failed, Next, RetryPolicy};
use crate::scheduler::Job;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A limiter of so many workers, all of which answer at once, one sign after the other.
struct World {
    adaptive: Adaptive,
    now: Instant,
}

impl World {
    fn new(workers: usize) -> Self {
        Self {
            adaptive: Adaptive::new(workers),
            now: Instant::now(),
        }
    }

    /// A push begins and ends while the limit is used up.
    fn push(&mut self, sign: Sign) {
        let started = self.now;
        self.now += MS;
        let in_flight = self.adaptive.limit();
        self.adaptive.note(sign, (started, self.now), in_flight, || 1.0);
    }

    fn admits(&mut self, in_flight: usize) -> bool {
        let now = self.now;
        self.adaptive.admits(in_flight, || now)
    }
}

#[test]
fn a_backend_that_takes_everything_is_never_slowed() {
    let mut world = World::new(100);
    for _ in 0..1000 {
        world.push(Sign::Taken);
    }
    assert_eq!(world.adaptive.limit(), 100);
    assert!(world.admits(99) && !world.admits(100));
}

#[test]
fn an_overloaded_backend_gets_half_once_for_what_was_on_its_way() {
    let mut world = World::new(100);
    let started = world.now;
    world.now += MS;
    for in_flight in (1..=100).rev() {
        let times = (started, world.now);
        world
            .adaptive
            .note(Sign::Overloaded(None), times, in_flight, || 1.0);
    }
    assert_eq!(world.adaptive.limit(), 50);
    world.push(Sign::Overloaded(None));
    assert_eq!(world.adaptive.limit(), 25);
}

#[test]
fn the_number_climbs_by_one_for_each_round_and_only_when_it_is_used_up() {
    let mut world = World::new(100);
    while world.adaptive.limit() > 1 {
        world.push(Sign::Overloaded(None));
    }
    let mut taken = 0;
    while world.adaptive.limit() < 10 {
        world.push(Sign::Taken);
        taken += 1;
    }
    assert!((45..=60).contains(&taken), "1 + 2 + ... + 9 is 45: {taken}");
    let times = (world.now, world.now);
    for _ in 0..1000 {
        world.adaptive.note(Sign::Taken, times, 3, || 1.0);
    }
    assert_eq!(
        world.adaptive.limit(),
        10,
        "three at a time say nothing about ten"
    );
}

#[test]
fn single_failures_are_no_outage_and_ten_in_a_row_are() {
    let mut world = World::new(64);
    for _ in 0..100 {
        for _ in 0..9 {
            world.push(Sign::Away);
        }
        world.push(Sign::Taken);
    }
    assert_eq!(world.adaptive.limit(), 64);
    for _ in 0..10 {
        world.push(Sign::Away);
    }
    assert_eq!(world.adaptive.limit(), 32);
}

#[test]
fn one_push_at_a_time_is_the_least_and_then_pauses_grow_up_to_a_limit() {
    let mut world = World::new(2);
    world.push(Sign::Overloaded(None));
    assert!(world.admits(0) && !world.admits(1));
    let mut pauses = Vec::new();
    for _ in 0..10 {
        world.push(Sign::Overloaded(None));
        let begun = world.now;
        while !world.admits(0) {
            world.now += MS;
        }
        pauses.push(world.now - begun);
    }
    assert_eq!(pauses[..3], [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]);
    assert_eq!(pauses[9], LONGEST_PAUSE);
    world.push(Sign::Taken);
    world.push(Sign::Overloaded(None));
    world.push(Sign::Overloaded(None));
    let begun = world.now;
    while !world.admits(0) {
        world.now += MS;
    }
    assert_eq!(world.now - begun, FIRST_PAUSE, "they begin anew after a success");
}

#[test]
fn what_the_backend_asks_for_is_kept_by_the_whole_module() {
    let mut world = World::new(100);
    world.push(Sign::Overloaded(Some(30 * SECOND)));
    // An answer that was on its way asks for less, another one is a success.
    world.push(Sign::Overloaded(Some(SECOND)));
    world.push(Sign::Taken);
    world.now += 29 * SECOND;
    assert!(!world.admits(0));
    world.now += 2 * SECOND;
    assert!(world.admits(0));
}

#[test]
fn a_slow_down_is_told_once_and_its_end_when_it_has_lasted() {
    let (mut telling, start) = (Telling::default(), Instant::now());
    assert_eq!(telling.look(false, start), None);
    assert_eq!(telling.look(true, start), Some(true));
    assert_eq!(telling.look(true, start + SECOND), None);
    assert_eq!(telling.look(false, start + 2 * SECOND), None);
    assert_eq!(telling.look(true, start + 3 * SECOND), None);
    assert_eq!(telling.look(false, start + 4 * SECOND), None);
    assert_eq!(telling.look(false, start + 4 * SECOND + LASTS), Some(false));
    assert_eq!(telling.look(false, start + 60 * SECOND), None);
}

// A backend that returns.

const WORKERS: usize = 100;
const KEYS: i64 = 5_000;
/// How many requests the backend works on at a time; more are answered with 503 at once. So it takes 2,000 a second.
const CAPACITY: usize = 20;
const WORK: Duration = Duration::from_millis(10);

/// What came of a run.
#[derive(Debug, Default)]
struct Course {
    /// Attempts in each second.
    attempts: Vec<usize>,
    /// Of those, the ones that a backend that was back refused because it had too many.
    refused: usize,
    delivered: usize,
    /// When everything was.
    end: Duration,
}

enum Event {
    Take(usize),
    Answer { seat: usize, sign: Sign },
    Tick,
}

/// A module with a record of each of many keys, before a backend that is away for ten minutes.
struct Return {
    dispatcher: Dispatcher,
    policy: RetryPolicy,
    begin: Instant,
    away: Duration,
    bells: Vec<Rc<Notify>>,
    /// What each worker is at.
    busy: Vec<Option<(Job, Instant)>>,
    working: usize,
    events: BinaryHeap<Reverse<(Instant, usize)>>,
    what: Vec<Option<Event>>,
    random: fastrand::Rng,
    course: Course,
}

impl Return {
    fn new(policy: RetryPolicy, away: Duration) -> Self {
        let lease = Lease::new();
        // Boot time goes on while the clock of the test stands still.
        lease.extend(BootTime::now(), Terms::new(Duration::from_secs(3600)));
        let bounds = Bounds {
            workers: WORKERS,
            evicts: true,
            pace: crate::pace::Limits::default(),
            max_uncommitted: 1_000_000,
            commit_interval: SECOND,
            slows_down: policy.slows_down,
        };
        let budget = Budget::new(1 << 30, 1);
        let meters = Rc::new(Meters::new("m"));
        let mut dispatcher = Dispatcher::new(bounds, lease, budget, Stored::default(), meters);
        let assignment = Assignment {
            partition: PartitionId(0),
            epoch: Epochs::default().next(),
        };
        let _room = dispatcher.assign(assignment, Acks::none(0.try_into().unwrap()), Instant::now());
        let hasher = KeyHasher::new([0; 16]);
        for offset in 0..KEYS {
            let key = offset.to_be_bytes();
            let fetched = Fetched {
                offset: RecordOffset::try_from(offset).unwrap(),
                key: Some(&key),
                id: Some(hasher.id(&key)),
                timestamp: offset,
                headers: &[],
                value: b"value",
                entry: Entry::Pending,
            };
            dispatcher.admit(assignment.epoch, &fetched);
        }
        Self {
            begin: Instant::now(),
            away,
            bells: (0..WORKERS).map(|seat| dispatcher.seat(Seat(seat))).collect(),
            dispatcher,
            policy,
            busy: (0..WORKERS).map(|_| None).collect(),
            working: 0,
            events: BinaryHeap::new(),
            what: Vec::new(),
            random: fastrand::Rng::with_seed(7),
            course: Course::default(),
        }
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.events.push(Reverse((at, self.what.len())));
        self.what.push(Some(event));
    }

    async fn run(mut self) -> Course {
        for seat in 0..WORKERS {
            self.at(self.begin, Event::Take(seat));
        }
        self.at(self.begin, Event::Tick);
        while self.course.delivered < usize::try_from(KEYS).unwrap() {
            let Reverse((at, number)) = self.events.pop().unwrap();
            assert!(at < self.begin + 2 * self.away + 60 * SECOND, "{:?}", self.course);
            tokio::time::advance(at - Instant::now()).await;
            match self.what[number].take().unwrap() {
                Event::Take(seat) => self.take(seat),
                Event::Answer { seat, sign } => self.answer(seat, sign),
                Event::Tick => {
                    self.dispatcher.tick(at);
                    while self.dispatcher.next_report().is_some() {}
                    self.at(at + 50 * MS, Event::Tick);
                }
            }
            for seat in 0..WORKERS {
                if self.bells[seat].notified().now_or_never().is_some() {
                    self.at(at, Event::Take(seat));
                }
            }
        }
        self.course.end = Instant::now() - self.begin;
        self.course
    }

    fn take(&mut self, seat: usize) {
        let Some(job) = self.dispatcher.take(Seat(seat)) else {
            return;
        };
        let now = Instant::now();
        self.busy[seat] = Some((job, now));
        let second = usize::try_from((now - self.begin).as_secs()).unwrap();
        if self.course.attempts.len() <= second {
            self.course.attempts.resize(second + 1, 0);
        }
        self.course.attempts[second] += 1;
        let (after, sign) = if now < self.begin + self.away {
            (MS, Sign::Away)
        } else if self.working >= CAPACITY {
            self.course.refused += 1;
            (MS, Sign::Overloaded(None))
        } else {
            self.working += 1;
            (WORK, Sign::Taken)
        };
        self.at(now + after, Event::Answer { seat, sign });
    }

    fn answer(&mut self, seat: usize, sign: Sign) {
        let now = Instant::now();
        let (mut job, started) = self.busy[seat].take().unwrap();
        let random = self.random.f64();
        if self.policy.slows_down {
            self.dispatcher.note(sign, started, || random);
        }
        let end = if sign == Sign::Taken {
            self.working -= 1;
            self.course.delivered += 1;
            End::Done
        } else {
            let trouble = self.dispatcher.failed(&mut job, started, None);
            let failed = Failed {
                attempts: trouble.attempts,
                elapsed: now - trouble.first,
                asked: None,
            };
            match self.policy.after_failure(&failed, now, || random) {
                Next::RetryAt(at) => End::RetryAt(at),
                Next::Exhausted => panic!("there is no last attempt"),
            }
        };
        self.dispatcher.end(Seat(seat), job, end);
        self.at(now, Event::Take(seat));
    }
}

fn fixed() -> RetryPolicy {
    RetryPolicy::fixed(None, 200 * MS)
}

/// The attempts from one second to another.
fn within(course: &Course, seconds: std::ops::Range<usize>) -> usize {
    course.attempts[seconds].iter().sum()
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_returns_after_ten_minutes_is_not_met_by_a_storm() {
    for ceiling in [None, Some(60 * SECOND)] {
        let policy = RetryPolicy {
            ceiling,
            slows_down: true,
            ..fixed()
        };
        let course = Return::new(policy, 600 * SECOND).run().await;
        let asked = within(&course, 10..600);
        assert!(
            asked < 600,
            "it is asked less than once a second while it is away: {asked}"
        );
        let noticed = course.attempts[600..].iter().position(|attempts| *attempts > 0);
        assert!(noticed.unwrap() <= 5, "it is noticed when it is back");
        let refused = course.refused;
        assert!(
            refused < 100,
            "it is never asked for much more than it can: {refused}"
        );
        assert!(
            course.end < 660 * SECOND,
            "all is delivered soon: {:?}",
            course.end
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_module_without_slowing_down_is_a_storm() {
    let course = Return::new(fixed(), 6 * SECOND).run().await;
    let asked = within(&course, 2..6);
    assert!(asked > 50_000, "while it is away: {asked}");
    assert!(course.refused > 1000, "when it is back: {}", course.refused);
}

//! Admission, bounds, drains, cuts and commits, as the fetch tasks, the workers and the loop see them.

use std::time::Duration;

use futures_util::FutureExt as _;
use hyper::StatusCode;
use kcommon::kafka::{CommitOffset, PartitionId, RecordOffset};

use std::task::Context;

use super::*;
use crate::assignment::Epochs;
use crate::key::KeyHasher;
use crate::lease::{BootTime, Terms};
use crate::ledger::Entry;
use crate::letter::Account;
use crate::record::Parts;

struct World {
    dispatcher: Dispatcher,
    epochs: Epochs,
    lease: Lease,
    now: Instant,
}

impl World {
    fn new(bounds: Bounds) -> Self {
        let lease = Lease::new();
        lease.extend(BootTime::now(), Terms::new(Duration::from_secs(60)));
        let meters = Rc::new(Meters::new("m"));
        let dispatcher = Dispatcher::new(
            bounds,
            lease.clone(),
            Budget::new(1 << 20, 1),
            Stored::default(),
            meters,
        );
        Self {
            dispatcher,
            epochs: Epochs::default(),
            lease,
            now: Instant::now(),
        }
    }

    fn assign(&mut self, partition: i32) -> Assignment {
        self.assign_with(partition, below(0))
    }

    fn assign_with(&mut self, partition: i32, done: Acks) -> Assignment {
        let assignment = Assignment {
            partition: PartitionId(partition),
            epoch: self.epochs.next(),
        };
        self.dispatcher.assign(assignment, done, Instant::now());
        assignment
    }

    fn admit(&mut self, assignment: Assignment, offset: i64, key: &[u8], entry: Entry) -> Admitted {
        let offset = RecordOffset::try_from(offset).unwrap();
        let id = Some(KeyHasher::new([0; 16]).id(key));
        let fetched = Fetched {
            offset,
            key: Some(key),
            id,
            timestamp: offset.get(),
            headers: &[],
            value: b"value",
            entry,
        };
        self.dispatcher.admit(assignment.epoch, &fetched)
    }

    /// A pending record of a key of its own at each of the offsets.
    fn admit_keys(&mut self, assignment: Assignment, offsets: std::ops::Range<i64>) {
        for offset in offsets {
            self.admit(
                assignment,
                offset,
                format!("k{offset}").as_bytes(),
                Entry::Pending,
            );
        }
    }

    fn due_report(&mut self) -> Option<Report> {
        self.now += Duration::from_secs(60);
        self.dispatcher.tick(self.now);
        self.dispatcher.next_report()
    }
}

fn bounds() -> Bounds {
    Bounds {
        workers: 4,
        max_uncommitted: 10,
        evicts: true,
        pace: Limits::default(),
        commit_interval: Duration::from_secs(1),
        slows_down: false,
    }
}

fn position(offset: i64) -> CommitOffset {
    CommitOffset::try_from(offset).unwrap()
}

fn below(offset: i64) -> Acks {
    Acks::none(position(offset))
}

#[test]
fn what_is_delivered_is_committed_once() {
    let mut world = World::new(bounds());
    let assignment = world.assign(0);
    world.admit(assignment, 0, b"k", Entry::Pending);
    let job = world.dispatcher.take(Seat(0)).unwrap();
    assert_eq!(world.due_report(), None, "a push under way is not done");
    world.dispatcher.end(Seat(0), job, End::Done);
    assert_eq!(
        world.due_report(),
        Some(Report::Commit {
            assignment,
            done: below(1)
        })
    );
    world
        .dispatcher
        .commit_done(assignment, CommitOutcome::Committed(position(1)));
    assert_eq!(world.due_report(), None, "nothing is new");
}

#[test]
fn a_commit_that_may_have_failed_is_sent_again() {
    let mut world = World::new(bounds());
    let assignment = world.assign(0);
    world.admit(assignment, 0, b"k", Entry::Done);
    assert!(world.due_report().is_some());
    assert_eq!(world.due_report(), None, "one is under way");
    world.dispatcher.commit_done(assignment, CommitOutcome::Again);
    assert_eq!(
        world.due_report(),
        Some(Report::Commit {
            assignment,
            done: below(1)
        })
    );
}

#[test]
fn a_full_ledger_admits_nothing_until_its_head_is_done() {
    let mut world = World::new(bounds());
    let assignment = world.assign(0);
    for offset in 0..10 {
        world.admit(assignment, offset, b"k", Entry::Pending);
    }
    assert!(!world.dispatcher.admits(assignment.epoch));
    let job = world.dispatcher.take(Seat(0)).unwrap();
    world.dispatcher.end(Seat(0), job, End::Done);
    assert!(world.dispatcher.admits(assignment.epoch));
}

#[test]
fn a_record_and_the_beginning_and_end_of_a_push_after_a_quiet_time_ring_the_bell() {
    let mut world = World::new(bounds());
    let assignment = world.assign(0);
    let bell = world.dispatcher.bell();
    let rings = || bell.notified().now_or_never().is_some();
    assert!(world.dispatcher.doze());
    assert!(!rings());
    world.admit(assignment, 0, b"a", Entry::Pending);
    assert!(rings(), "a record has come");
    assert!(!world.dispatcher.doze(), "a record is ready");
    let job = world.dispatcher.take(Seat(0)).unwrap();
    assert!(!rings(), "the loop knows already");
    assert!(world.dispatcher.doze(), "nothing to do before the push ends");
    let due = Instant::now() + Duration::from_secs(5);
    world.dispatcher.end(Seat(0), job, End::RetryAt(due));
    assert!(rings(), "a back-off has begun");
    assert!(world.dispatcher.doze(), "it has to end first");
    world.dispatcher.wake(due);
    let job = world.dispatcher.take(Seat(0)).unwrap();
    assert!(rings(), "a push begins: the loop has to watch the lease");
    assert!(world.dispatcher.doze());
    world.dispatcher.end(Seat(0), job, End::Done);
    assert!(rings(), "a commit will be due");
    assert!(!world.dispatcher.doze());
}

#[test]
fn a_fetch_without_room_is_woken_when_half_of_what_it_brought_is_gone() {
    let mut world = World::new(Bounds {
        max_uncommitted: 1_000_000,
        ..bounds()
    });
    let assignment = Assignment {
        partition: PartitionId(0),
        epoch: world.epochs.next(),
    };
    let room = world.dispatcher.assign(assignment, below(0), Instant::now());
    let is_woken = || room.notified().now_or_never().is_some();
    let mut brought = 0;
    while world.dispatcher.admits(assignment.epoch) {
        world.admit(assignment, brought, &brought.to_be_bytes(), Entry::Pending);
        brought += 1;
    }
    world.dispatcher.wait_for_room(assignment.epoch);
    let mut gone = 0;
    while !is_woken() {
        let job = world
            .dispatcher
            .take(Seat(0))
            .expect("woken before nothing is left");
        world.dispatcher.end(Seat(0), job, End::Done);
        gone += 1;
    }
    assert!(gone > 1 && gone >= brought / 2, "woken after {gone} of {brought}");
    assert!(world.dispatcher.admits(assignment.epoch));
}

#[test]
fn a_revoke_waits_for_what_is_on_the_wire_and_reports_how_far_it_got() {
    let mut world = World::new(bounds());
    let assignment = world.assign(0);
    world.admit(assignment, 0, b"a", Entry::Pending);
    world.admit(assignment, 1, b"b", Entry::Pending);
    let job = world.dispatcher.take(Seat(0)).unwrap();
    world
        .dispatcher
        .revoke(assignment, Instant::now() + Duration::from_secs(3600));
    assert!(
        world.dispatcher.take(Seat(1)).is_none(),
        "nothing starts after a revoke"
    );
    assert!(
        !world.dispatcher.may_start(assignment.epoch),
        "not even what was taken before"
    );
    assert_eq!(world.dispatcher.next_report(), None);
    assert!(world.dispatcher.is_busy(PartitionId(0)));
    world.dispatcher.end(Seat(0), job, End::Done);
    let drained = Report::Drained {
        assignment,
        done: Some(below(1)),
        cut: 0,
    };
    assert_eq!(world.dispatcher.next_report(), Some(drained));
    assert!(!world.dispatcher.is_busy(PartitionId(0)));
}

#[test]
fn a_drain_that_lasts_too_long_is_cut_and_its_record_is_not_done() {
    let mut world = World::new(bounds());
    let assignment = world.assign(0);
    world.admit(assignment, 0, b"a", Entry::Pending);
    let job = world.dispatcher.take(Seat(0)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(1);
    world.dispatcher.revoke(assignment, deadline);
    let cx = Context::from_waker(std::task::Waker::noop());
    assert!(!world.dispatcher.is_cut(Seat(0), &cx));
    world.dispatcher.tick(deadline);
    assert!(world.dispatcher.is_cut(Seat(0), &cx));
    world.dispatcher.end(Seat(0), job, End::Cut);
    let drained = Report::Drained {
        assignment,
        done: Some(below(0)),
        cut: 1,
    };
    assert_eq!(world.dispatcher.next_report(), Some(drained));
}

#[test]
fn a_revoke_of_an_unknown_epoch_is_answered_at_once() {
    let mut world = World::new(bounds());
    let assignment = Assignment {
        partition: PartitionId(3),
        epoch: world.epochs.next(),
    };
    world.dispatcher.revoke(assignment, Instant::now());
    let drained = Report::Drained {
        assignment,
        done: None,
        cut: 0,
    };
    assert_eq!(world.dispatcher.next_report(), Some(drained));
}

#[test]
fn what_is_lost_is_cut_and_never_reported() {
    let mut world = World::new(bounds());
    let assignment = world.assign(0);
    world.admit(assignment, 0, b"a", Entry::Pending);
    let job = world.dispatcher.take(Seat(0)).unwrap();
    world.dispatcher.lose(assignment);
    let cx = Context::from_waker(std::task::Waker::noop());
    assert!(world.dispatcher.is_cut(Seat(0), &cx));
    assert!(
        world.dispatcher.is_busy(PartitionId(0)),
        "until the request has ended"
    );
    world.dispatcher.end(Seat(0), job, End::Done);
    assert!(!world.dispatcher.is_busy(PartitionId(0)));
    assert_eq!(world.due_report(), None);
}

#[test]
fn a_revoke_of_what_has_not_begun_waits_for_the_requests_of_older_epochs() {
    let mut world = World::new(bounds());
    let old = world.assign(0);
    world.admit(old, 0, b"a", Entry::Pending);
    let job = world.dispatcher.take(Seat(0)).unwrap();
    world.dispatcher.lose(old);
    let new = Assignment {
        partition: PartitionId(0),
        epoch: world.epochs.next(),
    };
    world.dispatcher.revoke(new, world.now);
    assert_eq!(
        world.due_report(),
        None,
        "another would push beside the old request"
    );
    world.dispatcher.end(Seat(0), job, End::Cut);
    let drained = Report::Drained {
        assignment: new,
        done: None,
        cut: 0,
    };
    assert_eq!(world.due_report(), Some(drained));
}

#[test]
fn an_end_of_an_earlier_epoch_changes_nothing_in_a_later_one() {
    let mut world = World::new(bounds());
    let old = world.assign(0);
    world.admit(old, 0, b"a", Entry::Pending);
    let job = world.dispatcher.take(Seat(0)).unwrap();
    world.dispatcher.lose(old);
    let new = world.assign(0);
    world.admit(new, 0, b"a", Entry::Pending);
    world.dispatcher.end(Seat(0), job, End::Done);
    assert_eq!(world.due_report(), None, "the new epoch's record is not done");
    assert_eq!(world.dispatcher.take(Seat(0)).unwrap().record.offset.get(), 0);
}

#[test]
fn without_a_lease_nothing_is_taken_and_nothing_is_forgotten() {
    let mut world = World::new(bounds());
    let assignment = world.assign(0);
    world.admit(assignment, 0, b"a", Entry::Pending);
    let with_lease = std::mem::take(&mut world.dispatcher.lease);
    assert!(world.dispatcher.take(Seat(0)).is_none());
    world.dispatcher.lease = with_lease;
    let job = world.dispatcher.take(Seat(0)).unwrap();
    world.lease.void(assignment.epoch);
    assert!(
        !world.dispatcher.may_start(assignment.epoch),
        "the lease ended between taking and sending"
    );
    world.dispatcher.end(Seat(0), job, End::NotStarted);
    assert!(world.dispatcher.take(Seat(0)).is_none());
}

#[test]
fn a_failed_record_comes_again_before_its_successor() {
    let mut world = World::new(bounds());
    let assignment = world.assign(0);
    world.admit(assignment, 0, b"a", Entry::Pending);
    world.admit(assignment, 1, b"a", Entry::Pending);
    let mut job = world.dispatcher.take(Seat(0)).unwrap();
    let started = Instant::now();
    let due = started + Duration::from_secs(5);
    let trouble = world
        .dispatcher
        .failed(&mut job, started, Some(StatusCode::IM_A_TEAPOT));
    assert_eq!((trouble.attempts, trouble.first), (1, started));
    world.dispatcher.end(Seat(0), job, End::RetryAt(due));
    assert!(world.dispatcher.take(Seat(0)).is_none());
    assert_eq!(world.dispatcher.next_wake(), Some(due));
    world.dispatcher.wake(due);
    let again = world.dispatcher.take(Seat(0)).unwrap();
    assert_eq!((again.record.offset.get(), again.record.failures), (0, 1));
    let mut again = again;
    let trouble = world.dispatcher.failed(&mut again, due, None);
    assert_eq!(
        (trouble.attempts, trouble.first, trouble.status),
        (2, started, None),
        "the first attempt is remembered"
    );
}

#[test]
fn bodies_beyond_the_budget_wait_outside() {
    let mut world = World::new(Bounds {
        max_uncommitted: 1_000_000,
        workers: 1000,
        ..bounds()
    });
    world.dispatcher.budget = Budget::new(2000, 1);
    let assignment = world.assign(0);
    let mut taken = 0;
    while world.admit(assignment, taken, &taken.to_be_bytes(), Entry::Pending) == Admitted::Taken {
        taken += 1;
        assert!(
            taken < 100,
            "13 bytes and what a record costs of a budget of 2000"
        );
    }
    let job = world.dispatcher.take(Seat(0)).unwrap();
    world.dispatcher.end(Seat(0), job, End::Done);
    assert_eq!(
        world.admit(assignment, taken, &taken.to_be_bytes(), Entry::Pending),
        Admitted::Taken
    );
}

#[test]
fn where_a_partition_is_one_queue_no_body_goes() {
    let (mut world, assignment) = short_of_memory(3);
    world.dispatcher.bounds.evicts = false;
    let admit = |world: &mut World, offset| world.admit(assignment, offset, b"all", Entry::Pending);
    let taken = (0..10).take_while(|offset| admit(&mut world, *offset) == Admitted::Taken);
    let taken = i64::try_from(taken.count()).unwrap();
    assert!((1..10).contains(&taken), "{taken}");
    let job = world.dispatcher.take(Seat(0)).unwrap();
    assert_eq!(admit(&mut world, taken), Admitted::NoRoom, "it waits in Kafka");
    assert!(world.dispatcher.thirsty().is_empty());
    world.dispatcher.end(Seat(0), job, End::Done);
    assert_eq!(admit(&mut world, taken), Admitted::Taken);
}

#[test]
fn with_a_pace_a_push_begins_when_it_may_and_the_loop_knows_when_that_is() {
    let limits = Limits {
        records: std::num::NonZeroU64::new(1),
        bytes: None,
    };
    let mut world = World::new(Bounds {
        pace: limits,
        ..bounds()
    });
    let assignment = world.assign(0);
    world.admit_keys(assignment, 0..5);
    // Full speed once, and by a debt of one record.
    while let Some(job) = world.dispatcher.take(Seat(0)) {
        world.dispatcher.end(Seat(0), job, End::Done);
    }
    let left = world.dispatcher.fullness(assignment.epoch).unwrap().uncommitted;
    assert!((3..5).contains(&left), "{left} of 5 wait");
    let next = world.dispatcher.next_wake().expect("a push waits");
    assert!(next > Instant::now());
    world.dispatcher.wake(next);
    assert!(
        world.dispatcher.next_wake().is_none(),
        "a worker was woken to look again"
    );
    assert!(world.dispatcher.take(Seat(0)).is_none(), "the time has not come");
    assert!(world.dispatcher.next_wake().is_some());
}

/// A world whose budget holds `records` records, with one partition and room for much in its ledger.
fn short_of_memory(records: usize) -> (World, Assignment) {
    let mut world = World::new(Bounds {
        max_uncommitted: 1_000_000,
        ..bounds()
    });
    let budget = Budget::new(records * Parts::of(b"k", b"value").cost(), 1);
    world.dispatcher.budget = budget;
    let assignment = world.assign(0);
    (world, assignment)
}

fn again(offset: i64, key: &'static [u8]) -> Fetched<'static> {
    Fetched {
        offset: RecordOffset::try_from(offset).unwrap(),
        key: Some(key),
        id: Some(KeyHasher::new([0; 16]).id(key)),
        timestamp: offset,
        headers: &[],
        value: b"value",
        entry: Entry::Pending,
    }
}

#[test]
fn a_stuck_key_that_fills_the_budget_leaves_room_for_others_and_goes_on_in_its_order() {
    let (mut world, assignment) = short_of_memory(10);
    let far = world.now + Duration::from_secs(3600);
    assert_eq!(world.admit(assignment, 0, b"s", Entry::Pending), Admitted::Taken);
    let stuck = world.dispatcher.take(Seat(0)).unwrap();
    world.dispatcher.end(Seat(0), stuck, End::RetryAt(far));
    let held = |world: &World| world.dispatcher.partitions[&assignment.epoch].share.held();
    for offset in 1..1000 {
        let key: &[u8] = if offset % 2 == 0 { b"s" } else { b"o" };
        assert_eq!(
            world.admit(assignment, offset, key, Entry::Pending),
            Admitted::Taken
        );
        assert!(held(&world) <= 10 * Parts::of(b"k", b"value").cost());
        if let Some(other) = world.dispatcher.take(Seat(0)) {
            assert_eq!(other.record.offset.get(), offset, "the other key goes on at once");
            world.dispatcher.end(Seat(0), other, End::Done);
        }
    }
    assert!(
        world.dispatcher.thirsty().is_empty(),
        "the stuck key wants nothing"
    );

    world.dispatcher.wake(far);
    let mut pushed = Vec::new();
    loop {
        while let Some(job) = world.dispatcher.take(Seat(0)) {
            pushed.push(job.record.offset.get());
            world.dispatcher.end(Seat(0), job, End::Done);
        }
        let wanted = world.dispatcher.wanted(assignment.epoch);
        if wanted.is_empty() {
            break;
        }
        for wanted in &wanted {
            let fetched = again(wanted.cold.offset, b"s");
            if world.dispatcher.restore(assignment.epoch, wanted, &fetched) != Restored::Taken {
                break;
            }
            assert!(held(&world) <= 10 * Parts::of(b"k", b"value").cost());
        }
    }
    let all: Vec<i64> = (0..1000).step_by(2).collect();
    assert_eq!(pushed, all);
    assert!(
        world
            .due_report()
            .is_some_and(|report| matches!(report, Report::Commit { done, .. } if done == below(1000)))
    );
}

#[test]
fn nothing_is_dropped_while_a_key_is_ready() {
    let (mut world, assignment) = short_of_memory(3);
    for (offset, key) in [(0, b"a"), (1, b"a"), (2, b"b")] {
        assert_eq!(
            world.admit(assignment, offset, key, Entry::Pending),
            Admitted::Taken
        );
    }
    assert_eq!(world.admit(assignment, 3, b"a", Entry::Pending), Admitted::NoRoom);
    for seat in [Seat(0), Seat(1)] {
        assert!(world.dispatcher.take(seat).is_some());
    }
    assert_eq!(
        world.admit(assignment, 3, b"a", Entry::Pending),
        Admitted::Taken,
        "behind the one that waits"
    );
    assert_eq!(
        world.admit(assignment, 4, b"c", Entry::Pending),
        Admitted::NoRoom,
        "two are on the wire and one is the first of its key"
    );
}

#[test]
fn a_body_is_taken_back_only_for_the_record_that_waits_for_it() {
    let (mut world, assignment) = short_of_memory(2);
    for offset in 0..2 {
        world.admit(assignment, offset, b"s", Entry::Pending);
    }
    let job = world.dispatcher.take(Seat(0)).unwrap();
    for offset in 2..5 {
        world.admit(assignment, offset, b"s", Entry::Pending);
    }
    world.dispatcher.end(Seat(0), job, End::Done);
    let job = world.dispatcher.take(Seat(0)).unwrap();
    world.dispatcher.end(Seat(0), job, End::Done);
    let wanted = world.dispatcher.wanted(assignment.epoch);
    let offsets: Vec<i64> = wanted.iter().map(|wanted| wanted.cold.offset).collect();
    assert_eq!(offsets, [2, 3, 4]);
    let epoch = assignment.epoch;
    let mut restore =
        |number: usize, fetched: &Fetched<'_>| world.dispatcher.restore(epoch, &wanted[number], fetched);
    assert_eq!(
        restore(1, &again(3, b"s")),
        Restored::NotWanted,
        "one before it waits"
    );
    assert_eq!(restore(0, &again(2, b"other")), Restored::Other);
    let later = Fetched {
        timestamp: 77,
        ..again(2, b"s")
    };
    assert_eq!(restore(0, &later), Restored::Other);
    assert_eq!(restore(0, &again(2, b"s")), Restored::Taken);
    assert_eq!(restore(0, &again(2, b"s")), Restored::NotWanted, "only once");
    world.dispatcher.gone(epoch, &wanted[1], Gone::Compacted);
    let job = world.dispatcher.take(Seat(0)).unwrap();
    assert_eq!(job.record.offset.get(), 2);
    world.dispatcher.end(Seat(0), job, End::Done);
    let commit = |at| {
        Some(Report::Commit {
            assignment,
            done: below(at),
        })
    };
    assert_eq!(world.due_report(), commit(4), "what is gone is done");
    world.dispatcher.lose(assignment);
    let fetched = again(4, b"s");
    assert_eq!(
        world.dispatcher.restore(epoch, &wanted[2], &fetched),
        Restored::NotWanted
    );
}

#[test]
fn a_truncated_log_ends_its_epoch_at_the_lower_of_its_end_and_what_is_done() {
    // 8 waits, and 1 is on the wire.
    let cases = [(Some(7), 1, 1), (Some(1), 1, 2), (Some(0), 0, 2), (None, 1, 0)];
    for (end, expected, lost) in cases {
        let mut world = World::new(bounds());
        let assignment = world.assign(0);
        let (epoch, end) = (assignment.epoch, end.map(position));
        assert_eq!(
            world.dispatcher.truncated(epoch, end),
            None,
            "nothing was taken in: its position is wrong, not its log"
        );
        for (offset, key) in [(0, b"a"), (1, b"b"), (8, b"c")] {
            world.admit(assignment, offset, key, Entry::Pending);
        }
        let first = world.dispatcher.take(Seat(0)).unwrap();
        world.dispatcher.end(Seat(0), first, End::Done);
        let away = world.dispatcher.take(Seat(0)).unwrap();
        assert_eq!(world.dispatcher.truncated(epoch, end), Some(lost), "{end:?}");
        assert_eq!(world.dispatcher.truncated(epoch, end), None, "told once");
        assert_eq!(
            world.dispatcher.next_report(),
            Some(Report::Truncated {
                assignment,
                position: position(expected)
            })
        );
        assert!(world.dispatcher.take(Seat(1)).is_none() && !world.dispatcher.may_start(epoch));
        assert!(!world.dispatcher.admits(epoch));
        world.dispatcher.end(Seat(0), away, End::Done);
        assert_eq!(world.due_report(), None, "nothing of it is committed any more");
        world.dispatcher.revoke(assignment, Instant::now());
        assert!(matches!(
            world.dispatcher.next_report(),
            Some(Report::Drained { .. })
        ));
        assert!(!world.dispatcher.is_busy(PartitionId(0)));
    }
}

#[test]
fn passed_over_records_and_positions_are_committed() {
    let mut world = World::new(bounds());
    let assignment = world.assign(0);
    world.admit(assignment, 0, b"a", Entry::Done);
    world.dispatcher.reach(assignment.epoch, position(62));
    assert_eq!(
        world.due_report(),
        Some(Report::Commit {
            assignment,
            done: below(62)
        })
    );
}

/// Delivers a record of partition `assignment` that was taken by seat 0.
fn deliver(world: &mut World) -> RecordOffset {
    let job = world.dispatcher.take(Seat(0)).unwrap();
    let offset = job.record.offset;
    world.dispatcher.end(Seat(0), job, End::Done);
    offset
}

#[test]
fn behind_a_stuck_head_what_is_done_is_stored_and_a_later_life_pushes_only_the_rest() {
    let mut world = World::new(bounds());
    let assignment = world.assign(0);
    world.admit_keys(assignment, 0..6);
    let stuck = world.dispatcher.take(Seat(1)).unwrap();
    assert_eq!(stuck.record.offset.get(), 0);
    for _ in 0..3 {
        deliver(&mut world);
    }
    let Some(Report::Commit { done, .. }) = world.due_report() else {
        panic!("the position stands still, but there is something to store")
    };
    assert_eq!(done.base(), position(0));
    assert_eq!(done.ranges().flatten().collect::<Vec<_>>(), [1, 2, 3]);
    world
        .dispatcher
        .commit_done(assignment, CommitOutcome::Committed(position(0)));
    assert_eq!(world.due_report(), None, "nothing is new");

    let mut later = World::new(bounds());
    let assignment = later.assign_with(0, done.clone());
    later.admit_keys(assignment, 0..6);
    let pushed: Vec<i64> = (0..3).map(|_| deliver(&mut later).get()).collect();
    assert_eq!(pushed, [0, 4, 5]);
    assert!(later.dispatcher.take(Seat(0)).is_none());
    let Some(Report::Commit { done, .. }) = later.due_report() else {
        panic!("everything is done")
    };
    assert_eq!(done, below(6));
}

#[test]
fn what_an_earlier_life_had_done_is_stored_again_before_it_is_fetched() {
    let mut world = World::new(bounds());
    let assignment = world.assign(0);
    world.admit_keys(assignment, 0..8);
    let _stuck = world.dispatcher.take(Seat(1)).unwrap();
    for _ in 0..7 {
        deliver(&mut world);
    }
    let Some(Report::Commit { done, .. }) = world.due_report() else {
        panic!("there is something to store")
    };
    let mut later = World::new(bounds());
    let assignment = later.assign_with(0, done.clone());
    later.admit_keys(assignment, 0..3);
    assert_eq!(later.due_report(), None, "nothing is new");
    let deadline = later.now;
    later.dispatcher.revoke(assignment, deadline);
    let drained = std::iter::from_fn(|| later.dispatcher.next_report()).last();
    let Some(Report::Drained { done: Some(last), .. }) = drained else {
        panic!("{drained:?}")
    };
    assert_eq!(last, done);
}

// Records that end undelivered.

fn account() -> Box<Account> {
    Box::new(Account {
        rejected: true,
        status: Some(StatusCode::IM_A_TEAPOT),
        error: "the backend rejected the record".to_owned(),
        attempts: 1,
        first: std::time::SystemTime::UNIX_EPOCH,
        last: std::time::SystemTime::UNIX_EPOCH,
    })
}

/// A partition with two records of one key and one of another, of which the first has ended so.
fn with_first_ended(end: End) -> (World, Assignment) {
    let mut world = World::new(bounds());
    let assignment = world.assign(0);
    world.admit(assignment, 0, b"a", Entry::Pending);
    world.admit(assignment, 1, b"a", Entry::Pending);
    world.admit(assignment, 2, b"b", Entry::Pending);
    let mut job = world.dispatcher.take(Seat(0)).unwrap();
    world.dispatcher.failed(&mut job, Instant::now(), None);
    world.dispatcher.end(Seat(0), job, end);
    (world, assignment)
}

/// The offsets that are taken and delivered now.
fn delivers(world: &mut World) -> Vec<i64> {
    let mut offsets = Vec::new();
    while let Some(job) = world.dispatcher.take(Seat(0)) {
        offsets.push(job.record.offset.get());
        world.dispatcher.end(Seat(0), job, End::Done);
    }
    offsets
}

#[test]
fn a_letter_holds_its_key_and_the_offset_until_it_is_stored() {
    let (mut world, _) = with_first_ended(End::Leave(account()));
    assert_eq!(delivers(&mut world), [2], "its key waits, another does not");
    let letter = world.dispatcher.next_letter().unwrap();
    assert!(world.dispatcher.next_letter().is_none());
    assert_eq!(letter.record.offset.get(), 0);
    let Some(Report::Commit { assignment, done }) = world.due_report() else {
        panic!("record 2 is done")
    };
    assert_eq!(done.base(), position(0), "nothing passes what is not stored");
    let committed = CommitOutcome::Committed(position(0));
    world.dispatcher.commit_done(assignment, committed);
    world.dispatcher.stored(&letter);
    assert_eq!((world.dispatcher.leaving(), delivers(&mut world)), (0, vec![1]));
    let done = below(3);
    assert_eq!(world.due_report(), Some(Report::Commit { assignment, done }));
    let failing = world.dispatcher.failing(None, Instant::now());
    assert_eq!(failing.records, 0, "it fails no more");
}

#[test]
fn a_drain_waits_for_letters_until_its_deadline_and_hands_over_what_is_not_stored() {
    for in_time in [true, false] {
        let (mut world, assignment) = with_first_ended(End::Leave(account()));
        let letter = world.dispatcher.next_letter().unwrap();
        let deadline = Instant::now() + Duration::from_secs(1);
        world.dispatcher.revoke(assignment, deadline);
        assert_eq!(world.dispatcher.next_report(), None, "a letter is on its way");
        if in_time {
            world.dispatcher.stored(&letter);
        } else {
            world.dispatcher.tick(deadline);
            world.dispatcher.stored(&letter);
        }
        let drained = Report::Drained {
            assignment,
            done: Some(below(i64::from(in_time))),
            cut: 0,
        };
        assert_eq!(world.dispatcher.next_report(), Some(drained));
    }
}

#[test]
fn a_letter_of_a_lost_partition_is_neither_offered_nor_done_in_the_next_epoch() {
    let (mut world, old) = with_first_ended(End::Leave(account()));
    let letter = world.dispatcher.next_letter().unwrap();
    world.dispatcher.lose(old);
    assert!(!world.dispatcher.wants(&letter));
    let new = world.assign(0);
    world.admit(new, 0, b"a", Entry::Pending);
    world.dispatcher.stored(&letter);
    assert_eq!(world.due_report(), None, "the new epoch has pushed nothing");
    let (mut world, old) = with_first_ended(End::Leave(account()));
    world.dispatcher.lose(old);
    assert!(world.dispatcher.next_letter().is_none());
}

#[test]
fn a_blocked_key_waits_for_good_and_others_do_not() {
    let (mut world, assignment) = with_first_ended(End::Block);
    assert_eq!(delivers(&mut world), [2]);
    world
        .dispatcher
        .wake(Instant::now() + Duration::from_secs(1_000_000));
    assert!(world.dispatcher.take(Seat(0)).is_none());
    let example = (PartitionId(0), RecordOffset::try_from(0).unwrap());
    let stuck = Some(Stuck { count: 1, example });
    assert_eq!(world.dispatcher.blocked(), stuck);
    world.dispatcher.revoke(assignment, Instant::now());
    let Some(Report::Drained { done, .. }) = world.dispatcher.next_report() else {
        panic!("nothing is on the wire")
    };
    let done = done.unwrap();
    assert_eq!((done.base(), done.count()), (position(0), 1));
    assert_eq!(world.dispatcher.blocked(), None);
}

#[test]
fn a_stopped_partition_begins_nothing_and_commits_what_was_on_the_wire() {
    let mut world = World::new(bounds());
    let (stops, other) = (world.assign(0), world.assign(1));
    for offset in 0..3 {
        world.admit(
            stops,
            offset,
            &[b'a' + u8::try_from(offset).unwrap()],
            Entry::Pending,
        );
    }
    let first = world.dispatcher.take(Seat(0)).unwrap();
    let second = world.dispatcher.take(Seat(1)).unwrap();
    world.dispatcher.end(Seat(0), first, End::Stop);
    assert!(world.dispatcher.take(Seat(0)).is_none());
    assert!(!world.dispatcher.may_start(stops.epoch) && !world.dispatcher.admits(stops.epoch));
    assert_eq!(
        world.dispatcher.stopped_at(stops.epoch).map(RecordOffset::get),
        Some(0)
    );
    assert_eq!(world.dispatcher.stopped().unwrap().count, 1);
    world.dispatcher.end(Seat(1), second, End::Done);
    let Some(Report::Commit { assignment, done }) = world.due_report() else {
        panic!("record 1 is done")
    };
    assert_eq!((assignment, done.base(), done.count()), (stops, position(0), 1));
    world.admit(other, 0, b"k", Entry::Pending);
    assert_eq!(delivers(&mut world), [0], "another partition goes on");
}

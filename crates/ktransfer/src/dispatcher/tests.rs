//! Admission, bounds, drains, cuts and commits, as the fetch tasks, the workers and the loop see them.

use std::time::Duration;

use kcommon::kafka::{CommitOffset, PartitionId, RecordOffset};

use std::task::Context;

use super::*;
use crate::assignment::Epochs;
use crate::key::KeyHasher;
use crate::lease::{BootTime, Terms};
use crate::ledger::Entry;

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
        let dispatcher = Dispatcher::new(bounds, lease.clone(), Budget::new(1 << 20, 1), meters);
        Self {
            dispatcher,
            epochs: Epochs::default(),
            lease,
            now: Instant::now(),
        }
    }

    fn assign(&mut self, partition: i32) -> Assignment {
        let assignment = Assignment {
            partition: PartitionId(partition),
            epoch: self.epochs.next(),
        };
        self.dispatcher
            .assign(assignment, CommitOffset::ZERO, Instant::now());
        assignment
    }

    fn admit(&mut self, assignment: Assignment, offset: i64, key: &[u8], entry: Entry) -> Admitted {
        let offset = RecordOffset::try_from(offset).unwrap();
        let id = Some(KeyHasher::new([0; 16]).id(key));
        let fetched = Fetched {
            offset,
            key: Some(key),
            id,
            value: b"value",
            entry,
        };
        self.dispatcher.admit(assignment.epoch, &fetched)
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
        commit_interval: Duration::from_secs(1),
    }
}

fn position(offset: i64) -> CommitOffset {
    CommitOffset::try_from(offset).unwrap()
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
            position: position(1)
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
            position: position(1)
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
        position: Some(position(1)),
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
        position: Some(position(0)),
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
        position: None,
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
    let with_lease = std::mem::replace(&mut world.dispatcher.lease, Lease::new());
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
    let job = world.dispatcher.take(Seat(0)).unwrap();
    let due = Instant::now() + Duration::from_secs(5);
    world.dispatcher.end(Seat(0), job, End::RetryAt(due));
    assert!(world.dispatcher.take(Seat(0)).is_none());
    assert_eq!(world.dispatcher.next_wake(), Some(due));
    world.dispatcher.wake(due);
    let again = world.dispatcher.take(Seat(0)).unwrap();
    assert_eq!((again.record.offset.get(), again.record.failures), (0, 1));
}

#[test]
fn bodies_beyond_the_budget_wait_outside() {
    let mut world = World::new(Bounds {
        max_uncommitted: 1_000_000,
        workers: 1000,
        ..bounds()
    });
    world.dispatcher.budget = Budget::new(100, 1);
    let assignment = world.assign(0);
    let mut taken = 0;
    while world.admit(assignment, taken, &taken.to_be_bytes(), Entry::Pending) == Admitted::Taken {
        taken += 1;
        assert!(taken < 100, "13 bytes each of a budget of 100");
    }
    let job = world.dispatcher.take(Seat(0)).unwrap();
    world.dispatcher.end(Seat(0), job, End::Done);
    assert_eq!(
        world.admit(assignment, taken, &taken.to_be_bytes(), Entry::Pending),
        Admitted::Taken
    );
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
            position: position(62)
        })
    );
}

//! One partition of a module in one epoch: its ledger, its commits, its share of the byte budget, and its phase.

use std::rc::Rc;
use std::time::Duration;

use kcommon::kafka::{CommitOffset, RecordOffset};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::assignment::{Assignment, CommitOutcome, Report};
use crate::budget::Share;
use crate::committer::{CommitSchedule, StoredPart};
use crate::ledger::Ledger;
use crate::record::Record;
use crate::scheduler::LaneId;
use crate::stall::Limit;

/// From `Running` to one of the others, and from there to nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// Records are fetched and pushed.
    Running,
    /// Given up: what is on the wire may end until the deadline; `cut` did not.
    Draining { deadline: Instant, cut: usize },
    /// A record at this offset ended undelivered and stays: nothing begins until an operator acts. What is on the wire ends, and
    /// is committed.
    Stopped { at: RecordOffset },
    /// Taken away: what is on the wire is cut.
    Lost,
    /// Its log is not the one that it was: nothing begins until it is given up by an order.
    Truncated,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) assignment: Assignment,
    pub(super) lane: LaneId,
    pub(super) ledger: Ledger,
    pub(super) schedule: CommitSchedule,
    pub(super) share: Share,
    pub(super) phase: Phase,
    /// Requests on the wire.
    pub(super) in_flight: usize,
    /// Letters that are not stored.
    pub(super) leaving: usize,
    /// Keys that wait for an operator, and the first record of those.
    pub(super) blocked: (usize, Option<RecordOffset>),
    /// What is stored, as far as we know: the position, and how much is done above it.
    committed: (CommitOffset, u64),
    /// How much is done above the position of the commit on its way.
    committing: u64,
    stored: StoredPart,
    /// Rung when the fetch, having found no room, may look again.
    room: Rc<Notify>,
    waits_for_room: bool,
    /// Whether the last record that was offered found no room in the byte budget.
    pub(super) out_of_memory: bool,
}

impl Partition {
    pub(super) fn new(
        assignment: Assignment,
        lane: LaneId,
        (ledger, share, stored): (Ledger, Share, StoredPart),
        commit_interval: Duration,
        now: Instant,
    ) -> Self {
        let committed = (ledger.commit_position(), ledger.acks().count());
        Self {
            assignment,
            lane,
            ledger,
            schedule: CommitSchedule::new(commit_interval, now),
            share,
            phase: Phase::Running,
            in_flight: 0,
            leaving: 0,
            blocked: (0, None),
            committed,
            committing: 0,
            stored,
            room: Rc::new(Notify::new()),
            waits_for_room: false,
            out_of_memory: false,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    /// Whether what is done is committed.
    pub(super) fn commits(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Stopped { .. })
    }

    /// What keeps the next record out.
    pub(super) fn limit(&self) -> Option<Limit> {
        if self.ledger.is_full() {
            Some(Limit::Uncommitted)
        } else {
            self.out_of_memory.then_some(Limit::Memory)
        }
    }

    pub(super) fn note_cut(&mut self, more: usize) {
        if let Phase::Draining { cut, .. } = &mut self.phase {
            *cut += more;
        }
    }

    /// The record is done.
    pub(super) fn done(&mut self, record: &Record) {
        // What the ledger answers does not matter here: a commit is due by the number of acknowledgements too.
        let _moved = self.ledger.ack(record.seq);
        self.schedule.note_acks(1);
        self.share.give(record.size());
    }

    pub(super) fn room(&self) -> Rc<Notify> {
        Rc::clone(&self.room)
    }

    pub(super) fn wait_for_room(&mut self) {
        self.waits_for_room = true;
    }

    pub(super) fn waits_for_room(&self) -> bool {
        self.waits_for_room
    }

    /// Lets the fetch look again, if it waits.
    pub(super) fn give_room(&mut self) {
        if std::mem::take(&mut self.waits_for_room) {
            self.room.notify_one();
        }
    }

    /// The commit to send now, if one is due.
    pub(super) fn due_commit(&mut self, now: Instant) -> Option<Report> {
        if !self.commits() || !self.schedule.due(now) {
            return None;
        }
        let done = self.ledger.acks();
        let spacing = self.stored.store(done.weight(), self.ledger.len());
        self.schedule.sent(now, spacing);
        self.committing = done.count();
        if (done.base(), done.count()) == self.committed {
            self.schedule.answered(true);
            return None;
        }
        Some(Report::Commit {
            assignment: self.assignment,
            done,
        })
    }

    pub(super) fn commit_done(&mut self, outcome: CommitOutcome) {
        match outcome {
            CommitOutcome::Committed(position) => {
                self.committed = (position, self.committing);
                self.schedule.answered(true);
            }
            CommitOutcome::Again => self.schedule.answered(false),
            // The order that explains it ends this epoch: no further commit of it is wanted.
            CommitOutcome::Refused => {}
        }
    }
}

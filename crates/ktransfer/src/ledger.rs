//! The ledger: what of one partition, in one epoch, is admitted and not yet below the commit position.
//!
//! Every record that the fetch returned is entered, in order, under a dense sequence number; what needs no push
//! (filtered, undecodable) is entered as done, so nothing passes the ledger by. The commit position is the
//! offset of the first record that is not done or, when all are done, the position that the fetch has reached.
//! It is never computed from offsets: compaction and transactions leave gaps.
//!
//! What is done above the commit position can be taken out as [`Acks`], stored, and given to the ledger of a later
//! life, which then knows of the records it admits whether they were done before.
//!
//! Pure: no clock, no I/O. One owner, the module's thread.

use std::collections::VecDeque;
use std::ops::Range;

use kcommon::kafka::{CommitOffset, RecordOffset};

use crate::acks::{Acks, Builder, Remembered};

/// A record's place in its ledger: dense, from 0, in the order of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// How many records were entered before it.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// How a record enters the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It will be pushed, and acknowledged with its [`Seq`].
    Pending,
    /// It needs no push.
    Done,
}

/// What became of an admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Entered.
    Entered(Seq),
    /// Not above the newest record of this epoch: fetched twice, dropped.
    Stale,
}

/// What an acknowledgement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an advanced ledger has something to commit"]
pub enum Acked {
    /// The commit position has moved.
    Advanced,
    /// An older record is still pending.
    Held,
    /// Acknowledged before: nothing changed.
    Repeated,
}

/// One entry in eight bytes, because a stuck key may keep a million of them: the offset, or its complement
/// (which is negative) when the record is done.
#[derive(Clone, Copy, Debug)]
struct Slot(i64);

impl Slot {
    fn new(offset: RecordOffset, entry: Entry) -> Self {
        match entry {
            Entry::Pending => Self(offset.get()),
            Entry::Done => Self(!offset.get()),
        }
    }

    fn is_done(self) -> bool {
        self.0 < 0
    }

    fn finish(&mut self) {
        if self.0 >= 0 {
            self.0 = !self.0;
        }
    }

    fn offset(self) -> i64 {
        if self.0 < 0 { !self.0 } else { self.0 }
    }
}

/// The ledger of one partition in one epoch.
#[derive(Debug)]
pub struct Ledger {
    /// Entries from the first that is not done (or the first that nobody has popped yet) on.
    slots: VecDeque<Slot>,
    /// The sequence number of `slots[0]`.
    base: u64,
    /// What the fetch has reached: every record below it is in the ledger or does not exist.
    reached: CommitOffset,
    /// The newest record admitted in this epoch.
    newest: Option<RecordOffset>,
    /// At most this many records between the commit position and the newest (`max_uncommitted`).
    limit: usize,
    /// What was done in an earlier life and has not been fetched in this one.
    before: Option<Remembered>,
}

impl Ledger {
    /// An empty ledger that starts at the base of `acks`, which were done before, and holds at most `limit` records.
    #[must_use]
    pub fn new(acks: impl Into<Acks>, limit: usize) -> Self {
        let acks = acks.into();
        Self {
            slots: VecDeque::new(),
            base: 0,
            reached: acks.base(),
            newest: None,
            limit,
            before: (!acks.is_empty()).then(|| Remembered::new(acks)),
        }
    }

    /// Whether the next record has to wait until the commit position moves.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.slots.len() >= self.limit
    }

    /// Records between the commit position and the newest admitted one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether every admitted record is done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The oldest record that is not done.
    #[must_use]
    pub fn oldest(&self) -> Option<RecordOffset> {
        self.slots
            .front()
            .and_then(|slot| RecordOffset::try_from(slot.offset()).ok())
    }

    /// Whether the record at `offset` was done in an earlier life, so that it is to be entered as [`Entry::Done`].
    /// Asked before each admission.
    pub fn was_done_before(&mut self, offset: RecordOffset) -> bool {
        let Some(before) = &mut self.before else {
            return false;
        };
        let done = before.is_done(offset);
        if before.is_exhausted() {
            self.before = None;
        }
        done
    }

    /// Enters a record that the fetch returned. The caller asks [`Ledger::is_full`] first; a record that is
    /// entered all the same is kept, so that none is lost.
    pub fn admit(&mut self, offset: RecordOffset, entry: Entry) -> Admission {
        if self.newest.is_some_and(|newest| offset <= newest) || offset.get() < self.start() {
            return Admission::Stale;
        }
        let seq = Seq(self.base + self.slots.len() as u64);
        self.slots.push_back(Slot::new(offset, entry));
        self.newest = Some(offset);
        self.reached = self.reached.max(CommitOffset::after(offset));
        self.pop_done();
        Admission::Entered(seq)
    }

    /// Marks the record `seq` as done.
    pub fn ack(&mut self, seq: Seq) -> Acked {
        let slot = seq
            .0
            .checked_sub(self.base)
            .and_then(|at| usize::try_from(at).ok());
        let Some(slot) = slot
            .and_then(|at| self.slots.get_mut(at))
            .filter(|slot| !slot.is_done())
        else {
            return Acked::Repeated;
        };
        slot.finish();
        if self.pop_done() {
            Acked::Advanced
        } else {
            Acked::Held
        }
    }

    /// Whether any record was entered in this epoch.
    #[must_use]
    pub fn has_admitted(&self) -> bool {
        self.newest.is_some()
    }

    /// How many records at this offset and above are not done.
    #[must_use]
    pub fn pending_from(&self, offset: CommitOffset) -> usize {
        let from = self.slots.partition_point(|slot| slot.offset() < offset.get());
        self.slots.range(from..).filter(|slot| !slot.is_done()).count()
    }

    /// The handle of the record at this offset, while it is not done. Costs a search, unlike the handle itself.
    #[must_use]
    pub fn pending(&self, offset: RecordOffset) -> Option<Seq> {
        let at = self
            .slots
            .binary_search_by_key(&offset.get(), |slot| slot.offset())
            .ok()?;
        let pending = self.slots.get(at).is_some_and(|slot| !slot.is_done());
        pending.then(|| Seq(self.base + at as u64))
    }

    /// Takes note that the fetch has passed everything below `position`, although it returned no record for it:
    /// transaction markers, aborted and compacted records, or a jump after an out-of-range answer. A position
    /// below what is known already changes nothing.
    pub fn reach(&mut self, position: CommitOffset) {
        self.reached = self.reached.max(position);
    }

    /// The next offset to deliver: what may be stored.
    #[must_use]
    pub fn commit_position(&self) -> CommitOffset {
        self.oldest().map_or(self.reached, CommitOffset::before)
    }

    /// What is done above the commit position: takes time in proportion to [`Ledger::len`].
    #[must_use]
    pub fn acks(&self) -> Acks {
        let mut acks = Builder::new(self.commit_position());
        let mut run: Option<Range<i64>> = None;
        for slot in &self.slots {
            let after = slot.offset().saturating_add(1);
            match &mut run {
                // Between two records that follow each other there is none: that counts as done.
                Some(run) if slot.is_done() => run.end = after,
                None if slot.is_done() => run = Some(slot.offset()..after),
                Some(_) | None => run.take().iter().for_each(|run| acks.add(run)),
            }
        }
        run.iter().for_each(|run| acks.add(run));
        if let Some(before) = &self.before {
            let newest = self.newest.map_or(0, |newest| newest.get().saturating_add(1));
            before.add_rest(newest, &mut acks);
        }
        acks.finish()
    }

    /// What the fetch has reached: where to fetch from after an interruption inside this epoch.
    #[must_use]
    pub fn reached(&self) -> CommitOffset {
        self.reached
    }

    /// Below this offset nothing is admitted when no record has been: the assigned position.
    fn start(&self) -> i64 {
        if self.newest.is_none() {
            self.reached.get()
        } else {
            0
        }
    }

    fn pop_done(&mut self) -> bool {
        let before = self.base;
        while self.slots.front().is_some_and(|slot| slot.is_done()) {
            self.slots.pop_front();
            self.base += 1;
        }
        self.base > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(offset: i64) -> RecordOffset {
        RecordOffset::try_from(offset).unwrap()
    }

    fn position(offset: i64) -> CommitOffset {
        CommitOffset::try_from(offset).unwrap()
    }

    fn ledger(start: i64, limit: usize) -> Ledger {
        Ledger::new(position(start), limit)
    }

    fn seq(admission: Admission) -> Seq {
        match admission {
            Admission::Entered(seq) => seq,
            Admission::Stale => panic!("not entered"),
        }
    }

    #[test]
    fn the_first_record_alone_is_committed() {
        let mut ledger = ledger(0, 10);
        let first = seq(ledger.admit(record(0), Entry::Pending));
        assert_eq!(ledger.commit_position(), position(0));
        assert_eq!(ledger.ack(first), Acked::Advanced);
        assert_eq!(ledger.commit_position(), position(1));
    }

    #[test]
    fn filtered_records_are_committed() {
        let mut ledger = ledger(5, 10);
        for offset in 5..100 {
            ledger.admit(record(offset), Entry::Done);
        }
        assert_eq!(ledger.commit_position(), position(100));
        assert!(ledger.is_empty());
    }

    #[test]
    fn a_later_success_never_passes_a_pending_record() {
        let mut ledger = ledger(0, 10);
        let first = seq(ledger.admit(record(0), Entry::Pending));
        let second = seq(ledger.admit(record(1), Entry::Pending));
        assert_eq!(ledger.ack(second), Acked::Held);
        assert_eq!(ledger.commit_position(), position(0));
        assert_eq!(ledger.ack(second), Acked::Repeated);
        assert_eq!(ledger.ack(first), Acked::Advanced);
        assert_eq!(ledger.commit_position(), position(2));
        assert_eq!(ledger.ack(first), Acked::Repeated);
    }

    #[test]
    fn the_fetchs_position_counts_only_when_all_is_done() {
        let mut ledger = ledger(0, 10);
        let first = seq(ledger.admit(record(10), Entry::Pending));
        ledger.reach(position(62));
        assert_eq!(ledger.commit_position(), position(10));
        assert_eq!(ledger.ack(first), Acked::Advanced);
        assert_eq!(ledger.commit_position(), position(62));
        ledger.reach(position(3));
        assert_eq!(ledger.commit_position(), position(62));
    }

    #[test]
    fn what_was_fetched_before_is_stale() {
        let mut ledger = ledger(5, 10);
        assert_eq!(ledger.admit(record(4), Entry::Pending), Admission::Stale);
        let _first = seq(ledger.admit(record(5), Entry::Pending));
        assert_eq!(ledger.admit(record(5), Entry::Pending), Admission::Stale);
        assert_eq!(ledger.len(), 1);
    }

    #[test]
    fn a_pending_record_is_found_by_its_offset() {
        let mut ledger = Ledger::new(position(0), 10);
        let entered = [3, 7, 8].map(|offset| seq(ledger.admit(record(offset), Entry::Pending)));
        assert_eq!(ledger.pending(record(7)), Some(entered[1]));
        assert_eq!(ledger.pending(record(5)), None, "compacted away");
        let _moved = ledger.ack(entered[1]);
        assert_eq!(ledger.pending(record(7)), None);
        let _moved = ledger.ack(entered[0]);
        assert_eq!(ledger.pending(record(3)), None);
        assert_eq!(ledger.pending(record(8)), Some(entered[2]));
    }

    #[test]
    fn it_is_full_at_its_limit_and_open_below() {
        let mut ledger = ledger(0, 2);
        let first = seq(ledger.admit(record(0), Entry::Pending));
        assert!(!ledger.is_full());
        ledger.admit(record(1), Entry::Pending);
        assert!(ledger.is_full());
        assert_eq!(ledger.ack(first), Acked::Advanced);
        assert!(!ledger.is_full());
    }

    #[test]
    fn what_is_done_above_the_position_can_be_taken_out() {
        let mut ledger = ledger(5, 10);
        let seqs: Vec<Seq> = [5, 6, 8, 9, 10, 20]
            .map(|offset| seq(ledger.admit(record(offset), Entry::Pending)))
            .into();
        assert!(ledger.acks().is_empty());
        for at in [1, 2, 4] {
            assert_eq!(ledger.ack(seqs[at]), Acked::Held);
        }
        let acks = ledger.acks();
        assert_eq!(acks.base(), position(5));
        // 7 is no record; between 10 and 20 nobody knows yet.
        assert_eq!(acks.ranges().flatten().collect::<Vec<_>>(), [6, 7, 8, 10]);
        assert_eq!(ledger.ack(seqs[0]), Acked::Advanced);
        let acks = ledger.acks();
        assert_eq!(acks.base(), position(9));
        assert_eq!(acks.ranges().flatten().collect::<Vec<_>>(), [10]);
    }

    /// The whole history, too slow for production.
    struct Naive {
        reached: i64,
        records: Vec<(i64, bool)>,
    }

    impl Naive {
        fn commit(&self) -> i64 {
            self.records
                .iter()
                .find(|(_, done)| !done)
                .map_or(self.reached, |(offset, _)| *offset)
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Admit { gap: i64, done: bool },
        Duplicate(usize),
        Ack(usize),
        Reach(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (prop_oneof![3 => Just(0i64), 1 => 1i64..50], any::<bool>()).prop_map(|(gap, done)| Step::Admit { gap, done }),
            1 => any::<usize>().prop_map(Step::Duplicate),
            4 => any::<usize>().prop_map(Step::Ack),
            1 => (0i64..80).prop_map(Step::Reach),
        ]
    }

    proptest! {
        #[test]
        fn the_commit_position_equals_the_naive_one(start in 0i64..1000, steps in prop::collection::vec(step(), 1..200)) {
            let mut ledger = ledger(start, usize::MAX);
            let mut naive = Naive { reached: start, records: Vec::new() };
            let mut seqs = Vec::new();
            for step in steps {
                match step {
                    Step::Admit { gap, done } => {
                        let offset = naive.reached + gap;
                        let entry = if done { Entry::Done } else { Entry::Pending };
                        seqs.push(seq(ledger.admit(record(offset), entry)));
                        naive.records.push((offset, done));
                        naive.reached = offset + 1;
                    }
                    Step::Duplicate(at) if !naive.records.is_empty() => {
                        let (offset, _) = naive.records[at % naive.records.len()];
                        prop_assert_eq!(ledger.admit(record(offset), Entry::Pending), Admission::Stale);
                    }
                    Step::Ack(at) if !seqs.is_empty() => {
                        let at = at % seqs.len();
                        let _what_it_did = ledger.ack(seqs[at]);
                        naive.records[at].1 = true;
                    }
                    Step::Reach(ahead) => {
                        ledger.reach(position(naive.reached + ahead));
                        naive.reached += ahead;
                    }
                    Step::Duplicate(_) | Step::Ack(_) => {}
                }
                prop_assert_eq!(ledger.commit_position().get(), naive.commit());
            }
        }

        #[test]
        fn a_later_life_pushes_exactly_what_was_not_done(
            start in 0i64..1000,
            gaps in prop::collection::vec(prop_oneof![4 => Just(0i64), 1 => 1i64..30], 1..150),
            lives in prop::collection::vec((any::<usize>(), prop::collection::vec(any::<usize>(), 0..60)), 1..5),
        ) {
            let mut next = start;
            let mut records: Vec<(i64, bool)> = Vec::new();
            for gap in gaps {
                records.push((next + gap, false));
                next += gap + 1;
            }
            let mut stored = Acks::none(position(start));
            for (fetched, acked) in lives {
                // A crash: what was stored is all that is known.
                let map = crate::acks::Map { topic: None, acks: stored };
                let map = crate::acks::Map::decode(&map.encode().bytes).unwrap();
                let from = map.acks.base();
                let mut ledger = Ledger::new(map.acks, usize::MAX);
                let mut pushed = Vec::new();
                let first = records.iter().position(|(offset, _)| *offset >= from.get()).unwrap_or(records.len());
                let last = first + fetched % (records.len() - first + 1);
                for (at, (offset, done)) in records.iter().enumerate().take(last).skip(first) {
                    let before = ledger.was_done_before(record(*offset));
                    prop_assert_eq!(before, *done, "{}", offset);
                    prop_assert_eq!(ledger.was_done_before(record(*offset)), *done);
                    let entry = if before { Entry::Done } else { Entry::Pending };
                    let seq = seq(ledger.admit(record(*offset), entry));
                    if !before {
                        pushed.push((at, seq));
                    }
                }
                for at in acked {
                    if let Some((at, seq)) = pushed.get(at % pushed.len().max(1)) {
                        let _what_it_did = ledger.ack(*seq);
                        records[*at].1 = true;
                    }
                }
                let reached = last.checked_sub(1).map_or(from.get(), |last| from.get().max(records[last].0 + 1));
                let commit = records[..last].iter().find(|(_, done)| !done).map_or(reached, |(offset, _)| *offset);
                prop_assert_eq!(ledger.commit_position().get(), commit);
                stored = ledger.acks();
                prop_assert_eq!(stored.base().get(), commit);
                let done: Vec<i64> = stored.ranges().flatten().collect();
                for (offset, is_done) in records.iter().filter(|(offset, _)| *offset >= commit) {
                    prop_assert_eq!(done.binary_search(offset).is_ok(), *is_done, "{}", offset);
                }
            }
        }
    }
}

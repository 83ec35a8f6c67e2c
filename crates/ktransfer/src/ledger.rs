//! The ledger: what of one partition, in one epoch, is admitted and not yet below the commit position.
//!
//! Every record that the fetch returned is entered, in order, under a dense sequence number; what needs no push
//! (filtered, undecodable) is entered as done, so nothing passes the ledger by. The commit position is the
//! offset of the first record that is not done or, when all are done, the position that the fetch has reached.
//! It is never computed from offsets: compaction and transactions leave gaps.
//!
//! Pure: no clock, no I/O. One owner, the module's thread.

use std::collections::VecDeque;

use kcommon::kafka::{CommitOffset, RecordOffset};

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
}

impl Ledger {
    /// An empty ledger that starts at `position` and holds at most `limit` records.
    #[must_use]
    pub fn new(position: CommitOffset, limit: usize) -> Self {
        Self {
            slots: VecDeque::new(),
            base: 0,
            reached: position,
            newest: None,
            limit,
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

    fn seq(admission: Admission) -> Seq {
        match admission {
            Admission::Entered(seq) => seq,
            Admission::Stale => panic!("not entered"),
        }
    }

    #[test]
    fn the_first_record_alone_is_committed() {
        let mut ledger = Ledger::new(CommitOffset::ZERO, 10);
        let first = seq(ledger.admit(record(0), Entry::Pending));
        assert_eq!(ledger.commit_position(), position(0));
        assert_eq!(ledger.ack(first), Acked::Advanced);
        assert_eq!(ledger.commit_position(), position(1));
    }

    #[test]
    fn filtered_records_are_committed() {
        let mut ledger = Ledger::new(position(5), 10);
        for offset in 5..100 {
            ledger.admit(record(offset), Entry::Done);
        }
        assert_eq!(ledger.commit_position(), position(100));
        assert!(ledger.is_empty());
    }

    #[test]
    fn a_later_success_never_passes_a_pending_record() {
        let mut ledger = Ledger::new(position(0), 10);
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
        let mut ledger = Ledger::new(position(0), 10);
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
        let mut ledger = Ledger::new(position(5), 10);
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
        let mut ledger = Ledger::new(position(0), 2);
        let first = seq(ledger.admit(record(0), Entry::Pending));
        assert!(!ledger.is_full());
        ledger.admit(record(1), Entry::Pending);
        assert!(ledger.is_full());
        assert_eq!(ledger.ack(first), Acked::Advanced);
        assert!(!ledger.is_full());
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
            let mut ledger = Ledger::new(position(start), usize::MAX);
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
    }
}

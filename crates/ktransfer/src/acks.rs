//! What of a partition is done above its commit position, as a value: which offsets a new owner need not push again.
//!
//! The value is a list of runs in the fewest bytes, because a stuck key may keep a million of them: the lengths of the
//! stretches not done and done, in turn, from the commit position on. An offset at which there is no record may be in
//! either kind. [`Map`] is the value with the topic that it belongs to, in the bytes that are stored.
//!
//! Pure: no I/O, no clock.

mod codec;
mod topic;

use std::ops::Range;

use kcommon::kafka::{CommitOffset, RecordOffset};

pub use codec::{DecodeError, Encoded, MAX_BYTES, Map};
pub use topic::TopicIdentity;

/// The offsets above a commit position that are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acks {
    base: CommitOffset,
    /// Lengths in LEB128: not done, done, not done, done. Ends with a done one; only the first may be 0.
    runs: Vec<u8>,
    /// The offset after the last done one; the base if there is none.
    end: i64,
    /// How many offsets are done.
    count: u64,
}

impl Acks {
    /// Nothing is done above `base`.
    #[must_use]
    pub const fn none(base: CommitOffset) -> Self {
        Self {
            base,
            runs: Vec::new(),
            end: base.get(),
            count: 0,
        }
    }

    /// Whether nothing is done above the base.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The commit position that this is about.
    #[must_use]
    pub const fn base(&self) -> CommitOffset {
        self.base
    }

    /// How many offsets are done, those between two done records at which there is none included.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The done offsets, in ascending order; no two ranges touch.
    #[must_use]
    pub fn ranges(&self) -> Ranges<'_> {
        Ranges {
            runs: &self.runs,
            walk: Walk::new(self.base),
        }
    }

    /// How many bytes this takes when it is stored, at most: before compression.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.runs.len().min(self.bitmap_len()).min(MAX_BYTES)
    }

    /// How many bytes a bitmap of one bit for each offset takes.
    fn bitmap_len(&self) -> usize {
        let span = self.end.saturating_sub(self.base.get());
        usize::try_from(span).unwrap_or(usize::MAX).div_ceil(8)
    }
}

impl From<CommitOffset> for Acks {
    fn from(base: CommitOffset) -> Self {
        Self::none(base)
    }
}

/// Collects done offsets in ascending order.
#[derive(Debug)]
pub struct Builder {
    acks: Acks,
    /// The newest range: it may still grow.
    last: Option<Range<i64>>,
}

impl Builder {
    /// Nothing is done above `base` yet.
    #[must_use]
    pub const fn new(base: CommitOffset) -> Self {
        Self {
            acks: Acks::none(base),
            last: None,
        }
    }

    /// These offsets are done. What was added before, or lies below the base, is left out of the range.
    pub fn add(&mut self, range: &Range<i64>) {
        let newest = self.last.as_ref().map_or(self.acks.end, |last| last.end);
        let range = range.start.max(newest)..range.end;
        if range.is_empty() {
            return;
        }
        match &mut self.last {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => {
                self.flush();
                self.last = Some(range);
            }
        }
    }

    /// The offsets that were added.
    #[must_use]
    pub fn finish(mut self) -> Acks {
        self.flush();
        self.acks
    }

    fn flush(&mut self) {
        let Some(range) = self.last.take() else { return };
        let acks = &mut self.acks;
        let (gap, done) = (range.start.abs_diff(acks.end), range.end.abs_diff(range.start));
        push_length(&mut acks.runs, gap);
        push_length(&mut acks.runs, done);
        acks.end = range.end;
        acks.count += done;
    }
}

/// The ranges of [`Acks::ranges`].
#[derive(Clone, Debug)]
pub struct Ranges<'a> {
    runs: &'a [u8],
    walk: Walk,
}

impl Iterator for Ranges<'_> {
    type Item = Range<i64>;

    fn next(&mut self) -> Option<Range<i64>> {
        self.walk.next(self.runs)
    }
}

/// How far the runs have been read.
#[derive(Clone, Copy, Debug)]
struct Walk {
    /// Bytes read.
    read: usize,
    /// The offset after the last range.
    at: i64,
}

impl Walk {
    const fn new(base: CommitOffset) -> Self {
        Self {
            read: 0,
            at: base.get(),
        }
    }

    /// The next done range; `None` at the end, and where the bytes are no runs.
    fn next(&mut self, runs: &[u8]) -> Option<Range<i64>> {
        let (gap, rest) = take_length(runs.get(self.read..)?)?;
        let (done, rest) = take_length(rest)?;
        let start = self.at.checked_add_unsigned(gap)?;
        let end = start.checked_add_unsigned(done)?;
        self.read = runs.len() - rest.len();
        self.at = end;
        Some(start..end)
    }
}

/// What was done before this life of a partition, asked for in the order in which records are fetched.
#[derive(Debug)]
pub struct Remembered {
    acks: Acks,
    walk: Walk,
    /// The first range that does not lie below what was asked for; `None` when there is no more.
    range: Option<Range<i64>>,
}

impl Remembered {
    /// Starts at the base of `acks`.
    #[must_use]
    pub fn new(acks: Acks) -> Self {
        let mut walk = Walk::new(acks.base);
        let range = walk.next(&acks.runs);
        Self { acks, walk, range }
    }

    /// Whether the record at `offset` is done. Ask in ascending order; an answer may be asked for again.
    pub fn is_done(&mut self, offset: RecordOffset) -> bool {
        while let Some(range) = &self.range {
            if offset.get() < range.end {
                return range.start <= offset.get();
            }
            self.range = self.walk.next(&self.acks.runs);
        }
        false
    }

    /// Whether every offset that is done lies below what was asked for.
    #[must_use]
    pub const fn is_exhausted(&self) -> bool {
        self.range.is_none()
    }

    /// Adds what is done from `from` on to `acks`.
    pub fn add_rest(&self, from: i64, acks: &mut Builder) {
        let mut walk = self.walk;
        let mut next = self.range.clone();
        while let Some(range) = next {
            acks.add(&(range.start.max(from)..range.end));
            next = walk.next(&self.acks.runs);
        }
    }
}

/// Appends a length in LEB128: seven bits a byte, the lowest first, the high bit set in all but the last.
fn push_length(bytes: &mut Vec<u8>, mut length: u64) {
    loop {
        let low = u8::try_from(length & 0x7F).expect("seven bits fit");
        length >>= 7;
        if length == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// The length at the start of `bytes`, and what follows it; `None` if there is none that fits 63 bits.
fn take_length(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut length = 0_u64;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        length |= u64::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((length, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position(offset: i64) -> CommitOffset {
        CommitOffset::try_from(offset).unwrap()
    }

    fn record(offset: i64) -> RecordOffset {
        RecordOffset::try_from(offset).unwrap()
    }

    fn acks(base: i64, ranges: &[(i64, i64)]) -> Acks {
        let mut builder = Builder::new(position(base));
        ranges.iter().for_each(|(from, to)| builder.add(&(*from..*to)));
        builder.finish()
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let acks = acks(10, &[(10, 11), (12, 13), (13, 20), (15, 18), (3, 25)]);
        assert_eq!(acks.ranges().collect::<Vec<_>>(), [10..11, 12..25]);
        assert_eq!(acks.count(), 14);
    }

    #[test]
    fn nothing_done_is_empty() {
        assert!(acks(7, &[]).is_empty());
        assert!(acks(7, &[(1, 7)]).is_empty());
        assert_eq!(acks(7, &[(1, 7)]), Acks::none(position(7)));
    }

    #[test]
    fn what_is_remembered_can_be_asked_for_twice_and_ends() {
        let mut remembered = Remembered::new(acks(5, &[(6, 8), (10, 11)]));
        let asked: Vec<bool> = [5, 6, 6, 7, 8, 10]
            .map(|at| remembered.is_done(record(at)))
            .into();
        assert_eq!(asked, [false, true, true, true, false, true]);
        assert!(!remembered.is_exhausted());
        assert!(!remembered.is_done(record(11)));
        assert!(remembered.is_exhausted());
    }

    #[test]
    fn a_length_of_too_many_bytes_is_none() {
        assert_eq!(take_length(&[0x80; 20]), None);
        assert_eq!(take_length(&[0x80]), None);
        assert_eq!(take_length(&[]), None);
        let mut bytes = Vec::new();
        let longest = u64::try_from(i64::MAX).unwrap();
        push_length(&mut bytes, longest);
        assert_eq!(take_length(&bytes), Some((longest, &[][..])));
    }

    proptest! {
        #[test]
        fn what_is_remembered_equals_the_set(
            base in 0_i64..1000,
            done in prop::collection::btree_set(0_i64..300, 0..200),
            from in 0_i64..300,
        ) {
            let mut builder = Builder::new(position(base));
            for offset in &done {
                builder.add(&(base + offset..base + offset + 1));
            }
            let acks = builder.finish();
            prop_assert_eq!(acks.count(), done.len() as u64);
            let mut remembered = Remembered::new(acks.clone());
            for offset in 0..from {
                prop_assert_eq!(remembered.is_done(record(base + offset)), done.contains(&offset));
            }
            let mut rest = Builder::new(position(base + from));
            remembered.add_rest(base + from, &mut rest);
            let rest: Vec<i64> = rest.finish().ranges().flatten().map(|offset| offset - base).collect();
            prop_assert_eq!(rest, done.range(from..).copied().collect::<Vec<_>>());
        }
    }
}

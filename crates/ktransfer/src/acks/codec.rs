//! The bytes in which acknowledgements are stored; `docs/zookeeper.md` describes them one by one. Pure.
//!
//! What was written is read back, or refused with the reason: whoever reads takes refused bytes for "nothing is done",
//! which repeats records and loses none.

use std::io::Read as _;

use flate2::Compression;
use flate2::bufread::{DeflateDecoder, DeflateEncoder};
use kcommon::kafka::CommitOffset;

use super::topic::{MAX_ID_BYTES, TopicIdentity};
use super::{Acks, Builder};

/// The most bytes that are stored; a bitmap of 1,000,000 offsets always fits.
pub const MAX_BYTES: usize = 160 * 1024;

/// The most bytes before compression and after it is undone.
const MAX_PLAIN: usize = 1024 * 1024;

/// Fewer bytes are left as they are: a compressor takes 300 KiB of memory, and gains a few bytes at best.
const WORTH_COMPRESSING: usize = 64;

/// The first byte of all that this program has ever written.
const FORMAT: u8 = 1;

/// Format, coding, checksum, base, creation of the topic, length of the topic's id.
const FIXED: usize = 1 + 1 + 4 + 8 + 8 + 1;

/// Where the checksum stands.
const CHECKSUM: std::ops::Range<usize> = 2..6;

/// How the runs are written; bit 1 of the byte says that they are compressed.
const RUNS: u8 = 0;
const BITMAP: u8 = 1;
const COMPRESSED: u8 = 2;

/// Acknowledgements with the topic that they belong to: what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// `None`: ZooKeeper does not know the topic.
    pub topic: Option<TopicIdentity>,
    /// What is done.
    pub acks: Acks,
}

/// A [`Map`] as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// At most [`MAX_BYTES`].
    pub bytes: Vec<u8>,
    /// How many done offsets did not fit. They are the highest.
    pub left_out: u64,
}

/// Why bytes are no [`Map`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More than [`MAX_BYTES`].
    #[error("{0} bytes are more than the {MAX_BYTES} that are ever written")]
    TooLong(usize),
    /// The end came within the header.
    #[error("{0} bytes are less than a header")]
    TooShort(usize),
    /// Written by a later version of this program, or by another.
    #[error("format {0} is unknown")]
    Format(u8),
    /// Something was changed or is missing.
    #[error("the checksum does not match")]
    Checksum,
    /// The base is negative.
    #[error("the base is no offset")]
    Base,
    /// The topic's id is no text of 1 to 64 bytes, or not all there.
    #[error("the topic's id is malformed")]
    Topic,
    /// No coding of this format.
    #[error("coding {0} is unknown")]
    Coding(u8),
    /// The compressed part is malformed.
    #[error("the compressed part is malformed")]
    Compression,
    /// The compressed part stands for more than is ever written.
    #[error("the compressed part stands for more than {MAX_PLAIN} bytes")]
    TooLarge,
    /// A length that is missing, is zero, or leads beyond the largest offset.
    #[error("the runs are malformed")]
    Runs,
}

impl Map {
    /// Nothing is done above `base`.
    #[must_use]
    pub const fn empty(topic: Option<TopicIdentity>, base: CommitOffset) -> Self {
        let acks = Acks::none(base);
        Self { topic, acks }
    }

    /// The bytes to store. What does not fit is left out at the far end: it will be pushed again.
    #[must_use]
    pub fn encode(&self) -> Encoded {
        let whole = self.acks.first_bytes(MAX_PLAIN);
        let mut bytes = self.encode_all(whole.as_ref().unwrap_or(&self.acks));
        let mut kept = whole.as_ref().map_or(self.acks.count, |whole| whole.count);
        if bytes.len() > MAX_BYTES {
            let room = MAX_BYTES - FIXED - MAX_ID_BYTES;
            if let Some(part) = self.acks.first_bytes(room) {
                bytes = self.encode_all(&part);
                kept = part.count;
            }
        }
        Encoded {
            bytes,
            left_out: self.acks.count - kept,
        }
    }

    fn encode_all(&self, acks: &Acks) -> Vec<u8> {
        let (mut coding, plain) = acks.plain();
        let compressed = (plain.len() >= WORTH_COMPRESSING).then(|| compress(&plain));
        let body = match compressed {
            Some(compressed) if compressed.len() < plain.len() => {
                coding |= COMPRESSED;
                compressed
            }
            _ => plain,
        };
        let created = self.topic.as_ref().map_or(0, |topic| topic.created);
        let id = self.topic.as_ref().and_then(|topic| topic.id.as_deref());
        let id = id.unwrap_or_default().as_bytes();
        let mut bytes = Vec::with_capacity(FIXED + id.len() + body.len());
        bytes.extend([FORMAT, coding, 0, 0, 0, 0]);
        bytes.extend(acks.base.get().to_be_bytes());
        bytes.extend(created.to_be_bytes());
        bytes.push(u8::try_from(id.len()).expect("an id has at most 64 bytes"));
        bytes.extend(id);
        bytes.extend(body);
        let checksum = checksum(&bytes).to_be_bytes();
        bytes.splice(CHECKSUM, checksum);
        bytes
    }

    /// Reads what [`Map::encode`] has written. Takes at most 1 MiB beside the result, whatever the bytes say.
    ///
    /// # Errors
    /// The bytes are something else, or were damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_BYTES {
            return Err(DecodeError::TooLong(bytes.len()));
        }
        let too_short = DecodeError::TooShort(bytes.len());
        let format = *bytes.first().ok_or(too_short)?;
        if format != FORMAT {
            return Err(DecodeError::Format(format));
        }
        let (head, rest) = bytes.split_first_chunk::<FIXED>().ok_or(too_short)?;
        let [_, coding, c0, c1, c2, c3, numbers @ .., id_len] = *head;
        if u32::from_be_bytes([c0, c1, c2, c3]) != checksum(bytes) {
            return Err(DecodeError::Checksum);
        }
        let [b0, b1, b2, b3, b4, b5, b6, b7, created @ ..] = numbers;
        let base = i64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
        let base = CommitOffset::try_from(base).map_err(|_negative| DecodeError::Base)?;
        let (id, body) = rest
            .split_at_checked(usize::from(id_len))
            .ok_or(DecodeError::Topic)?;
        let topic = topic(i64::from_be_bytes(created), id)?;
        let inflated;
        let plain = match coding & COMPRESSED {
            0 => body,
            _ => {
                inflated = inflate(body)?;
                &inflated[..]
            }
        };
        let acks = match coding & !COMPRESSED {
            RUNS => Acks::from_runs(base, plain)?,
            BITMAP => Acks::from_bitmap(base, plain)?,
            _ => return Err(DecodeError::Coding(coding)),
        };
        Ok(Self { topic, acks })
    }
}

impl Acks {
    /// The shorter of the two codings.
    fn plain(&self) -> (u8, Vec<u8>) {
        if self.runs.len() <= self.bitmap_len() {
            (RUNS, self.runs.clone())
        } else {
            (BITMAP, self.bitmap())
        }
    }

    fn bitmap(&self) -> Vec<u8> {
        let base = self.base.get();
        let mut bitmap = vec![0_u8; self.bitmap_len()];
        for offset in self.ranges().flatten() {
            let bit = usize::try_from(offset - base).expect("a range lies above the base");
            if let Some(byte) = bitmap.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
        bitmap
    }

    /// What can be written in `room` bytes without compression; `None` if that is all.
    fn first_bytes(&self, room: usize) -> Option<Self> {
        if self.runs.len().min(self.bitmap_len()) <= room {
            return None;
        }
        let bits = i64::try_from(room.saturating_mul(8)).unwrap_or(i64::MAX);
        let until = self.base.get().saturating_add(bits);
        let mut by_bitmap = Builder::new(self.base);
        for range in self.ranges().take_while(|range| range.start < until) {
            by_bitmap.add(&(range.start..range.end.min(until)));
        }
        let by_bitmap = by_bitmap.finish();
        let mut by_runs = Builder::new(self.base);
        let mut ranges = self.ranges();
        while let Some(range) = ranges.next()
            && ranges.walk.read <= room
        {
            by_runs.add(&range);
        }
        let by_runs = by_runs.finish();
        Some(if by_runs.count > by_bitmap.count {
            by_runs
        } else {
            by_bitmap
        })
    }

    fn from_runs(base: CommitOffset, runs: &[u8]) -> Result<Self, DecodeError> {
        let mut acks = Builder::new(base);
        let mut walk = super::Walk::new(base);
        let mut end = None;
        while walk.read < runs.len() {
            let range = walk.next(runs).ok_or(DecodeError::Runs)?;
            // Two runs of a kind in a row, or an empty one, was never written.
            if range.is_empty() || end == Some(range.start) {
                return Err(DecodeError::Runs);
            }
            end = Some(range.end);
            acks.add(&range);
        }
        Ok(acks.finish())
    }

    fn from_bitmap(base: CommitOffset, bitmap: &[u8]) -> Result<Self, DecodeError> {
        let bits = i64::try_from(bitmap.len()).map_err(|_large| DecodeError::Runs)? * 8;
        let end = base.get().checked_add(bits).ok_or(DecodeError::Runs)?;
        let mut acks = Builder::new(base);
        for (at, byte) in (base.get()..end).step_by(8).zip(bitmap) {
            match byte {
                0 => {}
                0xFF => acks.add(&(at..at + 8)),
                _ => (0..8)
                    .filter(|bit| byte & (1 << bit) != 0)
                    .for_each(|bit| acks.add(&(at + bit..at + bit + 1))),
            }
        }
        Ok(acks.finish())
    }
}

fn topic(created: i64, id: &[u8]) -> Result<Option<TopicIdentity>, DecodeError> {
    if created == 0 && id.is_empty() {
        return Ok(None);
    }
    let id = std::str::from_utf8(id).map_err(|_bytes| DecodeError::Topic)?;
    if id.len() > MAX_ID_BYTES {
        return Err(DecodeError::Topic);
    }
    let id = (!id.is_empty()).then(|| id.to_owned());
    Ok(Some(TopicIdentity { created, id }))
}

/// CRC-32 of everything but the checksum itself.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(bytes.get(..CHECKSUM.start).unwrap_or_default());
    hasher.update(bytes.get(CHECKSUM.end..).unwrap_or_default());
    hasher.finalize()
}

fn compress(plain: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(plain.len() / 2);
    let read = DeflateEncoder::new(plain, Compression::fast()).read_to_end(&mut compressed);
    read.expect("memory can be read");
    compressed
}

fn inflate(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut plain = Vec::new();
    let mut decoder = DeflateDecoder::new(body);
    let limit = u64::try_from(MAX_PLAIN).expect("a megabyte") + 1;
    let read = decoder.by_ref().take(limit).read_to_end(&mut plain);
    read.map_err(|_malformed| DecodeError::Compression)?;
    if plain.len() > MAX_PLAIN {
        return Err(DecodeError::TooLarge);
    }
    if decoder.total_in() != body.len() as u64 {
        return Err(DecodeError::Compression);
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position(offset: i64) -> CommitOffset {
        CommitOffset::try_from(offset).unwrap()
    }

    fn map(base: i64, done: impl IntoIterator<Item = std::ops::Range<i64>>) -> Map {
        let mut builder = Builder::new(position(base));
        done.into_iter().for_each(|range| builder.add(&range));
        Map {
            topic: Some(TopicIdentity {
                created: 0x7_0000_0001,
                id: Some("Yl7hTa4wT0yZcQ-_AAAAAA".to_owned()),
            }),
            acks: builder.finish(),
        }
    }

    /// A small generator (xorshift64): the tests are the same each time.
    fn noise(mut state: u64) -> impl FnMut() -> u64 {
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        }
    }

    fn every_other_by_chance(span: i64) -> Map {
        let mut dice = noise(42);
        map(
            5,
            (5..5 + span)
                .filter(|_| dice().is_multiple_of(2))
                .map(|offset| offset..offset + 1),
        )
    }

    fn forge(coding: u8, base: i64, id: &[u8], body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![FORMAT, coding, 0, 0, 0, 0];
        bytes.extend(base.to_be_bytes());
        bytes.extend(7_i64.to_be_bytes());
        bytes.push(u8::try_from(id.len()).unwrap());
        bytes.extend(id);
        bytes.extend(body);
        let checksum = checksum(&bytes).to_be_bytes();
        bytes.splice(CHECKSUM, checksum);
        bytes
    }

    #[test]
    fn a_stored_map_is_these_bytes() {
        let bytes = map(1000, [1001..1003, 1005..1006]).encode().bytes;
        assert_eq!(bytes[..2], [FORMAT, BITMAP]);
        assert_eq!(bytes[2..6], checksum(&bytes).to_be_bytes());
        assert_eq!(bytes[6..14], 1000_i64.to_be_bytes());
        assert_eq!(bytes[14..22], 0x7_0000_0001_i64.to_be_bytes());
        assert_eq!(bytes[22], 22);
        assert_eq!(&bytes[23..45], b"Yl7hTa4wT0yZcQ-_AAAAAA");
        // Three done of six offsets: a bitmap takes one byte, runs take four.
        assert_eq!(bytes[45..], [0b10_0110]);
    }

    #[test]
    fn a_million_offsets_in_the_worst_order_always_fit() {
        let map = every_other_by_chance(1_000_000);
        let encoded = map.encode();
        assert_eq!(encoded.left_out, 0);
        assert!(encoded.bytes.len() > 120_000, "it does not compress");
        assert!(encoded.bytes.len() <= MAX_BYTES);
        assert_eq!(Map::decode(&encoded.bytes).unwrap(), map);
    }

    #[test]
    fn a_million_done_behind_one_stuck_record_are_a_few_bytes() {
        let encoded = map(5, std::iter::once(6..1_000_006)).encode();
        assert!(encoded.bytes.len() < 64);
        assert_eq!(Map::decode(&encoded.bytes).unwrap().acks.count(), 1_000_000);
    }

    #[test]
    fn what_does_not_fit_is_left_out_at_the_far_end() {
        let map = every_other_by_chance(2_000_000);
        let encoded = map.encode();
        assert!(encoded.bytes.len() <= MAX_BYTES);
        let read = Map::decode(&encoded.bytes).unwrap();
        assert_eq!(read.acks.count() + encoded.left_out, map.acks.count());
        assert!(
            encoded.left_out > 0 && read.acks.end > 1_000_000,
            "{}",
            encoded.left_out
        );
        assert!(
            read.acks
                .ranges()
                .eq(map.acks.ranges().take_while(|range| range.start < read.acks.end))
        );
    }

    #[test]
    fn far_apart_records_are_left_out_at_the_far_end_too() {
        let mut dice = noise(7);
        let mut at = 0;
        let map = map(
            0,
            (0..600_000).map(|_| {
                at += 1 + i64::try_from(dice() % 100_000).unwrap();
                at..at + 1
            }),
        );
        let encoded = map.encode();
        assert!(encoded.bytes.len() <= MAX_BYTES && encoded.left_out > 0);
        let read = Map::decode(&encoded.bytes).unwrap();
        assert_eq!(read.acks.count() + encoded.left_out, map.acks.count());
        assert!(read.acks.count() > 20_000, "{}", read.acks.count());
        assert!(
            read.acks
                .ranges()
                .zip(map.acks.ranges())
                .all(|(one, other)| one == other)
        );
    }

    #[test]
    fn a_bomb_is_refused() {
        let zeros = compress(&vec![0; 100 * MAX_PLAIN]);
        assert!(zeros.len() < MAX_BYTES * 4);
        let bomb = compress(&vec![0; 20 * MAX_PLAIN]);
        for coding in [RUNS, BITMAP] {
            let bytes = forge(coding | COMPRESSED, 0, b"", &bomb);
            assert_eq!(Map::decode(&bytes), Err(DecodeError::TooLarge));
        }
    }

    #[test]
    fn every_malformed_input_has_its_name() {
        let huge = [0xFF; 9];
        let compressed = compress(&[1; 300]);
        let followed = [&compressed[..], &[0]].concat();
        let cases: Vec<(Vec<u8>, DecodeError)> = vec![
            (Vec::new(), DecodeError::TooShort(0)),
            (vec![1; FIXED - 1], DecodeError::TooShort(FIXED - 1)),
            (b"seven\n".to_vec(), DecodeError::Format(b's')),
            (vec![2; 100], DecodeError::Format(2)),
            (vec![1; 100], DecodeError::Checksum),
            (vec![1; MAX_BYTES + 1], DecodeError::TooLong(MAX_BYTES + 1)),
            (forge(RUNS, -1, b"", &[]), DecodeError::Base),
            (forge(RUNS, 0, &[0xFF], &[]), DecodeError::Topic),
            (forge(RUNS, 0, &[b'x'; 65], &[]), DecodeError::Topic),
            (forge(4, 0, b"", &[]), DecodeError::Coding(4)),
            (forge(RUNS, 0, b"", &[1]), DecodeError::Runs),
            (forge(RUNS, 0, b"", &[1, 0]), DecodeError::Runs),
            (forge(RUNS, 0, b"", &[1, 1, 0, 1]), DecodeError::Runs),
            (forge(RUNS, 0, b"", &huge), DecodeError::Runs),
            (forge(RUNS, i64::MAX, b"", &[1, 1]), DecodeError::Runs),
            (forge(BITMAP, i64::MAX, b"", &[1]), DecodeError::Runs),
            (forge(COMPRESSED, 0, b"", &[0xFF; 9]), DecodeError::Compression),
            (
                forge(COMPRESSED, 0, b"", &compressed[..compressed.len() - 1]),
                DecodeError::Compression,
            ),
            (forge(COMPRESSED, 0, b"", &followed), DecodeError::Compression),
        ];
        for (bytes, error) in cases {
            assert_eq!(
                Map::decode(&bytes),
                Err(error),
                "{:?}",
                &bytes[..bytes.len().min(40)]
            );
        }
        // An id that is announced and not there.
        let mut bytes = forge(RUNS, 0, b"", &[]);
        bytes[FIXED - 1] = 3;
        let checksum = checksum(&bytes).to_be_bytes();
        bytes.splice(CHECKSUM, checksum);
        assert_eq!(Map::decode(&bytes), Err(DecodeError::Topic));
    }

    fn maps() -> impl Strategy<Value = Map> {
        let topic = prop::option::of((1_i64.., prop::option::of("[A-Za-z0-9_-]{1,64}")));
        let runs = prop::collection::vec((0_i64..5, 1_i64..40), 0..400);
        (topic, 0_i64..1 << 60, runs).prop_map(|(topic, base, runs)| {
            let mut builder = Builder::new(position(base));
            let mut at = base;
            for (gap, done) in runs {
                builder.add(&(at + gap..at + gap + done));
                at += gap + done;
            }
            let topic = topic.map(|(created, id)| TopicIdentity { created, id });
            Map {
                topic,
                acks: builder.finish(),
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(map in maps()) {
            let encoded = map.encode();
            prop_assert_eq!(encoded.left_out, 0);
            prop_assert!(encoded.bytes.len() <= FIXED + MAX_ID_BYTES + map.acks.weight());
            prop_assert_eq!(Map::decode(&encoded.bytes), Ok(map));
        }

        #[test]
        fn what_is_cut_short_or_damaged_is_refused(map in maps(), at in any::<prop::sample::Index>(), bit in 0..8) {
            let bytes = map.encode().bytes;
            let at = at.index(bytes.len());
            prop_assert!(Map::decode(&bytes[..at]).is_err());
            let mut damaged = bytes;
            damaged[at] ^= 1_u8 << bit;
            prop_assert!(Map::decode(&damaged).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(coding in 0_u8..5, base in any::<i64>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _whatever = Map::decode(&forge(coding, base, b"id", &body));
            let _garbage = Map::decode(&body);
        }
    }
}

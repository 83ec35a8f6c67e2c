//! Batches as length-prefixed records: a key's length, the key, a value's length, the value; and so on. Lengths are 32 bits,
//! the most significant byte first; -1 (four bytes 0xff) is no key, or no value: a tombstone.
//!
//! Pure. Nothing is copied: a record's bytes are slices of what has arrived. A length that cannot be ends the batch, because
//! nobody knows where the next record begins.

use bytes::{Buf as _, BytesMut};

use crate::entry::{BadEntry, Entry};

/// Absent.
const NONE: u32 = u32::MAX;
const LENGTH: usize = 4;

/// Takes the next record out of what has arrived. `None`: it is not complete; with `ended`, there is none. After
/// [`BadEntry::CutOff`] nothing of the batch can be read any more.
pub(crate) fn take(arrived: &mut BytesMut, ended: bool) -> Option<Result<Entry, BadEntry>> {
    match whole(arrived) {
        Some(length) => {
            let mut record = arrived.split_to(length);
            let key = part(&mut record);
            let value = part(&mut record);
            let entry = Entry {
                key: key.map(BytesMut::freeze),
                value: value.map(BytesMut::freeze),
                ..Entry::default()
            };
            Some(entry.check())
        }
        None if ended && !arrived.is_empty() => {
            arrived.clear();
            Some(Err(BadEntry::CutOff))
        }
        None => None,
    }
}

/// The length of the first record, when all of it has arrived.
fn whole(arrived: &[u8]) -> Option<usize> {
    let value_at = after(arrived, 0)?;
    after(arrived, value_at).filter(|end| *end <= arrived.len())
}

/// Where the part that begins at `at` ends, when its length has arrived.
fn after(arrived: &[u8], at: usize) -> Option<usize> {
    let length = arrived.get(at..at.checked_add(LENGTH)?)?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let bytes = if length == NONE {
        0
    } else {
        usize::try_from(length).ok()?
    };
    at.checked_add(LENGTH)?.checked_add(bytes)
}

/// Takes a part of a record that has arrived whole.
fn part(record: &mut BytesMut) -> Option<BytesMut> {
    let length = record.get_u32();
    let length = usize::try_from(length).ok().filter(|_| length != NONE)?;
    Some(record.split_to(length))
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;

    use super::*;

    fn record(key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in [key, value] {
            match part {
                None => bytes.put_u32(NONE),
                Some(part) => {
                    bytes.put_u32(u32::try_from(part.len()).unwrap());
                    bytes.put_slice(part);
                }
            }
        }
        bytes
    }

    #[test]
    fn records_are_read_wherever_the_body_was_split() {
        let body = [
            record(Some(b"k"), Some(b"first")),
            record(None, Some(&[0, 255])),
            record(Some(b"k"), None),
            record(Some(b""), Some(b"x")),
        ]
        .concat();
        for split in 0..=body.len() {
            let mut arrived = BytesMut::from(&body[..split]);
            let mut entries: Vec<_> = std::iter::from_fn(|| take(&mut arrived, false)).collect();
            arrived.extend_from_slice(&body[split..]);
            entries.extend(std::iter::from_fn(|| take(&mut arrived, true)));
            let seen: Vec<_> = entries
                .iter()
                .map(|entry| {
                    let entry = entry.as_ref().unwrap();
                    (entry.key.as_deref(), entry.value.as_deref())
                })
                .collect();
            assert_eq!(
                seen,
                [
                    (Some(&b"k"[..]), Some(&b"first"[..])),
                    (None, Some(&[0, 255][..])),
                    (Some(b"k"), None),
                    (None, Some(b"x"))
                ],
                "{split}"
            );
        }
    }

    #[test]
    fn a_body_that_ends_inside_a_record_is_cut_off_once() {
        let whole = record(Some(b"key"), Some(b"value"));
        for length in 1..whole.len() {
            let mut arrived = BytesMut::from(&whole[..length]);
            assert_eq!(take(&mut arrived, false), None);
            assert_eq!(take(&mut arrived, true), Some(Err(BadEntry::CutOff)));
            assert_eq!(take(&mut arrived, true), None);
        }
    }

    #[test]
    fn a_giant_length_wraps_nothing() {
        let mut arrived = BytesMut::from(&[0xff, 0xff, 0xff, 0xfe, 0, 0][..]);
        assert_eq!(take(&mut arrived, false), None);
        assert_eq!(take(&mut arrived, true), Some(Err(BadEntry::CutOff)));
    }

    #[test]
    fn a_record_without_key_and_value_is_refused_alone() {
        let body = [
            record(None, None),
            record(None, Some(b"")),
            record(None, Some(b"x")),
        ]
        .concat();
        let mut arrived = BytesMut::from(&body[..]);
        let entries: Vec<_> = std::iter::from_fn(|| take(&mut arrived, true)).collect();
        assert_eq!(entries[0], Err(BadEntry::TombstoneWithoutKey));
        assert_eq!(entries[1], Err(BadEntry::NoValue));
        assert!(entries[2].is_ok());
    }
}

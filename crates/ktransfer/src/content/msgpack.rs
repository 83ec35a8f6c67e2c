//! Values inside a MessagePack map, as they are packed there. A walk over what is passed over counts the values that are still
//! to come, so that nesting costs no stack and a length that lies costs nothing. Pure.

use std::borrow::Cow;

use super::ContentError;
use super::path::Field;

/// Reads the whole of `body` and keeps what `field` names.
pub(super) fn read<'a>(
    body: &'a [u8],
    field: &Field,
    found: &mut [Option<&'a [u8]>],
) -> Result<(), ContentError> {
    let mut cursor = Cursor { body, at: 0 };
    let read = cursor.map(field, found);
    read.filter(|()| cursor.at == body.len())
        .ok_or(ContentError::MessagePack { at: cursor.at })
}

/// A scalar as text: a text or bytes that are one, a number in digits, `true`, `false`, `null`. `None` for anything else.
pub(super) fn scalar(raw: &[u8]) -> Option<Cow<'_, str>> {
    let mut cursor = Cursor { body: raw, at: 0 };
    let first = *raw.first()?;
    let head = cursor.head()?;
    let payload = raw.get(cursor.at..)?;
    let owned = |text: String| Some(Cow::Owned(text));
    match (first, head) {
        (_, Head::Text(_)) => std::str::from_utf8(payload).ok().map(Cow::Borrowed),
        (0xc0, _) => Some("null".into()),
        (0xc2, _) => Some("false".into()),
        (0xc3, _) => Some("true".into()),
        (0x00..=0x7f, _) => owned(first.to_string()),
        (0xe0..=0xff, _) => owned(i8::from_be_bytes([first]).to_string()),
        (0xca, _) => owned(f32::from_be_bytes(payload.try_into().ok()?).to_string()),
        (0xcb, _) => owned(f64::from_be_bytes(payload.try_into().ok()?).to_string()),
        (0xcc..=0xcf, _) => owned(big_endian(payload).to_string()),
        (0xd0, _) => owned(i8::from_be_bytes(payload.try_into().ok()?).to_string()),
        (0xd1, _) => owned(i16::from_be_bytes(payload.try_into().ok()?).to_string()),
        (0xd2, _) => owned(i32::from_be_bytes(payload.try_into().ok()?).to_string()),
        (0xd3, _) => owned(i64::from_be_bytes(payload.try_into().ok()?).to_string()),
        _ => None,
    }
}

/// The head of a map with so many fields.
pub(super) fn map_head(fields: usize) -> Vec<u8> {
    match (u8::try_from(fields), u16::try_from(fields), u32::try_from(fields)) {
        (Ok(few @ 0..=15), ..) => vec![0x80 | few],
        (_, Ok(more), _) => [&[0xde][..], &more.to_be_bytes()].concat(),
        (.., many) => [&[0xdf][..], &many.unwrap_or(u32::MAX).to_be_bytes()].concat(),
    }
}

/// A text, packed.
pub(super) fn text(text: &str) -> Vec<u8> {
    let len = text.len();
    let mut packed = match (u8::try_from(len), u16::try_from(len), u32::try_from(len)) {
        (Ok(few @ 0..=31), ..) => vec![0xa0 | few],
        (Ok(more), ..) => vec![0xd9, more],
        (_, Ok(more), _) => [&[0xda][..], &more.to_be_bytes()].concat(),
        (.., many) => [&[0xdb][..], &many.unwrap_or(u32::MAX).to_be_bytes()].concat(),
    };
    packed.extend_from_slice(text.as_bytes());
    packed
}

/// What a value begins with, and how much of it follows.
#[derive(Clone, Copy)]
enum Head {
    /// Bytes of a text, or plain ones.
    Text(u64),
    /// Bytes of anything else.
    Other(u64),
    /// Values.
    List(u64),
    /// Pairs of values.
    Map(u64),
}

struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Reads a map and keeps what `field` names; recursive as far as the paths go.
    fn map(&mut self, field: &Field, found: &mut [Option<&'a [u8]>]) -> Option<()> {
        let Head::Map(pairs) = self.head()? else {
            return None;
        };
        for _ in 0..pairs {
            let Some(inside) = self.name()?.and_then(|name| field.get(name)) else {
                self.pass()?;
                continue;
            };
            let begin = self.at;
            self.pass()?;
            inside.found(self.body.get(begin..self.at)?, found);
            if inside.goes_on() && matches!(self.body.get(begin)?, 0x80..=0x8f | 0xde | 0xdf) {
                let end = std::mem::replace(&mut self.at, begin);
                self.map(inside, found)?;
                self.at = end;
            }
        }
        Some(())
    }

    /// A key: its bytes when it is a text.
    fn name(&mut self) -> Option<Option<&'a [u8]>> {
        let begin = self.at;
        if let Head::Text(len) = self.head()? {
            return self.take(len).map(Some);
        }
        self.at = begin;
        self.pass()?;
        Some(None)
    }

    /// Passes one value with everything in it.
    fn pass(&mut self) -> Option<()> {
        let mut to_come = 1_u64;
        while to_come > 0 {
            to_come -= 1;
            match self.head()? {
                Head::Text(bytes) | Head::Other(bytes) => {
                    self.take(bytes)?;
                }
                Head::List(values) => to_come += values,
                Head::Map(pairs) => to_come += 2 * pairs,
            }
        }
        Some(())
    }

    fn head(&mut self) -> Option<Head> {
        let first = *self.body.get(self.at)?;
        let low = |mask: u8| u64::from(first & mask);
        // Bytes that hold the length.
        let width = match first {
            0xc4 | 0xc7 | 0xd9 => 1,
            0xc5 | 0xc8 | 0xda | 0xdc | 0xde => 2,
            0xc6 | 0xc9 | 0xdb | 0xdd | 0xdf => 4,
            _ => 0,
        };
        let length = big_endian(self.body.get(self.at + 1..self.at + 1 + width)?);
        let head = match first {
            0x80..=0x8f => Head::Map(low(0x0f)),
            0x90..=0x9f => Head::List(low(0x0f)),
            0xa0..=0xbf => Head::Text(low(0x1f)),
            // Never used.
            0xc1 => return None,
            0xc4..=0xc6 | 0xd9..=0xdb => Head::Text(length),
            // The type of an extension comes before its bytes.
            0xc7..=0xc9 => Head::Other(length + 1),
            0xcc | 0xd0 => Head::Other(1),
            0xcd | 0xd1 | 0xd4 => Head::Other(2),
            0xd5 => Head::Other(3),
            0xca | 0xce | 0xd2 => Head::Other(4),
            0xd6 => Head::Other(5),
            0xcb | 0xcf | 0xd3 => Head::Other(8),
            0xd7 => Head::Other(9),
            0xd8 => Head::Other(17),
            0xdc | 0xdd => Head::List(length),
            0xde | 0xdf => Head::Map(length),
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => Head::Other(0),
        };
        self.at += 1 + width;
        Some(head)
    }

    fn take(&mut self, bytes: u64) -> Option<&'a [u8]> {
        let end = self.at.checked_add(usize::try_from(bytes).ok()?)?;
        let taken = self.body.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

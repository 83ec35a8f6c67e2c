//! The headers of a record as bytes beside its key and value, kept only by modules that need them. Pure.
//!
//! Each header: the length of its name (4 bytes), the name, the length of its value (4 bytes, or [`NULL`]), the value.

/// Stands for "no value".
const NULL: u32 = u32::MAX;

/// Appends a header. One that is longer than a number of 32 bits says, which no client of Kafka can send, is left out.
pub fn encode(into: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).ok().filter(|length| *length != NULL);
    let (Some(of_name), Some(of_value)) = (length(name.as_bytes()), value.map_or(Some(NULL), length)) else {
        return;
    };
    into.extend_from_slice(&of_name.to_le_bytes());
    into.extend_from_slice(name.as_bytes());
    into.extend_from_slice(&of_value.to_le_bytes());
    into.extend_from_slice(value.unwrap_or_default());
}

/// The headers of bytes that [`encode`] wrote, in their order.
pub fn decode(mut bytes: &[u8]) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
    std::iter::from_fn(move || {
        let name = str::from_utf8(take(&mut bytes)??).ok()?;
        Some((name, take(&mut bytes)?))
    })
}

/// One text with its length; the inner `None` is "no value".
fn take<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    if length == NULL {
        *bytes = rest;
        return Some(None);
    }
    let (text, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_out_as_they_went_in() {
        let headers = [
            ("a", Some(&b"1"[..])),
            ("", Some(b"")),
            ("a", None),
            ("\u{e9}", Some(b"\xff\x00")),
        ];
        let mut bytes = Vec::new();
        for (name, value) in headers {
            encode(&mut bytes, name, value);
        }
        assert_eq!(decode(&bytes).collect::<Vec<_>>(), headers);
        assert_eq!(decode(&[]).count(), 0);
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).count() < headers.len());
        }
    }
}

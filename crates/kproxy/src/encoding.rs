//! Decodes a body that came compressed, to at most so many bytes.
//!
//! Pure. The limit holds while it is decoded: a body of a few kilobytes may announce gigabytes.

use std::io::{self, BufRead};

use bytes::{Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use hyper::HeaderMap;
use hyper::header::CONTENT_ENCODING;

use crate::admission::Permit;
use crate::failure::Failure;

/// The largest window that a zstd frame may ask for, as a power of two: 8 MiB, what RFC 8878 tells decoders to take.
const ZSTD_WINDOW: u32 = 23;

/// How much is decoded before the place in memory grows.
const STEP: usize = 32 * 1024;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As it is.
    Identity,
    /// RFC 1952; several members are one body.
    Gzip,
    /// RFC 8878; several frames are one body.
    Zstd,
}

impl Encoding {
    /// What the request says.
    ///
    /// # Errors
    /// [`Failure::EncodingUnknown`]: another encoding, or more than one.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let mut named = headers.get_all(CONTENT_ENCODING).iter();
        let (first, second) = (named.next(), named.next());
        let Some(first) = first else {
            return Ok(Self::Identity);
        };
        let is = |name: &str| {
            first
                .as_bytes()
                .trim_ascii()
                .eq_ignore_ascii_case(name.as_bytes())
        };
        match () {
            () if second.is_some() => Err(Failure::EncodingUnknown),
            () if is("identity") => Ok(Self::Identity),
            () if is("gzip") || is("x-gzip") => Ok(Self::Gzip),
            () if is("zstd") => Ok(Self::Zstd),
            () => Err(Failure::EncodingUnknown),
        }
    }

    /// The decoded body. `permit` grows with it: both lie in memory until the record is handed over.
    ///
    /// # Errors
    /// [`Failure::BrokenEncoding`]; [`Failure::BodyTooLarge`] as soon as it exceeds `max` bytes; [`Failure::Full`].
    pub(crate) fn decode(self, body: &Bytes, max: usize, permit: &mut Permit) -> Result<Bytes, Failure> {
        match self {
            Self::Identity => Ok(body.clone()),
            Self::Gzip => drain(MultiGzDecoder::new(&body[..]), max, permit),
            Self::Zstd => {
                let reader = zstd_reader(&body[..]).map_err(|_no_memory| Failure::BrokenEncoding)?;
                drain(reader, max, permit)
            }
        }
    }
}

fn zstd_reader<'b>(body: impl BufRead + 'b) -> io::Result<impl io::Read + 'b> {
    let mut reader = zstd::stream::read::Decoder::with_buffer(body)?;
    reader.window_log_max(ZSTD_WINDOW)?;
    Ok(reader)
}

fn drain(mut reader: impl io::Read, max: usize, permit: &mut Permit) -> Result<Bytes, Failure> {
    let encoded = permit.bytes();
    let mut decoded = BytesMut::new();
    let mut step = vec![0; STEP];
    loop {
        let read = reader
            .read(&mut step)
            .map_err(|_broken| Failure::BrokenEncoding)?;
        if read == 0 {
            return Ok(decoded.freeze());
        }
        let length = decoded.len() + read;
        if length > max {
            return Err(Failure::BodyTooLarge(max));
        }
        permit.grow(encoded + length).map_err(Failure::Full)?;
        decoded.extend_from_slice(&step[..read]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use hyper::header::HeaderValue;

    use super::*;
    use crate::admission::{Admission, Full};

    fn decode(encoding: Encoding, body: &Bytes, max: usize) -> Result<Bytes, Failure> {
        let mut permit = Admission::new(1, 1_000_000, 1_000_000).admit(body.len()).unwrap();
        encoding.decode(body, max, &mut permit)
    }

    fn gzip(body: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap().into()
    }

    fn zstd(body: &[u8]) -> Bytes {
        zstd::encode_all(body, 3).unwrap().into()
    }

    #[test]
    fn both_encodings_are_decoded() {
        let body = vec![b'x'; 100_000];
        assert_eq!(decode(Encoding::Gzip, &gzip(&body), 100_000).unwrap(), body);
        assert_eq!(decode(Encoding::Zstd, &zstd(&body), 100_000).unwrap(), body);
    }

    #[test]
    fn members_and_frames_in_a_row_are_one_body() {
        let twice = |part: Bytes| Bytes::from([&part[..], &part[..]].concat());
        assert_eq!(decode(Encoding::Gzip, &twice(gzip(b"ab")), 9).unwrap(), "abab");
        assert_eq!(decode(Encoding::Zstd, &twice(zstd(b"ab")), 9).unwrap(), "abab");
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let bomb = vec![0; 50_000_000];
        assert_eq!(
            decode(Encoding::Gzip, &gzip(&bomb), 1000),
            Err(Failure::BodyTooLarge(1000))
        );
        assert_eq!(
            decode(Encoding::Zstd, &zstd(&bomb), 1000),
            Err(Failure::BodyTooLarge(1000))
        );
    }

    #[test]
    fn what_is_decoded_takes_its_place_in_memory() {
        let admission = Admission::new(1, 100_000, 100_000);
        let body = gzip(&vec![b'x'; 99_000]);
        let mut permit = admission.admit(body.len()).unwrap();
        assert!(Encoding::Gzip.decode(&body, 200_000, &mut permit).is_ok());
        assert_eq!(admission.bytes(), body.len() + 99_000);
        let body = gzip(&vec![b'x'; 101_000]);
        let refused = Encoding::Gzip.decode(&body, 200_000, &mut permit);
        assert_eq!(refused, Err(Failure::Full(Full::Bytes)));
    }

    #[test]
    fn a_body_that_is_not_what_it_says_is_refused() {
        let whole = gzip(b"something longer than nothing");
        let half = whole.slice(..whole.len() / 2);
        for (encoding, body) in [
            (Encoding::Gzip, Bytes::from_static(b"plain")),
            (Encoding::Gzip, half),
            (Encoding::Zstd, Bytes::from_static(b"plain")),
            (Encoding::Zstd, zstd(b"something").slice(..6)),
        ] {
            assert_eq!(
                decode(encoding, &body, 1000),
                Err(Failure::BrokenEncoding),
                "{encoding:?}"
            );
        }
    }

    #[test]
    fn an_encoding_is_known_or_refused() {
        let of = |names: &[&'static str]| {
            let headers: HeaderMap = names
                .iter()
                .map(|name| (CONTENT_ENCODING, HeaderValue::from_static(name)))
                .collect();
            Encoding::of(&headers)
        };
        assert_eq!(of(&[]), Ok(Encoding::Identity));
        assert_eq!(of(&["identity"]), Ok(Encoding::Identity));
        assert_eq!(of(&[" GZIP"]), Ok(Encoding::Gzip));
        assert_eq!(of(&["zstd"]), Ok(Encoding::Zstd));
        for names in [&["br"][..], &["gzip, gzip"], &["gzip", "zstd"], &[""]] {
            assert_eq!(of(names), Err(Failure::EncodingUnknown), "{names:?}");
        }
    }
}

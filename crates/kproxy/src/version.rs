//! Which HTTP a client speaks, by its first bytes. Pure.

/// What every HTTP/2 connection begins with (RFC 9113, 3.4), also one whose version was agreed on in TLS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// 1.0 or 1.1.
    Http1,
    /// 2.
    Http2,
}

impl Version {
    /// What a client speaks that has sent `first`; `None` while both are possible.
    #[must_use]
    pub(crate) fn of(first: &[u8]) -> Option<Self> {
        match first.get(..PREFACE.len()) {
            Some(whole) if whole == PREFACE => Some(Self::Http2),
            None if PREFACE.starts_with(first) => None,
            _ => Some(Self::Http1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_preface_is_http_2() {
        for length in 0..PREFACE.len() {
            assert_eq!(Version::of(&PREFACE[..length]), None);
        }
        assert_eq!(Version::of(PREFACE), Some(Version::Http2));
        assert_eq!(Version::of(&[PREFACE, b"more"].concat()), Some(Version::Http2));
        for first in [
            "G",
            "P ",
            "PO",
            "POST /",
            "PRI * HTTP/1",
            "PRI * HTTP/2.0\r\n\r\nsm\r\n\r\n",
        ] {
            assert_eq!(Version::of(first.as_bytes()), Some(Version::Http1), "{first}");
        }
    }
}

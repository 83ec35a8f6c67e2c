//! What a client shows in its `Authorization` header. Pure.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Base64 with or without padding: clients differ.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A user name and a password, or a token.
#[derive(PartialEq, Eq)]
pub(crate) enum Shown {
    /// `Basic`.
    Password {
        /// The name of a principal.
        user: String,
        /// Any bytes.
        password: Vec<u8>,
    },
    /// `Bearer`.
    Token(String),
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password",
            Self::Token(_) => "Token",
        })
    }
}

impl Shown {
    /// Reads the header's value; `None` when it is none of the two.
    pub(crate) fn of(value: &[u8]) -> Option<Self> {
        let value = str::from_utf8(value).ok()?;
        let (scheme, rest) = value.trim().split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::Token(rest.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = ENGINE.decode(rest).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        Some(Self::Password {
            user: str::from_utf8(&decoded[..colon]).ok()?.to_owned(),
            password: decoded[colon + 1..].to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemes_are_read_in_any_case() {
        let password = |user: &str, password: &str| Shown::Password {
            user: user.to_owned(),
            password: password.as_bytes().to_vec(),
        };
        for (value, shown) in [
            ("Basic dXNlcjpwYXNz", password("user", "pass")),
            ("basic dXNlcjpwYTpzcw==", password("user", "pa:ss")),
            ("BASIC dXNlcjpwYTpzcw", password("user", "pa:ss")),
            ("Basic dXNlcjo=", password("user", "")),
            ("Bearer id.secret", Shown::Token("id.secret".to_owned())),
            ("bearer   id.secret ", Shown::Token("id.secret".to_owned())),
        ] {
            assert!(Shown::of(value.as_bytes()) == Some(shown), "{value}");
        }
    }

    #[test]
    fn anything_else_is_nothing() {
        for value in [
            &b""[..],
            b"Basic",
            b"Basic !!!",
            b"Basic dXNlcg==",
            b"Digest abc",
            b"Basic\tdXNlcjpwYXNz",
            b"\xff \xff",
            b"Basic /zpw",
        ] {
            assert_eq!(Shown::of(value), None, "{}", String::from_utf8_lossy(value));
        }
    }
}

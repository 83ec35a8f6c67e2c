//! Bearer tokens: `<id>.<secret>` with a secret of 256 random bits, kept as the id and the secret's SHA-256.
//!
//! A fast digest is enough: nobody guesses 256 bits. The id finds the digest, so that the comparison of the secret can take the
//! same time whatever is sent.

use std::fmt::Write as _;

use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
/// The longest id that is kept, in bytes.
const LONGEST_ID: usize = 64;

/// A token that was just made.
pub struct Fresh {
    /// What the client sends; kept nowhere.
    pub token: String,
    /// What the credentials file keeps.
    pub kept: String,
}

/// A token as the credentials file keeps it: `<id>:<SHA-256 of the secret in hexadecimal>`.
pub(super) struct Kept {
    pub(super) id: Box<str>,
    pub(super) digest: Digest,
}

/// The SHA-256 of a secret.
#[derive(Clone, Copy)]
pub(super) struct Digest([u8; 32]);

/// Makes a token. Blocks until the system has random bytes, which it has.
///
/// # Errors
/// The system gives no random bytes.
pub fn fresh() -> Result<Fresh, aws_lc_rs::error::Unspecified> {
    let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
    rand::fill(&mut id)?;
    rand::fill(&mut secret)?;
    let (id, secret) = (hexadecimal(&id), URL_SAFE_NO_PAD.encode(secret));
    let kept = hexadecimal(&Digest::of(&secret).0);
    Ok(Fresh {
        token: format!("{id}.{secret}"),
        kept: format!("{id}:{kept}"),
    })
}

/// The id and the secret of a token that a client sent.
pub(super) fn split(token: &str) -> Option<(&str, &str)> {
    token.split_once('.')
}

impl Kept {
    /// Reads what a file keeps; `None` when it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (id, digest) = text.split_once(':')?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(legal) {
            return None;
        }
        let digits = digest.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self {
            id: id.into(),
            digest: Digest(bytes),
        })
    }
}

impl Digest {
    fn of(secret: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, secret.as_bytes());
        Self(digest.as_ref().try_into().expect("a SHA-256 has 32 bytes"))
    }

    /// Whether it is that of this secret; takes the same time whatever the secret is.
    pub(super) fn is_of(&self, secret: &str) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &Self::of(secret).0).is_ok()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes every text");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_token_fits_what_is_kept_of_it_and_no_other() {
        let (one, two) = (fresh().unwrap(), fresh().unwrap());
        let kept = Kept::parse(&one.kept).unwrap();
        let (id, secret) = split(&one.token).unwrap();
        assert_eq!(id, &*kept.id);
        assert!(kept.digest.is_of(secret));
        let (other_id, other) = split(&two.token).unwrap();
        assert!(!kept.digest.is_of(other) && other_id != id);
        assert!(!kept.digest.is_of("") && !kept.digest.is_of(&secret[1..]));
        assert!(!one.kept.contains(secret));
        let bytes = URL_SAFE_NO_PAD.decode(secret).unwrap();
        assert_eq!(bytes.len() * 8, 256);
    }

    #[test]
    fn the_digest_is_sha_256() {
        // The digest of "abc" in the standard (FIPS 180-2).
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(Kept::parse(&format!("id:{abc}")).unwrap().digest.is_of("abc"));
    }

    #[test]
    fn what_is_no_kept_token_is_refused() {
        let digest = "0".repeat(64);
        for text in [
            String::new(),
            "id".to_owned(),
            format!(":{digest}"),
            format!("a b:{digest}"),
            format!("a.b:{digest}"),
            format!("id:{}", &digest[1..]),
            format!("id:{}+1", &digest[2..]),
            format!("id:{digest}0"),
            format!("{}:{digest}", "x".repeat(65)),
        ] {
            assert!(Kept::parse(&text).is_none(), "{text}");
        }
    }
}

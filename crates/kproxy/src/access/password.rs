//! Passwords: kept as argon2id hashes, which take tens of milliseconds and megabytes to verify, on purpose.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{ARGON2ID_IDENT, Argon2, Params};

/// The dearest hash that is taken: two of them may be verified at once.
const MAX_KIB: u32 = 65_536;
const MAX_PASSES: u32 = 10;
const MAX_LANES: u32 = 4;

/// A hash of a password.
pub(super) struct Hash(PasswordHash);

/// Why a text is no hash that is taken. Never shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadHash {
    /// Another form, or another algorithm.
    #[error("is no argon2id hash; `kproxy password hash` makes one")]
    Form,
    /// It would take too much memory or time.
    #[error(
        "takes more than 64 MiB, 10 passes or 4 lanes to verify; `kproxy password hash` makes a cheaper one"
    )]
    Dear,
}

/// The hash of a password, with a salt of its own.
///
/// # Errors
/// The system gives no random bytes.
pub fn hash(password: &[u8]) -> Result<String, argon2::password_hash::Error> {
    Ok(Argon2::default().hash_password(password)?.to_string())
}

impl Hash {
    /// Reads a hash as a file keeps it: `$argon2id$v=19$m=...,t=...,p=...$salt$hash`.
    ///
    /// # Errors
    /// It is none, or too dear.
    pub(super) fn parse(text: &str) -> Result<Self, BadHash> {
        let hash = PasswordHash::new(text).map_err(|_no_hash| BadHash::Form)?;
        if hash.algorithm != ARGON2ID_IDENT || hash.salt.is_none() || hash.hash.is_none() {
            return Err(BadHash::Form);
        }
        let params = Params::try_from(&hash).map_err(|_no_params| BadHash::Form)?;
        if params.m_cost() > MAX_KIB || params.t_cost() > MAX_PASSES || params.p_cost() > MAX_LANES {
            return Err(BadHash::Dear);
        }
        Ok(Self(hash))
    }

    /// Whether it is that of this password. Blocks for tens of milliseconds.
    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        Argon2::default().verify_password(password, &self.0).is_ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A hash that is cheap to verify.
    pub(in super::super) fn cheap(password: &str) -> String {
        let params = Params::new(8, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        argon2.hash_password(password.as_bytes()).unwrap().to_string()
    }

    #[test]
    fn a_hash_fits_its_password_and_no_other() {
        let text = hash(b"s3cret").unwrap();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        let parsed = Hash::parse(&text).unwrap();
        assert!(parsed.is_of(b"s3cret") && !parsed.is_of(b"s3cre") && !parsed.is_of(b""));
        assert_ne!(hash(b"s3cret").unwrap(), text, "each has a salt of its own");
    }

    #[test]
    fn what_is_no_hash_or_too_dear_is_refused_without_being_shown() {
        let cheap = cheap("x");
        assert!(Hash::parse(&cheap).is_ok());
        for text in ["s3cret", "", "$2b$12$abc", &cheap.replace("argon2id", "argon2i")] {
            let refused = Hash::parse(text).err().unwrap();
            assert_eq!(refused, BadHash::Form, "{text}");
            assert!(!refused.to_string().contains("s3cret"));
        }
        for dear in ["m=65537,t=1", "m=8,t=11"] {
            let text = cheap.replace("m=8,t=1", dear);
            assert_eq!(Hash::parse(&text).err(), Some(BadHash::Dear), "{text}");
        }
    }
}

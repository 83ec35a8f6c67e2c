//! The identity of a record's key: a 128-bit keyed hash, so that scheduling keeps 16 bytes a key instead of the
//! key itself, and nobody who chooses keys can make two of them collide.

use std::hash::{BuildHasherDefault, Hash, Hasher};

use serde::Deserialize;
use siphasher::sip128::{Hasher128, SipHasher13};

/// The identity of one key inside one partition. Two different keys have the same identity with a probability
/// of 2^-128 a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId([u64; 2]);

impl Hash for KeyId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

/// What has an order among a module's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderBy {
    /// The records of one key in one partition. An empty key orders nothing, as in the original.
    Key,
    /// All records of a partition.
    Partition,
    /// Nothing.
    #[serde(rename = "none")]
    Nothing,
}

impl OrderBy {
    /// The identity of what the record with this key has an order with, inside its partition.
    #[must_use]
    pub fn id(self, hasher: &KeyHasher, key: Option<&[u8]>) -> Option<KeyId> {
        match self {
            Self::Key => key.filter(|key| !key.is_empty()).map(|key| hasher.id(key)),
            // There is no other in the partition.
            Self::Partition => Some(KeyId([0; 2])),
            Self::Nothing => None,
        }
    }
}

/// Makes [`KeyId`]s with a secret of this process.
#[derive(Clone, Copy, Debug)]
pub struct KeyHasher {
    secret: [u8; 16],
}

impl KeyHasher {
    /// A hasher with the given secret: random in production, fixed in tests.
    #[must_use]
    pub const fn new(secret: [u8; 16]) -> Self {
        Self { secret }
    }

    /// The identity of `key`.
    #[must_use]
    pub fn id(&self, key: &[u8]) -> KeyId {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        hasher.write(key);
        let hash = hasher.finish128();
        KeyId([hash.h1, hash.h2])
    }
}

/// A map hasher that takes one half of a [`KeyId`], which is as random as a hash can be.
#[derive(Default)]
pub struct Taken(u64);

/// Builds [`Taken`] for a `HashMap` keyed by [`KeyId`].
pub type TakeHash = BuildHasherDefault<Taken>;

impl Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_an_order_has_one_identity() {
        let hasher = KeyHasher::new([7; 16]);
        let id = |order: OrderBy, key: Option<&[u8]>| order.id(&hasher, key);
        let (a, b) = (Some(&b"a"[..]), Some(&b"b"[..]));
        for order in [OrderBy::Key, OrderBy::Partition] {
            assert!(id(order, a).is_some());
            assert_eq!(id(order, a), id(order, a));
        }
        assert_ne!(id(OrderBy::Key, a), id(OrderBy::Key, b));
        assert_eq!(
            (id(OrderBy::Key, None), id(OrderBy::Key, Some(b""))),
            (None, None)
        );
        for key in [b, None, Some(b"")] {
            assert_eq!(id(OrderBy::Partition, a), id(OrderBy::Partition, key));
            assert_eq!(id(OrderBy::Nothing, key), None);
        }
    }

    #[test]
    fn identity_depends_on_the_key_and_the_secret() {
        let hasher = KeyHasher::new([7; 16]);
        assert_eq!(hasher.id(b"a"), hasher.id(b"a"));
        assert_ne!(hasher.id(b"a"), hasher.id(b"b"));
        assert_ne!(hasher.id(b""), hasher.id(b"\0"));
        assert_ne!(hasher.id(b"a"), KeyHasher::new([8; 16]).id(b"a"));
    }
}

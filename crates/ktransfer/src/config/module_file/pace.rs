//! The keys that say how fast a module may push.

use std::num::NonZeroU64;

use kcommon::config::{Key, Kind, Need};
use serde::Deserialize;

use crate::pace::Limits;

/// See the module.
pub(super) const KEYS: &[Key] = &[
    Key {
        path: "max_records_per_second",
        kind: Kind::Int {
            min: 0,
            max: 1_000_000_000,
        },
        need: Need::Default("0"),
        meaning: "Pushes a second at most, repeated ones included, on all instances together: each has the share of its partitions. \
                  A catch-up keeps to it. 0 = no limit.",
        changed: "New.",
    },
    Key {
        path: "max_bytes_per_second",
        kind: Kind::Int {
            min: 0,
            max: 1_000_000_000_000,
        },
        need: Need::Default("0"),
        meaning: "Bytes of bodies, as they stand in Kafka, that are pushed a second at most, in the same way. 0 = no limit.",
        changed: "New.",
    },
];

/// The keys of this file as written.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::config) struct PaceFile {
    pub(in crate::config) max_records_per_second: u64,
    pub(in crate::config) max_bytes_per_second: u64,
}

impl PaceFile {
    pub(in crate::config) fn limits(&self) -> Limits {
        Limits {
            records: NonZeroU64::new(self.max_records_per_second),
            bytes: NonZeroU64::new(self.max_bytes_per_second),
        }
    }
}

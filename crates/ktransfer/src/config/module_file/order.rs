//! The keys that say in which order a topic's records are pushed, and what follows when the log does not hold the next one.

use kcommon::config::{Key, Kind, Need};
use serde::Deserialize;

use crate::key::OrderBy;
use crate::range::Resort;

/// See the module.
pub(super) const KEYS: &[Key] = &[
    Key {
        path: "order",
        kind: Kind::OneOf(&["key", "partition", "none"]),
        need: Need::Default("key"),
        meaning: "What is pushed one record after another, in order: the records of a `key`, those of a whole `partition`, keyed or \
                  not, or nothing (`none`). With `partition` a record that fails holds up its \
                  partition, and at most 1,000 records of it are taken in.",
        changed: "New.",
    },
    Key {
        path: "serialize_by_key",
        kind: Kind::Bool,
        need: Need::Optional,
        meaning: "The former key for the same: `true` is `order: key`, `false` is `order: none`. Not beside an `order` that says \
                  something else.",
        changed: "",
    },
    Key {
        path: "out_of_range",
        kind: Kind::Section,
        need: Need::Default("{}"),
        meaning: "What happens when Kafka does not have the record that is next.",
        changed: "New; the original began at the oldest record, silently.",
    },
    Key {
        path: "out_of_range.below",
        kind: Kind::OneOf(&["earliest", "latest", "stop"]),
        need: Need::Default("earliest"),
        meaning: "It was deleted: go on at the oldest record there is, at the next one to arrive, or `stop` the partition until its \
                  offset is moved. What is passed over is counted and logged as lost.",
        changed: "New.",
    },
    Key {
        path: "out_of_range.above",
        kind: Kind::OneOf(&["stop", "earliest", "latest"]),
        need: Need::Default("stop"),
        meaning: "The log ends before it, and the module has read nothing of it since it took the partition: `stop` until the log \
                  reaches it or its offset is moved, or go on at the oldest record or at the next one to arrive. A module that has \
                  read the log goes on where the log ends, whatever is set here.",
        changed: "New.",
    },
    Key {
        path: "out_of_range.after_ms",
        kind: Kind::Int {
            min: 0,
            max: 86_400_000,
        },
        need: Need::Default("0"),
        meaning: "For so long (ms) the partition waits and asks again before it goes on elsewhere, so that a leader that comes back \
                  with the records heals it.",
        changed: "New.",
    },
];

/// The keys of this file as written.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::config) struct OrderFile {
    pub(in crate::config) order: OrderBy,
    pub(in crate::config) serialize_by_key: Option<bool>,
    pub(in crate::config) out_of_range: OutOfRangeFile,
}

/// The section `out_of_range`.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::config) struct OutOfRangeFile {
    pub(in crate::config) below: Resort,
    pub(in crate::config) above: Resort,
    pub(in crate::config) after_ms: u64,
}

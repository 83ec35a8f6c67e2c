//! The keys that say what of a topic is pushed by its bodies.

use std::fmt;

use kcommon::config::{Key, Kind, Need};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::content::OnError;

/// See the module.
pub(super) const KEYS: &[Key] = &[
    Key {
        path: "filter",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "Push only records whose body, a JSON object or a MessagePack map, has one of some values in a field. Records that \
                  are filtered out are committed.",
        changed: "New.",
    },
    Key {
        path: "filter.field",
        kind: Kind::Text,
        need: Need::Required,
        meaning: "The field: `type`, or `user.address.city` for one inside others, at most 16 deep.",
        changed: "New.",
    },
    Key {
        path: "filter.in",
        kind: Kind::TextList { min: 1 },
        need: Need::Required,
        meaning: "Its values, compared as texts: numbers as they are written in the body, `true`, `false` and `null` by these words. \
                  A field that is absent, or is a list or a map, has none of them.",
        changed: "New.",
    },
    Key {
        path: "filter_expr",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "Push only records for which this CEL expression is true, such as `body.type == 'order' && body.total > 100`. It \
                  speaks of `body`, `topic`, `partition`, `offset`, `key` (null without) and `timestamp` (ms). No loops and no \
                  regular expressions; at most 4096 bytes, 64 references and 16 `+`, on bodies up to 64 KiB.",
        changed: "New.",
    },
    Key {
        path: "project",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "Push a flat map of some fields instead of the whole body, JSON or MessagePack as the body is; at most 1000 fields. \
                  Fields that a body does not have are left out.",
        changed: "New.",
    },
    Key {
        path: "project.*",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "Name of the field in what is pushed: its place in the record's body, as in `filter.field`.",
        changed: "New.",
    },
    Key {
        path: "transform_expr",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "Push the map that this CEL expression makes, such as `{'id': body.order.id, 'from': topic}`, in the form of the \
                  body. As `filter_expr`; not beside `project`.",
        changed: "New.",
    },
    Key {
        path: "on_error",
        kind: Kind::OneOf(&["skip", "push", "stop"]),
        need: Need::Default("skip"),
        meaning: "With one of these keys, what happens to a record whose body cannot be read (neither JSON object nor MessagePack \
                  map, broken, or over 4 MiB) or for which an expression has no value. `skip` it (counted and logged), `push` it as it is, or `stop` its partition \
                  there.",
        changed: "New.",
    },
];

/// The keys of this file as written.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::config) struct ContentFile {
    pub(in crate::config) filter: Option<FilterFile>,
    pub(in crate::config) filter_expr: Option<String>,
    pub(in crate::config) transform_expr: Option<String>,
    #[serde(default, deserialize_with = "pairs")]
    pub(in crate::config) project: Option<Vec<(String, String)>>,
    pub(in crate::config) on_error: OnError,
}

/// The section `filter`.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::config) struct FilterFile {
    pub(in crate::config) field: String,
    #[serde(rename = "in")]
    pub(in crate::config) values: Vec<String>,
}

/// A map of texts in the order of the file.
fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<(String, String)>>, D::Error> {
    struct Pairs;

    impl<'de> Visitor<'de> for Pairs {
        type Value = Vec<(String, String)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of texts")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }

    deserializer.deserialize_map(Pairs).map(Some)
}

//! What one live instance of a module says it reads: the content of a znode below `ids`.
//!
//! Everything that is not plainly a list of topics is "nothing known": the znode may be of another tool, of a newer
//! version, half written, or garbage, and none of that may hide the module. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kcommon::kafka::TopicName;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// More topics than any consumer of this layout subscribes to; a znode that names more is not believed.
const MAX_TOPICS: usize = 1000;

#[derive(Deserialize)]
struct Registration {
    #[serde(default)]
    pattern: Option<String>,
    subscription: BTreeMap<String, IgnoredAny>,
}

/// The topics that the instance with this registration reads; empty when the registration does not tell.
///
/// Subscriptions by pattern (`white_list`, `black_list` of the Java consumer) name expressions, not topics, and count as
/// not told.
#[must_use]
pub(crate) fn topics(registration: &[u8]) -> BTreeSet<String> {
    let Ok(parsed) = serde_json::from_slice::<Registration>(registration) else {
        return BTreeSet::new();
    };
    let by_name = parsed
        .pattern
        .as_deref()
        .is_none_or(|pattern| pattern == "static");
    if !by_name || parsed.subscription.len() > MAX_TOPICS {
        return BTreeSet::new();
    }
    let legal = |topic: &String| TopicName::check(topic).is_ok();
    parsed.subscription.into_keys().filter(legal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(registration: &str) -> Vec<String> {
        topics(registration.as_bytes()).into_iter().collect()
    }

    #[test]
    fn the_originals_registration_names_its_topic() {
        let registration =
            r#"{"pattern":"static","subscription":{"test_topic":1},"timestamp":1448000000,"version":1}"#;
        assert_eq!(told(registration), ["test_topic"]);
    }

    #[test]
    fn more_fields_and_another_kind_of_number_do_not_matter() {
        let registration = r#"{"version":1,"timestamp":"1448000000","pattern":"static","khw":{"a":[1]},
            "subscription":{"b":1,"a":{"threads":2}}}"#;
        assert_eq!(told(registration), ["a", "b"]);
    }

    #[test]
    fn a_pattern_names_no_topic() {
        assert!(told(r#"{"pattern":"white_list","subscription":{"a|b":1}}"#).is_empty());
    }

    #[test]
    fn garbage_names_no_topic() {
        for garbage in [
            "",
            "null",
            "[]",
            "{",
            "\u{0}\u{1}",
            r#"{"subscription":"x"}"#,
            "1e999",
        ] {
            assert!(told(garbage).is_empty(), "{garbage}");
        }
        assert!(topics(&[0xff, 0xfe]).is_empty());
        assert_eq!(told(r#"{"subscription":{"":1,"a b":1,"good":1}}"#), ["good"]);
    }
}

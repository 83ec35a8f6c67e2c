//! The filter by method: a record is pushed when its body is a MessagePack map whose `method` is one of the module's.
//!
//! The body is read once from end to end without building its values; nesting is bounded. A body that is no such map is
//! undecodable as a whole, never half of it: what then happens is the module's `on_undecodable`. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

/// Nesting of a body; deeper ones count as undecodable.
const MAX_DEPTH: usize = 128;

/// The methods a module pushes; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodFilter {
    methods: BTreeSet<String>,
}

/// What the filter says about one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodCheck<'body> {
    /// To be pushed; the method for `{#METHOD}`.
    Matched(&'body str),
    /// A method that this module does not push: done without a push.
    NotMatched,
    /// No MessagePack map with a text under `method`.
    Undecodable,
}

impl MethodFilter {
    /// A filter of these methods, compared byte by byte.
    #[must_use]
    pub fn new(methods: impl IntoIterator<Item = String>) -> Self {
        Self {
            methods: methods.into_iter().collect(),
        }
    }

    /// Checks one body. When `method` stands in the map twice, the last one counts, as in the original. Bytes after the map are
    /// ignored, as in the original.
    #[must_use]
    pub fn check<'body>(&self, body: &'body [u8]) -> MethodCheck<'body> {
        let mut deserializer = rmp_serde::Deserializer::from_read_ref(body);
        deserializer.set_max_depth(MAX_DEPTH);
        match deserializer.deserialize_map(Body) {
            Ok(Some(method)) if self.methods.contains(method) => MethodCheck::Matched(method),
            Ok(Some(_other)) => MethodCheck::NotMatched,
            Ok(None) | Err(_) => MethodCheck::Undecodable,
        }
    }
}

/// Reads a whole map and keeps its `method`.
struct Body;

impl<'body> Visitor<'body> for Body {
    type Value = Option<&'body str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'body>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut method = None;
        while let Some(is_method) = map.next_key_seed(IsMethod)? {
            if is_method {
                method = Some(map.next_value::<&'body str>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(method)
    }
}

/// Whether a key is the text `method`; keys of any other type are somebody else's business.
struct IsMethod;

impl<'de> DeserializeSeed<'de> for IsMethod {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for IsMethod {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == "method")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<bool, E> {
        Ok(key == b"method")
    }

    fn visit_i64<E>(self, _key: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _key: u64) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Serialize;
    use std::collections::BTreeMap;

    fn filter() -> MethodFilter {
        MethodFilter::new(["TestUserName".to_owned(), "TestReply".to_owned()])
    }

    fn pack(value: &impl Serialize) -> Vec<u8> {
        rmp_serde::to_vec_named(value).unwrap()
    }

    #[derive(Serialize)]
    struct Order<'a> {
        id: u64,
        #[serde(with = "serde_bytes_like")]
        blob: &'a [u8],
        nested: BTreeMap<&'a str, Vec<Option<f64>>>,
        method: &'a str,
        after: bool,
    }

    mod serde_bytes_like {
        pub(super) fn serialize<S: serde::Serializer>(
            bytes: &[u8],
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(bytes)
        }
    }

    fn order(method: &str) -> Vec<u8> {
        pack(&Order {
            id: u64::MAX,
            blob: b"\xff\x00",
            nested: BTreeMap::from([("x", vec![None, Some(1.5)])]),
            method,
            after: true,
        })
    }

    #[test]
    fn a_method_of_the_list_matches_among_values_of_every_type() {
        assert_eq!(
            filter().check(&order("TestReply")),
            MethodCheck::Matched("TestReply")
        );
        assert_eq!(filter().check(&order("testreply")), MethodCheck::NotMatched);
        assert_eq!(filter().check(&order("")), MethodCheck::NotMatched);
    }

    #[test]
    fn a_body_that_is_no_map_with_a_method_is_undecodable() {
        for (body, why) in [
            (&b""[..], "empty"),
            (b"{\"method\":\"TestReply\"}", "JSON"),
            (b"\x80", "no method"),
            (b"\x92\xa6method\xa9TestReply", "a list"),
            (b"\xa9TestReply", "a text"),
            (b"\xc0", "nil"),
            (b"\x81\xa6method\x05", "a number as method"),
            (b"\x81\xa6method\xc4\x01\xff", "bytes that are no UTF-8 as method"),
            (b"\x81\xa6method\xa2\xff\xfe", "a method that is not UTF-8"),
            (b"\x81\xa6method", "cut after the key"),
            (b"\x82\xa6method\xa9TestReply", "cut after the method"),
            (
                b"\x82\xa6method\xa9TestReply\xa1x\xc1",
                "a byte that MessagePack never uses",
            ),
            (
                b"\xdf\xff\xff\xff\xff",
                "a map that claims four thousand million entries",
            ),
            (
                b"\x81\xa1x\xc6\xff\xff\xff\xff",
                "bytes that claim four gigabytes",
            ),
        ] {
            assert_eq!(filter().check(body), MethodCheck::Undecodable, "{why}");
        }
    }

    #[test]
    fn extension_types_numbers_as_keys_and_bytes_after_the_map_do_no_harm() {
        let body = b"\x83\x01\xd6\xff\x00\x00\x00\x00\xa1t\xc7\x03\x05abc\xa6method\xa9TestReplytail";
        assert_eq!(filter().check(body), MethodCheck::Matched("TestReply"));
    }

    #[test]
    fn packers_that_write_texts_as_bytes_are_understood() {
        let body = b"\x81\xc4\x06method\xc4\x09TestReply";
        assert_eq!(filter().check(body), MethodCheck::Matched("TestReply"));
    }

    #[test]
    fn the_last_of_two_methods_counts() {
        let body = b"\x82\xa6method\xa1x\xa6method\xa9TestReply";
        assert_eq!(filter().check(body), MethodCheck::Matched("TestReply"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| {
            let mut body = b"\x82\xa1x".to_vec();
            body.extend(std::iter::repeat_n(0x91, depth));
            body.push(0xc0);
            body.extend(b"\xa6method\xa9TestReply");
            body
        };
        assert_eq!(filter().check(&nested(100)), MethodCheck::Matched("TestReply"));
        assert_eq!(filter().check(&nested(100_000)), MethodCheck::Undecodable);
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_outcome(body: Vec<u8>) {
            let _outcome = filter().check(&body);
        }

        #[test]
        fn a_truncated_body_is_undecodable(cut in 0_usize..40) {
            let body = order("TestReply");
            let cut = cut.min(body.len() - 1);
            prop_assert_eq!(filter().check(&body[..cut]), MethodCheck::Undecodable);
        }
    }
}

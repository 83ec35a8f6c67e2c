//! Filter and projection, on what people write and against reading the whole body into a tree.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

pub(crate) fn subject(body: &[u8]) -> Subject<'_> {
    Subject {
        topic: "t",
        partition: PartitionId(3),
        offset: RecordOffset::try_from(42).unwrap(),
        key: Some(b"k"),
        timestamp: 1_700_000_000_000,
        body,
    }
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn filter(field: &str, values: &[&str]) -> Filter {
    Filter::new(&path(field), values.iter().map(|&value| value.to_owned()))
}

fn projection(fields: &[(&str, &str)]) -> Projection {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, place)| ((*name).to_owned(), path(place)))
        .collect();
    Projection::new(&fields)
}

fn pack(body: &Value) -> Vec<u8> {
    rmp_serde::to_vec_named(body).unwrap()
}

fn write(body: &Value) -> Vec<u8> {
    serde_json::to_vec(body).unwrap()
}

fn unpack(body: &[u8]) -> Value {
    rmp_serde::from_slice(body).unwrap()
}

#[test]
fn a_field_that_holds_one_of_the_values_admits_its_record_in_both_forms() {
    let order = json!({"type": "order", "user": {"id": 7, "vip": true, "name": "a\"\u{e9}", "none": null}, "list": ["order"]});
    for (field, values, admitted) in [
        ("type", &["order", "refund"][..], true),
        ("type", &["refund"], false),
        ("type", &["Order"], false),
        ("user.id", &["7"], true),
        ("user.id", &["70"], false),
        ("user.vip", &["true"], true),
        ("user.none", &["null"], true),
        ("user.name", &["a\"\u{e9}"], true),
        ("user", &["7"], false),
        ("list", &["order"], false),
        ("absent", &["order", "null", ""], false),
        ("type.order", &["order"], false),
        ("user.id.x", &["7"], false),
    ] {
        for body in [write(&order), pack(&order)] {
            assert_eq!(
                filter(field, values).admits(&body),
                Ok(admitted),
                "{field} {values:?}"
            );
        }
    }
}

#[test]
fn numbers_of_every_width_are_compared_by_their_digits() {
    for number in [
        0,
        1,
        127,
        128,
        255,
        256,
        65_535,
        65_536,
        4_294_967_295,
        4_294_967_296,
        i64::MAX,
        -1,
        -32,
        -33,
        -128,
        -129,
        -32_768,
        -32_769,
        -2_147_483_649,
        i64::MIN,
    ] {
        let (body, text) = (json!({ "n": number }), number.to_string());
        for body in [write(&body), pack(&body)] {
            assert_eq!(filter("n", &[&text]).admits(&body), Ok(true), "{number}");
        }
    }
    assert_eq!(filter("n", &["1.5"]).admits(&pack(&json!({"n": 1.5}))), Ok(true));
    assert_eq!(
        filter("n", &["1.50"]).admits(b"{\"n\":1.50}"),
        Ok(true),
        "as it is written"
    );
}

#[test]
fn the_last_of_two_fields_counts_with_all_that_is_in_it() {
    let twice = br#"{"a":{"b":1},"a":{"c":2}}"#;
    assert_eq!(filter("a.b", &["1"]).admits(twice), Ok(false));
    assert_eq!(filter("a.c", &["2"]).admits(twice), Ok(true));
    let twice = b"\x82\xa1a\x81\xa1b\x01\xa1a\x81\xa1c\x02";
    assert_eq!(filter("a.b", &["1"]).admits(twice), Ok(false));
    assert_eq!(filter("a.c", &["2"]).admits(twice), Ok(true));
}

#[test]
fn nested_fields_are_flattened_renamed_and_written_in_the_order_of_the_file() {
    let body = json!({
        "event": {"id": 9_007_199_254_740_993_u64, "at": 1.5, "tags": ["a", {"b": null}]},
        "user": {"name": "\u{e9}\"x", "address": {"city": "Riga", "zip": "1010"}},
        "noise": [1, 2, 3],
    });
    let project = projection(&[
        ("who", "user.name"),
        ("city", "user.address.city"),
        ("id", "event.id"),
        ("tags", "event.tags"),
        ("address", "user.address"),
        ("odd \"name\"\n", "event.at"),
        ("absent", "user.phone"),
    ]);
    let made = project.of(&write(&body)).unwrap();
    let expected = r#"{"who":"é\"x","city":"Riga","id":9007199254740993,"tags":["a",{"b":null}],"address":{"city":"Riga","zip":"1010"},"odd \"name\"\n":1.5}"#;
    assert_eq!(String::from_utf8(made).unwrap(), expected);
    let expected: Value = serde_json::from_str(expected).unwrap();
    assert_eq!(unpack(&project.of(&pack(&body)).unwrap()), expected);
}

#[test]
fn values_are_passed_on_byte_by_byte() {
    let body = br#" {"n" : 1.50e+02 , "s":"\u00e9\/", "big": 123456789012345678901234567890} "#;
    let project = projection(&[("s", "s"), ("n", "n"), ("big", "big")]);
    assert_eq!(
        String::from_utf8(project.of(body).unwrap()).unwrap(),
        r#"{"s":"\u00e9\/","n":1.50e+02,"big":123456789012345678901234567890}"#
    );
    // Bytes and extensions are what JSON does not know.
    let body = b"\x82\xa1b\xc4\x02\xff\x00\xa1t\xd6\xff\x00\x00\x00\x07";
    let made = projection(&[("time", "t"), ("bytes", "b")]).of(body).unwrap();
    assert_eq!(
        made,
        b"\x82\xa4time\xd6\xff\x00\x00\x00\x07\xa5bytes\xc4\x02\xff\x00"
    );
}

#[test]
fn maps_of_many_fields_and_long_names_are_packed_as_others_read_them() {
    for count in [0_usize, 15, 16, 300] {
        let names: Vec<String> = (0..count)
            .map(|nth| format!("{nth:0>width$}", width = [3, 40, 300][nth % 3]))
            .collect();
        let body = Value::Object(
            names
                .iter()
                .map(|name| (name.clone(), json!(name.len())))
                .collect(),
        );
        let fields: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
        assert_eq!(
            unpack(&projection(&fields).of(&pack(&body)).unwrap()),
            body,
            "{count}"
        );
    }
}

#[test]
fn what_is_broken_anywhere_is_an_error_that_says_where_and_not_what() {
    let all = projection(&[("a", "a"), ("c", "a.b.c")]);
    for (body, why) in [
        (&b""[..], "empty"),
        (b"  ", "blank"),
        (b"null", "null"),
        (b"[{\"a\":1}]", "a list"),
        (b"\"secret\"", "a text"),
        (b"\x92\x01\x02", "a packed list"),
        (b" \x81\xa1a\x01", "white space before a packed map"),
        (b"\xef\xbb\xbf{}", "a byte order mark"),
        (b"{\"a\":\"secret\"", "cut off"),
        (b"{\"a\":\"secret\"}}", "too much"),
        (b"{\"a\":{\"b\":{\"c\":secret}}}", "no JSON inside"),
        (b"{\"a\":\"\xff\"}", "no UTF-8"),
        (b"{\"x\":01}", "a number that is none, in what nobody wants"),
        (b"\x81\xa1a", "no value"),
        (b"\x82\xa1a\x01", "one of two"),
        (b"\x81\xa1a\x01\x00", "too much, packed"),
        (b"\x81\xa1a\xc1", "a byte that is never used"),
        (
            b"\x81\xa1x\xdb\xff\xff\xff\xff",
            "a text that claims four gigabytes",
        ),
        (
            b"\x81\xa1x\xdd\xff\xff\xff\xff",
            "a list that claims four thousand million entries",
        ),
        (b"\x81\xa1x\xdf\xff\xff\xff\xff", "a map that claims as many"),
        (b"\xdf\xff\xff\xff\xff", "a body that claims as many"),
    ] {
        let error = all.of(body).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{why}: {error}");
        assert_eq!(filter("a", &["1"]).admits(body).unwrap_err(), error, "{why}");
    }
}

#[test]
fn deep_nesting_is_passed_over_and_reached_only_by_its_path() {
    let deep = 200_000;
    let json = [b"{\"x\":".repeat(deep), b"1".to_vec(), b"}".repeat(deep)].concat();
    let packed = [b"\x81\xa1x".repeat(deep), b"\x01".to_vec()].concat();
    for body in [json, packed] {
        assert_eq!(filter("y", &["1"]).admits(&body), Ok(false));
        let far = vec!["x"; MAX_DEPTH].join(".");
        assert_eq!(filter(&far, &["1"]).admits(&body), Ok(false));
    }
    assert_eq!(
        Path::parse(&vec!["x"; MAX_DEPTH + 1].join(".")),
        Err(PathError::TooDeep)
    );
    for text in ["", ".", "a.", ".a", "a..b"] {
        assert_eq!(Path::parse(text), Err(PathError::EmptyName), "{text:?}");
    }
}

#[test]
fn bodies_and_what_is_made_of_them_are_bounded() {
    let large = write(&json!({"a": "x".repeat(MAX_BODY)}));
    assert_eq!(filter("a", &["1"]).admits(&large), Err(ContentError::TooLarge));
    let half = json!({"a": "x".repeat(MAX_BODY / 2)});
    for body in [write(&half), pack(&half)] {
        assert!(projection(&[("a", "a")]).of(&body).is_ok());
        let twice = projection(&[("a", "a"), ("b", "a")]);
        assert_eq!(twice.of(&body), Err(ContentError::OutputTooLarge));
    }
}

#[test]
fn with_stop_a_body_that_cannot_be_projected_is_an_error_before_it_is_taken_in() {
    let content = |on_error| Content {
        filter: None,
        condition: None,
        transform: Some(Transform::Projection(projection(&[("a", "a")]))),
        on_error,
    };
    assert!(content(OnError::Stop).admits(&subject(b"{")).is_err());
    assert_eq!(content(OnError::Stop).admits(&subject(b"{}")), Ok(true));
    for on_error in [OnError::Skip, OnError::Push] {
        assert_eq!(
            content(on_error).admits(&subject(b"{")),
            Ok(true),
            "its push finds out"
        );
    }
}

/// A tree of few names, so that paths often lead somewhere.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "[a-c\"\\\\\u{e9}\n]{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 60, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The value at a path, the slow way.
fn at<'a>(body: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(body, |value, name| value.as_object()?.get(name))
}

proptest! {
    #[test]
    fn what_is_picked_is_what_the_whole_tree_holds(
        fields in prop::collection::btree_map("[abc]", tree(), 0..4),
        paths in prop::collection::btree_map("[xyz]{1,2}", "[abc](\\.[abc]){0,3}", 1..6),
    ) {
        let body = Value::Object(fields.into_iter().collect());
        let wanted: Vec<_> = paths.iter().map(|(name, path)| (name.as_str(), path.as_str())).collect();
        let expected: Map<String, Value> = paths
            .iter()
            .filter_map(|(name, path)| Some((name.clone(), at(&body, path)?.clone())))
            .collect();
        let project = projection(&wanted);
        let made: Value = serde_json::from_slice(&project.of(&write(&body)).unwrap()).unwrap();
        prop_assert_eq!(&made, &Value::Object(expected.clone()));
        prop_assert_eq!(unpack(&project.of(&pack(&body)).unwrap()), Value::Object(expected));
    }

    #[test]
    fn any_bytes_have_an_outcome(mut body: Vec<u8>, first in prop::sample::select(&b"{\x81\x8f\xde\xdf"[..])) {
        let project = projection(&[("a", "a.b"), ("b", "a")]);
        let _any = project.of(&body);
        body.insert(0, first);
        let _any = project.of(&body);
    }

    #[test]
    fn a_body_that_is_cut_off_or_goes_on_is_an_error(fields in prop::collection::btree_map("[abc]", tree(), 1..4), cut: prop::sample::Index) {
        let fields: BTreeMap<_, _> = fields;
        let body = Value::Object(fields.into_iter().collect());
        for body in [write(&body), pack(&body)] {
            let cut = &body[..cut.index(body.len())];
            prop_assert!(filter("a", &["1"]).admits(cut).is_err());
            let longer = [&body[..], b"0"].concat();
            prop_assert!(filter("a", &["1"]).admits(&longer).is_err());
        }
    }
}

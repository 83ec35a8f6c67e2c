//! What expressions say of records, what is refused, and that hostile ones end soon.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::content::tests::subject;

fn compiled(text: &str) -> Expression {
    Expression::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> ExpressionError {
    Expression::compile(text).unwrap_err()
}

fn order() -> serde_json::Value {
    json!({"type": "order", "n": 7, "big": u64::MAX, "price": 1.5, "tags": ["a", "b"], "user": {"id": 1, "name": "\u{e9}"}, "none": null})
}

/// JSON and MessagePack.
fn both(body: &serde_json::Value) -> [Vec<u8>; 2] {
    [
        serde_json::to_vec(body).unwrap(),
        rmp_serde::to_vec_named(body).unwrap(),
    ]
}

#[test]
fn conditions_hold_in_both_forms_and_know_where_the_record_is() {
    for (text, holds) in [
        ("body.type == 'order'", true),
        ("body.n > 7", false),
        ("body.n >= 7 && body.price < 2.0", true),
        ("body.big > 9u", true),
        ("'b' in body.tags", true),
        ("'c' in body.tags || body.user.id == 1", true),
        ("has(body.user.name) && !has(body.user.phone)", true),
        ("has(body.none)", true),
        ("body.?phone.orValue('') == ''", true),
        ("body.user.name.size() == 1", true),
        (
            "body.type.startsWith('or') ? body.type.endsWith('er') : false",
            true,
        ),
        ("body.type.contains('xx')", false),
        ("body['type'] == string('order') && body.tags[1] == 'b'", true),
        (
            "topic == 't' && partition == 3 && offset == 42 && key == 'k' && timestamp == 1700000000000",
            true,
        ),
    ] {
        let expression = compiled(text);
        for body in both(&order()) {
            assert_eq!(expression.holds(&subject(&body)), Ok(holds), "{text}");
        }
    }
    let keyless = Subject {
        key: None,
        ..subject(b"{}")
    };
    assert_eq!(compiled("key == null").holds(&keyless), Ok(true));
    let strange = Subject {
        key: Some(b"\xff"),
        ..subject(b"{}")
    };
    assert_eq!(compiled("key == b'\\377'").holds(&strange), Ok(true));
}

#[test]
fn a_map_becomes_the_body_in_the_form_of_the_body() {
    let expression = compiled(
        "{'who': body.user.name, 'n': body.n * 2, 'at': topic + '/' + string(offset), 'user': body.user, 'big': body.big}",
    );
    let expected =
        json!({"who": "\u{e9}", "n": 14, "at": "t/42", "user": {"id": 1, "name": "\u{e9}"}, "big": u64::MAX});
    let [written, packed] = both(&order());
    let made = expression.map(&subject(&written)).unwrap();
    let text = String::from_utf8(made).unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&text).unwrap(),
        expected
    );
    assert!(text.starts_with(r#"{"at":"t/42","big":"#), "by name: {text}");
    let made = expression.map(&subject(&packed)).unwrap();
    assert_eq!(
        rmp_serde::from_slice::<serde_json::Value>(&made).unwrap(),
        expected
    );
}

#[test]
fn what_has_no_value_is_an_error_without_a_word_of_the_body() {
    let body = serde_json::to_vec(&json!({"s": "secret", "n": 1})).unwrap();
    for (text, error) in [
        ("body.absent == 1", ContentError::Evaluation("a field is absent")),
        (
            "body.s + 1 == 2",
            ContentError::Evaluation("a value is of another type"),
        ),
        ("body.n / 0 == 1", ContentError::Evaluation("a division by zero")),
        (
            "body.n + 9223372036854775807 > 0",
            ContentError::Evaluation("a number is too large"),
        ),
        (
            "[1][body.n] == 1",
            ContentError::Evaluation("a list is too short"),
        ),
        ("body.s", ContentError::NotBool),
        ("{'a': body.s}", ContentError::NotBool),
    ] {
        let found = compiled(text).holds(&subject(&body)).unwrap_err();
        assert_eq!(found, error, "{text}");
        assert!(!found.to_string().contains("secret"));
    }
    assert_eq!(compiled("body.s").map(&subject(&body)), Err(ContentError::NotMap));
    assert_eq!(
        compiled("{'t': body.?s}").map(&subject(&body)),
        Err(ContentError::NotWritable)
    );
    for body in [&b"[1]"[..], b"", b"{\"a\":", b"\x81\xa1a", b"\x80\x00", b"{}x"] {
        assert!(compiled("true").holds(&subject(body)).is_err(), "{body:?}");
    }
}

#[test]
fn what_is_wrong_with_an_expression_is_said_where_it_is() {
    let ExpressionError::Syntax {
        line: 1,
        column,
        what,
    } = refused("body.type == ")
    else {
        panic!("not a syntax error")
    };
    assert!(
        column > 1 && !what.is_empty() && !what.contains('\n'),
        "{column} {what}"
    );
    assert!(matches!(refused(""), ExpressionError::Syntax { .. }));
    assert_eq!(
        refused("value.type == 1"),
        ExpressionError::UnknownVariable("value".into())
    );
    assert_eq!(
        refused("body.s.matches('a+')"),
        ExpressionError::UnknownFunction("matches".into())
    );
    assert_eq!(
        refused("body.l.exists(x, x > 1)"),
        ExpressionError::UnknownFunction("exists".into())
    );
    assert_eq!(
        refused("body.l.all(x, x > 1)"),
        ExpressionError::UnknownFunction("all".into())
    );
    assert_eq!(
        refused("body.l.map(x, x * 2)"),
        ExpressionError::UnknownFunction("map".into())
    );
    assert_eq!(
        refused("body.l.filter(x, true)"),
        ExpressionError::UnknownFunction("filter".into())
    );
    assert_eq!(
        refused("has(body)"),
        ExpressionError::UnknownFunction("has".into())
    );
    assert_eq!(
        refused(&format!("'{}' == 'a'", "x".repeat(5000))),
        ExpressionError::TooLong
    );
    assert_eq!(compiled("true"), compiled("true"));
    assert_ne!(compiled("true"), compiled("!false"));
}

/// Expressions that would nest, multiply or copy.
fn hostile() -> Vec<String> {
    let many = |part: &str, times: usize| vec![part; times].join("");
    vec![
        format!("{}true{}", many("(", 2000), many(")", 2000)),
        format!("{}true", many("!", 4000)),
        format!("{}1 == 1", many("-", 4000)),
        format!("{}{}", many("[", 2000), many("]", 2000)),
        format!("{}1{}", many("{1:", 1000), many("}", 1000)),
        format!("body{}", many(".a", 2000)),
        format!("body{}", many("[0]", 1300)),
        format!("1{} > 0", many("+1", 2000)),
        format!("true{}", many("&&true", 600)),
        format!("true{}", many("?true:true", 400)),
        format!("{}1", many("true?", 800)),
        many("size(", 800),
        many("\"", 4000),
        many("body.", 800),
        many("\u{1F600}", 1000),
        many("\0", 4000),
    ]
}

#[test]
fn hostile_texts_are_refused_or_read_without_harm() {
    for text in hostile() {
        // Neither the stack nor the time runs out, on a thread that has little of the former.
        let small = std::thread::Builder::new().stack_size(256 << 10);
        let begun = Instant::now();
        let text: &str = &text;
        std::thread::scope(|scope| {
            let outcome = small
                .spawn_scoped(scope, || Expression::compile(text).map(drop))
                .unwrap()
                .join();
            assert!(outcome.is_ok(), "{}", &text[..20]);
        });
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", &text[..20]);
    }
}

#[test]
fn the_limits_are_as_they_are_written() {
    let references = |count: usize| vec!["key == ''"; count].join(" || ");
    assert!(Expression::compile(&references(20)).is_ok());
    assert!(matches!(
        refused(&references(MAX_REFERENCES + 1)),
        ExpressionError::TooManyReferences | ExpressionError::TooDeep
    ));
    let wide = |count: usize| format!("[{}].size() > 0", vec!["key"; count].join(","));
    assert!(Expression::compile(&wide(MAX_REFERENCES)).is_ok());
    assert_eq!(
        refused(&wide(MAX_REFERENCES + 1)),
        ExpressionError::TooManyReferences
    );
    let sum = |count: usize| format!("body.s{} == ''", "+'a'".repeat(count));
    assert!(Expression::compile(&sum(MAX_SUMS)).is_ok());
    assert_eq!(refused(&sum(MAX_SUMS + 1)), ExpressionError::TooManySums);
}

#[test]
fn the_most_expensive_expressions_that_are_allowed_end_soon() {
    let long = "x".repeat(MAX_INPUT - 20);
    let text = serde_json::to_vec(&json!({ "s": long })).unwrap();
    let list = format!("{{\"s\":[{}0]}}", "0,".repeat(MAX_INPUT / 2 - 20)).into_bytes();
    let sum = format!("body.s{} == ''", "+body.s".repeat(MAX_SUMS));
    let copies = format!(
        "{{{}}}",
        (0..60)
            .map(|n| format!("'{n}': body"))
            .collect::<Vec<_>>()
            .join(",")
    );
    let equal = vec!["body == body"; 16].join(" && ");
    let within = vec!["(7 in body.s)"; 16].join(" || ");
    let searched = vec!["body.s.contains('xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxy')"; 16].join(" || ");
    for expression in [sum, copies, equal, within, searched] {
        let expression = compiled(&expression);
        for body in [&text, &list] {
            let begun = Instant::now();
            let _value = expression.holds(&subject(body));
            let _value = expression.map(&subject(body));
            // Unoptimised; a promise would be far less.
            assert!(begun.elapsed() < Duration::from_secs(30), "{expression:?}");
        }
    }
    let larger = vec![b' '; MAX_INPUT + 1];
    assert_eq!(
        compiled("true").holds(&subject(&larger)),
        Err(ContentError::TooLargeForExpression)
    );
}

#[test]
fn nesting_of_bodies_is_bounded() {
    let json = |depth: usize| [b"{\"x\":".repeat(depth), b"1".to_vec(), b"}".repeat(depth)].concat();
    let packed = |depth: usize| [b"\x81\xa1x".repeat(depth), b"\x01".to_vec()].concat();
    for body in [json(50), packed(50)] {
        assert_eq!(compiled("has(body.x.x)").holds(&subject(&body)), Ok(true));
        assert!(compiled("{'a': body}").map(&subject(&body)).is_ok());
    }
    for body in [json(5000), packed(20_000)] {
        assert!(compiled("true").holds(&subject(&body)).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_and_any_body_have_an_outcome(
        text in "[a-z0-9 .(){}\\[\\]'\"+*/<>=!&|?:,-]{0,60}",
        body: Vec<u8>,
    ) {
        if let Ok(expression) = Expression::compile(&text) {
            let _value = expression.holds(&subject(&body));
            let _value = expression.map(&subject(b"{}"));
        }
    }
}

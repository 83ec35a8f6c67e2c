//! What pushes look like, byte for byte.

use serde_json::{Value, json};

use super::*;
use crate::headers::encode;

const PLAIN: Form = Form {
    body: Body::Raw,
    id: None,
    attempt: None,
    age: None,
    prefix: None,
    trace: false,
};

fn block(headers: &[(&str, Option<&[u8]>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        encode(&mut block, name, *value);
    }
    block
}

fn push<'a>(value: &'a [u8], block: &'a [u8]) -> Push<'a> {
    Push {
        topic: "shop.orders",
        partition: PartitionId(3),
        offset: RecordOffset::try_from(42).unwrap(),
        timestamp: 1_700_000_000_123,
        key: Some(b"k"),
        headers: block,
        value,
        attempt: 2,
        now: 1_700_000_001_000,
    }
}

fn body(body: Body, value: &[u8], headers: &[(&str, Option<&[u8]>)]) -> String {
    let form = Form { body, ..PLAIN };
    let block = block(headers);
    String::from_utf8(form.body(&push(value, &block)).unwrap()).unwrap()
}

fn headers(form: &Form, headers: &[(&str, Option<&[u8]>)]) -> (Vec<String>, u64) {
    let (mut map, block) = (HeaderMap::new(), block(headers));
    let left_out = form.headers(&push(b"{}", &block), &mut map);
    let mut lines: Vec<String> = map
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    lines.sort();
    (lines, left_out)
}

fn events() -> CloudEvents {
    CloudEvents {
        source: None,
        kind: "order".to_owned(),
    }
}

#[test]
fn a_form_has_the_fields_of_the_php_proxy() {
    for (value, encoded) in [
        (&b"{\"a\": 1}"[..], "%7B%22a%22%3A+1%7D"),
        (b"a+b&c=d ~-._", "a%2Bb%26c%3Dd+%7E-._"),
        (b"\0\xff  ", "%00%FF++"),
        (b"", ""),
    ] {
        assert_eq!(body(Body::Fields, value, &[]), format!("m={encoded}&p=3&o=42"));
    }
}

#[test]
fn an_envelope_holds_the_value_as_it_can() {
    let parsed = |value: &[u8]| serde_json::from_str::<Value>(&body(Body::Envelope, value, &[])).unwrap();
    let mut expected = json!({
        "id": "shop.orders/3/42", "topic": "shop.orders", "partition": 3, "offset": 42, "timestamp": 1_700_000_000_123_i64,
        "key": "k", "headers": [], "value": {"n": 1.0},
    });
    assert_eq!(parsed(b" {\"n\": 1.0} "), expected);
    expected.as_object_mut().unwrap().remove("value");
    for (value, key, text) in [
        (&b"plain"[..], "value_text", "plain"),
        (b"", "value_text", ""),
        (b"\xff", "value_base64", "/w=="),
    ] {
        let mut expected = expected.clone();
        expected[key] = json!(text);
        assert_eq!(parsed(value), expected);
    }
    // Numbers keep their digits, and what is nested without end costs no stack.
    let exact = body(Body::Envelope, b"12345678901234567890.10", &[]);
    assert!(exact.ends_with("\"value\":12345678901234567890.10}"), "{exact}");
    assert_eq!(parsed("[".repeat(100_000).as_bytes())["value"], Value::Null);
    let headers = body(
        Body::Envelope,
        b"1",
        &[("a", Some(b"b")), ("c", None), ("d", Some(b"\xff"))],
    );
    assert!(
        headers.contains(
            r#""headers":[{"name":"a","value":"b"},{"name":"c"},{"name":"d","value_base64":"/w=="}]"#
        ),
        "{headers}"
    );
}

#[test]
fn a_record_becomes_a_cloud_event() {
    let parsed = |value: &[u8], headers: &[(&str, Option<&[u8]>)]| {
        serde_json::from_str::<Value>(&body(Body::Event(events()), value, headers)).unwrap()
    };
    let mut expected = json!({
        "specversion": "1.0", "id": "shop.orders/3/42", "source": "/topics/shop.orders", "type": "order",
        "time": "2023-11-14T22:13:20.123Z", "partitionkey": "k", "datacontenttype": "application/json", "data": {"n": 1},
    });
    assert_eq!(parsed(b"{\"n\": 1}", &[]), expected);
    expected.as_object_mut().unwrap().remove("data");
    expected["data_base64"] = json!("/w==");
    expected["datacontenttype"] = json!("image/png");
    assert_eq!(parsed(b"\xff", &[("Content-Type", Some(b"image/png"))]), expected);
    let form = Form {
        body: Body::EventInHeaders(events()),
        ..PLAIN
    };
    let (lines, _) = headers(&form, &[("content-type", Some(b"text/plain"))]);
    assert_eq!(
        lines,
        [
            "ce-id: shop.orders/3/42",
            "ce-partitionkey: k",
            "ce-source: /topics/shop.orders",
            "ce-specversion: 1.0",
            "ce-time: 2023-11-14T22:13:20.123Z",
            "ce-type: order",
            "content-type: text/plain"
        ]
    );
}

#[test]
fn a_record_that_is_a_cloud_event_stays_the_one_it_is() {
    let own: &[(&str, Option<&[u8]>)] = &[
        ("ce_specversion", Some(b"1.0")),
        ("ce_id", Some(b"7")),
        ("ce_source", Some(b"/shop")),
        ("ce_type", Some("\u{e9} \"%".as_bytes())),
        ("ce_data", Some(b"no attribute")),
        ("ce_Bad-Name", Some(b"x")),
    ];
    let event: Value = serde_json::from_str(&body(Body::Event(events()), b"1", own)).unwrap();
    let expected = json!({
        "specversion": "1.0", "id": "7", "source": "/shop", "type": "\u{e9} \"%", "datacontenttype": "application/json", "data": 1,
    });
    assert_eq!(event, expected);
    let form = Form {
        body: Body::EventInHeaders(events()),
        ..PLAIN
    };
    let expected = [
        "ce-id: 7",
        "ce-source: /shop",
        "ce-specversion: 1.0",
        "ce-type: %C3%A9%20%22%25",
    ];
    assert_eq!(headers(&form, own).0, expected);
    // One that lacks an attribute is none.
    let event: Value = serde_json::from_str(&body(Body::Event(events()), b"1", &own[..3])).unwrap();
    assert_eq!(event["id"], json!("shop.orders/3/42"));
}

#[test]
fn headers_tell_of_the_record_and_forward_its_own() {
    let form = Form {
        id: Some(HeaderName::from_static("idempotency-key")),
        attempt: Some(HeaderName::from_static("x-attempt")),
        age: Some(HeaderName::from_static("x-age")),
        prefix: Some("X-Kafka-".to_owned()),
        trace: true,
        ..PLAIN
    };
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let own: &[(&str, Option<&[u8]>)] = &[
        ("Host", Some(b"evil")),
        ("a", Some(b"1")),
        ("a", Some(b"\xc3\xa9")),
        ("no value", Some(b"x")),
        ("line", Some(b"x\r\ny: z")),
        ("null", None),
        ("traceparent", Some(parent.as_bytes())),
        ("tracestate", Some(b"a=b")),
    ];
    let (lines, left_out) = headers(&form, own);
    let trace = format!("traceparent: {parent}");
    let prefixed = format!("x-kafka-{trace}");
    let expected = [
        "idempotency-key: shop.orders/3/42",
        &*trace,
        "tracestate: a=b",
        "x-age: 877",
        "x-attempt: 2",
        "x-kafka-a: 1",
        "x-kafka-a: \u{e9}",
        "x-kafka-host: evil",
        "x-kafka-null: ",
        &*prefixed,
        "x-kafka-tracestate: a=b",
    ];
    assert_eq!(lines, expected);
    assert_eq!(left_out, 2);
    assert_eq!(headers(&PLAIN, own), (Vec::new(), 0));
}

#[test]
fn a_trace_that_is_none_is_not_forwarded() {
    let form = Form { trace: true, ..PLAIN };
    for wrong in [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        let own: &[(&str, Option<&[u8]>)] = &[
            ("traceparent", Some(wrong.as_bytes())),
            ("tracestate", Some(b"a=b")),
        ];
        assert_eq!(headers(&form, own).0, Vec::<String>::new(), "{wrong}");
    }
}

#[test]
fn a_record_with_too_many_headers_is_forwarded_with_the_first_of_them() {
    let form = Form {
        prefix: Some("x-".to_owned()),
        ..PLAIN
    };
    let many: Vec<(&str, Option<&[u8]>)> = vec![("a", Some(b"1")); MOST_HEADERS + 5];
    let (lines, left_out) = headers(&form, &many);
    assert_eq!((lines.len(), left_out), (MOST_HEADERS, 5));
    let long = vec![b'x'; MOST_HEADER_BYTES];
    let (lines, left_out) = headers(&form, &[("a", Some(&long)), ("b", Some(b"1"))]);
    assert_eq!((lines.len(), left_out), (0, 2));
}

#[test]
fn only_what_shows_headers_needs_them_kept() {
    assert!(!PLAIN.needs_headers());
    assert!(
        !Form {
            body: Body::Fields,
            ..PLAIN
        }
        .needs_headers()
    );
    for form in [
        Form { trace: true, ..PLAIN },
        Form {
            body: Body::Envelope,
            ..PLAIN
        },
        Form {
            body: Body::Event(events()),
            ..PLAIN
        },
        Form {
            prefix: Some("x-".to_owned()),
            ..PLAIN
        },
    ] {
        assert!(form.needs_headers());
    }
}

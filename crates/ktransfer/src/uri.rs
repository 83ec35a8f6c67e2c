//! The URI of a push: a template with placeholders, parsed once, rendered into a buffer that is used again.
//!
//! Everything a placeholder brings in is percent-encoded except RFC 3986's unreserved characters, so no key, topic or method
//! can end the path, open a query or add a parameter. Pure.

use std::fmt::Write as _;

use hyper::http::uri::PathAndQuery;
use kcommon::kafka::{PartitionId, RecordOffset};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode, utf8_percent_encode};

/// The longest URI that `hyper` sends, in bytes. A record whose key makes it longer can never be pushed.
pub const MAX_URI_BYTES: usize = 65_534;

/// Everything but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The placeholders by name, in the order in which messages list them.
const NAMES: [(&str, Placeholder); 5] = [
    ("{#TOPIC}", Placeholder::Topic),
    ("{#KEY}", Placeholder::Key),
    ("{#TRANSID}", Placeholder::TransId),
    ("{#METHOD}", Placeholder::Method),
    ("{#PARTITION}", Placeholder::Partition),
];

/// A legal template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Placeholder(Placeholder),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Topic,
    Key,
    TransId,
    Method,
    Partition,
}

/// What one record puts into the placeholders.
#[derive(Clone, Copy, Debug)]
pub struct Placeholders<'a> {
    /// `{#TOPIC}`.
    pub topic: &'a str,
    /// `{#KEY}`; none = empty.
    pub key: Option<&'a [u8]>,
    /// `{#TRANSID}`.
    pub offset: RecordOffset,
    /// `{#METHOD}`; none (no `methods` configured, so the body is not read) = empty.
    pub method: Option<&'a str>,
    /// `{#PARTITION}`.
    pub partition: PartitionId,
}

/// Why a text is no template. The message says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The first character is no slash.
    #[error("must start with \"/\": the servers stand in backend_servers")]
    NoSlash,
    /// `{#...` that is none of the five.
    #[error(
        "has the unknown placeholder {0:?}; allowed: {{#TOPIC}}, {{#KEY}}, {{#TRANSID}}, {{#METHOD}}, {{#PARTITION}}"
    )]
    UnknownPlaceholder(String),
    /// A `#` outside a placeholder: a server never sees what follows it.
    #[error(
        "has a \"#\" outside a placeholder; servers never see what follows it, write %23 for the character"
    )]
    Fragment,
    /// A character that must be percent-encoded.
    #[error("has the character {0:?}, which must be percent-encoded in a URI")]
    Character(char),
    /// No path and query for another reason.
    #[error("is no path with an optional query")]
    Illegal,
}

/// The record makes a URI longer than [`MAX_URI_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the URI of this record has {0} bytes; at most {MAX_URI_BYTES} can be sent")]
pub struct UriTooLong(pub usize);

impl UriTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if !text.starts_with('/') {
            return Err(TemplateError::NoSlash);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('#') {
            let Some(literal) = rest[..at].strip_suffix('{') else {
                return Err(TemplateError::Fragment);
            };
            let tail = &rest[literal.len()..];
            let Some((name, placeholder)) = NAMES.iter().find(|(name, _)| tail.starts_with(name)) else {
                return Err(TemplateError::UnknownPlaceholder(placeholder_text(tail)));
            };
            push_literal(&mut parts, literal)?;
            parts.push(Part::Placeholder(*placeholder));
            rest = &tail[name.len()..];
        }
        push_literal(&mut parts, rest)?;
        let template = Self { parts };
        // An example shows whether the literal parts make a URI at all.
        let example: String = template.parts.iter().map(Part::example).collect();
        example
            .parse::<PathAndQuery>()
            .map_err(|_illegal| TemplateError::Illegal)?;
        Ok(template)
    }

    /// Whether `{#METHOD}` stands in it, so that the method has to be known.
    #[must_use]
    pub fn has_method(&self) -> bool {
        self.parts.contains(&Part::Placeholder(Placeholder::Method))
    }

    /// Writes the URI of one record into `out`, replacing what it holds.
    ///
    /// # Errors
    /// The URI would be longer than can be sent; `out` is then empty. The record can never be pushed.
    pub fn render(&self, out: &mut String, values: &Placeholders<'_>) -> Result<(), UriTooLong> {
        out.clear();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Placeholder(placeholder) => placeholder.write(out, values),
            }
        }
        if out.len() > MAX_URI_BYTES {
            let length = out.len();
            out.clear();
            out.shrink_to(MAX_URI_BYTES);
            return Err(UriTooLong(length));
        }
        Ok(())
    }
}

impl Part {
    fn example(&self) -> &str {
        match self {
            Self::Literal(text) => text,
            Self::Placeholder(_) => "x",
        }
    }
}

impl Placeholder {
    fn write(self, out: &mut String, values: &Placeholders<'_>) {
        match self {
            Self::Topic => out.extend(utf8_percent_encode(values.topic, ENCODED)),
            Self::Key => out.extend(percent_encode(values.key.unwrap_or_default(), ENCODED)),
            Self::TransId => number(out, values.offset.get()),
            Self::Method => out.extend(utf8_percent_encode(values.method.unwrap_or_default(), ENCODED)),
            Self::Partition => number(out, i64::from(values.partition.0)),
        }
    }
}

fn number(out: &mut String, number: i64) {
    write!(out, "{number}").expect("writing to a String never fails");
}

fn push_literal(parts: &mut Vec<Part>, literal: &str) -> Result<(), TemplateError> {
    let illegal = |c: char| !c.is_ascii_graphic() || matches!(c, '"' | '<' | '>' | '\\' | '^' | '`');
    if let Some(character) = literal.chars().find(|c| illegal(*c)) {
        return Err(TemplateError::Character(character));
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.to_owned()));
    }
    Ok(())
}

/// The misspelt placeholder at the start of `tail`, at most 40 characters of it.
fn placeholder_text(tail: &str) -> String {
    let end = tail.find('}').map_or(tail.len(), |at| at + 1);
    tail[..end].chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values<'a>(key: Option<&'a [u8]>, method: Option<&'a str>) -> Placeholders<'a> {
        Placeholders {
            topic: "test_topic",
            key,
            offset: RecordOffset::try_from(1234).unwrap(),
            method,
            partition: PartitionId(7),
        }
    }

    fn render(template: &str, values: &Placeholders<'_>) -> String {
        let mut out = String::from("left over");
        UriTemplate::parse(template)
            .unwrap()
            .render(&mut out, values)
            .unwrap();
        out
    }

    #[test]
    fn the_seeds_template_works_as_it_reads() {
        let uri = render(
            "/XXX/{#TOPIC}?key={#KEY}&transid={#TRANSID}&format=msgpack",
            &values(Some(b"u1"), None),
        );
        assert_eq!(uri, "/XXX/test_topic?key=u1&transid=1234&format=msgpack");
    }

    #[test]
    fn all_five_placeholders_are_replaced_wherever_and_however_often_they_stand() {
        let uri = render(
            "/{#METHOD}{#METHOD}/{#PARTITION}/{#TOPIC}-{#TRANSID}?{#KEY}={#KEY}",
            &values(Some(b"k"), Some("Do")),
        );
        assert_eq!(uri, "/DoDo/7/test_topic-1234?k=k");
    }

    #[test]
    fn what_a_record_brings_is_encoded() {
        for (key, encoded) in [
            (&b"a b&c=d#e?f/g%"[..], "a%20b%26c%3Dd%23e%3Ff%2Fg%25"),
            (b"-._~", "-._~"),
            (b"\0\xff\n", "%00%FF%0A"),
            ("é".as_bytes(), "%C3%A9"),
            (b"{#TOPIC}$1", "%7B%23TOPIC%7D%241"),
            (b"", ""),
        ] {
            assert_eq!(
                render("/?k={#KEY}", &values(Some(key), None)),
                format!("/?k={encoded}")
            );
        }
        assert_eq!(render("/?k={#KEY}&m={#METHOD}", &values(None, None)), "/?k=&m=");
        assert_eq!(render("/{#METHOD}", &values(None, Some("../é"))), "/..%2F%C3%A9");
    }

    #[test]
    fn a_wrong_template_says_why() {
        for (text, error) in [
            ("", TemplateError::NoSlash),
            ("http://host/", TemplateError::NoSlash),
            ("/a#b", TemplateError::Fragment),
            ("/{#KEY", TemplateError::UnknownPlaceholder("{#KEY".to_owned())),
            ("/{#key}", TemplateError::UnknownPlaceholder("{#key}".to_owned())),
            (
                "/{#OFFSET}/x",
                TemplateError::UnknownPlaceholder("{#OFFSET}".to_owned()),
            ),
            ("/a b", TemplateError::Character(' ')),
            ("/é", TemplateError::Character('é')),
            ("/a\nb", TemplateError::Character('\n')),
        ] {
            assert_eq!(UriTemplate::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_uri_that_no_client_sends_is_an_error_of_that_record() {
        let template = UriTemplate::parse("/?k={#KEY}").unwrap();
        let mut out = String::new();
        assert_eq!(
            template.render(&mut out, &values(Some(&[0; 30_000]), None)),
            Err(UriTooLong(90_004))
        );
        assert_eq!(template.render(&mut out, &values(Some(b"k"), None)), Ok(()));
        assert_eq!(out, "/?k=k");
    }

    proptest! {
        #[test]
        fn any_key_and_method_make_a_uri_that_says_the_same(key: Vec<u8>, method: String) {
            let uri = render("/a/{#METHOD}?k={#KEY}&end=1", &values(Some(&key), Some(&method)));
            let parsed: PathAndQuery = uri.parse().unwrap();
            let segment = parsed.path().strip_prefix("/a/").unwrap();
            prop_assert_eq!(percent_encoding::percent_decode_str(segment).decode_utf8().unwrap(), method);
            let query = parsed.query().unwrap();
            let encoded = query.strip_prefix("k=").unwrap().strip_suffix("&end=1").unwrap();
            let decoded: Vec<u8> = percent_encoding::percent_decode_str(encoded).collect();
            prop_assert_eq!(decoded, key);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let parsed = UriTemplate::parse(&format!("/{text}"));
            if let Ok(template) = parsed {
                let mut out = String::new();
                template.render(&mut out, &values(None, None)).unwrap();
                prop_assert!(out.parse::<PathAndQuery>().is_ok());
            }
        }
    }
}

//! One scalar and what a [`Kind`] makes of it. Pure.
//!
//! The words of YAML 1.1, which the original's parser read, are understood; where 1.1 and 1.2 give one spelling two
//! meanings (`010`), it is refused with both spellings named.

use serde_yaml::Value;

use super::host_port::HostPort;
use super::schema::Kind;
use super::tree::{Data, Node};

/// A value for serde, or what is wrong with the node (without what is allowed: [`allowed`] says that).
pub(super) fn convert(kind: Kind, node: &Node) -> Result<Value, String> {
    match kind {
        Kind::Bool => boolean(node).map(Value::from),
        Kind::Int { min, max } => {
            let number = integer(node)?;
            if (min..=max).contains(&number) {
                Ok(Value::from(number))
            } else {
                Err(format!("is {number}"))
            }
        }
        Kind::IntOneOf(numbers) => {
            let number = integer(node)?;
            if numbers.contains(&number) {
                Ok(Value::from(number))
            } else {
                Err(format!("is {number}"))
            }
        }
        Kind::Text => match text(node)? {
            "" => Err("is empty".to_owned()),
            text => Ok(Value::from(text)),
        },
        Kind::TextOrEmpty => match node.data {
            Data::Null => Ok(Value::from("")),
            _ => text(node).map(Value::from),
        },
        Kind::OneOf(words) => {
            let text = text(node)?;
            if words.contains(&text) {
                Ok(Value::from(text))
            } else {
                Err(format!("is {}", shown(text)))
            }
        }
        Kind::TextListOr { word, .. } => match text(node) {
            Ok(text) if text == word => Ok(Value::from(text)),
            _ => Err(format!("is {}", name(node))),
        },
        Kind::Chroot => match node.data {
            Data::Null => Ok(Value::from("")),
            _ => chroot(text(node)?).map(Value::from),
        },
        Kind::Listen => listen(text(node)?).map(Value::from),
        // Somebody may have written the secret itself.
        Kind::Secret => Err("does not say where the secret stands".to_owned()),
        Kind::TextList { .. }
        | Kind::HostPorts { .. }
        | Kind::Hosts { .. }
        | Kind::Headers
        | Kind::Section
        | Kind::SectionOrOff(_) => Err(format!("is {}", name(node))),
    }
}

/// What a kind allows, for the end of a message and for the documentation.
pub(super) fn allowed(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true or false (also yes, no, on, off)".to_owned(),
        Kind::Int { min, max } => format!("a whole number from {min} to {max}"),
        Kind::IntOneOf(numbers) => one_of(numbers.iter().map(ToString::to_string)),
        Kind::Text => "a text that is not empty".to_owned(),
        Kind::TextOrEmpty => "a text".to_owned(),
        Kind::OneOf(words) => one_of(words.iter().map(ToString::to_string)),
        Kind::TextList { min } => format!("a list of texts, at least {min}"),
        Kind::TextListOr { min, word } => format!("a list of texts, at least {min}, or {word}"),
        Kind::HostPorts { min } => format!("a list of host:port, at least {min}"),
        Kind::Hosts { min, port } => {
            format!("a list of host or host:port (port {port} without), at least {min}")
        }
        Kind::Chroot => "nothing, or a path such as /mq/cluster".to_owned(),
        Kind::Listen => "IP:port, or off".to_owned(),
        Kind::Headers => "a list of `name: value` entries".to_owned(),
        Kind::Section => "a section with keys of its own".to_owned(),
        Kind::Secret => "{file: path} or {env: NAME}".to_owned(),
        Kind::SectionOrOff(_) => "a section with keys of its own, or off".to_owned(),
    }
}

/// The text of a scalar as it was written.
pub(super) fn text(node: &Node) -> Result<&str, String> {
    match &node.data {
        Data::Plain(text) | Data::Quoted(text) => Ok(text),
        _ => Err(format!("is {}", name(node))),
    }
}

/// Whether a node is a plain `off` or `false`, however it is spelt.
pub(super) fn is_off(node: &Node) -> bool {
    boolean(node) == Ok(false) || matches!(&node.data, Data::Quoted(text) if text == "off")
}

/// At most 60 characters of a value, quoted, for a message.
pub(super) fn shown(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(SHOWN).collect();
    format!("{head:?}...")
}

fn one_of(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

fn name(node: &Node) -> String {
    match &node.data {
        Data::Null => "without a value".to_owned(),
        Data::Plain(text) | Data::Quoted(text) => format!("the text {}", shown(text)),
        Data::List(_) => "a list".to_owned(),
        Data::Map(_) => "a section".to_owned(),
    }
}

fn boolean(node: &Node) -> Result<bool, String> {
    let Data::Plain(text) = &node.data else {
        return Err(format!("is {}{}", name(node), quotes_hint(node)));
    };
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Ok(true),
        "false" | "no" | "off" | "n" => Ok(false),
        _ => Err(format!("is {}", name(node))),
    }
}

fn integer(node: &Node) -> Result<i64, String> {
    let Data::Plain(text) = &node.data else {
        return Err(format!("is {}{}", name(node), quotes_hint(node)));
    };
    let digits = text.replace('_', "");
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(format!("is {}", name(node)));
    }
    if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "is {text}, which is octal in YAML 1.1 and decimal in YAML 1.2; write it without the leading zero"
        ));
    }
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ => (10, digits),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!("is {}", name(node)));
    }
    let parsed = i128::from_str_radix(digits, radix);
    let magnitude = parsed.map_err(|_not_whole| format!("is {}", name(node)))?;
    let number = if negative { -magnitude } else { magnitude };
    i64::try_from(number).map_err(|_too_large| format!("is {text}"))
}

fn quotes_hint(node: &Node) -> &'static str {
    match node.data {
        Data::Quoted(_) => " in quotes; remove the quotes",
        _ => "",
    }
}

fn chroot(text: &str) -> Result<&str, String> {
    let path = text.strip_suffix('/').unwrap_or(text);
    if path.is_empty() {
        return Ok(path);
    }
    let Some(segments) = path.strip_prefix('/') else {
        return Err(format!("is {}, without a slash at its start", shown(text)));
    };
    let illegal = |segment: &str| matches!(segment, "" | "." | "..") || segment.chars().any(char::is_control);
    if segments.split('/').any(illegal) {
        return Err(format!("is {}, which is no path of ZooKeeper", shown(text)));
    }
    Ok(path)
}

fn listen(text: &str) -> Result<String, String> {
    match text.to_ascii_lowercase().as_str() {
        "off" | "no" | "false" => return Ok("off".to_owned()),
        _ => {}
    }
    match text.parse::<std::net::SocketAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_no_address) if text.parse::<HostPort>().is_ok() => {
            Err(format!("is {}, a host name; write its IP address", shown(text)))
        }
        Err(_no_address) => Err(format!("is {}", shown(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree::parse;

    fn value(kind: Kind, text: &str) -> Result<Value, String> {
        convert(kind, &parse(text).unwrap())
    }

    #[test]
    fn booleans_of_both_yaml_versions_are_understood() {
        for yes in ["true", "True", "TRUE", "yes", "Yes", "on", "ON", "y"] {
            assert_eq!(value(Kind::Bool, yes), Ok(Value::from(true)), "{yes}");
        }
        for no in ["false", "no", "No", "off", "Off", "n"] {
            assert_eq!(value(Kind::Bool, no), Ok(Value::from(false)), "{no}");
        }
        for wrong in ["1", "0", "maybe", "'yes'", "[]", "{}", "~"] {
            assert!(value(Kind::Bool, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn whole_numbers_of_both_yaml_versions_are_understood() {
        let any = Kind::Int {
            min: i64::MIN,
            max: i64::MAX,
        };
        for (text, number) in [
            ("0", 0),
            ("-1", -1),
            ("+5", 5),
            ("10_485_760", 10_485_760),
            ("0x10", 16),
            ("0o17", 15),
            ("0b11", 3),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(value(any, text), Ok(Value::from(number)), "{text}");
        }
        for wrong in [
            "1.5",
            "1e3",
            "100.0",
            "'5'",
            "five",
            "9223372036854775808",
            "0x",
            "-",
            "[5]",
            "~",
            "true",
            "0x-5",
        ] {
            assert!(value(any, wrong).is_err(), "{wrong}");
        }
        assert!(value(any, "010").unwrap_err().contains("octal"));
        assert!(value(any, "'5'").unwrap_err().contains("remove the quotes"));
    }

    #[test]
    fn numbers_have_a_range() {
        let port = Kind::Int { min: 1, max: 65_535 };
        assert_eq!(value(port, "0"), Err("is 0".to_owned()));
        assert_eq!(value(port, "65536"), Err("is 65536".to_owned()));
        assert_eq!(value(port, "65535"), Ok(Value::from(65_535)));
        assert_eq!(value(Kind::IntOneOf(&[0, 1, -1]), "2"), Err("is 2".to_owned()));
        assert_eq!(value(Kind::IntOneOf(&[0, 1, -1]), "-1"), Ok(Value::from(-1)));
    }

    #[test]
    fn a_number_or_a_boolean_is_a_text_where_a_text_is_wanted() {
        for (written, text) in [
            ("123", "123"),
            ("0123", "0123"),
            ("yes", "yes"),
            ("1.50", "1.50"),
            ("'a b'", "a b"),
        ] {
            assert_eq!(value(Kind::Text, written), Ok(Value::from(text)), "{written}");
        }
        assert!(value(Kind::Text, "''").is_err());
        assert!(value(Kind::Text, "~").is_err());
        assert_eq!(value(Kind::TextOrEmpty, "''"), Ok(Value::from("")));
        assert_eq!(value(Kind::TextOrEmpty, "~"), Ok(Value::from("")));
    }

    #[test]
    fn listen_is_an_address_or_off() {
        assert_eq!(
            value(Kind::Listen, "127.0.0.1:5031"),
            Ok(Value::from("127.0.0.1:5031"))
        );
        assert_eq!(value(Kind::Listen, "'[::1]:0'"), Ok(Value::from("[::1]:0")));
        assert_eq!(value(Kind::Listen, "off"), Ok(Value::from("off")));
        assert!(
            value(Kind::Listen, "localhost:80")
                .unwrap_err()
                .contains("host name")
        );
        assert!(value(Kind::Listen, "5031").is_err());
    }

    #[test]
    fn a_chroot_is_nothing_or_an_absolute_path() {
        for (written, path) in [
            ("''", ""),
            ("~", ""),
            ("/", ""),
            ("/mq/test_cluster", "/mq/test_cluster"),
            ("/mq/test_cluster/", "/mq/test_cluster"),
        ] {
            assert_eq!(value(Kind::Chroot, written), Ok(Value::from(path)), "{written}");
        }
        for wrong in ["mq", "//", "/a//b", "/a/../b", "/.", "\"/a\\tb\"", "[]"] {
            assert!(value(Kind::Chroot, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn long_values_are_shown_in_part() {
        assert_eq!(shown(&"x".repeat(61)).len(), 60 + 2 + 3);
    }
}

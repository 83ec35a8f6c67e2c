//! A rule on one field of an answer's JSON body. Pure.
//!
//! Some backends answer every request with 200 and say in the body how it went: `{"errno": 0}`. What the rule cannot read (no
//! JSON, no object, too long, nothing) is no delivery, so that a record is never lost to a page of a proxy.

use serde_json::Value;

use crate::link::AnswerBody;

/// The most segments of a path.
const MOST_SEGMENTS: usize = 16;

/// What has to stand in the body of an answer for a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyRule {
    /// Where.
    pub field: FieldPath,
    /// What.
    pub condition: Condition,
    /// Bytes of a body that are read for it; a longer one is no delivery.
    pub max_bytes: usize,
}

/// What a field has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// This text, this number, or this word of JSON.
    Equals(String),
    /// 0, "0", "", null, false, an empty list, or not there.
    Falsy,
    /// Not there, or null.
    Absent,
}

/// The names that lead to a field, from the outside in: `result.code`. A name that is a number counts in a list, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath(Vec<String>);

/// A text that leads to no field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no path to a field: 1 to {MOST_SEGMENTS} names with dots between them, such as errno or result.code"
)]
pub struct FieldPathError;

/// Why a body does not say that its record is delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// There is none.
    #[error("its body is empty")]
    Empty,
    /// It is longer than the rule reads.
    #[error("its body is longer than success_json.max_bytes = {0}")]
    TooLong(usize),
    /// It is something else.
    #[error("its body is no JSON object")]
    NoObject,
    /// The field says otherwise.
    #[error("the field {0} of its body is not {1}")]
    Differs(String, &'static str),
}

impl FieldPath {
    /// Reads a path.
    ///
    /// # Errors
    /// The text is empty, has an empty name, or too many.
    pub fn parse(text: &str) -> Result<Self, FieldPathError> {
        let names: Vec<_> = text.split('.').map(str::to_owned).collect();
        if names.len() > MOST_SEGMENTS || names.iter().any(String::is_empty) {
            return Err(FieldPathError);
        }
        Ok(Self(names))
    }

    fn find<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(object, |value, name| match value {
            Value::Object(fields) => fields.get(name),
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

impl BodyRule {
    /// Whether the body says that its record is delivered.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, body: &AnswerBody) -> Result<(), BodyError> {
        let bytes = match body {
            AnswerBody::Whole(bytes) if !bytes.is_empty() => bytes,
            AnswerBody::Whole(_) | AnswerBody::Dropped => return Err(BodyError::Empty),
            AnswerBody::TooLong => return Err(BodyError::TooLong(self.max_bytes)),
        };
        let body: Value = serde_json::from_slice(bytes).map_err(|_no_json| BodyError::NoObject)?;
        if !body.is_object() {
            return Err(BodyError::NoObject);
        }
        if self.condition.holds(self.field.find(&body)) {
            return Ok(());
        }
        let wanted = match self.condition {
            Condition::Equals(_) => "what success_json.equals says",
            Condition::Falsy => "falsy",
            Condition::Absent => "absent",
        };
        Err(BodyError::Differs(self.field.0.join("."), wanted))
    }
}

impl Condition {
    fn holds(&self, field: Option<&Value>) -> bool {
        match (self, field) {
            (Self::Falsy | Self::Absent, None | Some(Value::Null)) => true,
            (Self::Absent, Some(_)) | (Self::Equals(_), None) => false,
            (Self::Falsy, Some(value)) => is_falsy(value),
            (Self::Equals(text), Some(value)) => equals(value, text),
        }
    }
}

/// The falsiness of PHP, whose programs answer like that.
fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => matches!(text.as_str(), "" | "0"),
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => false,
    }
}

/// A text is compared as text, anything else as JSON: `0` is 0, 0.0 and "0".
fn equals(value: &Value, text: &str) -> bool {
    match value {
        Value::String(found) => found == text,
        Value::Number(found) => match text.parse::<serde_json::Number>() {
            Ok(wanted) if found.is_f64() || wanted.is_f64() => found.as_f64() == wanted.as_f64(),
            Ok(wanted) => *found == wanted,
            Err(_no_number) => false,
        },
        Value::Bool(found) => text == if *found { "true" } else { "false" },
        Value::Null => text == "null",
        Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(field: &str, condition: Condition, body: &str) -> Result<(), BodyError> {
        let rule = BodyRule {
            field: FieldPath::parse(field).unwrap(),
            condition,
            max_bytes: 1000,
        };
        rule.check(&AnswerBody::Whole(body.as_bytes().to_vec()))
    }

    #[test]
    fn falsy_is_what_php_calls_so() {
        for (body, delivered) in [
            (r#"{"errno":0}"#, true),
            (r#"{"errno":0.0}"#, true),
            (r#"{"errno":"0"}"#, true),
            (r#"{"errno":""}"#, true),
            (r#"{"errno":null}"#, true),
            (r#"{"errno":false}"#, true),
            (r#"{"errno":[]}"#, true),
            (r#"{"data":1}"#, true),
            ("{}", true),
            (r#"{"errno":1}"#, false),
            (r#"{"errno":-1}"#, false),
            (r#"{"errno":"00"}"#, false),
            (r#"{"errno":"no"}"#, false),
            (r#"{"errno":true}"#, false),
            (r#"{"errno":{}}"#, false),
            (r#"{"errno":[0]}"#, false),
        ] {
            let checked = check("errno", Condition::Falsy, body);
            assert_eq!(checked.is_ok(), delivered, "{body}: {checked:?}");
        }
    }

    #[test]
    fn a_value_equals_its_text_whatever_its_type() {
        for (wanted, value, delivered) in [
            ("0", "0", true),
            ("0", "0.0", true),
            ("0", r#""0""#, true),
            ("0", "false", false),
            ("0", "null", false),
            ("9007199254740993", "9007199254740993", true),
            ("9007199254740993", "9007199254740992", false),
            ("ok", r#""ok""#, true),
            ("ok", r#""OK""#, false),
            ("true", "true", true),
            ("true", "false", false),
            ("null", "null", true),
            ("[]", "[]", false),
        ] {
            let body = format!(r#"{{"code":{value}}}"#);
            let checked = check("code", Condition::Equals(wanted.to_owned()), &body);
            assert_eq!(checked.is_ok(), delivered, "{wanted} {body}");
        }
        let nothing = check("code", Condition::Equals("0".to_owned()), "{}");
        assert!(nothing.is_err(), "what is not there equals nothing");
    }

    #[test]
    fn a_field_is_found_inside_sections_and_lists() {
        let body = r#"{"result":{"items":[{"code":7},{"code":0}]},"a.b":1}"#;
        let equals = |field: &str, text: &str| check(field, Condition::Equals(text.to_owned()), body);
        assert_eq!(equals("result.items.1.code", "0"), Ok(()));
        assert!(equals("result.items.0.code", "0").is_err());
        assert_eq!(check("result.items.2.code", Condition::Absent, body), Ok(()));
        assert_eq!(check("result.error", Condition::Absent, body), Ok(()));
        assert!(check("result.items", Condition::Absent, body).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_no_delivery_whatever_the_condition() {
        for condition in [
            Condition::Falsy,
            Condition::Absent,
            Condition::Equals("0".to_owned()),
        ] {
            for body in ["<html>", "[]", "0", "null", "\"\"", "{", "{}{}", &"[".repeat(200)] {
                let checked = check("errno", condition.clone(), body);
                assert_eq!(checked, Err(BodyError::NoObject), "{body}");
            }
            assert_eq!(check("errno", condition.clone(), ""), Err(BodyError::Empty));
            let rule = BodyRule {
                field: FieldPath::parse("errno").unwrap(),
                condition,
                max_bytes: 5,
            };
            assert_eq!(rule.check(&AnswerBody::TooLong), Err(BodyError::TooLong(5)));
        }
    }

    #[test]
    fn a_path_has_names_between_its_dots() {
        for wrong in ["", ".", "a.", ".a", "a..b", &vec!["a"; 17].join(".")] {
            assert_eq!(FieldPath::parse(wrong), Err(FieldPathError), "{wrong}");
        }
    }
}

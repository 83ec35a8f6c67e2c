//! Bodies as values of CEL, and back. Nesting is bounded. Pure.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cel::Value;
use cel::objects::{Key, Map};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::content::{ContentError, Form};

/// Nesting of a body at most; JSON's reader has the same limit of its own.
const MAX_DEPTH: usize = 100;

/// The value of a whole body.
pub(super) fn read(body: &[u8], form: Form) -> Result<Value, ContentError> {
    match form {
        Form::Json => {
            let read = serde_json::from_slice::<Read>(body);
            let read = read.map_err(|error| ContentError::Json {
                line: error.line(),
                column: error.column(),
            });
            Ok(read?.0)
        }
        Form::MessagePack => {
            let mut rest = body;
            let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
            deserializer.set_max_depth(MAX_DEPTH);
            let read = Read::deserialize(&mut deserializer);
            drop(deserializer);
            let at = body.len() - rest.len();
            match read {
                Ok(read) if rest.is_empty() => Ok(read.0),
                _ => Err(ContentError::MessagePack { at }),
            }
        }
    }
}

/// The body of a value.
pub(super) fn write(value: &Value, form: Form) -> Result<Vec<u8>, ContentError> {
    match form {
        Form::Json => serde_json::to_vec(&Write(value)).map_err(|_| ContentError::NotWritable),
        Form::MessagePack => rmp_serde::to_vec(&Write(value)).map_err(|_| ContentError::NotWritable),
    }
}

struct Read(Value);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::UInt(value), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(Arc::new(value.to_owned())))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(Arc::new(value.to_vec())))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Read(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::List(Arc::new(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = HashMap::new();
        while let Some((Read(name), Read(value))) = map.next_entry()? {
            let name = match name {
                Value::String(name) => Key::String(name),
                Value::Int(name) => Key::Int(name),
                Value::UInt(name) => Key::Uint(name),
                Value::Bool(name) => Key::Bool(name),
                // No expression can name any other.
                _ => continue,
            };
            fields.insert(name, value);
        }
        Ok(Value::Map(Map {
            map: Arc::new(fields),
        }))
    }
}

struct Write<'a>(&'a Value);

impl Serialize for Write<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::UInt(value) => serializer.serialize_u64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::String(value) => serializer.serialize_str(value),
            Value::Bytes(value) => serializer.serialize_bytes(value),
            Value::List(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                for value in values.iter() {
                    list.serialize_element(&Write(value))?;
                }
                list.end()
            }
            Value::Map(fields) => {
                // Their order in memory is by chance.
                let mut sorted: Vec<_> = fields.map.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(b.0));
                let mut map = serializer.serialize_map(Some(sorted.len()))?;
                for (name, value) in sorted {
                    map.serialize_entry(&name.to_string(), &Write(value))?;
                }
                map.end()
            }
            _ => Err(S::Error::custom("a value that is none of a body's")),
        }
    }
}

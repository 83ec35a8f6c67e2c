//! Values inside a JSON object, as they are written there. The nesting of what is passed over costs no stack, and the way to
//! what is wanted is as deep as its path. Pure.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::ContentError;
use super::path::Field;

/// Reads the whole of `body` and keeps what `field` names.
pub(super) fn read<'a>(
    body: &'a [u8],
    field: &Field,
    found: &mut [Option<&'a [u8]>],
) -> Result<(), ContentError> {
    whole(body, field, found).map_err(|error| ContentError::Json {
        line: error.line(),
        column: error.column(),
    })
}

fn whole<'a>(body: &'a [u8], field: &Field, found: &mut [Option<&'a [u8]>]) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    deserializer.deserialize_map(Object { field, found })?;
    deserializer.end()
}

/// A scalar as text: a string's content, anything else as it is written. `None` for a list, an object, or a string that is none.
pub(super) fn scalar(raw: &[u8]) -> Option<Cow<'_, str>> {
    match raw {
        [b'{' | b'[', ..] => None,
        [b'"', inside @ .., b'"'] if !inside.contains(&b'\\') => {
            std::str::from_utf8(inside).ok().map(Cow::Borrowed)
        }
        [b'"', ..] => serde_json::from_slice::<String>(raw).ok().map(Cow::Owned),
        plain => std::str::from_utf8(plain).ok().map(Cow::Borrowed),
    }
}

struct Object<'f, 'a> {
    field: &'f Field,
    found: &'f mut [Option<&'a [u8]>],
}

impl<'a> Visitor<'a> for Object<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(inside) = map.next_key_seed(Name(self.field))? {
            let Some(inside) = inside else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let raw = map.next_value::<&'a RawValue>()?.get().as_bytes();
            inside.found(raw, self.found);
            if inside.goes_on() && raw.first() == Some(&b'{') {
                whole(raw, inside, self.found).map_err(A::Error::custom)?;
            }
        }
        Ok(())
    }
}

/// The field of this name, if one is wanted.
struct Name<'f>(&'f Field);

impl<'a, 'f> DeserializeSeed<'a> for Name<'f> {
    type Value = Option<&'f Field>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'f> Visitor<'_> for Name<'f> {
    type Value = Option<&'f Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.get(name.as_bytes()))
    }
}

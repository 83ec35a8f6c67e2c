//! The projection: a flat map of some fields of a body, under other names, written like the body it was made of. Pure.

use super::path::{Path, Wanted};
use super::{ContentError, Form, MAX_BODY, msgpack, pick};

/// Fields of a projection at most.
pub const MAX_FIELDS: usize = 1000;

/// Fields to be pushed, and their names there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    fields: Wanted,
    names: Vec<Name>,
}

/// The name of a field as it is written: everything but the value is known before.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    /// With quotes and a colon.
    json: Vec<u8>,
    packed: Vec<u8>,
}

impl Projection {
    /// New name and place of each field, in the order in which they are written.
    #[must_use]
    pub fn new(fields: &[(String, Path)]) -> Self {
        let names = fields.iter().map(|(name, _)| Name {
            json: format!("{}:", serde_json::Value::from(name.as_str())).into_bytes(),
            packed: msgpack::text(name),
        });
        Self {
            names: names.collect(),
            fields: Wanted::new(fields.iter().map(|(_, path)| path)),
        }
    }

    /// The body that is pushed for this one: the values byte by byte as they are there, without the fields that it does not
    /// have.
    ///
    /// # Errors
    /// The body cannot be read, or the new one would be too large.
    pub fn of(&self, body: &[u8]) -> Result<Vec<u8>, ContentError> {
        let (form, found) = pick(body, &self.fields)?;
        let fields = || {
            let present = self.names.iter().zip(&found);
            present.filter_map(|(name, value)| Some((name, (*value)?)))
        };
        // A place may be named more than once.
        let bytes: usize = fields()
            .map(|(name, value)| name.json.len().max(name.packed.len()) + value.len() + 1)
            .sum();
        if bytes + 8 > MAX_BODY {
            return Err(ContentError::OutputTooLarge);
        }
        let mut made = Vec::with_capacity(bytes + 8);
        match form {
            Form::Json => {
                made.push(b'{');
                for (nth, (name, value)) in fields().enumerate() {
                    if nth > 0 {
                        made.push(b',');
                    }
                    made.extend_from_slice(&name.json);
                    made.extend_from_slice(value);
                }
                made.push(b'}');
            }
            Form::MessagePack => {
                made.extend_from_slice(&msgpack::map_head(fields().count()));
                for (name, value) in fields() {
                    made.extend_from_slice(&name.packed);
                    made.extend_from_slice(value);
                }
            }
        }
        Ok(made)
    }
}

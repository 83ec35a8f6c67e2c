//! The filter by one field: a record is pushed when the field holds one of the module's values. Pure.

use std::collections::BTreeSet;

use super::path::{Path, Wanted};
use super::{ContentError, Form, json, msgpack, pick};

/// A field and its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    field: Wanted,
    values: BTreeSet<String>,
}

impl Filter {
    /// Pushes records whose `field` holds one of the `values`. They are compared as texts, byte by byte: numbers as they are
    /// written in the body, and `true`, `false` and `null` by these words.
    #[must_use]
    pub fn new(field: &Path, values: impl IntoIterator<Item = String>) -> Self {
        Self {
            field: Wanted::new([field]),
            values: values.into_iter().collect(),
        }
    }

    /// Whether the record of this body is pushed. A field that is absent, or holds a list or a map, is none of the values.
    ///
    /// # Errors
    /// The body cannot be read.
    pub fn admits(&self, body: &[u8]) -> Result<bool, ContentError> {
        let (form, found) = pick(body, &self.field)?;
        let value = found.into_iter().flatten().next();
        let text = value.and_then(|raw| match form {
            Form::Json => json::scalar(raw),
            Form::MessagePack => msgpack::scalar(raw),
        });
        Ok(text.is_some_and(|text| self.values.contains(text.as_ref())))
    }
}

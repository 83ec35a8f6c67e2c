//! What a module asks of a body: whether the record is pushed (`filter`), and what of it (`project`).
//!
//! A body is a JSON object or a MessagePack map, told by its first byte, and is read once from end to end without building its
//! values; what is broken anywhere, or larger than [`MAX_BODY`], is an error as a whole: what then happens is the module's
//! `on_error`. What is kept in memory, and read again, is always the body as it came. Pure.

mod filter;
mod json;
mod msgpack;
mod path;
mod project;

pub use filter::Filter;
pub use path::{MAX_DEPTH, Path, PathError};
pub use project::{MAX_FIELDS, Projection};

use serde::Deserialize;

use path::Wanted;

/// Bytes of a body that is read, and of one that is made; beyond it is an error.
pub const MAX_BODY: usize = 4 * 1024 * 1024;

/// What a module does with bodies. Two that are equal do the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Which records are pushed; none = all.
    pub filter: Option<Filter>,
    /// What of a body is pushed; none = all of it.
    pub projection: Option<Projection>,
    /// What happens when a body cannot be read.
    pub on_error: OnError,
}

/// What happens to a record whose body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It is done without a push.
    Skip,
    /// It is pushed with its body as it came.
    Push,
    /// Its partition stops there, with a reason in `/readyz`, until the file is changed or the offset is moved.
    Stop,
}

/// Why a body cannot be read. The texts say where, and never what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Its first byte begins neither.
    #[error("the body is neither a JSON object nor a MessagePack map")]
    NoMap,
    /// It is no whole JSON text.
    #[error("the JSON is broken at line {line}, column {column}")]
    Json {
        /// From 1 on.
        line: usize,
        /// From 1 on.
        column: usize,
    },
    /// It is no whole MessagePack value.
    #[error("the MessagePack is broken at byte {at}")]
    MessagePack {
        /// From 0 on.
        at: usize,
    },
    /// More than [`MAX_BODY`].
    #[error("the body has more than {MAX_BODY} bytes")]
    TooLarge,
    /// More than [`MAX_BODY`] would be pushed.
    #[error("the projected body would have more than {MAX_BODY} bytes")]
    OutputTooLarge,
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    MessagePack,
}

impl Content {
    /// Whether the record of this body is to be pushed.
    ///
    /// # Errors
    /// The body cannot be read. With `on_error: stop` that includes what [`Content::transform`] would say: its partition stops
    /// before the record is taken in.
    pub fn admits(&self, body: &[u8]) -> Result<bool, ContentError> {
        let admitted = match &self.filter {
            Some(filter) => filter.admits(body)?,
            None => true,
        };
        if admitted && self.on_error == OnError::Stop {
            self.transform(body)?;
        }
        Ok(admitted)
    }

    /// The body to push; `None` = as it came.
    ///
    /// # Errors
    /// The body cannot be read, or what was made of it is too large.
    pub fn transform(&self, body: &[u8]) -> Result<Option<Vec<u8>>, ContentError> {
        let projected = self.projection.as_ref().map(|project| project.of(body));
        projected.transpose()
    }
}

/// A value for each path, as it is written in the body.
type Values<'a> = Vec<Option<&'a [u8]>>;

/// The values that are wanted of a body, each as it is written there; the last one counts where a field stands twice.
fn pick<'a>(body: &'a [u8], wanted: &Wanted) -> Result<(Form, Values<'a>), ContentError> {
    if body.len() > MAX_BODY {
        return Err(ContentError::TooLarge);
    }
    let mut found = vec![None; wanted.count()];
    let form = form(body).ok_or(ContentError::NoMap)?;
    match form {
        Form::Json => json::read(body, wanted.root(), &mut found)?,
        Form::MessagePack => msgpack::read(body, wanted.root(), &mut found)?,
    }
    Ok((form, found))
}

/// JSON begins with white space or a brace, and no MessagePack map does.
fn form(body: &[u8]) -> Option<Form> {
    match body.trim_ascii_start().first()? {
        b'{' => Some(Form::Json),
        0x80..=0x8f | 0xde | 0xdf if body.first().is_some_and(|first| !first.is_ascii()) => {
            Some(Form::MessagePack)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;

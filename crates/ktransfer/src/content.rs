//! What a module asks of a body: whether the record is pushed (`filter`, `filter_expr`), and what of it (`project`,
//! `transform_expr`).
//!
//! A body is a JSON object or a MessagePack map, told by its first byte, and is read once from end to end without building its
//! values; what is broken anywhere, or larger than [`MAX_BODY`], is an error as a whole: what then happens is the module's
//! `on_error`. What is kept in memory, and read again, is always the body as it came. Pure.

mod expression;
mod filter;
mod json;
mod msgpack;
mod path;
mod project;

pub use expression::{Expression, ExpressionError};
pub use filter::Filter;
pub use path::{MAX_DEPTH, Path, PathError};
pub use project::{MAX_FIELDS, Projection};

use kcommon::kafka::{PartitionId, RecordOffset};
use serde::Deserialize;

use path::Wanted;

/// Bytes of a body that is read, and of one that is made; beyond it is an error.
pub const MAX_BODY: usize = 4 * 1024 * 1024;

/// What a module does with bodies. Two that are equal do the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Which records are pushed; none = all.
    pub filter: Option<Filter>,
    /// A condition on the records that are pushed, besides; none = all.
    pub condition: Option<Expression>,
    /// What of a body is pushed; none = all of it.
    pub transform: Option<Transform>,
    /// What happens when a body cannot be read.
    pub on_error: OnError,
}

/// What is pushed instead of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transform {
    /// Some of its fields.
    Projection(Projection),
    /// The map that an expression makes.
    Expression(Expression),
}

/// A record, as far as it is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: RecordOffset,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its timestamp in Kafka, in milliseconds; -1 without.
    pub timestamp: i64,
    /// Its body.
    pub body: &'a [u8],
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
    #[error("the body to push would have more than {MAX_BODY} bytes")]
    OutputTooLarge,
    /// More than an expression reads.
    #[error("the body has more than {max} bytes, which is the most that an expression reads", max = expression::MAX_INPUT)]
    TooLargeForExpression,
    /// The expression cannot be evaluated for this record.
    #[error("the expression has no value: {0}")]
    Evaluation(&'static str),
    /// A condition that is none.
    #[error("filter_expr is neither true nor false")]
    NotBool,
    /// A transform that makes something else.
    #[error("transform_expr makes no map")]
    NotMap,
    /// A value that no body can hold.
    #[error("transform_expr makes a value that no body can hold")]
    NotWritable,
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    MessagePack,
}

impl Content {
    /// Whether the record is to be pushed.
    ///
    /// # Errors
    /// The body cannot be read. With `on_error: stop` that includes what [`Content::transform`] would say: its partition stops
    /// before the record is taken in.
    pub fn admits(&self, subject: &Subject<'_>) -> Result<bool, ContentError> {
        let mut admitted = match &self.filter {
            Some(filter) => filter.admits(subject.body)?,
            None => true,
        };
        if let Some(condition) = self.condition.as_ref().filter(|_| admitted) {
            admitted = condition.holds(subject)?;
        }
        if admitted && self.on_error == OnError::Stop {
            self.transform(subject)?;
        }
        Ok(admitted)
    }

    /// The body to push; `None` = as it came.
    ///
    /// # Errors
    /// The body cannot be read, or what was made of it is too large.
    pub fn transform(&self, subject: &Subject<'_>) -> Result<Option<Vec<u8>>, ContentError> {
        let made = self.transform.as_ref().map(|transform| match transform {
            Transform::Projection(projection) => projection.of(subject.body),
            Transform::Expression(expression) => expression.map(subject),
        });
        made.transpose()
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
pub(crate) mod tests;

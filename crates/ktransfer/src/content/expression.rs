//! Expressions in the Common Expression Language: compiled once, checked before they are used, evaluated in bounded time.
//!
//! Nothing interrupts an evaluation, so what could make one long is refused before: loops (`all`, `exists`, `map`, `filter`),
//! regular expressions, more than [`MAX_REFERENCES`] references to values and more than [`MAX_SUMS`] `+` in one expression, deep
//! nesting, long texts. What is left takes time and memory in proportion to the body, at most [`MAX_INPUT`], times the
//! references.
//!
//! The parser's stack grows with what it reads, so it runs on a thread of its own. Pure otherwise.

mod check;
mod value;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{Expr, SelectExpr};
use cel::parser::Macro;
use cel::{Context, Env, ExecutionError, Program, Value};

use super::{ContentError, Form, MAX_BODY, Subject, form};

/// Bytes of an expression at most.
pub(super) const MAX_EXPRESSION: usize = 4096;
/// Bytes of a body that an expression reads, at most.
pub(super) const MAX_INPUT: usize = 64 * 1024;
/// References to values in an expression at most; each may copy the body.
pub(super) const MAX_REFERENCES: usize = 64;
/// Additions in an expression at most: each copies what came before it.
pub(super) const MAX_SUMS: usize = 16;
/// Expressions inside each other at most.
pub(super) const MAX_NESTING: usize = 48;

/// What the parser may need; only what it touches is taken.
const PARSER_STACK: usize = 256 << 20;

/// What an expression may speak of.
const VARIABLES: [&str; 6] = ["body", "topic", "partition", "offset", "key", "timestamp"];

/// The language without loops.
static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut language = Env::default().with_stdlib();
    let has = Macro::global("has", 1, |helper, _target, arguments| {
        let Some(Expr::Select(select)) = arguments.first().map(|argument| &argument.expr) else {
            return Ok(None);
        };
        let select = SelectExpr {
            test: true,
            ..select.clone()
        };
        arguments.clear();
        Ok(Some(helper.next_expr(Expr::Select(select))))
    });
    language
        .add_macro(has)
        .expect("the language has no macros before");
    Arc::new(language)
});

/// A compiled expression. Two of the same text are equal.
#[derive(Clone)]
pub struct Expression {
    text: String,
    program: Arc<Program>,
}

/// Why a text is no expression that may be used. It says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// No CEL.
    #[error("is no CEL: line {line}, column {column}: {what}")]
    Syntax {
        /// From 1 on.
        line: isize,
        /// From 1 on.
        column: isize,
        /// The parser's words.
        what: String,
    },
    /// Longer than [`MAX_EXPRESSION`].
    #[error("has more than {MAX_EXPRESSION} bytes")]
    TooLong,
    /// Deeper than [`MAX_NESTING`].
    #[error("has more than {MAX_NESTING} expressions inside each other")]
    TooDeep,
    /// More references than [`MAX_REFERENCES`].
    #[error("refers to values more than {MAX_REFERENCES} times")]
    TooManyReferences,
    /// More additions than [`MAX_SUMS`].
    #[error("adds more than {MAX_SUMS} times")]
    TooManySums,
    /// A name that is not known.
    #[error("speaks of {0:?}; known are body, topic, partition, offset, key and timestamp")]
    UnknownVariable(String),
    /// A function that there is not, or that is left out because it would take time without bound.
    #[error("calls {0:?}, which is not available; {known}", known = check::KNOWN)]
    UnknownFunction(String),
    /// A message of a type.
    #[error("makes a message; make a map")]
    Message,
    /// The parser failed in an unexpected way.
    #[error("cannot be read")]
    Unreadable,
}

impl Expression {
    /// The expression of a text.
    ///
    /// # Errors
    /// It is no CEL, or might take long.
    pub fn compile(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > MAX_EXPRESSION {
            return Err(ExpressionError::TooLong);
        }
        let compiled = std::thread::scope(|scope| {
            let parser = std::thread::Builder::new().stack_size(PARSER_STACK);
            let parser = parser.spawn_scoped(scope, || {
                let program = LANGUAGE.compile(text).map_err(|errors| syntax(&errors))?;
                // What is refused is freed here: that is as deep as it is.
                check::check(program.expression())?;
                Ok(program)
            });
            let outcome = parser.map(std::thread::ScopedJoinHandle::join);
            outcome.unwrap_or_else(|_no_thread| Ok(Err(ExpressionError::Unreadable)))
        });
        Ok(Self {
            text: text.to_owned(),
            program: Arc::new(compiled.unwrap_or(Err(ExpressionError::Unreadable))?),
        })
    }

    /// Whether the expression, which is a condition, holds.
    pub(super) fn holds(&self, subject: &Subject<'_>) -> Result<bool, ContentError> {
        match self.evaluate(subject)? {
            (_, Value::Bool(holds)) => Ok(holds),
            _ => Err(ContentError::NotBool),
        }
    }

    /// The map that the expression makes, written as the body is.
    pub(super) fn map(&self, subject: &Subject<'_>) -> Result<Vec<u8>, ContentError> {
        let (form, made) = self.evaluate(subject)?;
        if !matches!(made, Value::Map(_)) {
            return Err(ContentError::NotMap);
        }
        let written = value::write(&made, form)?;
        if written.len() > MAX_BODY {
            return Err(ContentError::OutputTooLarge);
        }
        Ok(written)
    }

    fn evaluate(&self, subject: &Subject<'_>) -> Result<(Form, Value), ContentError> {
        if subject.body.len() > MAX_INPUT {
            return Err(ContentError::TooLargeForExpression);
        }
        let form = form(subject.body).ok_or(ContentError::NoMap)?;
        let body = value::read(subject.body, form)?;
        let mut context = Context::with_env(Arc::clone(&LANGUAGE));
        let text = |text: &str| Value::String(Arc::new(text.to_owned()));
        let key = subject.key.map_or(Value::Null, |key| {
            let bytes = || Value::Bytes(Arc::new(key.to_vec()));
            std::str::from_utf8(key).map_or_else(|_| bytes(), text)
        });
        for (name, value) in [
            ("body", body),
            ("topic", text(subject.topic)),
            ("partition", Value::Int(subject.partition.0.into())),
            ("offset", Value::Int(subject.offset.get())),
            ("key", key),
            ("timestamp", Value::Int(subject.timestamp)),
        ] {
            context.add_variable_from_value(name, value);
        }
        // A bug in the interpreter is an error of the record and not the end of the module.
        let made = catch_unwind(AssertUnwindSafe(|| self.program.execute(&context)));
        match made {
            Ok(Ok(made)) => Ok((form, made)),
            Ok(Err(error)) => Err(ContentError::Evaluation(kind(&error))),
            Err(_panic) => Err(ContentError::Evaluation("the interpreter failed")),
        }
    }
}

/// What went wrong, without the values that it went wrong with.
fn kind(error: &ExecutionError) -> &'static str {
    match error {
        ExecutionError::NoSuchKey(_) => "a field is absent",
        ExecutionError::NoSuchOverload(_)
        | ExecutionError::UnexpectedType { .. }
        | ExecutionError::UnsupportedTargetType { .. }
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnsupportedIndex(..)
        | ExecutionError::ValuesNotComparable(..) => "a value is of another type",
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "a division by zero",
        ExecutionError::Overflow(..) => "a number is too large",
        ExecutionError::IndexOutOfBounds(_) => "a list is too short",
        ExecutionError::DuplicateKey(_) => "a field is made twice",
        ExecutionError::FunctionError { .. } => "a function failed",
        _ => "it cannot be evaluated",
    }
}

fn syntax(errors: &cel::ParseErrors) -> ExpressionError {
    let first = errors.errors.first();
    let what = first.map_or("", |error| error.msg.as_str());
    let (line, column) = first.map_or((1, 1), |error| error.pos);
    ExpressionError::Syntax {
        line,
        column,
        what: what
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(200)
            .collect(),
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

#[cfg(test)]
mod tests;

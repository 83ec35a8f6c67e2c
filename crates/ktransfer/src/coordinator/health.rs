//! How a module's coordination is, in words for people.

/// How a module is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// On its way, at this step.
    Starting(&'static str),
    /// It delivers its share.
    Well,
    /// Something is wrong, and what to do.
    Problem(String),
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

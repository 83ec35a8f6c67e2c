//! Waiting for a condition instead of sleeping.

use std::time::{Duration, Instant};

/// What a condition says: not yet, or done with a value.
pub trait Outcome {
    /// The value that the wait gives.
    type Value;
    /// The value when the condition holds.
    fn holds(self) -> Option<Self::Value>;
}

impl Outcome for bool {
    type Value = ();
    fn holds(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;
    fn holds(self) -> Option<T> {
        self
    }
}

/// Asks `condition` until it holds and gives its value. The deadline should be ten times what is promised: it
/// only ends a test that would wait for ever.
///
/// # Panics
/// When it does not hold before the deadline; the message names `what`.
pub async fn eventually<C, O>(what: &str, deadline: Duration, mut condition: C) -> O::Value
where
    C: AsyncFnMut() -> O,
    O: Outcome,
{
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition().await.holds() {
            return value;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

//! What the backend answers to whom. Pure.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

/// Which requests a behaviour is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct When {
    key: Option<Vec<u8>>,
    attempt: Option<u32>,
}

impl When {
    /// Every request.
    #[must_use]
    pub fn always() -> Self {
        Self::default()
    }

    /// Requests whose query parameter `key` is this.
    #[must_use]
    pub fn key(key: impl AsRef<[u8]>) -> Self {
        Self {
            key: Some(key.as_ref().to_vec()),
            attempt: None,
        }
    }

    /// The n-th request, from 1, with the same URI and body.
    #[must_use]
    pub fn attempt(self, attempt: u32) -> Self {
        Self {
            attempt: Some(attempt),
            ..self
        }
    }
}

/// What the backend does with a request once it has read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    pub(super) delay: Duration,
    pub(super) end: End,
    pub(super) body: Bytes,
    pub(super) close: bool,
    pub(super) retry_after: Option<u64>,
}

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Status(u16),
    Hang,
    Reset,
    Close,
}

impl Behaviour {
    fn new(end: End) -> Self {
        Self {
            delay: Duration::ZERO,
            end,
            body: Bytes::new(),
            close: false,
            retry_after: None,
        }
    }

    /// Answers with this status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::new(End::Status(status))
    }

    /// Never answers, and leaves the connection open.
    #[must_use]
    pub fn hang() -> Self {
        Self::new(End::Hang)
    }

    /// Resets the connection (RST) instead of answering.
    #[must_use]
    pub fn reset() -> Self {
        Self::new(End::Reset)
    }

    /// Closes the connection (FIN) instead of answering.
    #[must_use]
    pub fn close() -> Self {
        Self::new(End::Close)
    }

    /// The same after a pause.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// The same with this body in the answer.
    #[must_use]
    pub fn with_body(self, body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    /// The same with a `retry-after` of so many seconds in the answer.
    #[must_use]
    pub fn and_retry_after(self, seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }

    /// The same with `connection: close` in the answer, after which the connection ends.
    #[must_use]
    pub fn and_close(self) -> Self {
        Self { close: true, ..self }
    }
}

/// All that was said with [`super::Backend::on`].
#[derive(Debug, Default)]
pub(super) struct Script {
    said: HashMap<When, Behaviour>,
}

impl Script {
    pub(super) fn set(&mut self, when: When, behaviour: Option<Behaviour>) {
        match behaviour {
            Some(behaviour) => self.said.insert(when, behaviour),
            None => self.said.remove(&when),
        };
    }

    /// The behaviour for a request; 200 when nothing was said.
    pub(super) fn behaviour(&self, key: Option<&[u8]>, attempt: u32) -> Behaviour {
        if self.said.is_empty() {
            return Behaviour::status(200);
        }
        let key = key.map(<[u8]>::to_vec);
        let attempt = Some(attempt);
        let candidates = [
            When {
                key: key.clone(),
                attempt,
            },
            When { key, attempt: None },
            When { key: None, attempt },
            When::always(),
        ];
        let found = candidates.iter().find_map(|when| self.said.get(when));
        found.cloned().unwrap_or_else(|| Behaviour::status(200))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_description_wins() {
        let mut script = Script::default();
        script.set(When::always(), Some(Behaviour::status(500)));
        script.set(When::always().attempt(2), Some(Behaviour::status(501)));
        script.set(When::key("a"), Some(Behaviour::status(502)));
        script.set(When::key("a").attempt(2), Some(Behaviour::status(503)));
        let status = |key: &str, attempt| script.behaviour(Some(key.as_bytes()), attempt).end;
        assert_eq!(status("b", 1), End::Status(500));
        assert_eq!(status("b", 2), End::Status(501));
        assert_eq!(status("a", 1), End::Status(502));
        assert_eq!(status("a", 2), End::Status(503));
    }

    #[test]
    fn what_is_taken_back_no_longer_holds() {
        let mut script = Script::default();
        script.set(When::key("a"), Some(Behaviour::hang()));
        script.set(When::key("a"), None);
        assert_eq!(script.behaviour(Some(b"a"), 1), Behaviour::status(200));
    }
}

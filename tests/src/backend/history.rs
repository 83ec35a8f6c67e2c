//! What the backend remembers of the requests it saw.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::Observer;

/// One request as the backend saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which of the backend's servers took it, from 0.
    pub server: usize,
    /// Which connection carried it; unique over all servers.
    pub connection: u32,
    /// Path and query as they came.
    pub uri: Bytes,
    /// The header lines, `name: value`, names in lower case, one per line.
    pub headers: Arc<str>,
    /// The query parameter `key`, percent-decoded.
    pub key: Option<Bytes>,
    /// The body.
    pub body: Bytes,
    /// The how many-th request with this URI and body it was, from 1.
    pub attempt: u32,
    /// When its head was read.
    pub start: Instant,
    /// When it was answered or its connection ended; none while it is open.
    pub end: Option<Instant>,
    /// The status it was answered with; none while it is open and when it ended without an answer.
    pub status: Option<u16>,
}

impl Seen {
    /// Whether it was answered with 2xx.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// The value of a header, by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.lines().filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(line_name, _)| *line_name == name)
            .map(|(_, value)| value)
    }
}

/// All requests of one backend.
#[derive(Debug, Default)]
pub(super) struct History {
    requests: Vec<Seen>,
    attempts: HashMap<u64, u32>,
    /// Told of the requests in the place of `requests` and `attempts`.
    observer: Option<Box<dyn Observer>>,
    begun: usize,
    delivered: usize,
    /// Counts how often the history was forgotten, so that the end of an older request changes nothing.
    generation: u32,
}

/// Names a request that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    /// The request's index, or the observer's number for it.
    number: u64,
    generation: u32,
}

impl History {
    pub(super) fn told_to(observer: Box<dyn Observer>) -> Self {
        Self {
            observer: Some(observer),
            ..Self::default()
        }
    }

    pub(super) fn requests(&self) -> &[Seen] {
        &self.requests
    }

    pub(super) fn count(&self) -> usize {
        self.begun
    }

    pub(super) fn delivered(&self) -> usize {
        self.delivered
    }

    pub(super) fn forget(&mut self) {
        self.generation += 1;
        self.requests.clear();
        self.attempts.clear();
        self.begun = 0;
        self.delivered = 0;
    }

    /// Enters a request, numbers its attempt, and gives both.
    pub(super) fn begin(&mut self, mut seen: Seen) -> (Ticket, u32) {
        let generation = self.generation;
        let ticket = |number| Ticket { number, generation };
        self.begun += 1;
        if let Some(observer) = &mut self.observer {
            return (ticket(observer.begin(&seen)), seen.attempt);
        }
        let ticket = ticket(self.requests.len() as u64);
        let mut hasher = DefaultHasher::new();
        (&seen.uri, &seen.body).hash(&mut hasher);
        let attempt = self.attempts.entry(hasher.finish()).or_default();
        *attempt += 1;
        seen.attempt = *attempt;
        self.requests.push(seen);
        (ticket, *attempt)
    }

    /// Notes how a request ended.
    pub(super) fn end(&mut self, ticket: Ticket, status: Option<u16>, now: Instant) {
        let counts = ticket.generation == self.generation;
        if counts && status.is_some_and(|status| (200..300).contains(&status)) {
            self.delivered += 1;
        }
        if let Some(observer) = &mut self.observer {
            observer.end(ticket.number, status, now);
            return;
        }
        let index = usize::try_from(ticket.number).unwrap_or(usize::MAX);
        if counts && let Some(seen) = self.requests.get_mut(index) {
            seen.status = status;
            seen.end = Some(now);
        }
    }
}

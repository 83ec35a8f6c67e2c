//! What waits for a receiver: bounded, and at the limit the oldest message makes room.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Messages in the order in which they are sent.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    limit: usize,
    inner: Mutex<Inner<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner<T> {
    waiting: VecDeque<T>,
    is_closed: bool,
}

impl<T> Queue<T> {
    /// Of at most `limit` messages.
    #[must_use]
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            inner: Mutex::new(Inner {
                waiting: VecDeque::new(),
                is_closed: false,
            }),
            changed: Notify::new(),
        }
    }

    /// Adds a message, and gives the one that had to go for it. Never waits.
    pub(crate) fn push(&self, message: T) -> Option<T> {
        let mut inner = self.lock();
        let dropped = if inner.waiting.len() >= self.limit {
            inner.waiting.pop_front()
        } else {
            None
        };
        inner.waiting.push_back(message);
        drop(inner);
        self.changed.notify_one();
        dropped
    }

    /// Waits for the next message; `None` once the queue is closed and empty. For one taker.
    pub(crate) async fn pop(&self) -> Option<T> {
        loop {
            {
                let mut inner = self.lock();
                if let Some(message) = inner.waiting.pop_front() {
                    return Some(message);
                }
                if inner.is_closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// No message comes any more.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Messages that wait.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Every step under the lock leaves a whole queue.
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_makes_room_and_the_rest_keeps_its_order() {
        let queue = Queue::new(2);
        assert_eq!(queue.push(1), None);
        assert_eq!(queue.push(2), None);
        assert_eq!(queue.push(3), Some(1));
        assert_eq!(queue.len(), 2);
        queue.close();
        assert_eq!(queue.pop().await, Some(2));
        assert_eq!(queue.pop().await, Some(3));
        assert_eq!(queue.pop().await, None);
    }

    #[tokio::test]
    async fn a_taker_waits_until_there_is_something() {
        let queue = std::sync::Arc::new(Queue::new(1));
        let taker = tokio::spawn({
            let queue = std::sync::Arc::clone(&queue);
            async move { queue.pop().await }
        });
        queue.push(7);
        assert_eq!(taker.await.unwrap(), Some(7));
    }
}

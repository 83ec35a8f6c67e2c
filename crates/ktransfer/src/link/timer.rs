//! One timer per worker for all its time-outs. It is moved only when it would fire too late or has fired too
//! early: a deadline that is always pushed back costs a comparison, not a change of the timer wheel.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

/// See the module.
#[derive(Debug)]
pub struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// Whether `sleep` will wake the task at its own deadline.
    armed: bool,
}

impl Timer {
    /// A timer that is not set. Needs a Tokio runtime with time.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep_until(Instant::now())),
            armed: false,
        }
    }

    /// Ready when `deadline` has passed; else wakes `cx` by then, and perhaps before. Always the same task.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        loop {
            if !self.armed || self.sleep.deadline() > deadline {
                self.sleep.as_mut().reset(deadline);
                self.armed = true;
            } else if self.sleep.deadline() > Instant::now() {
                // Armed by an earlier poll of this task and not yet due.
                return Poll::Pending;
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.armed = false;
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
        }
    }
}

impl Default for Timer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_fires_at_the_latest_deadline_it_was_given() {
        let mut timer = Timer::new();
        let start = Instant::now();
        let (early, late) = (start + Duration::from_secs(1), start + Duration::from_secs(5));
        let pending = poll_fn(|cx| Poll::Ready(timer.poll(cx, early).is_pending())).await;
        assert!(pending);
        poll_fn(|cx| timer.poll(cx, late)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn it_can_be_moved_forward() {
        let mut timer = Timer::new();
        let start = Instant::now();
        let far = start + Duration::from_secs(60);
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx, far).is_pending())).await);
        let near = start + Duration::from_secs(2);
        poll_fn(|cx| timer.poll(cx, near)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        poll_fn(|cx| timer.poll(cx, far)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(60));
    }
}

//! The task in which the client library serves a session, and the way to end it without ending the session.
//!
//! A client that is dropped closes its session, and one that is left alone goes on trying to reach the server, at
//! intervals that double without limit, until it finds the session again or believes it dead. To attach to the
//! session anew, and at once when the server is back, the former client must be gone first: two clients of one
//! session take it from each other. The library gives no handle on its task, so the task is spawned from here.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use spawns_core::{Spawn, Task, enter};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// The tasks of one client. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Serving {
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
    gone: CancellationToken,
}

impl Serving {
    /// Makes a client, whose tasks are spawned here.
    pub(super) async fn serve<T>(&self, connect: impl Future<Output = T>) -> T {
        let mut connect = pin!(connect);
        std::future::poll_fn(|cx| -> Poll<T> {
            let _scope = enter(self);
            connect.as_mut().poll(cx)
        })
        .await
    }

    /// Ends the client: its connection is closed, and nothing more is sent, not even the end of the session.
    pub(super) fn abandon(&self) {
        self.gone.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Waits until the client was ended by [`Serving::abandon`].
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn abandoned(&self) {
        self.gone.cancelled().await;
    }
}

impl Spawn for Serving {
    fn spawn(&self, task: Task) {
        let task = tokio::spawn(Box::into_pin(task.future));
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(task.abort_handle());
    }
}

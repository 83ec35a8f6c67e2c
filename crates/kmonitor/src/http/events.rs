//! `/api/v1/events`: a stream of server-sent events, one for each round of each cluster, until the listener or kmonitor ends.
//!
//! The number of listeners is bounded, and one that does not keep up is cut: its client connects again and begins with the
//! present. A comment is sent in silence, so that both sides notice a connection that is gone.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use kcommon::shutdown::Stop;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use super::{Site, api};
use crate::tidings;

/// Listeners at a time; more are refused with 503.
pub(super) const MAX_LISTENERS: usize = 256;

/// How long nothing is sent at most.
const SILENCE: Duration = Duration::from_secs(15);

/// How long a client waits before it connects again.
const RETRY: &[u8] = b"retry: 2000\n\n";

const SILENT: &[u8] = b": nothing new\n\n";

struct Listener {
    /// What is sent before anything new.
    first: VecDeque<Bytes>,
    rounds: broadcast::Receiver<Bytes>,
    stop: Stop,
    _permit: OwnedSemaphorePermit,
}

/// Answers with the present state of each cluster, then with every round.
pub(super) async fn stream(State(site): State<Site>) -> Response {
    let Ok(permit) = Arc::clone(&site.listeners).try_acquire_owned() else {
        let mut response = api::refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_listeners",
            "all places for listeners are taken; try again later, or ask /api/v1/modules",
        );
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        return response;
    };
    // First the place in the queue, so that no round falls between.
    let rounds = site.board.listen();
    let views = site.board.views();
    let present = views.clusters.values();
    let present = present.map(|one| Bytes::from(tidings::round(None, &one.view)));
    let listener = Listener {
        first: std::iter::once(Bytes::from_static(RETRY))
            .chain(present)
            .collect(),
        rounds,
        stop: site.stop.clone(),
        _permit: permit,
    };
    let mut response = Response::new(Body::from_stream(stream::unfold(listener, Listener::next)));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Listener {
    /// The next piece; `None` ends the stream.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if let Some(piece) = self.first.pop_front() {
            return Some((Ok(piece), self));
        }
        let piece = tokio::select! {
            () = self.stop.requested() => return None,
            round = self.rounds.recv() => match round {
                Ok(round) => round,
                // It has fallen behind, or the board is gone.
                Err(_) => return None,
            },
            () = tokio::time::sleep(SILENCE) => Bytes::from_static(SILENT),
        };
        Some((Ok(piece), self))
    }
}

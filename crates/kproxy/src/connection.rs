//! One connection, from its first byte to its end: which HTTP it speaks, and the limits of each.
//!
//! Whatever carries the bytes (TCP, a Unix socket, TLS on either) comes as a type of its own, so that the usual case costs no
//! call through a table. Never reads a request itself: hyper does, on a [`Paced`] socket.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::access::Peer;
use crate::paced::Paced;
use crate::patience::{Cut, Limits};
use crate::service::Service;
use crate::streams::Streams;
use crate::turn::Turn;
use crate::version::Version;

/// HTTP/1: the largest head, and the most that is read from a socket at once.
const MAX_HEAD: usize = 64 * 1024;

/// HTTP/2: requests of a connection at once. A client that wants more waits, or takes a second connection.
const MAX_STREAMS: u32 = 128;
/// HTTP/2: bytes of bodies of a connection that nobody has read, which are outside of `max_inflight_bytes`; the smallest that the
/// standard allows, and as much as HTTP/1 reads ahead.
const WINDOW: u32 = 65_535;
/// HTTP/2: bytes of a request's head, decoded; [`MAX_STREAMS`] of them may be there at once.
const MAX_HEADERS: u32 = 16 * 1024;
/// HTTP/2: requests that a client may take back before they are looked at, and streams that we may have to break for its mistakes,
/// until the connection is closed.
const MAX_RESETS: usize = 20;
/// HTTP/2: how often a client is asked for a sign of life, and how long it has for it: one that vanished without a word would stay
/// until `idle_timeout_ms`, or for ever without one.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// HTTP/2: how long a client that was told to leave may take for it without an open request.
const GRACE: Duration = Duration::from_secs(1);

/// Serves a connection until it ends. `peer` is whose it is.
pub(crate) async fn serve<I>(socket: I, peer: Peer, service: Arc<Service>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    service.meters.connections.increment(1.0);
    let turn = Arc::new(Turn::new(Arc::clone(&service.open)));
    let mut socket = Paced::new(
        socket,
        Arc::clone(&turn),
        service.http.limits,
        service.meters.clone(),
    );
    // A client that never says anything costs no parser.
    match socket.version().await {
        Ok(Version::Http1) => Box::pin(one_by_one(socket, turn, peer, &service)).await,
        Ok(Version::Http2) => Box::pin(side_by_side(socket, turn, peer, &service)).await,
        Err(error) => tracing::debug!(%error, "a connection ended before its first request"),
    }
    service.meters.connections.decrement(1.0);
}

/// HTTP/1.
async fn one_by_one<I>(socket: Paced<I>, turn: Arc<Turn>, peer: Peer, service: &Arc<Service>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (turn, peer) = (&*turn, &peer);
    let requests = service_fn(move |request| service.answer(turn, peer, request));
    let connection = http1::Builder::new()
        // A client may close its side after its request and still get its answer.
        .half_close(true)
        .max_buf_size(MAX_HEAD)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(socket), requests);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// HTTP/2.
async fn side_by_side<I>(socket: Paced<I>, turn: Arc<Turn>, peer: Peer, service: &Arc<Service>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let streams = Streams::new(turn);
    let requests = service_fn(|request| {
        let (service, stream, peer) = (Arc::clone(service), streams.begin(), peer.clone());
        async move { service.answer_stream(stream, peer, request).await }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(MAX_HEADERS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(socket), requests);
    let mut connection = pin!(connection);
    let mut limits = service.http.limits;
    let mut leaves = false;
    loop {
        let cut = tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = service.leave.requested(), if !leaves => None,
            cut = overdue(&streams, &limits) => Some(cut),
        };
        if let Some(cut) = cut
            && !leaves
        {
            service.meters.cut(cut);
            tracing::debug!(reason = cut.as_str(), "a connection is cut");
        }
        if leaves || cut == Some(Cut::Write) {
            return;
        }
        // A request that crosses this word is answered, or the client knows that nobody has seen it.
        connection.as_mut().graceful_shutdown();
        leaves = true;
        limits.idle = Some(GRACE);
        streams.touch();
    }
}

/// Waits until the connection has stood as it is for too long.
async fn overdue(streams: &Streams, limits: &Limits) -> Cut {
    // Without limits nothing is ever overdue, and looking once a day is nothing.
    let shortest = [limits.idle, limits.write].into_iter().flatten().min();
    let look = shortest.unwrap_or(Duration::from_secs(86_400));
    loop {
        let now = Instant::now();
        let next = match streams.deadline(limits) {
            Some((at, cut)) if at <= now => return cut,
            // What the limit is for may change before it.
            Some((at, _cut)) => at.min(now + look),
            None => now + look,
        };
        tokio::time::sleep_until(next.into()).await;
    }
}

//! The HTTP server: accepts, and runs one task per connection.
//!
//! While the process stops it goes on accepting, so that whoever still comes is told 503 in place of a refused connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::Peer;
use crate::connection;
use crate::listener::{Accepted, Listener};
use crate::service::Service;
use crate::tls::Tls;

/// What the system may hold of answers that a client does not take, in bytes, doubled by Linux. Without it a connection whose
/// client never reads costs megabytes before a write blocks and its time-out begins.
const SEND_BUFFER: usize = 64 * 1024;

/// Pause after an accept that failed for want of descriptors or memory: they come back when connections end.
const BREATH: Duration = Duration::from_millis(100);

/// What a client beyond `max_connections` gets before it is closed.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 136\r\n\r\n\
    {\"error\":{\"code\":\"too_many_connections\",\"message\":\"as many connections are open as allowed; try again later\",\
    \"outcome\":\"not_persisted\"}}";

/// Lets the process have as many descriptors as the system allows it: each connection takes one, and the usual soft limit
/// of 1,024 is there for programs that use `select`.
pub(crate) fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised) {
        tracing::warn!(%error, limit = limit.current, "the limit of open files stays as it is");
    }
}

/// The places for connections, which all listeners share.
#[must_use]
pub(crate) fn places(service: &Service) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(service.http.max_connections))
}

/// Accepts until the future is dropped.
pub(crate) async fn accept(
    listener: Listener,
    places: Arc<Semaphore>,
    tls: Option<Arc<Tls>>,
    service: Arc<Service>,
) {
    let mut told = false;
    loop {
        let accepted = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                // Once per trouble: it would be ten lines a second.
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "connections cannot be accepted; trying on. Too many open files? Raise ulimit -n");
                }
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        told = false;
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => serve(accepted, place, tls.clone(), Arc::clone(&service)),
            Err(_full) => {
                service.meters.connections_refused.increment(1);
                refuse(&accepted, tls.is_some());
            }
        }
    }
}

/// Starts the task of a connection.
fn serve(accepted: Accepted, place: OwnedSemaphorePermit, tls: Option<Arc<Tls>>, service: Arc<Service>) {
    match accepted {
        Accepted::Tcp(stream, peer) => {
            // Answers are small: waiting for more to send would delay each by a round trip.
            stream.set_nodelay(true).ok();
            rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER).ok();
            let peer = Peer::at(Some(peer));
            match tls {
                None => tokio::spawn(async move {
                    connection::serve(stream, peer, service).await;
                    drop(place);
                }),
                Some(tls) => tokio::spawn(async move {
                    if let Some((stream, names)) = tls.accept(stream).await {
                        connection::serve(stream, Peer { names, ..peer }, service).await;
                    }
                    drop(place);
                }),
            };
        }
        Accepted::Unix(stream) => {
            rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER).ok();
            tokio::spawn(async move {
                connection::serve(stream, Peer::at(None), service).await;
                drop(place);
            });
        }
    }
}

/// A fresh socket has room for it; a client that has gone needs no answer, and one that expects TLS understands none.
fn refuse(accepted: &Accepted, is_tls: bool) {
    match accepted {
        Accepted::Tcp(..) if is_tls => None,
        Accepted::Tcp(stream, _peer) => stream.try_write(REFUSAL).ok(),
        Accepted::Unix(stream) => stream.try_write(REFUSAL).ok(),
    };
}

/// Whether an accept failed because of the client that was next.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_a_whole_answer() {
        let text = str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}

//! The HTTP server: listens, accepts, and runs one task per connection.
//!
//! Never reads a request itself: hyper does, on a [`Paced`] socket. While the process stops it goes on accepting, so that
//! whoever still comes is told 503 in place of a refused connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Http;
use crate::paced::Paced;
use crate::service::Service;
use crate::turn::Turn;

/// The largest head, and the most that is read from a socket at once.
const MAX_HEAD: usize = 64 * 1024;

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

/// Listens where the configuration says.
///
/// # Errors
/// The port is taken or not allowed.
pub(crate) async fn listen(http: &Http) -> io::Result<TcpListener> {
    let at = |address: IpAddr| TcpListener::bind(SocketAddr::new(address, http.port));
    match http.address {
        Some(address) => at(address).await,
        // One socket for IPv6 and IPv4; a machine without IPv6 has IPv4 alone.
        None => match at(Ipv6Addr::UNSPECIFIED.into()).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => at(Ipv4Addr::UNSPECIFIED.into()).await,
            bound => bound,
        },
    }
}

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

/// Accepts until the future is dropped.
pub(crate) async fn accept(listener: TcpListener, service: Arc<Service>) {
    let places = Arc::new(Semaphore::new(service.http.max_connections));
    let mut told = false;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _peer)) => stream,
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
            Ok(place) => {
                tokio::spawn(serve(stream, Arc::clone(&service), place));
            }
            Err(_full) => {
                service.meters.connections_refused.increment(1);
                // A fresh socket has room for it; a client that has gone needs no answer.
                stream.try_write(REFUSAL).ok();
            }
        }
    }
}

/// Whether an accept failed because of the client that was next.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

async fn serve(stream: TcpStream, service: Arc<Service>, place: OwnedSemaphorePermit) {
    // Answers are small: waiting for more to send would delay each by a round trip.
    stream.set_nodelay(true).ok();
    rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER).ok();
    service.meters.connections.increment(1.0);
    let turn = Arc::new(Turn::new(Arc::clone(&service.open)));
    let socket = Paced::new(
        stream,
        Arc::clone(&turn),
        service.http.limits,
        service.meters.clone(),
    );
    let requests = {
        let service = Arc::clone(&service);
        service_fn(move |request| Arc::clone(&service).answer(Arc::clone(&turn), request))
    };
    let connection = http1::Builder::new()
        // A client may close its side after its request and still get its answer.
        .half_close(true)
        .max_buf_size(MAX_HEAD)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(socket), requests);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
    service.meters.connections.decrement(1.0);
    drop(place);
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

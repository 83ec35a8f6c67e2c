//! The backend's I/O: a thread with its own runtime, listeners, and hyper connections.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::history::{Seen, Ticket};
use super::script::End;

/// What the handle asks of the thread.
pub(super) enum Command {
    Start {
        server: usize,
        address: SocketAddr,
        done: oneshot::Sender<io::Result<()>>,
    },
    Stop {
        server: usize,
        done: oneshot::Sender<()>,
    },
}

/// Starts the thread; it ends when the sender is dropped.
pub(super) fn spawn(shared: Arc<Shared>, tls: Option<Arc<ServerConfig>>) -> mpsc::Sender<Command> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::Builder::new()
        .name("backend".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime needs only file descriptors");
            LocalSet::new().block_on(&runtime, obey(shared, tls.map(TlsAcceptor::from), receiver));
        })
        .expect("a thread can be started");
    sender
}

async fn obey(shared: Arc<Shared>, tls: Option<TlsAcceptor>, mut commands: mpsc::Receiver<Command>) {
    let mut listening: Vec<Option<JoinHandle<()>>> = Vec::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Start {
                server,
                address,
                done,
            } => {
                listening.resize_with(listening.len().max(server + 1), || None);
                let bound = TcpListener::bind(address).await;
                let answer = bound.map(|listener| {
                    let accepting = accept(server, listener, shared.clone(), tls.clone());
                    listening[server] = Some(spawn_local(accepting));
                });
                done.send(answer).unwrap_or_default();
            }
            Command::Stop { server, done } => {
                if let Some(task) = listening.get_mut(server).and_then(Option::take) {
                    task.abort();
                    // It ends with "cancelled", and its connections with it.
                    task.await.unwrap_or_default();
                }
                done.send(()).unwrap_or_default();
            }
        }
    }
}

async fn accept(server: usize, listener: TcpListener, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    // Dropped with this task, and the connections with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let connection = Connection::new(server, shared.clone());
                    match tls.clone() {
                        Some(tls) => connections.spawn_local(serve_secure(connection, stream, tls)),
                        None => connections.spawn_local(serve(connection, stream)),
                    };
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection of a client.
struct Connection {
    server: usize,
    number: u32,
    shared: Arc<Shared>,
    reset: Cell<bool>,
    /// The header text of the last request: a client sends nearly the same every time.
    headers: RefCell<Arc<str>>,
}

impl Connection {
    fn new(server: usize, shared: Arc<Shared>) -> Rc<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Rc::new(Self {
            server,
            number,
            shared,
            reset: Cell::new(false),
            headers: RefCell::new("".into()),
        })
    }
}

async fn serve(connection: Rc<Connection>, stream: TcpStream) {
    // Without it a small answer may wait for the client's acknowledgement; failing only costs speed.
    stream.set_nodelay(true).unwrap_or_default();
    let service = service_fn(|request| Box::pin(answer(connection.clone(), request)));
    let mut served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // How it ended does not matter: the history has every request. No shutdown by hyper, which would send a FIN
    // where a reset is wanted.
    std::future::poll_fn(|context| served.poll_without_shutdown(context))
        .await
        .unwrap_or_default();
    if connection.reset.get() {
        served
            .into_parts()
            .io
            .into_inner()
            .set_zero_linger()
            .unwrap_or_default();
    }
}

/// As [`serve`], through TLS. A reset is a plain end here.
async fn serve_secure(connection: Rc<Connection>, stream: TcpStream, tls: TlsAcceptor) {
    stream.set_nodelay(true).unwrap_or_default();
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let service = service_fn(|request| Box::pin(answer(connection.clone(), request)));
    let mut served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    std::future::poll_fn(|context| served.poll_without_shutdown(context))
        .await
        .unwrap_or_default();
}

/// Ends a connection without an answer.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("told to end the connection")
    }
}

impl std::error::Error for Cut {}

async fn answer(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Cut> {
    let start = Instant::now();
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let key = head.uri.query().and_then(key_of);
    let (mut open, attempt) = begin(&connection, &head, key.clone(), body, start);
    let behaviour = connection
        .shared
        .script
        .lock()
        .expect("no panic inside")
        .behaviour(key.as_deref(), attempt);
    if !behaviour.delay.is_zero() {
        tokio::time::sleep(behaviour.delay).await;
    }
    let status = match behaviour.end {
        End::Status(status) => status,
        End::Hang => match std::future::pending::<Infallible>().await {},
        End::Close => return Err(Cut),
        End::Reset => {
            connection.reset.set(true);
            return Err(Cut);
        }
    };
    open.status = Some(status);
    let mut response = Response::new(Full::new(behaviour.body));
    *response.status_mut() = StatusCode::from_u16(status).expect("a script uses real statuses");
    if behaviour.close {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(seconds) = behaviour.retry_after {
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(response)
}

fn begin(
    connection: &Connection,
    head: &hyper::http::request::Parts,
    key: Option<Bytes>,
    body: Bytes,
    start: Instant,
) -> (Open, u32) {
    let mut history = connection.shared.history.lock().expect("no panic inside");
    let headers = header_text(connection, &head.headers);
    let seen = Seen {
        server: connection.server,
        connection: connection.number,
        uri: Bytes::copy_from_slice(
            head.uri
                .path_and_query()
                .map_or("", |uri| uri.as_str())
                .as_bytes(),
        ),
        headers,
        key,
        body,
        attempt: 1,
        start,
        end: None,
        status: None,
    };
    let (ticket, attempt) = history.begin(seen);
    (
        Open {
            shared: connection.shared.clone(),
            ticket,
            status: None,
        },
        attempt,
    )
}

fn header_text(connection: &Connection, headers: &HeaderMap) -> Arc<str> {
    let mut text = String::with_capacity(128);
    for (name, value) in headers {
        text.push_str(name.as_str());
        text.push_str(": ");
        text.push_str(&String::from_utf8_lossy(value.as_bytes()));
        text.push('\n');
    }
    let mut last = connection.headers.borrow_mut();
    if **last != *text {
        *last = text.into();
    }
    last.clone()
}

fn key_of(query: &str) -> Option<Bytes> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(name, _)| *name == "key")?;
    Some(percent_decode_str(value).collect::<Vec<u8>>().into())
}

/// A request that has begun; its end is noted when it is dropped, however that comes about.
struct Open {
    shared: Arc<Shared>,
    ticket: Ticket,
    status: Option<u16>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Ok(mut history) = self.shared.history.lock() {
            history.end(self.ticket, self.status, Instant::now());
        }
    }
}

//! One HTTP connection from a worker to a backend server, and one exchange at a time on it.
//!
//! The worker owns the connection and polls it together with the exchange, in its own task. So the lease is
//! checked in the very poll that writes the request: with a connection on a task of its own, a process that was
//! stopped past its lease would still write requests when it wakes. It also costs no hand-over. Between that check and the
//! write lies hyper's work on the request, some microseconds in which the process can be stopped as well: so the socket
//! looks at the clock once more, right before the first byte.
//!
//! Redirects are answers like any other: they are never followed.

mod timer;
mod turns;
mod wire;

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::header::{DATE, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

pub use timer::Timer;
use turns::{Turn, Turns};
use wire::{Gate, Payload, Socket, Stream, Wire};

use crate::lease::BootTime;
use crate::record::Value;

/// An open connection.
pub struct Link {
    sender: SendRequest<Payload>,
    connection: Pin<Box<Connection<TokioIo<Socket>, Payload>>>,
    turns: Turns,
    wire: Rc<Wire>,
    peer: SocketAddr,
    /// Empty: that of the last answer, for the next request.
    headers: HeaderMap,
    /// Whether an exchange has succeeded on it: the backend may have closed it since.
    used: bool,
}

/// Where a connection goes.
pub struct Dial<'a> {
    /// `host:port`.
    pub address: &'a str,
    /// What that is known to stand for, to be tried one after the other; empty = look it up.
    pub known: Vec<SocketAddr>,
    /// What makes it secure, and the name in the server's certificate; `None` = nothing does.
    pub tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// The limits of an attempt; `None` is no time-out for that one.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the connection to be made, the handshake of TLS included.
    pub connect: Option<Duration>,
    /// For the whole request to be written.
    pub write: Option<Duration>,
    /// From the last byte sent to the last byte of the answer.
    pub read: Option<Duration>,
    /// Bytes of an answer's body that are read: a longer one ends the connection and counts by its status.
    pub answer_bytes: usize,
    /// Bytes of an answer's body that are given back, if it is wanted at all.
    pub kept_bytes: Option<usize>,
}

/// An answer that was read.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// When to come again, as an answer other than 2xx may say.
    pub advice: Option<Box<Advice>>,
    /// Its body.
    pub body: AnswerBody,
    /// Whether the connection may be used again.
    pub reusable: bool,
}

/// The headers that say when to come again.
#[derive(Debug)]
pub struct Advice {
    /// `Retry-After`.
    pub retry_after: HeaderValue,
    /// `Date`, which makes the backend's clock not matter.
    pub date: Option<HeaderValue>,
}

/// What is left of an answer's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerBody {
    /// Nothing: nobody asked for it.
    Dropped,
    /// All of it.
    Whole(Vec<u8>),
    /// Nothing: it was longer than what is kept.
    TooLong,
}

/// How an exchange went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The gate was shut: not a byte was written. Not a failure of the backend.
    #[error("not started: the lease has run out")]
    Shut,
    /// A connection that was used before broke before a byte of an answer: repeat at once on a new one.
    #[error("the backend closed the idle connection")]
    Stale,
    /// Cut by us: the outcome is unknown.
    #[error("cut: the partition was given up or the lease has run out")]
    Cut,
    /// The request was not written in time.
    #[error("write timed out")]
    WriteTimeout,
    /// The answer was not complete in time: the outcome is unknown.
    #[error("read timed out")]
    ReadTimeout,
    /// The backend closed the connection without an answer: the outcome is unknown.
    #[error("the backend closed the connection without an answer")]
    Closed,
    /// The connection broke: the outcome is unknown.
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
}

/// How a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server refused, or is not there.
    #[error("cannot connect")]
    Refused(#[source] io::Error),
    /// The server's certificate is not believed, ours is not, or there is no TLS at the other end.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// Cut by us. Not a failure of the backend.
    #[error("cut: the partition was given up or the lease has run out")]
    Cut,
    /// No connection in time.
    #[error("connect timed out")]
    Timeout,
    /// HTTP could not be spoken.
    #[error("cannot start HTTP")]
    Handshake(#[source] hyper::Error),
}

/// What an exchange asks its worker while it runs.
pub trait Control {
    /// Asked right before the request is handed over.
    fn may_start(&self) -> bool;
    /// Asked once, at the start: the first byte is not given to the kernel from then on.
    fn deadline(&self) -> BootTime;
    /// Asked in every poll: whether to give up at once. Arranges for `cx` to be woken when that changes.
    fn is_cut(&self, cx: &mut Context<'_>) -> bool;
}

impl Link {
    /// Connects within `limits.connect`, until `control` cuts it.
    ///
    /// # Errors
    /// See [`ConnectError`]: not a byte of a request was sent.
    pub async fn connect(
        dial: &Dial<'_>,
        limits: &Limits,
        timer: &mut Timer,
        control: &impl Control,
    ) -> Result<Self, ConnectError> {
        let until = limits.connect.map(|timeout| Instant::now() + timeout);
        let wire = Rc::new(Wire::default());
        let mut opening = pin!(dial.open(Rc::clone(&wire)));
        let stream = poll_fn(|cx| {
            if control.is_cut(cx) {
                return Poll::Ready(Err(ConnectError::Cut));
            }
            if let Poll::Ready(stream) = opening.as_mut().poll(cx) {
                return Poll::Ready(stream);
            }
            let timeout = until.map_or(Poll::Pending, |until| timer.poll(cx, until));
            timeout.map(|()| Err(ConnectError::Timeout))
        });
        let (stream, peer) = stream.await?;
        let socket = TokioIo::new(Socket::new(stream, Rc::clone(&wire)));
        let (sender, connection) = http1::handshake(socket).await.map_err(ConnectError::Handshake)?;
        Ok(Self {
            sender,
            connection: Box::pin(connection),
            turns: Turns::new(),
            wire,
            peer,
            headers: HeaderMap::new(),
            used: false,
        })
    }

    /// The other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// An empty map for the headers of the next request, in the memory that the last exchange used for its own.
    pub fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(&mut self.headers)
    }

    /// Sends `request` and reads the answer.
    ///
    /// # Errors
    /// See [`ExchangeError`]; the connection is then to be dropped.
    pub async fn exchange(
        &mut self,
        request: Request<Value>,
        limits: &Limits,
        timer: &mut Timer,
        control: &impl Control,
    ) -> Result<Answer, ExchangeError> {
        self.wire.begin(control.deadline());
        let request = request.map(|value| Payload::new(value, &self.wire));
        let (wire, turns, connection) = (&self.wire, &self.turns, &mut self.connection);
        let talk = Talk {
            sender: &mut self.sender,
            headers: &mut self.headers,
            limits,
        };
        let mut talk = pin!(talk.run(request, control));
        let mut deadlines = Deadlines::start(limits);
        let mut open = true;
        turns.begin();
        let outcome = poll_fn(|cx| {
            if control.is_cut(cx) {
                return Poll::Ready(Err(Stop::Cut));
            }
            match turns.poll(cx, talk.as_mut(), connection.as_mut()) {
                Turn::Over { outcome, is_open } => {
                    open = is_open;
                    Poll::Ready(outcome)
                }
                Turn::Closed => Poll::Ready(Err(Stop::Closed)),
                Turn::Pending => deadlines.poll(cx, timer, wire).map(Err),
            }
        })
        .await;
        if wire.is_shut() {
            return Err(ExchangeError::Shut);
        }
        let stale = self.used && !wire.is_answered();
        self.used = true;
        let mut answer = outcome.map_err(|stop| stop.explain(stale))?;
        answer.reusable &= open;
        Ok(answer)
    }
}

impl Dial<'_> {
    async fn open(&self, wire: Rc<Wire>) -> Result<(Stream, SocketAddr), ConnectError> {
        let stream = match &*self.known {
            [] => TcpStream::connect(self.address).await,
            known => TcpStream::connect(known).await,
        };
        let stream = stream.map_err(ConnectError::Refused)?;
        let peer = stream.peer_addr().map_err(ConnectError::Refused)?;
        stream.set_nodelay(true).map_err(ConnectError::Refused)?;
        let Some((connector, name)) = &self.tls else {
            return Ok((Stream::Plain(stream), peer));
        };
        // Nothing is shut here: there is no deadline before a request begins.
        let shaken = connector.connect(name.clone(), Gate::new(stream, wire));
        let stream = shaken.await.map_err(ConnectError::Tls)?;
        Ok((Stream::Tls(Box::new(stream)), peer))
    }
}

/// Why an exchange stopped, before it is known whether that counts.
#[derive(Debug)]
enum Stop {
    Shut,
    Cut,
    WriteTimeout,
    ReadTimeout,
    Closed,
    Broken(hyper::Error),
}

impl Stop {
    fn explain(self, stale: bool) -> ExchangeError {
        match self {
            Self::Shut => ExchangeError::Shut,
            Self::Cut => ExchangeError::Cut,
            Self::WriteTimeout => ExchangeError::WriteTimeout,
            Self::ReadTimeout => ExchangeError::ReadTimeout,
            Self::Closed | Self::Broken(_) if stale => ExchangeError::Stale,
            Self::Closed => ExchangeError::Closed,
            Self::Broken(error) => ExchangeError::Broken(error),
        }
    }
}

/// The exchange as hyper's sender sees it.
struct Talk<'a> {
    sender: &'a mut SendRequest<Payload>,
    /// Where the memory of the answer's headers goes.
    headers: &'a mut HeaderMap,
    limits: &'a Limits,
}

impl Talk<'_> {
    /// Returns the answer; the connection may be used again, as far as this side knows, when all of it was read.
    async fn run(self, request: Request<Payload>, control: &impl Control) -> Result<Answer, Stop> {
        self.sender.ready().await.map_err(Stop::Broken)?;
        if !control.may_start() {
            return Err(Stop::Shut);
        }
        // No await between the check and this call, and the connection is polled next: see the module's comment.
        let answer = self.sender.send_request(request).await.map_err(Stop::Broken)?;
        let (mut head, body) = answer.into_parts();
        let advice = if head.status.is_success() {
            None
        } else {
            Advice::of(&mut head.headers)
        };
        head.headers.clear();
        *self.headers = head.headers;
        let mut kept = match self.limits.kept_bytes {
            Some(_) => AnswerBody::Whole(Vec::new()),
            None => AnswerBody::Dropped,
        };
        let reusable = read_all(body, self.limits, &mut kept)
            .await
            .map_err(Stop::Broken)?;
        Ok(Answer {
            status: head.status,
            advice,
            body: kept,
            reusable,
        })
    }
}

impl Advice {
    fn of(headers: &mut HeaderMap) -> Option<Box<Self>> {
        let retry_after = headers.remove(RETRY_AFTER)?;
        let date = headers.remove(DATE);
        Some(Box::new(Self { retry_after, date }))
    }
}

/// Reads a body, and keeps of it what is wanted; `false` if it is longer than what is read.
async fn read_all(body: Incoming, limits: &Limits, kept: &mut AnswerBody) -> Result<bool, hyper::Error> {
    let mut body = pin!(body);
    let mut read = 0;
    while !body.is_end_stream() {
        let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await else {
            break;
        };
        let frame = frame?;
        let Some(data) = frame.data_ref() else { continue };
        read += data.len();
        if let AnswerBody::Whole(bytes) = kept {
            if limits.kept_bytes.is_some_and(|most| read <= most) {
                bytes.extend_from_slice(data);
            } else {
                *kept = AnswerBody::TooLong;
            }
        }
        if read > limits.answer_bytes {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The two time-outs of an exchange, one after the other.
struct Deadlines {
    read_timeout: Option<Duration>,
    write_until: Option<Instant>,
    read_until: Option<Instant>,
    written: bool,
}

impl Deadlines {
    fn start(limits: &Limits) -> Self {
        let write_until = limits.write.map(|timeout| Instant::now() + timeout);
        Self {
            read_timeout: limits.read,
            write_until,
            read_until: None,
            written: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, timer: &mut Timer, wire: &Wire) -> Poll<Stop> {
        if !self.written && wire.is_written() {
            self.written = true;
            self.read_until = self.read_timeout.map(|timeout| Instant::now() + timeout);
        }
        let (until, stop) = match self.written {
            false => (self.write_until, Stop::WriteTimeout),
            true => (self.read_until, Stop::ReadTimeout),
        };
        match until {
            Some(until) => timer.poll(cx, until).map(|()| stop),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests;

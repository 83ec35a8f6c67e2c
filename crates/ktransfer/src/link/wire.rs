//! What a connection tells about one request: whether all of it is written, and whether a byte of the answer has
//! come. hyper reports neither, and both decide: the read time-out runs from the last byte sent, and a request
//! is repeated on a new connection only if not a byte of an answer has been seen.
//!
//! Through TLS the same holds of the text inside. The deadline is asked twice there: before the first byte of the request
//! is encrypted, and below TLS before the first byte is given to the kernel. For TLS takes what it cannot write yet, and writes it
//! whenever it is asked to read, write or flush.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::lease::BootTime;
use crate::record::Value;

/// Head and body up to so many bytes are copied together: a `send` costs the kernel less than a `writev` of two pieces.
const MOST_JOINED: usize = 2048;

/// The state of the request that a connection carries; shared by the socket, the body and the link, all on one
/// thread.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// No first byte is written from here on.
    deadline: Cell<Option<BootTime>>,
    /// The first byte was not written because of that.
    shut: Cell<bool>,
    /// A byte of the request is on its way to the kernel; with TLS it may be encrypted and not there yet.
    offered: Cell<bool>,
    /// A byte of the request is with the kernel.
    begun: Cell<bool>,
    /// hyper has taken the whole body into its buffer.
    taken: Cell<bool>,
    /// The whole request is with the kernel.
    written: Cell<bool>,
    /// A byte has come since then. One that came before is no answer: proxies say 408 when they close an idle connection.
    answered: Cell<bool>,
}

impl Wire {
    /// A new request begins, whose first byte is to be written before `deadline`.
    pub(super) fn begin(&self, deadline: BootTime) {
        self.deadline.set(Some(deadline));
        self.shut.set(false);
        self.offered.set(false);
        self.begun.set(false);
        self.taken.set(false);
        self.written.set(false);
        self.answered.set(false);
    }

    pub(super) fn is_written(&self) -> bool {
        self.written.get()
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answered.get()
    }

    /// Whether the deadline came before the first byte: not one was written.
    pub(super) fn is_shut(&self) -> bool {
        self.shut.get()
    }

    /// Asked before each write.
    ///
    /// # Errors
    /// It would be the first one, and the deadline is past. The connection ends by it.
    fn check(&self) -> io::Result<()> {
        let is_past = |deadline| BootTime::now() >= deadline;
        if self.begun.get() || !self.deadline.get().is_some_and(is_past) {
            return Ok(());
        }
        self.shut.set(true);
        Err(io::Error::other("the lease has run out"))
    }
}

/// A socket that keeps [`Wire`] up to date.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    wire: Rc<Wire>,
    /// Head and body of a small request in one piece.
    joined: Vec<u8>,
}

/// What a socket speaks.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<Gate>>),
}

/// The connection below TLS.
#[derive(Debug)]
pub(super) struct Gate {
    stream: TcpStream,
    wire: Rc<Wire>,
}

impl Gate {
    pub(super) fn new(stream: TcpStream, wire: Rc<Wire>) -> Self {
        Self { stream, wire }
    }
}

impl AsyncRead for Gate {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gate {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.check()?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        // What else TLS has to say was written before the request was offered.
        self.wire.begun.set(self.wire.offered.get());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Socket {
    pub(super) fn new(stream: Stream, wire: Rc<Wire>) -> Self {
        Self {
            stream,
            wire,
            joined: Vec::new(),
        }
    }
}

impl Stream {
    /// Writes one piece of a request; nothing of it if the deadline came before its first byte.
    fn poll_write(&mut self, cx: &mut Context<'_>, wire: &Wire, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => {
                wire.check()?;
                let written = ready!(Pin::new(stream).poll_write(cx, buf))?;
                wire.begun.set(true);
                Poll::Ready(Ok(written))
            }
            Self::Tls(stream) => {
                ready!(offer(stream, cx, wire))?;
                Pin::new(stream).poll_write(cx, buf)
            }
        }
    }

    /// As [`Stream::poll_write`], for a request in several pieces.
    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        wire: &Wire,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => {
                wire.check()?;
                let written = ready!(Pin::new(stream).poll_write_vectored(cx, bufs))?;
                wire.begun.set(true);
                Poll::Ready(Ok(written))
            }
            Self::Tls(stream) => {
                ready!(offer(stream, cx, wire))?;
                Pin::new(stream).poll_write_vectored(cx, bufs)
            }
        }
    }
}

/// Asked before text is encrypted: from the request's first byte on, whatever is below TLS is of the request.
///
/// # Errors
/// The deadline is past.
fn offer(stream: &mut TlsStream<Gate>, cx: &mut Context<'_>, wire: &Wire) -> Poll<io::Result<()>> {
    if !wire.offered.get() {
        ready!(Pin::new(stream).poll_flush(cx))?;
        wire.check()?;
        wire.offered.set(true);
    }
    Poll::Ready(Ok(()))
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        })?;
        if buf.filled().len() > before {
            self.wire.answered.set(self.wire.begun.get());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, wire, .. } = &mut *self;
        stream.poll_write(cx, wire, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        })?;
        // hyper flushes the socket only after its own buffer is empty.
        if self.wire.begun.get() && self.wire.taken.get() {
            self.wire.written.set(true);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, wire, joined } = &mut *self;
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        if length > MOST_JOINED {
            return stream.poll_write_vectored(cx, wire, bufs);
        }
        joined.clear();
        bufs.iter().for_each(|buf| joined.extend_from_slice(buf));
        stream.poll_write(cx, wire, joined)
    }
}

/// The value of one record as a request body.
#[derive(Debug)]
pub(super) struct Payload {
    value: Option<Value>,
    wire: Rc<Wire>,
}

impl Payload {
    pub(super) fn new(value: Value, wire: &Rc<Wire>) -> Self {
        // An empty body is never asked for a frame: it is taken from the start.
        wire.taken.set(value.is_empty());
        Self {
            value: Some(value).filter(|value| !value.is_empty()),
            wire: Rc::clone(wire),
        }
    }
}

impl Body for Payload {
    type Data = Value;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Value>, Infallible>>> {
        self.wire.taken.set(true);
        Poll::Ready(self.value.take().map(|value| Ok(Frame::data(value))))
    }

    fn is_end_stream(&self) -> bool {
        self.value.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.value.as_ref().map_or(0, |value| value.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use rustls::pki_types::ServerName;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::lease::{Lease, Terms};
    use crate::tls::tests::Authority;

    #[tokio::test]
    async fn a_request_that_waits_encrypted_is_not_written_after_the_deadline() {
        let authority = Authority::new();
        authority.issue("server", "localhost");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let wire = Rc::new(Wire::default());
        let connector = TlsConnector::from(authority.settings().load().unwrap());
        let name = ServerName::try_from("localhost").unwrap();
        // What we had not read when we close would reset the connection.
        let mut config = (*authority.server("server", false)).clone();
        config.send_tls13_tickets = 0;
        let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
        let gate = Gate::new(near, Rc::clone(&wire));
        let (near, far) = tokio::join!(connector.connect(name, gate), acceptor.accept(far));
        let (mut near, mut far) = (near.unwrap(), far.unwrap().into_inner().0);
        // The kernel takes no more.
        let mut filled = 0;
        while let Ok(written) = near.get_mut().0.stream.try_write(&[0; 65_536]) {
            filled += written;
        }
        let mut socket = Socket::new(Stream::Tls(Box::new(near)), Rc::clone(&wire));
        let lease = Lease::new();
        lease.extend(BootTime::now(), Terms::new(std::time::Duration::from_secs(600)));
        wire.begin(lease.deadline());
        let taken = poll_fn(|cx| Pin::new(&mut socket).poll_write(cx, b"request")).await;
        assert_eq!(taken.unwrap(), 7);
        assert!(!wire.begun.get() && !wire.is_shut());
        // The process is stopped here, and wakes when there is room again.
        wire.deadline.set(Some(BootTime::now()));
        far.read_exact(&mut vec![0; filled]).await.unwrap();
        let flushed = poll_fn(|cx| Pin::new(&mut socket).poll_flush(cx)).await;
        assert!(flushed.is_err() && wire.is_shut() && !wire.is_written());
        let closed = poll_fn(|cx| Pin::new(&mut socket).poll_shutdown(cx)).await;
        assert!(closed.is_err());
        drop(socket);
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    }
}

//! What a connection tells about one request: whether all of it is written, and whether a byte of the answer has
//! come. hyper reports neither, and both decide: the read time-out runs from the last byte sent, and a request
//! is repeated on a new connection only if not a byte of an answer has been seen.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

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
    stream: TcpStream,
    wire: Rc<Wire>,
    /// Head and body of a small request in one piece.
    joined: Vec<u8>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, wire: Rc<Wire>) -> Self {
        Self {
            stream,
            wire,
            joined: Vec::new(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.wire.answered.set(self.wire.begun.get());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.check()?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.wire.begun.set(true);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes the socket only after its own buffer is empty.
        if self.wire.begun.get() && self.wire.taken.get() {
            self.wire.written.set(true);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, wire, joined } = &mut *self;
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        let written = if length > MOST_JOINED {
            wire.check()?;
            Pin::new(stream).poll_write_vectored(cx, bufs)
        } else {
            joined.clear();
            bufs.iter().for_each(|buf| joined.extend_from_slice(buf));
            wire.check()?;
            Pin::new(stream).poll_write(cx, joined)
        };
        let written = ready!(written)?;
        self.wire.begun.set(true);
        Poll::Ready(Ok(written))
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

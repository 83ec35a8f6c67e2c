//! A connection with an end to its patience: how long a request may pause while it comes in, how long an answer may make
//! no progress, and how long the connection may lie idle between requests.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a connection may lie idle between two requests, and before the first.
const IDLE: Duration = Duration::from_secs(60);

/// A stream that fails with `TimedOut` when nothing moves for too long.
pub(super) struct Timed<S> {
    stream: S,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    /// Bytes of a request have come in, and nothing of its answer has gone out.
    receiving: bool,
    read_ends: Alarm,
    write_ends: Alarm,
}

/// A timer that is set when waiting starts and cleared when something moves.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    set: bool,
}

impl Alarm {
    fn new() -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep(IDLE)),
            set: false,
        }
    }

    /// Whether the wait has lasted for `limit`; the first call after [`Alarm::clear`] starts it.
    fn is_over(&mut self, limit: Option<Duration>, context: &mut Context<'_>) -> bool {
        let Some(limit) = limit else {
            return false;
        };
        if !self.set {
            self.sleep.as_mut().reset(Instant::now() + limit);
            self.set = true;
        }
        self.sleep.as_mut().poll(context).is_ready()
    }

    const fn clear(&mut self) {
        self.set = false;
    }
}

impl<S> Timed<S> {
    /// `None` = no limit; the idle limit always holds.
    pub(super) fn new(stream: S, read_timeout: Option<Duration>, write_timeout: Option<Duration>) -> Self {
        Self {
            stream,
            read_timeout,
            write_timeout,
            receiving: false,
            read_ends: Alarm::new(),
            write_ends: Alarm::new(),
        }
    }

    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.receiving = false;
            // The wait for the next request starts now.
            self.read_ends.clear();
            self.write_ends.clear();
        } else if self.write_ends.is_over(self.write_timeout, context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if Pin::new(&mut this.stream).poll_read(context, buffer)?.is_ready() {
            this.receiving |= buffer.filled().len() > before;
            this.read_ends.clear();
            return Poll::Ready(Ok(()));
        }
        let limit = if this.receiving {
            this.read_timeout
        } else {
            Some(IDLE)
        };
        if this.read_ends.is_over(limit, context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

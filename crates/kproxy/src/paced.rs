//! A socket with patience: cuts a client that is idle too long, sends its head too slowly or does not take its answer.
//!
//! One timer per connection, set anew only when a deadline comes closer: a busy connection costs no timer work, and an
//! alarm that comes too early looks at the clock and goes back to sleep. Bodies are timed where they are received, so
//! that a slow one can be answered; the wait for Kafka is not timed here at all. With HTTP/2 only the writing is timed here: `streams`
//! has the rest.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::meters::Meters;
use crate::patience::{Cut, Limits, Reading};
use crate::turn::Turn;
use crate::version::Version;

/// How long, and how many bytes, of an unread body are thrown away so that the answer before it arrives.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// A connection's socket.
pub(crate) struct Paced<I> {
    socket: I,
    turn: Arc<Turn>,
    limits: Limits,
    meters: Meters,
    reading: Reading,
    /// Since when the client has not taken a byte of its answer.
    blocked: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
    closing: Option<Closing>,
    /// Bytes that were read to learn the version, and are to be read again.
    early: Bytes,
}

/// An answer was sent before the request was read.
struct Closing {
    until: Instant,
    discarded: usize,
}

impl<I> Paced<I> {
    /// Wraps a socket that was just accepted.
    pub(crate) fn new(socket: I, turn: Arc<Turn>, limits: Limits, meters: Meters) -> Self {
        let reading = Reading::Idle(turn.opened());
        let first = reading
            .deadline(&limits)
            .unwrap_or_else(|| turn.opened() + Duration::from_secs(86_400));
        Self {
            socket,
            turn,
            limits,
            meters,
            reading,
            blocked: None,
            alarm: Box::pin(tokio::time::sleep_until(first.into())),
            closing: None,
            early: Bytes::new(),
        }
    }

    /// Ready when `deadline` has passed; else the task is woken for it.
    fn poll_until(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.alarm.deadline() > deadline.into() {
            self.alarm.as_mut().reset(deadline.into());
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.alarm.as_mut().reset(deadline.into());
        }
        Poll::Pending
    }

    fn poll_patience<T>(
        &mut self,
        deadline: Option<Instant>,
        cut: Cut,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let Some(deadline) = deadline else {
            return Poll::Pending;
        };
        ready!(self.poll_until(deadline, cx));
        self.meters.cut(cut);
        tracing::debug!(reason = cut.as_str(), "a connection is cut");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Times a write that went as `poll` says.
    fn poll_written<T>(&mut self, poll: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.blocked = None;
            return poll;
        }
        let since = *self.blocked.get_or_insert_with(Instant::now);
        let deadline = self.limits.write.map(|write| since + write);
        self.poll_patience(deadline, Cut::Write, cx)
    }
}

impl<I: AsyncRead + Unpin> Paced<I> {
    /// Waits for the client's first bytes, as patiently as for any head, and tells what it speaks. They are read again.
    ///
    /// # Errors
    /// The client is cut or the connection broken before that.
    pub(crate) async fn version(&mut self) -> io::Result<Version> {
        poll_fn(|cx| self.poll_version(cx)).await
    }

    fn poll_version(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Version>> {
        let mut space = [0; 1024];
        loop {
            if let Some(version) = Version::of(&self.early) {
                return Poll::Ready(Ok(version));
            }
            let mut buffer = ReadBuf::new(&mut space);
            ready!(self.poll_socket(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                // The client has gone; whoever reads on sees its end.
                return Poll::Ready(Ok(Version::Http1));
            }
            self.early = [&self.early[..], buffer.filled()].concat().into();
        }
    }

    /// Reads from the socket, within the patience with the client.
    fn poll_socket(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.socket).poll_read(cx, buffer);
        if !self.turn.is_reading() {
            return poll;
        }
        if poll.is_pending() {
            let (deadline, cut) = (self.reading.deadline(&self.limits), self.reading.cut());
            return self.poll_patience(deadline, cut, cx);
        }
        let now = Instant::now();
        if matches!(self.reading, Reading::Idle(_)) {
            self.turn.request_begins(now);
        }
        self.reading.received(now);
        poll
    }

    /// Throws away what the client still sends, within limits.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 8192];
        loop {
            let closing = self.closing.get_or_insert_with(|| Closing {
                until: Instant::now() + LINGER,
                discarded: 0,
            });
            let until = closing.until;
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    closing.discarded += buffer.filled().len();
                    if closing.discarded > LINGER_BYTES || Instant::now() >= until {
                        return Poll::Ready(Ok(()));
                    }
                }
                // The client has gone, one way or the other.
                Poll::Ready(_end) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(self.poll_until(until, cx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Paced<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return self.poll_socket(cx, buffer);
        }
        let length = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.poll_written(poll, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.poll_written(poll, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.socket).poll_flush(cx);
        ready!(self.poll_written(poll, cx))?;
        if self.turn.sent() {
            self.reading = Reading::Idle(Instant::now());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            let poll = Pin::new(&mut self.socket).poll_shutdown(cx);
            ready!(self.poll_written(poll, cx))?;
        }
        if self.turn.is_unread() {
            return self.poll_linger(cx);
        }
        Poll::Ready(Ok(()))
    }
}

//! Receives the body of one request, within its size, its place in memory and the patience with its client.
//!
//! A body that came with its head, as small ones do, is neither copied nor timed. Memory grows with what has arrived,
//! never with what was announced.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming};

use crate::access::Caller;
use crate::admission::Permit;
use crate::encoding::Encoding;
use crate::failure::Failure;
use crate::patience::{Body as Progress, Limits};

/// Encoded bodies above this many bytes are decoded where it may take long.
const DECODED_AT_ONCE: usize = 16 * 1024;

/// A body that is being received.
pub(crate) struct Receiver<'a> {
    /// Who sends it.
    pub(crate) caller: &'a Caller<'a>,
    /// Patience with the client.
    pub(crate) limits: &'a Limits,
    /// Most bytes that are taken.
    pub(crate) max: usize,
    /// When the first byte of the request came.
    pub(crate) request_began: Instant,
}

impl<'a> Receiver<'a> {
    /// The whole body, decoded. `permit` grows with a body whose length was not announced, and with what is decoded.
    ///
    /// # Errors
    /// The body is empty, too large, too slow or broken, or there is no room for it.
    pub(crate) async fn receive(
        self,
        body: &'a mut Incoming,
        encoding: Encoding,
        mut permit: Permit,
    ) -> Result<(Bytes, Permit), Failure> {
        let max = self.max;
        let received = self.collect(body, &mut permit).await?;
        if encoding == Encoding::Identity {
            return Ok((received, permit));
        }
        decode(encoding, received, max, permit).await
    }

    async fn collect(self, body: &'a mut Incoming, permit: &mut Permit) -> Result<Bytes, Failure> {
        let mut pieces = self.pieces(body);
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        while let Some(data) = pieces.next().await? {
            let before = first.len() + whole.len();
            permit.grow(pieces.received).map_err(Failure::Full)?;
            if before == 0 {
                first = data;
                continue;
            }
            if whole.is_empty() {
                whole.reserve(pieces.received * 2);
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&data);
        }
        let body = if whole.is_empty() { first } else { whole.freeze() };
        if body.is_empty() {
            return Err(Failure::EmptyBody);
        }
        Ok(body)
    }

    /// The body piece by piece, as it arrives.
    pub(crate) fn pieces(self, body: &'a mut Incoming) -> Pieces<'a> {
        Pieces {
            announced: body.size_hint().exact().is_some(),
            receiver: self,
            body,
            began: None,
            received: 0,
            excused: Duration::ZERO,
        }
    }
}

async fn decode(
    encoding: Encoding,
    body: Bytes,
    max: usize,
    mut permit: Permit,
) -> Result<(Bytes, Permit), Failure> {
    let is_small = body.len() <= DECODED_AT_ONCE;
    let decode = move || {
        let decoded = encoding.decode(&body, max, &mut permit)?;
        if decoded.is_empty() {
            return Err(Failure::EmptyBody);
        }
        Ok((decoded, permit))
    };
    if is_small {
        return decode();
    }
    let decoded = tokio::task::spawn_blocking(decode).await;
    decoded.unwrap_or(Err(Failure::BrokenEncoding))
}

/// A body that is received piece by piece.
pub(crate) struct Pieces<'a> {
    receiver: Receiver<'a>,
    body: &'a mut Incoming,
    /// Whether its length is known.
    announced: bool,
    /// When it was first waited for.
    began: Option<Instant>,
    /// Bytes so far.
    pub(crate) received: usize,
    /// See [`Pieces::excuse`].
    excused: Duration,
}

impl Pieces<'_> {
    /// For so long nobody read the body, which is not the client's fault.
    pub(crate) fn excuse(&mut self, time: Duration) {
        self.excused += time;
    }

    /// The next piece, `None` at the end.
    ///
    /// # Errors
    /// The body is too large, too slow or broken.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if self.announced && self.body.is_end_stream() {
                return Ok(None);
            }
            let frame = match self.body.frame().now_or_never() {
                Some(frame) => frame,
                None => self.wait().await?,
            };
            let Some(frame) = frame else { return Ok(None) };
            let Ok(data) = frame.map_err(|_broken| Failure::BrokenBody)?.into_data() else {
                continue; // trailers mean nothing here
            };
            self.received = self.received.saturating_add(data.len());
            self.receiver.caller.spend_bytes(data.len());
            if self.received > self.receiver.max {
                return Err(Failure::BodyTooLarge(self.receiver.max));
            }
            return Ok(Some(data));
        }
    }

    /// The next frame of a body that has not arrived yet.
    async fn wait(&mut self) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, Failure> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let progress = Progress {
            request_began: self.receiver.request_began + self.excused,
            began: began + self.excused,
            last: Instant::now(),
            received: self.received,
        };
        let Some((deadline, slow)) = progress.deadline(self.receiver.limits) else {
            return Ok(self.body.frame().await);
        };
        let frame = tokio::time::timeout_at(deadline.into(), self.body.frame()).await;
        frame.map_err(|_elapsed| Failure::Slow(slow))
    }
}

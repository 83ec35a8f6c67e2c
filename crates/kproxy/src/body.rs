//! Receives the body of one request, within its size, its place in memory and the patience with its client.
//!
//! A body that came with its head, as small ones do, is neither copied nor timed. Memory grows with what has arrived,
//! never with what was announced.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming};

use crate::admission::Permit;
use crate::failure::Failure;
use crate::patience::{Body as Progress, Limits};

/// A body that is being received.
pub(crate) struct Receiver<'a> {
    /// Patience with the client.
    pub(crate) limits: &'a Limits,
    /// Most bytes that are taken.
    pub(crate) max: usize,
    /// When the first byte of the request came.
    pub(crate) request_began: Instant,
}

impl Receiver<'_> {
    /// The whole body. `permit` grows with a body whose length was not announced.
    ///
    /// # Errors
    /// The body is empty, too large, too slow or broken, or there is no room for it.
    pub(crate) async fn receive(
        &self,
        body: Option<Incoming>,
        permit: &mut Permit,
    ) -> Result<Bytes, Failure> {
        let mut body = body.ok_or(Failure::BrokenBody)?;
        let announced = body.size_hint().exact();
        let mut began = None;
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        loop {
            let received = first.len() + whole.len();
            if announced.is_some() && body.is_end_stream() {
                break;
            }
            let frame = match body.frame().now_or_never() {
                Some(frame) => frame,
                None => {
                    self.wait(&mut body, began.get_or_insert_with(Instant::now), received)
                        .await?
                }
            };
            let Some(frame) = frame else { break };
            let Ok(data) = frame.map_err(|_broken| Failure::BrokenBody)?.into_data() else {
                continue; // trailers mean nothing here
            };
            let length = received.saturating_add(data.len());
            if length > self.max {
                return Err(Failure::BodyTooLarge(self.max));
            }
            permit.grow(length).map_err(Failure::Full)?;
            if received == 0 {
                first = data;
                continue;
            }
            if whole.is_empty() {
                whole.reserve(length * 2);
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

    /// The next frame of a body that has not arrived yet.
    async fn wait(
        &self,
        body: &mut Incoming,
        began: &Instant,
        received: usize,
    ) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, Failure> {
        let progress = Progress {
            request_began: self.request_began,
            began: *began,
            last: Instant::now(),
            received,
        };
        let Some((deadline, slow)) = progress.deadline(self.limits) else {
            return Ok(body.frame().await);
        };
        let frame = tokio::time::timeout_at(deadline.into(), body.frame()).await;
        frame.map_err(|_elapsed| Failure::Slow(slow))
    }
}

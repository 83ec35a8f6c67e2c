//! `POST /commit/batch`: many records of one topic in one request, taken while they arrive.
//!
//! A record that breaks a rule, or that Kafka refuses, concerns no other. What ends the request early (a body that is too
//! large, too slow, or cut off) is told beside the outcomes of the records before it.

use std::time::Instant;

use bytes::BytesMut;
use hyper::Method;
use hyper::http::request::Parts;

use crate::answer::{self, Answer};
use crate::body::Pieces;
use crate::encoding::Encoding;
use crate::entry::{BadEntry, Entry};
use crate::failure::Failure;
use crate::many::Many;
use crate::media::media_type;
use crate::ndjson::Lines;
use crate::prefixed;
use crate::request;
use crate::service::{Arrival, Service};

/// The most that one record may take in the body, as a multiple of the largest value: base64 and escapes make it longer.
const WRITTEN: usize = 2;
/// What a record may have besides its value.
const BESIDE: usize = 64 * 1024;

/// How the records follow each other.
enum Format {
    /// `application/x-ndjson`.
    Lines(Lines),
    /// `application/vnd.kproxy.records`.
    Prefixed,
}

impl Format {
    fn of(head: &Parts) -> Result<Self, Failure> {
        match media_type(&head.headers).as_slice() {
            b"application/x-ndjson" | b"application/jsonlines" | b"application/json-lines" => {
                Ok(Self::Lines(Lines::default()))
            }
            b"application/vnd.kproxy.records" => Ok(Self::Prefixed),
            _other => Err(Failure::BatchType),
        }
    }

    fn take(&mut self, arrived: &mut BytesMut, ended: bool) -> Option<Result<Entry, BadEntry>> {
        match self {
            Self::Lines(lines) => lines.take(arrived, ended),
            Self::Prefixed => prefixed::take(arrived, ended),
        }
    }
}

impl Service {
    /// The records of a request, to Kafka and back.
    pub(super) async fn batch(&self, request: Arrival<'_>) -> Result<Answer, Failure> {
        let Arrival {
            head,
            body,
            began,
            peer,
            noted,
        } = request;
        let caller = self.gate.caller(&head.headers, peer).await?;
        if head.method != Method::POST {
            return Err(Failure::Method("POST"));
        }
        let format = Format::of(head)?;
        // A compressed stream would have to be decoded piece by piece; a single record's body is decoded whole.
        if Encoding::of(&head.headers) != Ok(Encoding::Identity) {
            return Err(Failure::BatchEncoded);
        }
        let query = head.uri.query().unwrap_or_default();
        let batch = request::parse_batch(query, self.http.legacy_acks)?;
        noted.records(&batch.topic, batch.acks);
        caller.check(&batch.topic, Some(batch.acks))?;
        if self.cluster.is_away() {
            return Err(Failure::BrokersAway);
        }
        let permit = self.admission.admit(0).map_err(Failure::Full)?;
        self.cluster.check_topic(&batch.topic).await?;
        let mut many = Many::new(self, &caller, (&batch.topic, batch.acks), permit);
        let mut pieces = self.receiver(began, self.http.max_batch, &caller).pieces(body);
        let end = self.take_all(&mut pieces, format, &mut many).await;
        noted.bytes = pieces.received;
        let reports = many.finish().await;
        if reports.is_empty() {
            return Err(end.err().unwrap_or(Failure::EmptyBody));
        }
        Ok(answer::batch(&reports, end.err().as_ref()))
    }

    /// Sends every record of a body.
    ///
    /// # Errors
    /// What ended the body before its end.
    async fn take_all(
        &self,
        pieces: &mut Pieces<'_>,
        mut format: Format,
        many: &mut Many<'_>,
    ) -> Result<(), Failure> {
        let longest = self.http.max_body.saturating_mul(WRITTEN).saturating_add(BESIDE);
        let mut arrived = BytesMut::new();
        // Holds what has arrived of a record that is not complete.
        let mut place = self.admission.beside();
        loop {
            let piece = pieces.next().await?;
            let ended = piece.is_none();
            if let Some(piece) = piece {
                place.grow(arrived.len() + piece.len()).map_err(Failure::Full)?;
                arrived.extend_from_slice(&piece);
            }
            let came = Instant::now();
            while let Some(entry) = format.take(&mut arrived, ended) {
                let cut_off = entry == Err(BadEntry::CutOff);
                many.push(entry.map_err(Failure::BadEntry)).await?;
                if cut_off {
                    return Ok(());
                }
            }
            if ended {
                return Ok(());
            }
            // Meanwhile the client could send nothing: it waited for Kafka too.
            pieces.excuse(came.elapsed());
            if arrived.len() > longest {
                return Err(Failure::BodyTooLarge(self.http.max_body));
            }
        }
    }
}

//! The records of one request that carries many: each takes a place of its own and goes to Kafka at once; their outcomes are
//! kept in the order of the records.
//!
//! At most [`WINDOW`] of them are without a report. When that is reached, or the places of the process are used up, the oldest
//! report is awaited before the next record is taken, which slows down the client that sends them.

use std::collections::VecDeque;
use std::time::Instant;

use rdkafka::message::{Header, OwnedHeaders};
use tokio::sync::oneshot;

use crate::access::Caller;
use crate::admission::{Full, Permit};
use crate::client::Report;
use crate::entry::Entry;
use crate::failure::Failure;
use crate::producer::Lane;
use crate::record::Record;
use crate::request::Acks;
use crate::service::Service;

/// Most records of one request without a report.
const WINDOW: usize = 1_000;

/// The records of one request.
pub(crate) struct Many<'s> {
    service: &'s Service,
    caller: &'s Caller<'s>,
    topic: &'s str,
    acks: Acks,
    /// One for all, so that they are stored in their order.
    lane: Lane,
    open: VecDeque<Open>,
    reports: Vec<Report>,
    /// The place of the request; its bytes are those of the reports, also of those to come.
    permit: Permit,
}

/// A record whose report is not taken yet.
enum Open {
    /// It never went anywhere.
    Refused(Failure),
    Sent {
        report: oneshot::Receiver<Report>,
        deadline: Instant,
        /// Whether the client chose the partition.
        chosen: bool,
        sent: Instant,
        bytes: u64,
    },
}

impl<'s> Many<'s> {
    /// None so far. The topic exists, and the caller may write to it with these acknowledgements.
    pub(crate) fn new(
        service: &'s Service,
        caller: &'s Caller<'s>,
        (topic, acks): (&'s str, Acks),
        permit: Permit,
    ) -> Self {
        Self {
            service,
            caller,
            topic,
            acks,
            lane: service.producers.lane(acks, &permit),
            open: VecDeque::new(),
            reports: Vec::new(),
            permit,
        }
    }

    /// Sends a record, or keeps why it could not even be tried.
    ///
    /// # Errors
    /// There is no room for more reports: the request ends here.
    pub(crate) async fn push(&mut self, entry: Result<Entry, Failure>) -> Result<(), Failure> {
        self.caller.spend_record();
        let count = self.reports.len() + self.open.len() + 1;
        self.permit
            .grow(count * size_of::<Report>())
            .map_err(Failure::Full)?;
        if self.open.len() >= WINDOW {
            self.settle().await;
        }
        let open = match entry {
            Ok(entry) => self.send(entry).await,
            Err(failure) => Open::Refused(failure),
        };
        self.open.push_back(open);
        Ok(())
    }

    async fn send(&mut self, entry: Entry) -> Open {
        let max = self.service.http.max_body;
        if entry.bytes() > max {
            return Open::Refused(Failure::BodyTooLarge(max));
        }
        loop {
            match self.place(entry.bytes()) {
                Ok(permit) => return self.send_with(&entry, permit),
                Err(full) if self.open.is_empty() => return Open::Refused(Failure::Full(full)),
                Err(_full) => self.settle().await,
            }
        }
    }

    /// A place for a record. The request's own is that of a record that no other precedes.
    fn place(&self, bytes: usize) -> Result<Permit, Full> {
        let admission = &self.service.admission;
        if !self.open.is_empty() {
            return admission.admit(bytes);
        }
        let mut permit = admission.beside();
        permit.grow(bytes)?;
        Ok(permit)
    }

    fn send_with(&self, entry: &Entry, permit: Permit) -> Open {
        if self.service.cluster.is_away() {
            return Open::Refused(Failure::BrokersAway);
        }
        let sent = Instant::now();
        let record = Record {
            topic: self.topic,
            key: entry.key.as_deref(),
            value: entry.value.as_deref(),
            partition: entry.partition,
            timestamp: entry.timestamp,
            headers: headers(entry),
        };
        match self.service.producers.send(self.lane, record, permit) {
            Ok(report) => Open::Sent {
                report,
                deadline: sent + self.service.patience,
                chosen: entry.partition.is_some(),
                sent,
                bytes: entry.value.as_ref().map_or(0, |value| value.len() as u64),
            },
            Err(failure) => Open::Refused(failure),
        }
    }

    /// Takes the oldest report.
    async fn settle(&mut self) {
        let Some(open) = self.open.pop_front() else {
            return;
        };
        let meters = &self.service.meters;
        let report = match open {
            Open::Refused(failure) => Err(failure),
            Open::Sent {
                report,
                deadline,
                chosen,
                sent,
                bytes,
            } => {
                let report = self.service.await_report(report, deadline).await;
                let report = self.service.judge(self.topic, chosen, report);
                if report.is_ok() {
                    meters.kafka_seconds.record(sent.elapsed());
                    meters.body_bytes.increment(bytes);
                }
                report
            }
        };
        match &report {
            Ok(_stored) => meters.stored(self.acks),
            Err(failure) => meters.failed(failure.told().code, Some(self.acks)),
        }
        self.reports.push(report);
    }

    /// Waits for every report, and gives them in the order of the records.
    pub(crate) async fn finish(mut self) -> Vec<Report> {
        while !self.open.is_empty() {
            self.settle().await;
        }
        self.reports
    }
}

fn headers(entry: &Entry) -> Option<OwnedHeaders> {
    if entry.headers.is_empty() {
        return None;
    }
    let room = OwnedHeaders::new_with_capacity(entry.headers.len());
    let all = entry.headers.iter().fold(room, |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(&value[..]),
        })
    });
    Some(all)
}

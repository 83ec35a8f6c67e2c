//! Letters in a topic of Kafka, in the order of their keys: every in-sync replica has a letter before its record is done.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use kcommon::daemon::Failure;
use kcommon::kafka::client_log;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::{Desk, RETRY};
use crate::consumer::Brokers;
use crate::headers;
use crate::letter::Letter;

/// On their way to Kafka at a time, at most.
const MOST: usize = 256;
/// The same in bytes; a single letter may be larger.
const MOST_BYTES: usize = 16 << 20;

/// See the module.
pub struct DeadLetters {
    desk: Rc<Desk>,
    client: Rc<Client>,
}

/// The producer, made for the first letter, and anew when it has failed for good.
struct Client {
    module: String,
    brokers: Brokers,
    topic: String,
    producer: RefCell<Option<FutureProducer<Events>>>,
}

/// Takes librdkafka's log lines and errors into ours.
struct Events;

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client_log::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The client recovers by itself; what befalls a letter is told with it.
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            reason,
            "Kafka client of dead letters"
        );
    }
}

impl DeadLetters {
    /// A task that has not begun.
    #[must_use]
    pub fn new(desk: Rc<Desk>, topic: String, brokers: Brokers) -> Self {
        let client = Rc::new(Client {
            module: desk.sender.module.clone(),
            brokers,
            topic,
            producer: RefCell::default(),
        });
        Self { desk, client }
    }

    /// Stores letters until the task is dropped.
    pub async fn run(self) -> Infallible {
        let bell = self.desk.dispatcher.borrow().letters();
        let (mut on_their_way, mut bytes) = (FuturesUnordered::new(), 0);
        loop {
            while on_their_way.len() < MOST && bytes < MOST_BYTES {
                let Some(letter) = self.desk.dispatcher.borrow_mut().next_letter() else {
                    break;
                };
                bytes += letter.record.size();
                on_their_way.push(store(&self.desk, &self.client, letter));
            }
            tokio::select! {
                Some((letter, stored)) = on_their_way.next() => {
                    bytes -= letter.record.size();
                    if stored {
                        self.desk.done(&letter);
                    }
                }
                () = bell.notified() => {}
            }
        }
    }
}

/// Offers a letter until it is taken or does not matter any more; returns whether it was taken.
async fn store(desk: &Desk, client: &Client, letter: Letter) -> (Letter, bool) {
    loop {
        if !desk.dispatcher.borrow().wants(&letter) {
            return (letter, false);
        }
        match client.send(desk, &letter).await {
            Ok(()) => return (letter, true),
            Err(error) => {
                let place = format!("the dead letter topic {}", client.topic);
                desk.failed(&letter, &place, &Failure::from_error(&error).to_string());
                client.renew();
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

impl Client {
    async fn send(&self, desk: &Desk, letter: &Letter) -> Result<(), KafkaError> {
        let record = &letter.record;
        let mut headers = OwnedHeaders::new();
        for (key, value) in headers::decode(record.headers()) {
            headers = headers.insert(Header { key, value });
        }
        for (key, value) in &letter.headers(&desk.sender) {
            let value = Some(value);
            headers = headers.insert(Header { key, value });
        }
        let value = record.value();
        let mut offered = FutureRecord::to(&self.topic).payload(&value[..]).headers(headers);
        offered.key = record.key_bytes();
        let sent = self.producer()?.send_result(offered);
        let sent = sent.map_err(|(error, _record)| error)?;
        match sent.await {
            Ok(Ok(_place)) => Ok(()),
            Ok(Err((error, _record))) => Err(error),
            Err(_canceled) => Err(KafkaError::Canceled),
        }
    }

    fn producer(&self) -> Result<FutureProducer<Events>, KafkaError> {
        let mut producer = self.producer.borrow_mut();
        if let Some(producer) = &*producer {
            return Ok(producer.clone());
        }
        let made: FutureProducer<Events> = config(&self.module, &self.brokers).create_with_context(Events)?;
        Ok(producer.insert(made).clone())
    }

    /// Drops a producer that can send nothing any more: idempotence has errors from which it does not recover.
    fn renew(&self) {
        let is_fatal = |producer: &mut FutureProducer<Events>| producer.client().fatal_error().is_some();
        if let Some(fatal) = self.producer.borrow_mut().take_if(is_fatal) {
            // It takes a moment; nothing depends on its end.
            drop(tokio::task::spawn_blocking(move || drop(fatal)));
        }
    }
}

fn config(module: &str, brokers: &Brokers) -> ClientConfig {
    let mut config = ClientConfig::new();
    // First: what a letter's safety rests on cannot be changed.
    brokers.options.apply(&mut config);
    config
        .set("bootstrap.servers", brokers.hosts.join(","))
        .set("client.id", format!("ktransfer-{module}-letters"))
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // A letter whose time is over is offered again, so this is only how long a silent broker goes untold.
        .set("message.timeout.ms", "10000")
        .set("request.timeout.ms", "5000")
        .set("topic.metadata.propagation.max.ms", "5000")
        // The topic's own limit counts.
        .set("message.max.bytes", "1000000000")
        // As Java's clients place keys.
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "5")
        .set("enable.metrics.push", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// Whether librdkafka knows these options is seen when a producer is made, which a module does only for its first letter.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_can_be_made_without_a_broker() {
        let brokers = Brokers {
            hosts: vec!["127.0.0.1:1".to_owned()],
            ..Brokers::default()
        };
        let producer: FutureProducer<Events> = config("m", &brokers).create_with_context(Events).unwrap();
        assert!(producer.client().fatal_error().is_none());
    }
}

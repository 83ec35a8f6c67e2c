//! What rdkafka does not expose: whether a record that failed may be in Kafka all the same.
//!
//! librdkafka keeps that for each record (`rd_kafka_message_status`), but rdkafka's delivery callback hides the record's
//! pointer. So a producer's events are taken from its queue here, in place of [`BaseProducer::poll`]; everything but the
//! delivery reports goes to the producer's context as usual. With [`groups`] the only module with unsafe code.

#![expect(
    unsafe_code,
    reason = "calls into librdkafka; every block says why it is sound"
)]

pub mod groups;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdkafka::bindings as sys;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};
use rdkafka::util::IntoOpaque as _;
use tokio::sync::Notify;

/// Whether Kafka may have a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persisted {
    /// It was never sent, or every broker that got it refused it.
    No,
    /// It was sent at least once, and no answer says what became of it.
    Possibly,
    /// A broker confirmed it, as far as `acks` asks for.
    Yes,
}

/// librdkafka's last word on a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Why it failed; `None` = it did not.
    pub error: Option<RDKafkaErrorCode>,
    /// Whether Kafka may have it.
    pub persisted: Persisted,
    /// Its partition; negative when none was chosen.
    pub partition: i32,
    /// Its offset; negative when it is not known, as with `acks=0`.
    pub offset: i64,
    /// Its timestamp in milliseconds; negative when it has none.
    pub timestamp: i64,
}

/// The event queue of one producer. One task polls it; [`BaseProducer::poll`] must not be called beside it, except by the
/// producer's own end, whose reports go to [`ProducerContext::delivery`].
pub struct Deliveries<C: ProducerContext + 'static> {
    producer: Arc<BaseProducer<C>>,
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// Told whenever the queue was empty and has an event. librdkafka has a pointer to it until `drop`.
    arrived: Arc<Notify>,
}

// SAFETY: librdkafka's queues may be used from any thread, and `&mut` keeps the calls here apart; the rest is `Send` by itself.
unsafe impl<C: ProducerContext + 'static> Send for Deliveries<C> where Arc<BaseProducer<C>>: Send {}

/// librdkafka's word that a queue has an event, from one of its threads and under the queue's lock.
///
/// # Safety
/// `arrived` is the [`Notify`] of a [`Deliveries`].
unsafe extern "C" fn arrived(_client: *mut sys::rd_kafka_t, arrived: *mut c_void) {
    // SAFETY: it lives until its `Deliveries` has taken this callback back, which waits for the queue's lock.
    unsafe { &*arrived.cast::<Notify>() }.notify_one();
}

/// An event, destroyed with its handle; messages and texts taken from it die with it.
struct Event(NonNull<sys::rd_kafka_event_t>);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the pointer came from rd_kafka_queue_poll, and this is the only place that destroys it.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

impl<C: ProducerContext + 'static> Deliveries<C> {
    /// Takes hold of the producer's queue.
    ///
    /// # Panics
    /// Never: a live client has a main queue.
    #[must_use]
    pub fn new(producer: Arc<BaseProducer<C>>) -> Self {
        // SAFETY: the client is alive as long as its producer, which `Self` holds; the call adds a reference that `drop` gives back.
        let queue = unsafe { sys::rd_kafka_queue_get_main(producer.client().native_ptr()) };
        let queue = NonNull::new(queue).expect("a live client has a main queue");
        let notify = Arc::new(Notify::new());
        // SAFETY: the queue is alive; the `Notify` lives until `drop` has taken the callback back.
        unsafe {
            let opaque = Arc::as_ptr(&notify).cast_mut().cast();
            sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(arrived), opaque);
        }
        // What came before has told nobody.
        notify.notify_one();
        Self {
            producer,
            queue,
            arrived: notify,
        }
    }

    /// The producer's context.
    #[must_use]
    pub fn context(&self) -> &Arc<C> {
        self.producer.context()
    }

    /// Told whenever there is something to poll after there was nothing; whoever waits may also be woken through it.
    #[must_use]
    pub const fn arrived(&self) -> &Arc<Notify> {
        &self.arrived
    }

    /// Takes an event, if there is one, and passes it on: delivery reports to `deliver`, in the order in which librdkafka made them
    /// and each exactly once, log lines, errors and statistics to the context. Says whether there was one. Never waits.
    pub fn poll(&mut self, deliver: impl FnMut(Delivery, C::DeliveryOpaque)) -> bool {
        // SAFETY: the queue is alive until `drop`.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue.as_ptr(), 0) };
        let Some(event) = NonNull::new(event).map(Event) else {
            return false;
        };
        // SAFETY: the event is alive.
        match unsafe { sys::rd_kafka_event_type(event.0.as_ptr()) } {
            sys::RD_KAFKA_EVENT_DR => deliveries::<C>(&event, deliver),
            sys::RD_KAFKA_EVENT_LOG => log(&event, &**self.producer.context()),
            sys::RD_KAFKA_EVENT_ERROR => error(&event, &**self.producer.context()),
            sys::RD_KAFKA_EVENT_STATS => statistics(&event, &**self.producer.context()),
            _other => {}
        }
        true
    }
}

impl<C: ProducerContext + 'static> Drop for Deliveries<C> {
    fn drop(&mut self) {
        // SAFETY: takes the callback back under the queue's lock, so that none runs after it; then gives back the reference that
        // `new` took. Nothing uses the queue after it.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

fn deliveries<C: ProducerContext>(event: &Event, mut deliver: impl FnMut(Delivery, C::DeliveryOpaque)) {
    loop {
        // SAFETY: the event is alive and a delivery report; each message is returned once.
        let message = unsafe { sys::rd_kafka_event_message_next(event.0.as_ptr()) };
        // SAFETY: not null means a message that lives as long as the event, and nobody changes it.
        let Some(fields) = (unsafe { message.as_ref() }) else {
            return;
        };
        // SAFETY: as above; both calls only read the message.
        let (status, timestamp) = unsafe {
            (
                sys::rd_kafka_message_status(message),
                sys::rd_kafka_message_timestamp(message, ptr::null_mut()),
            )
        };
        let failed = fields.err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        let delivery = Delivery {
            error: failed.then(|| fields.err.into()),
            persisted: match status {
                sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => Persisted::No,
                sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED => Persisted::Possibly,
                sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_PERSISTED => Persisted::Yes,
            },
            partition: fields.partition,
            offset: fields.offset,
            timestamp,
        };
        // SAFETY: `_private` is what rdkafka's `send` got from `DeliveryOpaque::into_ptr` of this very context type, and a
        // record's report is made once, so the opaque is taken back once.
        let opaque = unsafe { C::DeliveryOpaque::from_ptr(fields._private) };
        deliver(delivery, opaque);
    }
}

fn log(event: &Event, context: &impl ClientContext) {
    let mut facility: *const c_char = ptr::null();
    let mut message: *const c_char = ptr::null();
    let mut level: c_int = 0;
    // SAFETY: the event is alive and a log line; the three places are valid for the call.
    let got = unsafe {
        sys::rd_kafka_event_log(
            event.0.as_ptr(),
            &raw mut facility,
            &raw mut message,
            &raw mut level,
        )
    };
    if got == 0 {
        let level = match level {
            0 => RDKafkaLogLevel::Emerg,
            1 => RDKafkaLogLevel::Alert,
            2 => RDKafkaLogLevel::Critical,
            3 => RDKafkaLogLevel::Error,
            4 => RDKafkaLogLevel::Warning,
            5 => RDKafkaLogLevel::Notice,
            6 => RDKafkaLogLevel::Info,
            _ => RDKafkaLogLevel::Debug,
        };
        context.log(level, &text(facility), &text(message));
    }
}

fn error(event: &Event, context: &impl ClientContext) {
    // SAFETY: the event is alive; both calls only read it.
    let (code, reason) = unsafe {
        (
            sys::rd_kafka_event_error(event.0.as_ptr()),
            sys::rd_kafka_event_error_string(event.0.as_ptr()),
        )
    };
    context.error(KafkaError::Global(code.into()), &text(reason));
}

fn statistics(event: &Event, context: &impl ClientContext) {
    // SAFETY: the event is alive and one of statistics; the call only reads it.
    let told = unsafe { sys::rd_kafka_event_stats(event.0.as_ptr()) };
    if !told.is_null() {
        // SAFETY: the text ends with a zero and lives as long as the event, which outlives this call.
        context.stats_raw(unsafe { CStr::from_ptr(told) }.to_bytes());
    }
}

/// A text of librdkafka's, copied.
fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: librdkafka's texts end with a zero and live as long as the event, which outlives this call.
    unsafe { CStr::from_ptr(pointer) }
        .to_string_lossy()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rdkafka::ClientConfig;
    use rdkafka::producer::{BaseRecord, DeliveryResult};

    use super::*;

    struct Context;

    impl ClientContext for Context {
        fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}

        fn error(&self, _error: KafkaError, _reason: &str) {}
    }

    impl ProducerContext for Context {
        type DeliveryOpaque = Box<u64>;

        fn delivery(&self, _result: &DeliveryResult<'_>, _opaque: Box<u64>) {}
    }

    #[tokio::test]
    async fn a_record_that_was_never_sent_is_told_so_once_with_its_own_opaque() {
        let mut config = ClientConfig::new();
        // Port 1 refuses, so nothing is ever sent.
        config
            .set("bootstrap.servers", "127.0.0.1:1")
            .set("message.timeout.ms", "50");
        let producer: Arc<BaseProducer<Context>> = Arc::new(config.create_with_context(Context).unwrap());
        for number in 0..3 {
            let record = BaseRecord::with_opaque_to("t", Box::new(number))
                .payload("x")
                .key("k");
            assert!(producer.send(record).is_ok());
        }
        let mut told = Vec::new();
        let mut queue = Deliveries::new(producer);
        let reports = async {
            while told.len() < 3 {
                queue.arrived().notified().await;
                while queue.poll(|delivery, opaque| told.push((delivery, *opaque))) {}
            }
        };
        let within = tokio::time::timeout(Duration::from_secs(60), reports).await;
        within.expect("three reports");
        told.sort_by_key(|(_, number)| *number);
        assert_eq!(
            told.iter().map(|(_, number)| *number).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        for (delivery, _) in told {
            assert_eq!(delivery.persisted, Persisted::No);
            assert_eq!(delivery.error, Some(RDKafkaErrorCode::MessageTimedOut));
        }
    }
}

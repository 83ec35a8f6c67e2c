//! Which of librdkafka's options kproxy's promises rest on: these its file may not set.

use kcommon::kafka::options::Owned;

/// Options that kproxy sets itself, with what to do instead, beyond those that no daemon leaves to its file.
pub(crate) const OWNED: Owned = &[
    (
        &["acks", "request.required.acks"],
        "the request says it (acks=...)",
    ),
    (
        &["enable.idempotence", "enable.gapless.guarantee"],
        "set idempotence",
    ),
    (
        &["max.in.flight", "max.in.flight.requests.per.connection"],
        "set kafka_requests_in_flight",
    ),
    (&["linger.ms", "queue.buffering.max.ms"], "set linger_ms"),
    (
        &[
            "message.timeout.ms",
            "delivery.timeout.ms",
            "request.timeout.ms",
            "socket.timeout.ms",
        ],
        "set produce_timeout_ms, from which the answers' honesty about time-outs follows",
    ),
    (
        &["message.max.bytes", "message.copy.max.bytes"],
        "set max_request_size_bytes",
    ),
    (
        &["queue.buffering.max.messages", "queue.buffering.max.kbytes"],
        "set req_pool_size and max_inflight_bytes, which bound the queue too",
    ),
    (
        &[
            "allow.auto.create.topics",
            "topic.metadata.propagation.max.ms",
            "topic.blacklist",
        ],
        "which topics exist is asked and answered by kproxy; see topics_allowed and topics_denied",
    ),
    (
        &[
            "partitioner",
            "partitioner_cb",
            "queuing.strategy",
            "msg_order_cmp",
        ],
        "a key keeps the partition that it has always had, and records their order",
    ),
    (
        &[
            "delivery.report.only.error",
            "produce.offset.report",
            "dr_cb",
            "dr_msg_cb",
            "enabled_events",
            "background_event_cb",
        ],
        "every answer rests on the delivery report of its record",
    ),
    (
        &["transactional.id", "transaction.timeout.ms"],
        "records are not sent in transactions",
    ),
];

#[cfg(test)]
mod tests {
    use kcommon::kafka::options::unknown_names;

    use super::*;

    #[test]
    fn what_the_promises_rest_on_is_known_to_librdkafka() {
        assert_eq!(unknown_names(OWNED), Vec::<&str>::new());
    }
}

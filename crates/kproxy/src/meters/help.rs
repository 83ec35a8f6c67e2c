//! What each metric tells, for whoever reads `/metrics`. `docs/operations.md` has the same with the labels.

/// Names and what they tell.
pub const HELP: &[(&str, &str)] = &[
    ("kproxy_requests_total", "Requests; of batches, records."),
    (
        "kproxy_request_seconds",
        "First byte of a request to its answer, stored records.",
    ),
    (
        "kproxy_read_seconds",
        "First byte of a request to the hand-over of its record to the producer, stored records.",
    ),
    (
        "kproxy_kafka_seconds",
        "Hand-over to the producer to the broker's confirmation, stored records.",
    ),
    ("kproxy_body_bytes_total", "Bytes of stored bodies."),
    (
        "kproxy_in_flight_requests",
        "Requests that hold one of req_pool_size places.",
    ),
    ("kproxy_in_flight_bytes", "Bytes taken of max_inflight_bytes."),
    ("kproxy_connections", "Open connections."),
    (
        "kproxy_connections_refused_total",
        "Connections refused at max_connections.",
    ),
    ("kproxy_connections_cut_total", "Connections cut by a time-out."),
    (
        "kproxy_client_queued_records",
        "Records in a producer's queue and on their way.",
    ),
    (
        "kproxy_client_queued_bytes",
        "Bytes of the records in a producer's queue and on their way.",
    ),
    (
        "kproxy_client_requests_in_flight",
        "Requests that brokers have not answered.",
    ),
    (
        "kproxy_client_brokers_connected",
        "Brokers that the client is connected to.",
    ),
    ("kproxy_client_requests_total", "Requests to brokers."),
    (
        "kproxy_client_retries_total",
        "Requests to brokers that were repeated.",
    ),
    (
        "kproxy_client_errors_total",
        "Requests to brokers that failed or timed out.",
    ),
    (
        "kproxy_client_wait_seconds",
        "How long records wait before they are sent, over the last 10 s, to the slowest broker.",
    ),
    (
        "kproxy_client_broker_seconds",
        "How long the slowest broker takes to answer, over the last 10 s.",
    ),
    ("kproxy_brokers_up", "1 while a broker answers, else 0."),
    (
        "kproxy_late_confirmations_total",
        "Records that Kafka confirmed after their request had been answered 504.",
    ),
    ("kproxy_topic_lists_total", "Lists of topics fetched from Kafka."),
    (
        "kproxy_producers_replaced_total",
        "Producers replaced after an error that they cannot survive.",
    ),
    (
        "kproxy_principal_requests_total",
        "Requests of each name of the credentials file that were let in.",
    ),
    (
        "kproxy_principal_refused_total",
        "Requests that it may not send, or not now.",
    ),
    ("kproxy_logins_refused_total", "Requests of nobody who is known."),
    (
        "kproxy_file_refused",
        "1 while a changed file is wrong and the one before goes on, else 0.",
    ),
    (
        "kproxy_tls_handshakes_failed_total",
        "TLS handshakes that failed; refused: no TLS, no common version, or a certificate that is not believed.",
    ),
    (
        "kproxy_tls_certificate_expires_timestamp_seconds",
        "When the certificate shown to clients expires, seconds since 1970.",
    ),
    (
        "kproxy_stalls_total",
        "Times that records waited for stall_timeout_ms without any confirmation; what waited was answered.",
    ),
];

//! The table of keys of `kproxy.yaml`.

use kcommon::config::{ADMIN_KEYS, Key, Kind, LOG_KEYS, Need, Schema};

/// The longest time-out that can be set: a day.
const DAY_MS: i64 = 86_400_000;

/// A time-out in milliseconds, 0 for none.
const TIMEOUT: Kind = Kind::Int { min: 0, max: DAY_MS };

/// The keys of `kproxy.yaml`.
pub const SCHEMA: Schema = Schema {
    name: "kproxy.yaml",
    groups: &[
        ("", LOG_KEYS),
        ("", ADMIN_KEYS),
        ("", HTTP_KEYS),
        ("", KAFKA_KEYS),
        ("", super::access::KEYS),
    ],
};

const HTTP_KEYS: &[Key] = &[
    Key {
        path: "port",
        kind: Kind::Int { min: 1, max: 65_535 },
        need: Need::Required,
        meaning: "Port that takes `POST /commit`.",
        changed: "",
    },
    Key {
        path: "listen_address",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "IP address to listen on. Without it: every address of the machine, IPv4 and IPv6.",
        changed: "New; without it as in the original.",
    },
    Key {
        path: "unix_socket",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "Path of a Unix socket to listen on besides the port. A file that a dead process left there is replaced; it is \
                  removed at the end.",
        changed: "New.",
    },
    Key {
        path: "unix_socket_mode",
        kind: Kind::Text,
        need: Need::Default("660"),
        meaning: "Rights of the Unix socket's file as octal digits: who may write to it may connect.",
        changed: "New.",
    },
    Key {
        path: "read_timeout_ms",
        kind: TIMEOUT,
        need: Need::Required,
        meaning: "Longest time without a byte while a request is received. 0 is none.",
        changed: "Covered the whole request, from the connection's start.",
    },
    Key {
        path: "write_timeout_ms",
        kind: TIMEOUT,
        need: Need::Required,
        meaning: "Longest time without a byte taken by the client while an answer is sent. 0 is none.",
        changed: "Covered the wait for Kafka too, so that stored records looked failed.",
    },
    Key {
        path: "header_timeout_ms",
        kind: TIMEOUT,
        need: Need::Default("10000"),
        meaning: "From the first byte of a request to the end of its head. 0 is none.",
        changed: "New.",
    },
    Key {
        path: "request_timeout_ms",
        kind: TIMEOUT,
        need: Need::Default("30000"),
        meaning: "From the first byte of a request to the last of its body. 0 is none.",
        changed: "New.",
    },
    Key {
        path: "idle_timeout_ms",
        kind: TIMEOUT,
        need: Need::Default("60000"),
        meaning: "Longest time between two requests of a connection, and before its first. 0 is none.",
        changed: "New; the original cut idle connections after `read_timeout_ms`.",
    },
    Key {
        path: "min_body_rate_bytes",
        kind: Kind::Int {
            min: 0,
            max: 1_000_000_000,
        },
        need: Need::Default("1000"),
        meaning: "Least average rate of a body in bytes per second, counted after 5 s. 0 is none.",
        changed: "New.",
    },
    Key {
        path: "max_connections",
        kind: Kind::Int {
            min: 1,
            max: 1_000_000,
        },
        need: Need::Default("20000"),
        meaning: "Connections open at once. A connection beyond it is answered 503 and closed.",
        changed: "New.",
    },
    Key {
        path: "req_pool_size",
        kind: Kind::Int {
            min: 1,
            max: 10_000_000,
        },
        need: Need::Default("10240"),
        meaning: "Requests in flight at once, from their head to Kafka's confirmation. One beyond it is answered 503.",
        changed: "Was the size of a pool of objects, and no limit.",
    },
    Key {
        path: "max_request_size_bytes",
        kind: Kind::Int {
            min: 1,
            max: 900_000_000,
        },
        need: Need::Required,
        meaning: "Largest body in bytes; a larger one is answered 413 before it is read. Best at most the `max.message.bytes` \
                  of the topics.",
        changed: "Limited only the record, after the whole body was in memory.",
    },
    Key {
        path: "max_batch_bytes",
        kind: Kind::Int {
            min: 1024,
            max: 1_099_511_627_776,
        },
        need: Need::Default("67108864"),
        meaning: "Largest body of `POST /commit/batch` in bytes, all its records together; each of them has to keep \
                  `max_request_size_bytes`. It is never in memory as a whole.",
        changed: "New.",
    },
    Key {
        path: "max_inflight_bytes",
        kind: Kind::Int {
            min: 1_048_576,
            max: 1_099_511_627_776,
        },
        need: Need::Default("268435456"),
        meaning: "Bytes of bodies in memory at once. A request that does not fit is answered 503 before its body is read. Has to \
                  be at least `max_request_size_bytes`.",
        changed: "New.",
    },
    Key {
        path: "legacy_acks",
        kind: Kind::Bool,
        need: Need::Default("false"),
        meaning: "Take an unknown `acks` as 1, as the original did, in place of a 400.",
        changed: "New; the original always did.",
    },
    Key {
        path: "header_prefix",
        kind: Kind::Text,
        need: Need::Default("X-Kafka-Header-"),
        meaning: "A request's headers whose names begin with it become headers of the record, under the rest of their name.",
        changed: "New.",
    },
    Key {
        path: "drain_timeout_ms",
        kind: Kind::Int {
            min: 100,
            max: 600_000,
        },
        need: Need::Default("10000"),
        meaning: "After SIGTERM: how long to wait for the confirmation of what is in flight. What is left then is counted, logged, \
                  and makes the exit status 1.",
        changed: "New; the original lost what was in flight.",
    },
];

const KAFKA_KEYS: &[Key] = &[
    Key {
        path: "broker_hosts",
        kind: Kind::HostPorts { min: 1 },
        need: Need::Required,
        meaning: "Some of the cluster's brokers as `host:port`; the others are found through them.",
        changed: "",
    },
    Key {
        path: "producer_num",
        kind: Kind::Int { min: 1, max: 16 },
        need: Need::Default("1"),
        meaning: "Producers per acknowledgement level, each with connections of its own. One is enough for most.",
        changed: "Was read by nobody.",
    },
    Key {
        path: "produce_timeout_ms",
        kind: Kind::Int {
            min: 500,
            max: 300_000,
        },
        need: Need::Default("5000"),
        meaning: "Longest wait for Kafka's confirmation; after it the answer is 504. The producer itself gives up after four \
                  fifths of it.",
        changed: "New.",
    },
    Key {
        path: "stall_timeout_ms",
        kind: Kind::Int {
            min: 500,
            max: 300_000,
        },
        need: Need::Default("3000"),
        meaning: "Longest time without any confirmation while records wait. Then what waits is answered 504, or 503 where it was \
                  never sent, and the brokers count as away until one answers.",
        changed: "New.",
    },
    Key {
        path: "linger_ms",
        kind: Kind::Int { min: 0, max: 1000 },
        need: Need::Optional,
        meaning: "How long a record waits for others to share a request to Kafka. Without it the wait follows the load: none for up \
                  to 8 open requests, 1 ms for up to 128, 2 ms beyond. A number holds for every load, and delays a lone client \
                  by just that.",
        changed: "New; the original's records waited only while a request was in flight.",
    },
    Key {
        path: "kafka_requests_in_flight",
        kind: Kind::Int { min: 1, max: 1000 },
        need: Need::Default("8"),
        meaning: "Requests open at once on a connection to a broker. The bound makes records share requests under load; far \
                  brokers want more. With `acks=-1` and `idempotence` at most 5.",
        changed: "New; the original had one.",
    },
    Key {
        path: "idempotence",
        kind: Kind::Bool,
        need: Need::Default("true"),
        meaning: "For `acks=-1`: the broker drops what a producer's own repetition would double or reorder.",
        changed: "New.",
    },
];

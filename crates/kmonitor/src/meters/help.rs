//! What each metric tells, for whoever reads `/metrics`. `docs/operations.md` has the same with the labels.

/// Names and what they tell.
pub const HELP: &[(&str, &str)] = &[
    (
        "kmonitor_source_up",
        "1 if the source told everything it was asked in the last round, else 0.",
    ),
    (
        "kmonitor_last_success_timestamp_seconds",
        "Unix time of the last round that read ZooKeeper; 0 before the first.",
    ),
    (
        "kmonitor_collections_total",
        "Rounds; a failed one could not read ZooKeeper.",
    ),
    ("kmonitor_collection_seconds", "Wall time of a round."),
    ("kmonitor_modules", "Modules in the last good round."),
    (
        "kmonitor_unknown_partitions",
        "Partitions without a lag in the last good round.",
    ),
    (
        "kmonitor_stray_znodes",
        "Children of offsets that name no topic or partition; they are passed over.",
    ),
    (
        "kmonitor_lag_records",
        "Known lags, summed; NaN while none is known.",
    ),
    (
        "kmonitor_lag_max_records",
        "Largest known lag of a partition; NaN while none is known.",
    ),
    ("kmonitor_requests_total", "Questions to /delay."),
    ("kmonitor_connections", "Open connections to the public port."),
    (
        "kmonitor_falcon_pushes_total",
        "Pushes of all numbers to Falcon, if there is a section falcon.",
    ),
    (
        "kmonitor_notifications_total",
        "Messages to a receiver: taken by it; given up after all attempts or refused for good; dropped because its queue was full.",
    ),
    (
        "kmonitor_notification_retries_total",
        "Attempts beyond the first.",
    ),
    ("kmonitor_notification_queue", "Messages that wait."),
    (
        "kmonitor_open_events",
        "Open events, also of a kmonitor that is not the primary.",
    ),
];

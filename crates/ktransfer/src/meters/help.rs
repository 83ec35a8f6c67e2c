//! What each metric tells, for whoever reads `/metrics`. `docs/operations.md` has the same with the labels.

/// Names and what they tell.
pub const HELP: &[(&str, &str)] = &[
    ("ktransfer_pushes_total", "Attempts to push a record, by outcome."),
    (
        "ktransfer_records_passed_over_total",
        "Records that ended without a push, by reason.",
    ),
    (
        "ktransfer_records_stale_total",
        "Records fetched a second time and dropped.",
    ),
    (
        "ktransfer_records_done_before_total",
        "Records fetched again after a restart or a hand-over and not pushed, because their delivery had been stored.",
    ),
    (
        "ktransfer_records_lost_total",
        "Records that Kafka deleted, or lost with the tail of a log, before they were pushed.",
    ),
    (
        "ktransfer_wait_seconds",
        "Fetch of a record to the start of its first push, of one record in 32; records behind a stuck key wait long.",
    ),
    (
        "ktransfer_truncations_total",
        "Partitions that were begun anew because their log had lost records that had been taken in.",
    ),
    (
        "ktransfer_push_seconds",
        "Start of a push to the end of its answer, failed ones included.",
    ),
    ("ktransfer_pushes_in_flight", "Pushes on their way."),
    (
        "ktransfer_records_uncommitted",
        "Records between the commit positions and the newest fetched.",
    ),
    (
        "ktransfer_body_budget_held_bytes",
        "What the module's records in memory count of body_budget_bytes.",
    ),
    (
        "ktransfer_bodies_evicted_total",
        "Bodies dropped because that was used up: of records that wait behind another of their key.",
    ),
    (
        "ktransfer_bodies_reread_total",
        "Bodies read from Kafka again, when their key moved on.",
    ),
    (
        "ktransfer_records_evicted",
        "Records that wait without their bodies.",
    ),
    (
        "ktransfer_partitions_full",
        "Partitions that take no further record and have not moved for 5 s.",
    ),
    (
        "ktransfer_backend_down",
        "1 while the backend takes nothing: nothing but failures for 5 s, or no end of any push for 30 s.",
    ),
    (
        "ktransfer_record_headers_left_out_total",
        "Headers of records that could not be forwarded: HTTP cannot carry them, or there were too many.",
    ),
    (
        "ktransfer_servers_set_aside",
        "Servers that get no pushes for a while, because their last ones have failed.",
    ),
    (
        "ktransfer_module_files_refused",
        "1 while certificates or secrets of a module have changed to what cannot be used.",
    ),
    (
        "ktransfer_modules_invalid",
        "Entries of module_enabled that cannot run: a wrong or missing file, listed twice.",
    ),
    (
        "ktransfer_module_running",
        "1 while the module's file is valid and the module runs; gone when the module is removed.",
    ),
    (
        "ktransfer_module_file_refused",
        "1 while the module's file was changed to something wrong and the module goes on with what it had.",
    ),
    (
        "ktransfer_main_file_refused",
        "1 while the main file is wrong and what it said before goes on.",
    ),
    (
        "ktransfer_module_restarts_total",
        "Times the module was started again after a failure.",
    ),
    (
        "ktransfer_partitions_held",
        "Partitions that this process has claimed.",
    ),
    (
        "ktransfer_partitions_unowned",
        "Partitions that have had no owner for 5 s, as this process sees it.",
    ),
    (
        "ktransfer_partitions_stopped",
        "Claimed partitions that are not delivered because their offset znode is unreadable.",
    ),
    (
        "ktransfer_acks_stored",
        "Offsets that are stored as delivered above the stored offsets: behind stuck keys, and for a moment under load.",
    ),
    (
        "ktransfer_partitions_restarted_total",
        "Partitions that began at the start of their log, because their topic had been deleted and created anew.",
    ),
    (
        "ktransfer_commits_total",
        "Commits: stored; not stored and tried again; an operator had moved the offset; refused because the partition has another owner.",
    ),
    (
        "ktransfer_claims_lost_total",
        "Claims that ended without a release.",
    ),
    (
        "ktransfer_paced_records_total",
        "Pushes of a module with a pace, repeated ones included.",
    ),
    (
        "ktransfer_paced_bytes_total",
        "Bytes of bodies in the pushes of a module with a pace.",
    ),
    (
        "ktransfer_content_errors_total",
        "Records whose body could not be read for a filter or a transformation, by stage.",
    ),
    (
        "ktransfer_pushes_limit",
        "Pushes that may be on their way: all workers, or fewer while the backend wants less.",
    ),
    (
        "ktransfer_records_undelivered_total",
        "Records that ended undelivered, by what became of them.",
    ),
    (
        "ktransfer_letters_waiting",
        "Records that are to go to a dead letter topic or to a file, and are not stored yet.",
    ),
    (
        "ktransfer_keys_blocked",
        "Keys that wait for an operator behind a record that ended undelivered.",
    ),
    (
        "ktransfer_partitions_blocked",
        "Partitions that wait for an operator behind a record that ended undelivered.",
    ),
    (
        "ktransfer_records_failing",
        "Records that have failed and are not done.",
    ),
    (
        "ktransfer_oldest_failing_seconds",
        "How long the first attempt is ago of the record that has failed for the longest time; 0 without one.",
    ),
    (
        "ktransfer_keys_stalled",
        "Keys whose record has failed for long, by stalled_key.",
    ),
    (
        "ktransfer_pushes_slow_total",
        "Pushes that took longer than slow_time_ms.",
    ),
];

//! What the push path counts, per module. Handles are made once and held; labels are the module's name and fixed
//! words, never a key, an offset or a URL.

pub(crate) mod help;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::letter::Exhausted;

/// Attempts by outcome: `delivered`, `retried`, `exhausted` (the last one allowed), `rejected` (refused for good), `repeated` (a backend had
/// closed an idle connection: not an attempt), `cut` (on the wire when the partition or the lease ended).
pub const PUSHES: &str = "ktransfer_pushes_total";
/// Records that ended without a push, by reason: `filtered`, `undecodable`, `unpushable` (no URI can be made of them),
/// `compacted` (replaced in Kafka by a newer record of their key while their body was not in memory).
pub const PASSED_OVER: &str = "ktransfer_records_passed_over_total";
/// Records whose bodies could not be read, by stage: `filter` (or everything, with `on_error: stop`), `transform`.
pub const CONTENT_ERRORS: &str = "ktransfer_content_errors_total";
/// Pushes of a module that has a pace, repeated ones included, and the bytes of their bodies.
pub const PACED_RECORDS: &str = "ktransfer_paced_records_total";
/// See [`PACED_RECORDS`].
pub const PACED_BYTES: &str = "ktransfer_paced_bytes_total";
/// Records that ended undelivered, by what became of them: `drop`, `dead_letter` and `log` once they are stored, `block` and
/// `stop` once they wait.
pub const UNDELIVERED: &str = "ktransfer_records_undelivered_total";
/// Pushes that took longer than `slow_time_ms`.
pub const SLOW: &str = "ktransfer_pushes_slow_total";
/// Records that end undelivered and are not stored yet.
pub const LEAVING: &str = "ktransfer_letters_waiting";
/// Keys that wait for an operator.
pub const BLOCKED: &str = "ktransfer_keys_blocked";
/// Partitions that wait for an operator behind a record that ended undelivered.
pub const STOPPED: &str = "ktransfer_partitions_blocked";
/// Records that have failed and are not done.
pub const FAILING: &str = "ktransfer_records_failing";
/// Those that make an alarm by `stalled_key`.
pub const STALLED: &str = "ktransfer_keys_stalled";
/// How long the first attempt is ago of the record that has failed for the longest time; 0 without one.
pub const OLDEST_FAILING: &str = "ktransfer_oldest_failing_seconds";
/// Records fetched a second time in one assignment and dropped.
pub const STALE: &str = "ktransfer_records_stale_total";
/// Records fetched again after a restart or a hand-over and not pushed, because their acknowledgement had been stored.
pub const DONE_BEFORE: &str = "ktransfer_records_done_before_total";
/// Records that Kafka deleted before they were pushed.
pub const LOST: &str = "ktransfer_records_lost_total";
/// From the fetch of a record to the moment a worker takes it for its first push, of a sample of all records; what waits
/// behind its key's other records is included.
pub const WAIT_SECONDS: &str = "ktransfer_wait_seconds";
/// From the start of a push to the end of its answer, failed ones included.
pub const PUSH_SECONDS: &str = "ktransfer_push_seconds";
/// Pushes on their way.
pub const IN_FLIGHT: &str = "ktransfer_pushes_in_flight";
/// Pushes that may be on their way: all workers, or fewer while the backend wants less: see [`crate::adaptive`].
pub const LIMIT: &str = "ktransfer_pushes_limit";
/// Records between the commit positions and the newest fetched.
pub const UNCOMMITTED: &str = "ktransfer_records_uncommitted";
/// Partitions whose log was seen to have lost records that had been taken in, so that they began anew.
pub const TRUNCATIONS: &str = "ktransfer_truncations_total";
/// Bodies that were dropped because memory was short: of records behind others of their key.
pub const EVICTED: &str = "ktransfer_bodies_evicted_total";
/// Bodies that were read from Kafka again.
pub const REREAD: &str = "ktransfer_bodies_reread_total";
/// Records that wait without their bodies now.
pub const BODILESS: &str = "ktransfer_records_evicted";
/// What the records in memory count of `body_budget_bytes`.
pub const HELD_BYTES: &str = "ktransfer_body_budget_held_bytes";
/// Partitions that take no further record and have not moved for 5 s: see [`crate::stall`].
pub const FULL: &str = "ktransfer_partitions_full";
/// Times that the module was started again after it had failed.
pub const RESTARTS: &str = "ktransfer_module_restarts_total";
/// Headers of records that could not be forwarded: no HTTP, or too many.
pub const HEADERS_LEFT_OUT: &str = "ktransfer_record_headers_left_out_total";
/// 1 while certificates or secrets of the module have changed to what cannot be used.
pub const FILES_REFUSED: &str = "ktransfer_module_files_refused";
/// Servers that get no pushes for a while, because their last ones have failed: see [`crate::balance`].
pub const SET_ASIDE: &str = "ktransfer_servers_set_aside";
/// 1 while the module's backends take nothing: see [`crate::outage`].
pub const BACKEND_DOWN: &str = "ktransfer_backend_down";
/// Entries of `module_enabled` that cannot run: a wrong or missing file, listed twice, no name. Without label.
pub const INVALID: &str = "ktransfer_modules_invalid";
/// 1 while the main file is wrong and what it said before goes on. Without label.
pub const MAIN_REFUSED: &str = "ktransfer_main_file_refused";
/// 1 while the module's file is valid and the module runs.
pub const RUNNING: &str = "ktransfer_module_running";
/// 1 while the module's file was changed to something wrong, and the module goes on with what it had.
pub const FILE_REFUSED: &str = "ktransfer_module_file_refused";

/// The handles of one module.
#[derive(Debug)]
pub struct Meters {
    /// Delivered pushes.
    pub delivered: Counter,
    /// Failed attempts that will be repeated.
    pub retried: Counter,
    /// Records whose last attempt failed.
    pub exhausted: Counter,
    /// Records that the backend refused for good.
    pub rejected: Counter,
    /// Repeats on a new connection.
    pub repeated: Counter,
    /// Requests cut on the wire.
    pub cut: Counter,
    /// Records that ended undelivered by the module's policy.
    pub undelivered: Counter,
    /// Pushes that took long.
    pub slow: Counter,
    /// Letters that wait.
    pub leaving: Gauge,
    /// Keys that wait for an operator.
    pub blocked: Gauge,
    /// Partitions that do.
    pub stopped: Gauge,
    /// Records that have failed.
    pub failing: Gauge,
    /// Those that make an alarm.
    pub stalled: Gauge,
    /// The age of the oldest of them.
    pub oldest_failing: Gauge,
    /// Records that a filter does not want.
    pub filtered: Counter,
    /// Records whose method cannot be read.
    pub undecodable: Counter,
    /// Records whose body the filter could not read.
    pub filter_errors: Counter,
    /// Records of whose body nothing could be made.
    pub transform_errors: Counter,
    /// Pushes that counted against the pace.
    pub paced_records: Counter,
    /// Bytes of their bodies.
    pub paced_bytes: Counter,
    /// Records of which no URI can be made.
    pub unpushable: Counter,
    /// Logs found truncated.
    pub truncations: Counter,
    /// Records replaced by newer ones while they had no body.
    pub compacted: Counter,
    /// Bodies dropped.
    pub evicted: Counter,
    /// Bodies read again.
    pub reread: Counter,
    /// Records fetched twice.
    pub stale: Counter,
    /// Records whose acknowledgement an earlier life had stored.
    pub done_before: Counter,
    /// Records lost to retention.
    pub lost: Counter,
    /// Time from a record's fetch to its first push.
    pub wait: Histogram,
    /// Length of a push.
    pub seconds: Histogram,
    /// Partitions that stand still because they are full.
    pub full: Gauge,
    /// 1 during an outage of the backends.
    pub backend_down: Gauge,
    in_flight: Gauge,
    limit: Gauge,
    uncommitted: Gauge,
    bodiless: Gauge,
    held_bytes: Gauge,
}

/// Counts a module's headers of records that are not forwarded.
pub fn headers_left_out(module: &str) -> Counter {
    counter!(HEADERS_LEFT_OUT, "module" => module.to_owned())
}

/// How many of a module's servers are set aside.
pub fn servers_set_aside(module: &str) -> Gauge {
    gauge!(SET_ASIDE, "module" => module.to_owned())
}

/// Whether what the module's certificates and secrets have changed to is refused.
pub fn files_refused(module: &str) -> Gauge {
    gauge!(FILES_REFUSED, "module" => module.to_owned())
}

/// What is told now and then.
#[derive(Clone, Copy, Debug)]
pub struct Levels {
    /// Pushes on their way.
    pub in_flight: usize,
    /// How many may be.
    pub limit: usize,
    /// Records between the commit positions and the newest fetched.
    pub uncommitted: usize,
    /// Bytes taken of the budget.
    pub held_bytes: usize,
    /// Records without their bodies.
    pub bodiless: usize,
}

impl Meters {
    /// Registers the module's handles.
    #[must_use]
    pub fn new(module: &str) -> Self {
        Self::with_policy(module, Exhausted::Drop)
    }

    /// Registers the handles of a module with this policy for records that end undelivered.
    #[must_use]
    pub fn with_policy(module: &str, policy: Exhausted) -> Self {
        let pushes =
            |outcome: &'static str| counter!(PUSHES, "module" => module.to_owned(), "outcome" => outcome);
        let passed =
            |reason: &'static str| counter!(PASSED_OVER, "module" => module.to_owned(), "reason" => reason);
        let content_errors =
            |stage: &'static str| counter!(CONTENT_ERRORS, "module" => module.to_owned(), "stage" => stage);
        Self {
            delivered: pushes("delivered"),
            retried: pushes("retried"),
            exhausted: pushes("exhausted"),
            rejected: pushes("rejected"),
            repeated: pushes("repeated"),
            cut: pushes("cut"),
            undelivered: counter!(UNDELIVERED, "module" => module.to_owned(), "policy" => policy.word()),
            slow: counter!(SLOW, "module" => module.to_owned()),
            leaving: gauge!(LEAVING, "module" => module.to_owned()),
            blocked: gauge!(BLOCKED, "module" => module.to_owned()),
            stopped: gauge!(STOPPED, "module" => module.to_owned()),
            failing: gauge!(FAILING, "module" => module.to_owned()),
            stalled: gauge!(STALLED, "module" => module.to_owned()),
            oldest_failing: gauge!(OLDEST_FAILING, "module" => module.to_owned()),
            filtered: passed("filtered"),
            undecodable: passed("undecodable"),
            filter_errors: content_errors("filter"),
            transform_errors: content_errors("transform"),
            paced_records: counter!(PACED_RECORDS, "module" => module.to_owned()),
            paced_bytes: counter!(PACED_BYTES, "module" => module.to_owned()),
            unpushable: passed("unpushable"),
            compacted: passed("compacted"),
            truncations: counter!(TRUNCATIONS, "module" => module.to_owned()),
            evicted: counter!(EVICTED, "module" => module.to_owned()),
            reread: counter!(REREAD, "module" => module.to_owned()),
            stale: counter!(STALE, "module" => module.to_owned()),
            done_before: counter!(DONE_BEFORE, "module" => module.to_owned()),
            lost: counter!(LOST, "module" => module.to_owned()),
            wait: histogram!(WAIT_SECONDS, "module" => module.to_owned()),
            seconds: histogram!(PUSH_SECONDS, "module" => module.to_owned()),
            full: gauge!(FULL, "module" => module.to_owned()),
            backend_down: gauge!(BACKEND_DOWN, "module" => module.to_owned()),
            limit: gauge!(LIMIT, "module" => module.to_owned()),
            in_flight: gauge!(IN_FLIGHT, "module" => module.to_owned()),
            uncommitted: gauge!(UNCOMMITTED, "module" => module.to_owned()),
            bodiless: gauge!(BODILESS, "module" => module.to_owned()),
            held_bytes: gauge!(HELD_BYTES, "module" => module.to_owned()),
        }
    }

    /// Tells what there is now.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn tell(&self, levels: &Levels) {
        self.in_flight.set(levels.in_flight as f64);
        self.limit.set(levels.limit as f64);
        self.uncommitted.set(levels.uncommitted as f64);
        self.held_bytes.set(levels.held_bytes as f64);
        self.bodiless.set(levels.bodiless as f64);
    }
}

//! Judges what a backend sees while it sees it, in memory that grows by a bit per record: for runs of millions of pushes.
//!
//! The rules are those of [`crate::checker`]; the difference is what the records look like: every record has a key, the
//! records of a key are numbered from 0 ([`stepped`]), and a header of the module's file names who pushes ([`PUSHER`]).
//! So besides the order of each key it sees how often a partition changes hands, what is repeated each time, and
//! whether two owners ever push at once.
//!
//! [`Audit`] is the handle; `partition` and `lane` hold what is known of a partition and of a key's records.

mod lane;
mod partition;
mod report;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::NewRecord;
use crate::backend::{Observer, Seen};
use lane::{Lane, Order};
use partition::{Partition, Push};

pub use partition::{Pair, Takeover};
pub use report::{AuditReport, Cause, Overlaps};

/// The header that names who pushes: `<instance>.<life>`.
pub const PUSHER: &str = "x-pusher";

/// The cause to note for an instance that is stopped with SIGSTOP: what it had on the wire may end late.
pub const PAUSED: &str = "SIGSTOP";

/// The cause to note for an instance that is told to stop: it gives its partitions back in good order.
pub const TOLD_TO_STOP: &str = "SIGTERM";

/// The record number `step` of a key, from 0, for an [`Audit`].
#[must_use]
pub fn stepped(key: &str, step: u64) -> NewRecord {
    padded(key, step, 104)
}

/// The same with a body of about `length` bytes.
#[must_use]
pub fn padded(key: &str, step: u64, length: usize) -> NewRecord {
    let padding = length.saturating_sub(34);
    NewRecord::keyed(
        key.to_owned(),
        format!("{{\"step\":{step:>12},\"padding\":\"{:0padding$}\"}}", 0),
    )
}

/// What the bound on repeats is made of: pushes in flight + max(1,000, records done between two commits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Pushes that may be in flight in one instance.
    pub in_flight: u64,
    /// The longest time between two stored offsets of a partition, while it is pushed.
    pub spacing: Duration,
}

/// The judge of one module. Clones share it.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    bound: Bound,
    lanes: HashMap<Bytes, Lane>,
    partitions: BTreeMap<i32, Partition>,
    /// Which partition each open push belongs to.
    open: HashMap<u64, i32>,
    next: u64,
    /// The latest thing that was done to each instance.
    done_to: HashMap<String, &'static str>,
    /// The latest thing that was done to all of them, and how often such a thing was done.
    done_to_all: (&'static str, u64),
    report: AuditReport,
}

/// What a request says about itself.
struct Sighting {
    key: Bytes,
    partition: i32,
    offset: i64,
    step: u64,
    pusher: String,
}

impl Audit {
    /// A judge that has seen nothing.
    #[must_use]
    pub fn new(bound: Bound) -> Self {
        Self(Arc::new(Mutex::new(State {
            bound,
            lanes: HashMap::new(),
            partitions: BTreeMap::new(),
            open: HashMap::new(),
            next: 0,
            done_to: HashMap::new(),
            done_to_all: (report::NOTHING, 0),
            report: AuditReport::default(),
        })))
    }

    /// Something is done to one instance: what its partitions repeat at their next pusher is counted under this cause.
    pub fn note(&self, instance: &str, cause: &'static str) {
        self.state().done_to.insert(instance.to_owned(), cause);
    }

    /// What was noted for this instance is over, unless something else was noted since: whatever happens to its partitions
    /// from now on has another cause.
    pub fn forget(&self, instance: &str, cause: &'static str) {
        let mut state = self.state();
        if state.done_to.get(instance) == Some(&cause) {
            state.done_to.remove(instance);
        }
    }

    /// Something is done to all instances at once, after which a partition may be repeated by its own pusher.
    pub fn note_all(&self, cause: &'static str) {
        let mut state = self.state();
        state.done_to_all = (cause, state.done_to_all.1 + 1);
    }

    /// Pushes so far, and deliveries of records that were delivered before.
    #[must_use]
    pub fn so_far(&self) -> (u64, u64) {
        let state = self.state();
        (state.report.pushes, state.report.repeated)
    }

    /// Distinct records delivered so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.state().report.delivered
    }

    /// The verdict at the end, on a run in which so many records of each key were stored.
    #[must_use]
    pub fn report(&self, produced: &HashMap<Bytes, u64>) -> AuditReport {
        let state = self.state();
        let mut report = state.report.clone();
        report.produced = produced.values().sum();
        for (key, &count) in produced {
            let (lost, last_word_is_old) = match state.lanes.get(key) {
                Some(lane) => (lane.missing(count), lane.last_word_is_old(count)),
                None => (count, false),
            };
            report.lost += lost;
            if lost > 0 {
                report.example(|| format!("{lost} of {count} records lost: key {}", text(key)));
            }
            if last_word_is_old {
                report.out_of_order += 1;
                report.example(|| format!("an older record came last: key {}", text(key)));
            }
        }
        let invented = state.lanes.iter().map(|(key, lane)| {
            let count = produced.get(key).copied().unwrap_or_default();
            lane.delivered() - (count - lane.missing(count))
        });
        report.unknown += invented.sum::<u64>();
        for partition in state.partitions.values() {
            report.enter(partition.takeover());
        }
        report
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic inside")
    }
}

impl Observer for Audit {
    fn begin(&mut self, seen: &Seen) -> u64 {
        self.state().begin(seen)
    }

    fn end(&mut self, number: u64, status: Option<u16>, now: Instant) {
        let delivered = status.is_some_and(|status| (200..300).contains(&status));
        self.state().end(number, delivered, now);
    }
}

impl State {
    fn begin(&mut self, seen: &Seen) -> u64 {
        let number = self.next;
        self.next += 1;
        self.report.pushes += 1;
        let Some(sighting) = Sighting::of(seen) else {
            self.report.unknown += 1;
            self.report
                .example(|| format!("unknown: {}", String::from_utf8_lossy(&seen.uri)));
            return number;
        };
        let Sighting {
            key,
            partition: id,
            offset,
            step,
            pusher,
        } = sighting;
        let lane = self.lanes.entry(key.clone()).or_default();
        let order = lane.begin(step);
        let partition = self
            .partitions
            .entry(id)
            .or_insert_with(|| Partition::new(id, self.bound));
        let cause = self.done_to.get(instance_of(partition.pusher())).copied();
        let what = || format!("partition {id} offset {offset} key {} by {pusher}", text(&key));
        if let Some(ended) = partition.take_over(&pusher, cause, self.done_to_all, seen.start) {
            self.report.enter(&ended);
            if let Some((between, since)) = partition.interleaved(seen.start) {
                let count = match self.done_to.get(instance_of(between)) {
                    Some(&PAUSED) => Some(&mut self.report.woken),
                    // It had just been given the partition, and gives it back to whom it was from.
                    Some(&TOLD_TO_STOP) => None,
                    _ => Some(&mut self.report.interleaved),
                };
                if let Some(count) = count {
                    *count += 1;
                    let between = format!("{between} had begun {since:?} ago, at {}", Self::clock());
                    self.report
                        .example(|| format!("pushed by turns: {between}: {}", what()));
                }
            }
        }
        match order {
            Order::Kept => {}
            Order::Broken(how) => {
                self.report.out_of_order += 1;
                self.report
                    .example(|| format!("{how}, at {}: {}", Self::clock(), what()));
            }
        }
        partition.begin(
            number,
            Push {
                key,
                step,
                pusher,
                overlapped_at: None,
            },
            seen.start,
        );
        self.open.insert(number, id);
        number
    }

    /// The time of day in UTC, to find the moment in the daemons' logs.
    fn clock() -> String {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let millis = since.map_or(0, |since| since.as_millis() % 86_400_000);
        format!(
            "{:02}:{:02}:{:02}.{:03}",
            millis / 3_600_000,
            millis / 60_000 % 60,
            millis / 1000 % 60,
            millis % 1000
        )
    }

    fn end(&mut self, number: u64, delivered: bool, now: Instant) {
        let partition = self.open.remove(&number);
        let Some(partition) = partition.and_then(|id| self.partitions.get_mut(&id)) else {
            return;
        };
        let Some(push) = partition.end(number) else {
            return;
        };
        if let Some((since, pair)) = push.overlapped_at {
            let is_paused = self.done_to.get(instance_of(&push.pusher)) == Some(&PAUSED);
            let pair = match pair {
                Pair::Running if is_paused => Pair::Stopped,
                other => other,
            };
            self.report
                .enter_overlap(pair, now.saturating_duration_since(since));
        }
        if !delivered {
            return;
        }
        let first_time = self
            .lanes
            .get_mut(&push.key)
            .is_some_and(|lane| lane.deliver(push.step));
        partition.delivered(first_time, now);
        if first_time {
            self.report.delivered += 1;
        } else {
            self.report.repeated += 1;
        }
    }
}

fn instance_of(pusher: &str) -> &str {
    pusher.split('.').next().unwrap_or_default()
}

impl Sighting {
    /// From a URI that ends in `/<partition>/<offset>?key=...`, a body of [`stepped`] and the header.
    fn of(seen: &Seen) -> Option<Self> {
        let uri = std::str::from_utf8(&seen.uri).ok()?;
        let (path, _query) = uri.split_once('?')?;
        let mut places = path.rsplit('/');
        let offset = places.next()?.parse().ok()?;
        let partition = places.next()?.parse().ok()?;
        let body = std::str::from_utf8(&seen.body).ok()?;
        let (step, _padding) = body.strip_prefix("{\"step\":")?.split_once(',')?;
        Some(Self {
            key: seen.key.clone()?,
            partition,
            offset,
            step: step.trim().parse().ok()?,
            pusher: seen.header(PUSHER)?.to_owned(),
        })
    }
}

fn text(key: &Bytes) -> String {
    String::from_utf8_lossy(key).into_owned()
}

#[cfg(test)]
mod tests;

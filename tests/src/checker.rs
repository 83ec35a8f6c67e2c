//! Says from what was produced and what the backend saw whether ktransfer kept its promises.
//!
//! Records are told apart by their bodies, which must be unique. Inside one partition, the pushes of one key must form
//! a walk that only ever goes one record forward, from a record that was delivered, or stays, or falls back and comes
//! forward again (a repeat after a crash): a record may come late or twice, but the last word on a key is its last
//! record, and no push begins before its predecessor was delivered.

use std::collections::HashMap;
use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use crate::backend::Seen;

/// A record that Kafka has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produced {
    /// None for a record without key, which has no order.
    pub key: Option<Bytes>,
    /// The body, which no other record has.
    pub body: Bytes,
    /// Where it is stored.
    pub partition: i32,
    /// At which offset.
    pub offset: i64,
}

/// The verdict on a run. Everything but `produced` and `pushes` should be zero, and `repeated` bounded after a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many records there were.
    pub produced: usize,
    /// How many requests the backend saw.
    pub pushes: usize,
    /// Records that were never delivered.
    pub lost: usize,
    /// Pushes of a key's record before its predecessor was delivered, and keys whose last word is an older record.
    pub out_of_order: usize,
    /// Deliveries of records that were delivered before.
    pub repeated: usize,
    /// Pushes of a key that began while another push of that key was open: two pushers at once.
    pub overlapped: usize,
    /// Requests whose body nobody produced.
    pub unknown: usize,
    /// The first few findings in words.
    pub examples: Vec<String>,
}

impl Report {
    /// Whether nothing was lost, out of order, pushed by two at once, or invented. Repeats are allowed.
    #[must_use]
    pub fn is_at_least_once(&self) -> bool {
        self.lost == 0 && self.out_of_order == 0 && self.overlapped == 0 && self.unknown == 0
    }

    /// Whether, besides, nothing was repeated.
    #[must_use]
    pub fn is_exactly_once(&self) -> bool {
        self.is_at_least_once() && self.repeated == 0
    }

    /// # Panics
    /// When the run was not [`Report::is_at_least_once`].
    pub fn assert_at_least_once(&self) {
        assert!(self.is_at_least_once(), "{self}");
    }

    /// # Panics
    /// When the run was not [`Report::is_exactly_once`].
    pub fn assert_exactly_once(&self) {
        assert!(self.is_exactly_once(), "{self}");
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < 10 {
            self.examples.push(text());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            produced,
            pushes,
            lost,
            out_of_order,
            repeated,
            overlapped,
            unknown,
            examples,
        } = self;
        write!(
            formatter,
            "{produced} records, {pushes} pushes: {lost} lost, {out_of_order} out of order per key, \
             {repeated} repeated, {overlapped} pushed by two at once, {unknown} unknown"
        )?;
        examples
            .iter()
            .try_for_each(|example| write!(formatter, "\n  {example}"))
    }
}

/// Judges a run.
#[must_use]
pub fn check(produced: &[Produced], seen: &[Seen]) -> Report {
    let mut report = Report {
        produced: produced.len(),
        pushes: seen.len(),
        ..Report::default()
    };
    let lanes = lanes(produced);
    let pushes = pushes(&lanes, seen, &mut report);
    check_deliveries(produced, &pushes, &mut report);
    for (lane, pushes) in by_lane(&lanes, pushes) {
        check_lane(produced, &lane, &pushes, &mut report);
    }
    report
}

/// The records of one partition and key in the order of their offsets, as indexes into what was produced.
type Lane = Vec<usize>;

struct Lanes {
    lanes: Vec<Lane>,
    /// By body: the record's index, its lane and its place there.
    places: HashMap<Bytes, Place>,
}

#[derive(Clone, Copy)]
struct Place {
    record: usize,
    lane: usize,
    step: usize,
}

struct Push {
    place: Place,
    start: Instant,
    end: Option<Instant>,
    delivered: bool,
}

fn lanes(produced: &[Produced]) -> Lanes {
    let mut order: Vec<usize> = (0..produced.len()).collect();
    order.sort_by_key(|&record| (produced[record].partition, produced[record].offset));
    let mut names: HashMap<(i32, &Bytes), usize> = HashMap::new();
    let mut lanes: Vec<Lane> = Vec::new();
    let mut places = HashMap::with_capacity(produced.len());
    for record in order {
        let Produced {
            key, body, partition, ..
        } = &produced[record];
        let lane = match key {
            Some(key) => *names.entry((*partition, key)).or_insert(lanes.len()),
            None => lanes.len(),
        };
        if lane == lanes.len() {
            lanes.push(Lane::new());
        }
        let step = lanes[lane].len();
        lanes[lane].push(record);
        let twin = places.insert(body.clone(), Place { record, lane, step });
        assert!(
            twin.is_none(),
            "two records have the same body: the checker cannot tell them apart"
        );
    }
    Lanes { lanes, places }
}

fn pushes(lanes: &Lanes, seen: &[Seen], report: &mut Report) -> Vec<Push> {
    let mut pushes = Vec::with_capacity(seen.len());
    for seen in seen {
        let Some(&place) = lanes.places.get(&seen.body) else {
            report.unknown += 1;
            report.example(|| format!("unknown: {}", String::from_utf8_lossy(&seen.uri)));
            continue;
        };
        pushes.push(Push {
            place,
            start: seen.start,
            end: seen.end,
            delivered: seen.is_delivered(),
        });
    }
    pushes.sort_by_key(|push| push.start);
    pushes
}

fn check_deliveries(produced: &[Produced], pushes: &[Push], report: &mut Report) {
    let mut deliveries = vec![0_usize; produced.len()];
    for push in pushes.iter().filter(|push| push.delivered) {
        deliveries[push.place.record] += 1;
    }
    for (record, &count) in produced.iter().zip(&deliveries) {
        if count == 0 {
            report.lost += 1;
            report.example(|| format!("lost: {}", name(record)));
        }
        report.repeated += count.saturating_sub(1);
    }
}

fn by_lane(lanes: &Lanes, pushes: Vec<Push>) -> Vec<(Lane, Vec<Push>)> {
    let mut sorted: Vec<(Lane, Vec<Push>)> = lanes
        .lanes
        .iter()
        .map(|lane| (lane.clone(), Vec::new()))
        .collect();
    for push in pushes {
        sorted[push.place.lane].1.push(push);
    }
    sorted
}

fn check_lane(produced: &[Produced], lane: &Lane, pushes: &[Push], report: &mut Report) {
    // The next step that may be pushed: one beyond the last delivery of the walk.
    let mut allowed = 0;
    let mut open_until: Option<Option<Instant>> = None;
    for push in pushes {
        let record = &produced[push.place.record];
        if open_until.is_some_and(|end| end.is_none_or(|end| end > push.start)) {
            report.overlapped += 1;
            report.example(|| format!("pushed while its key's push was open: {}", name(record)));
        }
        if push.place.step > allowed {
            report.out_of_order += 1;
            report.example(|| format!("pushed before its predecessor was delivered: {}", name(record)));
        }
        allowed = push.place.step + usize::from(push.delivered);
        open_until = Some(push.end);
    }
    let last_word = pushes
        .iter()
        .rev()
        .find(|push| push.delivered)
        .map(|push| push.place.step);
    if last_word.is_some_and(|step| step + 1 < lane.len()) && last_record_was_delivered(lane, pushes) {
        report.out_of_order += 1;
        report.example(|| {
            format!(
                "an older record came last: {}",
                name(&produced[lane[lane.len() - 1]])
            )
        });
    }
}

/// A last record that never came is lost, which is counted elsewhere.
fn last_record_was_delivered(lane: &Lane, pushes: &[Push]) -> bool {
    pushes
        .iter()
        .any(|push| push.delivered && push.place.step + 1 == lane.len())
}

fn name(record: &Produced) -> String {
    let key = record
        .key
        .as_ref()
        .map_or("none".into(), |key| String::from_utf8_lossy(key));
    format!(
        "partition {} offset {} key {key}",
        record.partition, record.offset
    )
}

#[cfg(test)]
mod tests;

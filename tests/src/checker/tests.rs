//! Made-up histories: the good ones pass, and each broken one is found.

use std::time::{Duration, Instant};

use super::*;

/// Records `0..count` of one key in one partition.
fn records(count: i64) -> Vec<Produced> {
    let record = |offset: i64| Produced {
        key: Some("k".into()),
        body: offset.to_string().into(),
        partition: 0,
        offset,
    };
    (0..count).map(record).collect()
}

/// A push of the record with this body from `start` to `end` milliseconds.
struct Story(Instant, Vec<Seen>);

impl Story {
    fn new() -> Self {
        Self(Instant::now(), Vec::new())
    }

    fn push(mut self, body: &str, start: u64, end: Option<u64>, status: Option<u16>) -> Self {
        let at = |millis| self.0 + Duration::from_millis(millis);
        self.1.push(Seen {
            server: 0,
            connection: 0,
            uri: "/".into(),
            headers: "".into(),
            key: Some("k".into()),
            body: body.to_owned().into(),
            attempt: 1,
            start: at(start),
            end: end.map(at),
            status,
        });
        self
    }

    fn delivered(self, bodies: &[&str]) -> Self {
        bodies.iter().fold(self, |story, body| {
            let start = 10 * story.1.len() as u64;
            story.push(body, start, Some(start + 5), Some(200))
        })
    }

    fn check(self, records: &[Produced]) -> Report {
        check(records, &self.1)
    }
}

#[test]
fn a_clean_run_passes() {
    Story::new()
        .delivered(&["0", "1", "2"])
        .check(&records(3))
        .assert_exactly_once();
}

#[test]
fn a_retry_is_no_repeat() {
    let story = Story::new()
        .push("0", 0, Some(1), Some(500))
        .push("0", 2, Some(3), None)
        .push("0", 4, Some(5), Some(200));
    story.check(&records(1)).assert_exactly_once();
}

#[test]
fn a_replay_that_comes_forward_again_is_repeated_and_in_order() {
    let report = Story::new()
        .delivered(&["0", "1", "2", "1", "2"])
        .check(&records(3));
    report.assert_at_least_once();
    assert_eq!(report.repeated, 2);
}

#[test]
fn a_missing_record_is_lost() {
    let report = Story::new().delivered(&["0", "1"]).check(&records(3));
    assert_eq!((report.lost, report.out_of_order), (1, 0));
}

#[test]
fn a_record_that_was_only_refused_is_lost() {
    let report = Story::new().push("0", 0, Some(1), Some(500)).check(&records(1));
    assert_eq!(report.lost, 1);
}

#[test]
fn a_skipped_record_that_comes_later_is_out_of_order() {
    let report = Story::new().delivered(&["0", "2", "1"]).check(&records(3));
    assert!(report.out_of_order > 0);
    assert_eq!(report.lost, 0);
}

#[test]
fn a_push_after_a_refused_predecessor_is_out_of_order() {
    let story = Story::new()
        .push("0", 0, Some(1), Some(500))
        .delivered(&["1"])
        .delivered(&["0", "1"]);
    assert_eq!(story.check(&records(2)).out_of_order, 1);
}

#[test]
fn an_old_record_as_the_last_word_is_out_of_order() {
    let report = Story::new().delivered(&["0", "1", "2", "1"]).check(&records(3));
    assert_eq!(report.out_of_order, 1);
}

#[test]
fn two_pushes_of_one_key_at_once_overlap() {
    let story = Story::new()
        .push("0", 0, Some(10), Some(200))
        .push("0", 5, Some(15), Some(200));
    assert_eq!(story.check(&records(1)).overlapped, 1);
}

#[test]
fn a_push_beside_one_that_never_ends_overlaps() {
    let story = Story::new()
        .push("0", 0, None, None)
        .push("0", 5, Some(15), Some(200));
    assert_eq!(story.check(&records(1)).overlapped, 1);
}

#[test]
fn the_same_key_in_two_partitions_has_no_order() {
    let mut records = records(2);
    records[1].partition = 1;
    Story::new()
        .delivered(&["1", "0"])
        .check(&records)
        .assert_exactly_once();
}

#[test]
fn records_without_key_have_no_order() {
    let mut records = records(2);
    records.iter_mut().for_each(|record| record.key = None);
    Story::new()
        .delivered(&["1", "0"])
        .check(&records)
        .assert_exactly_once();
}

#[test]
fn an_invented_record_is_unknown() {
    assert_eq!(Story::new().delivered(&["0", "7"]).check(&records(1)).unknown, 1);
}

//! Made-up runs: the good ones pass, and each broken one is found.

use super::*;

const BOUND: Bound = Bound {
    in_flight: 2,
    spacing: Duration::from_secs(1),
};

/// Tells an audit what a backend would, at times in milliseconds.
struct Story {
    audit: Audit,
    start: Instant,
}

impl Story {
    fn new() -> Self {
        Self {
            audit: Audit::new(BOUND),
            start: Instant::now(),
        }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn begin(&mut self, pusher: &str, step: u64, millis: u64) -> u64 {
        let record = stepped("k", step);
        let seen = Seen {
            server: 0,
            connection: 0,
            uri: format!("/push/3/{step}?key=k").into(),
            headers: format!("{PUSHER}: {pusher}\n").into(),
            key: record.key,
            body: record.value,
            attempt: 1,
            start: self.at(millis),
            end: None,
            status: None,
        };
        self.audit.begin(&seen)
    }

    fn push(&mut self, pusher: &str, step: u64, millis: u64) {
        let number = self.begin(pusher, step, millis);
        let end = self.at(millis + 1);
        self.audit.end(number, Some(200), end);
    }

    fn pushes(&mut self, pusher: &str, steps: std::ops::Range<u64>, millis: u64) {
        steps.for_each(|step| self.push(pusher, step, millis + 2 * step));
    }

    fn report(&self, produced: u64) -> AuditReport {
        self.audit.report(&[("k".into(), produced)].into())
    }
}

#[test]
fn a_clean_run_passes() {
    let mut story = Story::new();
    story.pushes("1.0", 0..200, 0);
    let report = story.report(200);
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.delivered, report.repeated), (200, 0));
}

#[test]
fn what_never_came_or_was_only_refused_is_lost() {
    let mut story = Story::new();
    story.push("1.0", 0, 0);
    let refused = story.begin("1.0", 1, 5);
    let end = story.at(6);
    story.audit.end(refused, Some(500), end);
    let report = story.report(3);
    assert_eq!((report.lost, report.out_of_order), (2, 0));
    assert!(!report.is_clean());
}

#[test]
fn a_repeat_of_a_takeover_is_counted_under_its_cause() {
    let mut story = Story::new();
    story.pushes("1.0", 0..10, 0);
    story.audit.note("1", "SIGKILL");
    story.pushes("2.0", 4..12, 2000);
    let report = story.report(12);
    assert!(report.is_clean(), "{report}");
    let expected = Cause {
        takeovers: 1,
        repeated: 6,
        most: 6,
        beyond: 0,
    };
    assert_eq!(report.causes["SIGKILL"], expected);
}

#[test]
fn a_repeat_by_the_same_pusher_is_counted_under_what_was_done_to_all() {
    let mut story = Story::new();
    story.pushes("1.0", 0..10, 0);
    story.audit.note_all("ZooKeeper away");
    story.pushes("1.0", 8..12, 2000);
    assert_eq!(story.report(12).causes["ZooKeeper away"].repeated, 2);
}

#[test]
fn more_repeats_than_the_bound_allows_are_found() {
    let mut story = Story::new();
    // The last second before the take-over saw fewer than a thousand deliveries: 1,000 and two in flight are allowed.
    story.pushes("1.0", 0..1003, 0);
    story.pushes("2.0", 1..1003, 5000);
    assert!(story.report(1003).is_clean(), "{}", story.report(1003));
    let mut story = Story::new();
    story.pushes("1.0", 0..1003, 0);
    story.pushes("2.0", 0..1003, 5000);
    let report = story.report(1003);
    assert_eq!(report.causes.values().map(|cause| cause.beyond).sum::<u64>(), 1);
    assert!(!report.is_clean());
}

#[test]
fn a_push_before_its_predecessor_is_delivered_is_out_of_order() {
    let mut story = Story::new();
    story.begin("1.0", 0, 0);
    story.push("1.0", 1, 1);
    assert_eq!(story.report(2).out_of_order, 1);
}

#[test]
fn a_replay_that_skips_a_record_is_out_of_order() {
    let mut story = Story::new();
    story.pushes("1.0", 0..10, 0);
    story.push("2.0", 5, 2000);
    story.push("2.0", 7, 2001);
    assert_eq!(
        story.report(10).out_of_order,
        2,
        "the skip, and 7 as the last word"
    );
}

#[test]
fn an_old_record_as_the_last_word_is_out_of_order() {
    let mut story = Story::new();
    story.pushes("1.0", 0..3, 0);
    story.push("2.0", 1, 2000);
    assert_eq!(story.report(3).out_of_order, 1);
}

#[test]
fn a_push_that_is_still_open_when_another_pusher_begins_overlaps() {
    for (note, pair, clean) in [(None, Pair::Running, false), (Some(PAUSED), Pair::Stopped, true)] {
        let mut story = Story::new();
        if let Some(cause) = note {
            story.audit.note("1", cause);
        }
        let open = story.begin("1.0", 0, 0);
        story.push("2.0", 0, 100);
        let end = story.at(1100);
        story.audit.end(open, None, end);
        let report = story.report(1);
        assert_eq!(report.overlaps[&pair].longest, Duration::from_secs(1));
        assert_eq!(report.is_clean(), clean, "{report}");
    }
}

#[test]
fn two_pushers_by_turns_are_interleaved() {
    let mut story = Story::new();
    for step in 0..6 {
        story.push(if step % 2 == 0 { "1.0" } else { "2.0" }, step, step * 10);
    }
    assert!(story.report(6).interleaved > 0);
}

#[test]
fn a_pusher_that_could_push_only_once_before_it_gave_back_is_none_too_many() {
    let mut story = Story::new();
    story.pushes("1.0", 0..3, 0);
    story.audit.note("1", PAUSED);
    // It holds the partition from 3000 on, but the broker is away until 8000.
    story.push("2.0", 3, 8000);
    story.push("1.0", 4, 8050);
    let report = story.report(5);
    assert_eq!((report.woken, report.interleaved), (0, 0), "{report}");
}

#[test]
fn a_pusher_that_is_told_to_stop_right_after_it_began_may_give_back() {
    let mut story = Story::new();
    story.pushes("1.0", 0..3, 0);
    story.push("2.0", 3, 500);
    story.audit.note("2", TOLD_TO_STOP);
    story.push("1.0", 4, 1500);
    let report = story.report(5);
    assert_eq!((report.woken, report.interleaved), (0, 0), "{report}");
}

#[test]
fn one_push_of_a_pusher_that_was_stopped_is_told_apart() {
    let mut story = Story::new();
    story.pushes("1.0", 0..3, 0);
    story.audit.note("1", PAUSED);
    story.push("2.0", 2, 6000);
    story.push("1.0", 2, 7010);
    story.push("2.0", 3, 7020);
    let report = story.report(4);
    assert_eq!((report.woken, report.interleaved), (1, 0), "{report}");
}

#[test]
fn what_nobody_produced_is_unknown() {
    let mut story = Story::new();
    story.pushes("1.0", 0..3, 0);
    assert_eq!(story.report(2).unknown, 1);
}

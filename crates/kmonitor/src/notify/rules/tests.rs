//! Sequences of rounds, and what each of them tells.

use std::sync::Arc;

use super::*;
use crate::follow::Fixed;
use crate::notify::looks::Condition;
use crate::state::Limits;
use crate::view::{Lines, ModuleView, PartitionView, Standing, Sums};

/// Milliseconds between two rounds.
const ROUND_MS: i64 = 10_000;

fn hold(rounds: u32, ms: i64) -> Hold {
    Hold { rounds, ms }
}

fn rule() -> Rule {
    Rule {
        states: vec![State::Stopped, State::Stalled, State::Unknown],
        lag_records: Some(100),
        lag_seconds: Some(60),
        open: hold(2, 0),
        close: hold(2, 0),
        repeat_ms: Some(60_000),
        receivers: vec![0],
    }
}

fn partition((number, state, lag): (i32, State, Option<u64>)) -> PartitionView {
    PartitionView {
        topic: Arc::from("t"),
        partition: number,
        standing: Standing::new(state, 500, "why".to_owned()),
        committed: None,
        log_start: None,
        log_end: None,
        lag,
        lag_seconds: lag.map(|lag| if lag == 0 { 0.0 } else { 1.0 }),
        lag_seconds_certainty: None,
        lost: None,
        owner: None,
        last_commit_ms: None,
        rate_in: None,
        rate_out: None,
        eta_seconds: None,
        history: Arc::default(),
    }
}

/// A round of the cluster `c` with the module `m` and what its partitions show.
fn view(partitions: &[(i32, State, Option<u64>)]) -> ClusterView {
    let mut view = without_modules();
    let partitions: Vec<PartitionView> = partitions.iter().copied().map(partition).collect();
    let each = partitions.iter().map(|one| (one.partition, one.standing.clone()));
    let module = ModuleView {
        module: "m".to_owned(),
        standing: Standing::worst(each)
            .unwrap_or_else(|| Standing::new(State::Unknown, 500, "unread".to_owned())),
        topics: Vec::new(),
        sums: Sums::of(&partitions),
        history: Lines::default(),
        instances: Vec::new(),
        partitions,
    };
    view.by_module.insert("m".to_owned(), module);
    view
}

fn without_modules() -> ClusterView {
    let fixed = Fixed {
        name: "c".to_owned(),
        limits: Limits {
            lagging_ms: 1,
            stalled_ms: 1,
            stopped_ms: 1,
        },
        interval_seconds: 10.0,
        has_zookeeper: true,
    };
    let mut view = fixed.unseen(Now::default());
    let zookeeper = view.sources.zookeeper.as_mut().unwrap();
    for source in [zookeeper, &mut view.sources.kafka] {
        source.up = true;
        source.error = None;
    }
    view
}

fn one(state: State) -> ClusterView {
    view(&[(0, state, Some(0))])
}

fn without_zookeeper(mut view: ClusterView) -> ClusterView {
    let zookeeper = view.sources.zookeeper.as_mut().unwrap();
    zookeeper.up = false;
    zookeeper.error = Some("gone".to_owned());
    view
}

fn without_kafka(mut view: ClusterView) -> ClusterView {
    view.sources.kafka.up = false;
    view.sources.kafka.error = Some("gone".to_owned());
    view
}

/// Rounds one after another, and what each of them tells.
struct Play {
    rules: Rules,
    tracker: Tracker,
    round: i64,
}

impl Play {
    fn by(rule: Rule) -> Self {
        Self {
            rules: Rules {
                general: rule,
                clusters: BTreeMap::new(),
            },
            tracker: Tracker::default(),
            round: 0,
        }
    }

    fn events(&mut self, view: &ClusterView) -> Vec<Event> {
        self.round += 1;
        let now = Now {
            mono_ms: self.round * ROUND_MS,
            wall_ms: 1_000_000 + self.round * ROUND_MS,
        };
        self.tracker.follow(view, &self.rules, now)
    }

    fn tells(&mut self, view: &ClusterView) -> Vec<(Step, Condition)> {
        let events = self.events(view);
        let told = |event: &Event| (event.step, event.key.condition);
        events.iter().map(told).collect()
    }

    fn is_silent(&mut self, views: &[ClusterView]) {
        for view in views {
            assert_eq!(self.tells(view), [], "round {}", self.round);
        }
    }
}

const STOPPED: Condition = Condition::State(State::Stopped);

#[test]
fn an_event_opens_once_after_its_rounds_and_closes_once_after_its_rounds() {
    let mut play = Play::by(rule());
    play.is_silent(&[one(State::Ok), one(State::Stopped)]);
    let opened = play.events(&one(State::Stopped));
    assert_eq!(opened.len(), 1);
    assert_eq!((opened[0].step, opened[0].key.condition), (Step::Open, STOPPED));
    assert_eq!(opened[0].facts.reason, "t/0: why");
    assert_eq!(
        opened[0].facts.since_ms, 500,
        "since when it is so, not since when it was seen"
    );
    assert_eq!(play.tracker.open(), 1);
    play.is_silent(&[one(State::Stopped), one(State::Ok)]);
    let closed = play.events(&one(State::Ok));
    assert_eq!((closed[0].step, closed[0].key.condition), (Step::Close, STOPPED));
    assert_eq!(closed[0].id, opened[0].id);
    assert_eq!(closed[0].facts.since_ms, 500);
    assert_eq!(play.tracker.open(), 0);
    play.is_silent(&[one(State::Ok), one(State::Ok)]);
}

#[test]
fn what_flaps_opens_nothing_and_what_relapses_does_not_close() {
    let mut play = Play::by(rule());
    for _ in 0..5 {
        play.is_silent(&[one(State::Stopped), one(State::Ok)]);
    }
    play.is_silent(&[one(State::Stopped)]);
    assert_eq!(play.tells(&one(State::Stopped)), [(Step::Open, STOPPED)]);
    for _ in 0..2 {
        play.is_silent(&[one(State::Ok), one(State::Stopped)]);
    }
}

#[test]
fn rounds_and_time_count_both() {
    let mut play = Play::by(Rule {
        open: hold(1, 3 * ROUND_MS),
        close: hold(1, 2 * ROUND_MS),
        ..rule()
    });
    play.is_silent(&[one(State::Stopped), one(State::Stopped), one(State::Stopped)]);
    assert_eq!(play.tells(&one(State::Stopped)), [(Step::Open, STOPPED)]);
    play.is_silent(&[one(State::Ok), one(State::Ok)]);
    assert_eq!(play.tells(&one(State::Ok)), [(Step::Close, STOPPED)]);

    let mut at_once = Play::by(Rule {
        open: hold(1, 0),
        close: hold(1, 0),
        ..rule()
    });
    assert_eq!(at_once.tells(&one(State::Stopped)), [(Step::Open, STOPPED)]);
    assert_eq!(at_once.tells(&one(State::Ok)), [(Step::Close, STOPPED)]);
}

#[test]
fn an_open_event_is_told_again_after_the_interval_and_not_before() {
    let mut play = Play::by(rule());
    play.is_silent(&[one(State::Stopped)]);
    assert_eq!(play.tells(&one(State::Stopped)), [(Step::Open, STOPPED)]);
    for _ in 0..2 {
        let quiet: Vec<ClusterView> = (0..5).map(|_| one(State::Stopped)).collect();
        play.is_silent(&quiet);
        assert_eq!(play.tells(&one(State::Stopped)), [(Step::Remind, STOPPED)]);
    }
    let mut never = Play::by(Rule {
        repeat_ms: None,
        ..rule()
    });
    never.tells(&one(State::Stopped));
    never.tells(&one(State::Stopped));
    let quiet: Vec<ClusterView> = (0..50).map(|_| one(State::Stopped)).collect();
    never.is_silent(&quiet);
}

#[test]
fn a_zookeeper_that_is_away_opens_its_own_event_and_closes_no_other() {
    let mut play = Play::by(Rule {
        repeat_ms: None,
        ..rule()
    });
    play.tells(&one(State::Stopped));
    play.tells(&one(State::Stopped));
    // The states are those of the last good round at first, and unknown then.
    play.is_silent(&[without_zookeeper(one(State::Ok))]);
    let away = [(Step::Open, Condition::ZooKeeper)];
    assert_eq!(
        play.tells(&without_zookeeper(view(&[(0, State::Unknown, None)]))),
        away
    );
    for _ in 0..5 {
        play.is_silent(&[without_zookeeper(view(&[(0, State::Unknown, None)]))]);
    }
    assert_eq!(play.tracker.open(), 2);
    play.is_silent(&[one(State::Ok)]);
    assert_eq!(
        play.tells(&one(State::Ok)),
        [(Step::Close, Condition::ZooKeeper), (Step::Close, STOPPED)]
    );
}

#[test]
fn a_kafka_that_is_away_opens_one_event_and_none_for_each_module() {
    let mut play = Play::by(rule());
    let unknown = || without_kafka(view(&[(0, State::Unknown, None), (1, State::Unknown, None)]));
    play.is_silent(&[one(State::Ok), unknown()]);
    assert_eq!(play.tells(&unknown()), [(Step::Open, Condition::Kafka)]);
    play.is_silent(&[unknown(), one(State::Ok)]);
    assert_eq!(play.tells(&one(State::Ok)), [(Step::Close, Condition::Kafka)]);
}

#[test]
fn a_round_that_cannot_tell_counts_for_neither() {
    let mut play = Play::by(Rule {
        states: vec![State::Stopped],
        ..rule()
    });
    // The state is kept for a round after the log end has become unreadable.
    let kept = |state| without_kafka(view(&[(0, state, None)]));
    play.is_silent(&[one(State::Stopped), kept(State::Stopped), kept(State::Stopped)]);
    assert_eq!(play.tells(&one(State::Stopped)), [(Step::Open, STOPPED)]);
    play.is_silent(&[one(State::Ok), kept(State::Ok), kept(State::Ok)]);
    assert_eq!(play.tells(&one(State::Ok)), [(Step::Close, STOPPED)]);
}

#[test]
fn one_partition_is_enough_and_one_that_cannot_be_told_keeps_the_event_open() {
    let mut play = Play::by(Rule {
        states: vec![State::Stopped],
        repeat_ms: None,
        ..rule()
    });
    let some = || {
        view(&[
            (0, State::Ok, Some(0)),
            (1, State::Stopped, Some(3)),
            (2, State::Stopped, Some(4)),
        ])
    };
    play.tells(&some());
    let opened = play.events(&some());
    assert_eq!(opened[0].facts.partition, Some(1));
    assert_eq!(opened[0].facts.reason, "t/1: why (and 1 more)");
    let leaderless = || {
        view(&[
            (0, State::Ok, Some(0)),
            (1, State::Unknown, None),
            (2, State::Ok, Some(0)),
        ])
    };
    play.is_silent(&[leaderless(), leaderless(), leaderless()]);
    // A worse state beside it closes nothing either.
    let worse = || view(&[(0, State::Lost, Some(0)), (1, State::Stopped, Some(3))]);
    play.is_silent(&[worse(), worse(), worse()]);
    assert_eq!(play.tracker.open(), 1);
}

#[test]
fn unreadable_partitions_are_told_and_those_that_are_only_new_are_not() {
    let mut play = Play::by(rule());
    let new = || view(&[(0, State::Unknown, Some(3))]);
    play.is_silent(&[new(), new(), new()]);
    let unreadable = || view(&[(0, State::Unknown, None), (1, State::Ok, Some(0))]);
    play.is_silent(&[unreadable()]);
    let unknown = Condition::State(State::Unknown);
    assert_eq!(play.tells(&unreadable()), [(Step::Open, unknown)]);
    play.is_silent(&[view(&[])]);
    play.is_silent(&[one(State::Ok)]);
    assert_eq!(play.tells(&one(State::Ok)), [(Step::Close, unknown)]);
}

#[test]
fn limits_open_on_what_is_known_and_close_only_on_the_whole() {
    let mut play = Play::by(Rule {
        states: Vec::new(),
        lag_seconds: None,
        ..rule()
    });
    let most = || view(&[(0, State::Ok, Some(60)), (1, State::Ok, Some(39))]);
    play.is_silent(&[most(), most(), most()]);
    let part = || view(&[(0, State::Ok, Some(100)), (1, State::Unknown, None)]);
    play.is_silent(&[part()]);
    let opened = play.events(&part());
    assert_eq!(opened[0].key.condition, Condition::LagRecords);
    assert_eq!(opened[0].facts.reason, "100 records wait; the limit is 100");
    assert_eq!(opened[0].facts.partition, Some(0));
    assert_eq!(
        opened[0].facts.since_ms,
        1_000_000 + 4 * ROUND_MS,
        "since it was first seen"
    );
    let less = || view(&[(0, State::Ok, Some(1)), (1, State::Unknown, None)]);
    play.is_silent(&[less(), less(), less()]);
    play.is_silent(&[most()]);
    assert_eq!(play.tells(&most()), [(Step::Close, Condition::LagRecords)]);
}

#[test]
fn an_age_opens_and_an_age_that_is_not_known_closes_nothing() {
    let mut play = Play::by(Rule {
        states: Vec::new(),
        lag_records: None,
        ..rule()
    });
    let aged = |seconds: Option<f64>| {
        let mut view = view(&[(0, State::Ok, Some(5))]);
        let module = view.by_module.get_mut("m").unwrap();
        module.partitions[0].lag_seconds = seconds;
        module.sums = Sums::of(&module.partitions);
        view
    };
    play.is_silent(&[aged(Some(59.9)), aged(Some(60.0))]);
    assert_eq!(
        play.tells(&aged(Some(61.0))),
        [(Step::Open, Condition::LagSeconds)]
    );
    play.is_silent(&[aged(None), aged(None), aged(None), aged(Some(1.0))]);
    assert_eq!(
        play.tells(&aged(Some(1.0))),
        [(Step::Close, Condition::LagSeconds)]
    );
}

#[test]
fn the_events_of_a_module_that_is_gone_close_once_zookeeper_says_so() {
    let mut play = Play::by(Rule {
        repeat_ms: None,
        ..rule()
    });
    play.tells(&one(State::Stopped));
    play.tells(&one(State::Stopped));
    play.is_silent(&[without_zookeeper(without_modules())]);
    play.tells(&without_zookeeper(without_modules()));
    play.is_silent(&[without_modules()]);
    let events = play.events(&without_modules());
    let closed = events
        .iter()
        .find(|event| event.key.condition == STOPPED)
        .unwrap();
    assert_eq!(closed.step, Step::Close);
    assert_eq!(closed.facts.reason, "the module does not exist any more");
    assert_eq!(play.tracker.open(), 0);
    assert!(play.tracker.tracked.is_empty(), "nothing is remembered of it");
}

#[test]
fn the_nearest_rule_counts() {
    let muted = Rule {
        states: Vec::new(),
        lag_records: None,
        lag_seconds: None,
        ..rule()
    };
    let other = Rule {
        receivers: vec![1],
        ..rule()
    };
    let of_cluster = ClusterRules {
        rule: other.clone(),
        modules: BTreeMap::from([("m".to_owned(), muted.clone())]),
    };
    let rules = Rules {
        general: rule(),
        clusters: BTreeMap::from([("c".to_owned(), of_cluster)]),
    };
    assert_eq!(rules.of("c", Some("m")), &muted);
    assert_eq!(rules.of("c", Some("n")), &other);
    assert_eq!(rules.of("c", None), &other);
    assert_eq!(rules.of("d", Some("m")), &rule());
    let mut play = Play {
        rules,
        tracker: Tracker::default(),
        round: 0,
    };
    play.is_silent(&[one(State::Stopped), one(State::Stopped), one(State::Stopped)]);
}

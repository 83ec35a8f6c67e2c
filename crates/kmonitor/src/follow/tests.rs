//! Rounds in a row, and what is shown after them.

use kcommon::kafka::CommitOffset;

use super::*;
use crate::lag::{self, Committed, LogRange};
use crate::snapshot::Facts;
use crate::view::{Certainty, PartitionView};

const EPOCH_MS: i64 = 1_800_000_000_000;

fn now(second: i64) -> Now {
    Now {
        mono_ms: second * 1000,
        wall_ms: EPOCH_MS + second * 1000,
    }
}

fn follower() -> Follower {
    Follower::new(crate::samples::fixed("c"))
}

fn facts(commit: i64, start: i64, end: i64) -> Facts {
    let committed = Committed::At(CommitOffset::try_from(commit).unwrap());
    let log = Some(LogRange { start, end });
    Facts {
        committed,
        changed_ms: None,
        log,
        lag: lag::lag(committed, log),
        owner: Some(Arc::from("host:uuid")),
    }
}

fn snapshot(modules: &[(&str, &[Facts])]) -> Snapshot {
    let module = |partitions: &[Facts]| ModuleFacts {
        topics: BTreeMap::from([("t".to_owned(), (0..).zip(partitions.iter().cloned()).collect())]),
        instances: ["host:uuid".to_owned(), "idle:uuid".to_owned()].into(),
    };
    let named = modules
        .iter()
        .map(|(name, partitions)| ((*name).to_owned(), Some(module(partitions))));
    Snapshot {
        modules: named.collect(),
    }
}

fn see(follower: &mut Follower, second: i64, modules: &[(&str, &[Facts])]) -> ClusterView {
    let snapshot = snapshot(modules);
    let found = Outcome::Found {
        snapshot: &snapshot,
        kafka: None,
    };
    follower.follow(found, 0.01, now(second))
}

#[test]
fn a_round_becomes_numbers_sums_and_rates() {
    let mut follower = follower();
    see(&mut follower, 0, &[("m", &[facts(0, 0, 100), facts(50, 0, 50)])]);
    let view = see(
        &mut follower,
        10,
        &[("m", &[facts(900, 0, 1100), facts(50, 0, 50)])],
    );
    let module = &view.by_module["m"];
    assert_eq!(module.sums.lag, Some(200));
    assert_eq!(module.sums.partitions, 2);
    assert_eq!(module.sums.owned, 2);
    assert_eq!(module.sums.rate_in, Some(100.0));
    assert_eq!(module.sums.rate_out, Some(90.0));
    assert_eq!(module.standing.state, State::Ok);
    let first = &module.partitions[0];
    assert_eq!((first.lag, first.eta_seconds), (Some(200), None), "the lag grows");
    assert_eq!(
        first.lag_seconds,
        Some(1.995),
        "900 was written after 8 of 10 seconds"
    );
    assert_eq!(first.lag_seconds_certainty, Some(Certainty::Measured));
    assert_eq!(module.partitions[1].lag_seconds, Some(0.0));
    assert_eq!(module.instances.len(), 2);
    assert_eq!(
        (module.instances[0].partitions, module.instances[1].partitions),
        (2, 0)
    );
    assert_eq!(view.sums.lag, Some(200));
    assert_eq!(view.history_at_ms, [EPOCH_MS, EPOCH_MS + 10_000]);
    assert_eq!(serde_json::to_string(&view.history.lag).unwrap(), "[100,200]");
}

#[test]
fn a_record_older_than_the_watch_is_that_old_at_least_until_its_time_is_learned() {
    let mut follower = follower();
    let seen = [facts(10, 0, 500)];
    see(&mut follower, 0, &[("m", &seen)]);
    let view = see(&mut follower, 20, &[("m", &seen)]);
    let partition = &view.by_module["m"].partitions[0];
    assert_eq!(partition.lag_seconds, Some(20.0));
    assert_eq!(partition.lag_seconds_certainty, Some(Certainty::AtLeast));

    let wanted = follower.wanted(now(20));
    assert_eq!(wanted.len(), 1);
    assert_eq!((wanted[0].offset, wanted[0].before_ms), (10, EPOCH_MS));
    assert!(
        follower.wanted(now(30)).is_empty(),
        "it is asked for once a minute"
    );
    follower.learn(&wanted[0], EPOCH_MS - 3_600_000, now(30));
    let view = see(&mut follower, 30, &[("m", &seen)]);
    let partition = &view.by_module["m"].partitions[0];
    assert_eq!(partition.lag_seconds, Some(3630.0));
    assert_eq!(partition.lag_seconds_certainty, Some(Certainty::Measured));
    assert!(follower.wanted(now(100)).is_empty(), "nothing is left to ask");

    // Half of what was written before the watch is delivered: between the two known times.
    let view = see(&mut follower, 40, &[("m", &[facts(255, 0, 500)])]);
    let partition = &view.by_module["m"].partitions[0];
    assert_eq!(partition.lag_seconds, Some(1840.0));
    assert_eq!(partition.lag_seconds_certainty, Some(Certainty::Estimated));
}

#[test]
fn no_more_than_64_records_are_asked_for_at_a_time_and_all_in_turn() {
    let mut follower = follower();
    let many: Vec<Facts> = (0..150).map(|_| facts(10, 0, 500)).collect();
    see(&mut follower, 0, &[("m", &many), ("n", &many)]);
    let mut asked = BTreeSet::new();
    for round in 0..5 {
        see(&mut follower, round * 10, &[("m", &many), ("n", &many)]);
        let wanted = follower.wanted(now(round * 10));
        assert!(wanted.len() <= MOST_WANTED);
        let distinct: BTreeSet<i32> = wanted.iter().map(|one| one.partition).collect();
        assert_eq!(distinct.len(), wanted.len(), "a partition once in a question");
        asked.extend(wanted.into_iter().map(|one| (one.module, one.partition)));
    }
    assert_eq!(asked.len(), 300);
}

#[test]
fn while_zookeeper_is_away_modules_stay_and_their_numbers_go() {
    let mut follower = follower();
    for second in [0, 10] {
        see(&mut follower, second, &[("m", &[facts(5, 0, 9)])]);
    }
    let away = Outcome::Failed { why: "no answer" };
    let view = follower.follow(away, 0.5, now(20));
    assert_eq!(view.standing.state, State::Unknown, "the cluster is");
    assert_eq!(
        view.by_module["m"].standing.state,
        State::Ok,
        "one look changes no state"
    );
    assert_eq!(view.by_module["m"].sums.lag, None);
    assert_eq!(view.by_module["m"].sums.unknown, 1);
    let view = follower.follow(away, 0.5, now(30));
    let module = &view.by_module["m"];
    assert_eq!(module.standing.state, State::Unknown);
    assert_eq!(module.standing.reason, "t/0: ZooKeeper cannot be read: no answer");
    assert_eq!(module.partitions[0].lag_seconds, None);
    let zookeeper = view.sources.zookeeper.unwrap();
    assert_eq!((zookeeper.up, zookeeper.since_ms), (false, EPOCH_MS + 20_000));
    assert_eq!(
        serde_json::to_string(&view.history.lag).unwrap(),
        "[4,4,null,null]"
    );
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut follower = follower();
    for round in 0..1000 {
        let name = format!("m{round}");
        see(
            &mut follower,
            round,
            &[(&name, &[facts(5, 0, 9)]), ("stays", &[])],
        );
    }
    let view = see(&mut follower, 1000, &[("stays", &[])]);
    assert_eq!(view.by_module.len(), 1);
    assert!(follower.logs.is_empty() && follower.modules.len() == 1);
    assert_eq!(view.by_module["stays"].standing.state, State::NoOffset);
    assert_eq!(view.sums.lag, Some(0));
}

#[test]
fn a_module_whose_znodes_cannot_be_read_is_unknown_alone() {
    let mut follower = follower();
    let mut found = snapshot(&[("m", &[facts(9, 0, 9)])]);
    found.modules.insert("n".to_owned(), None);
    let outcome = Outcome::Found {
        snapshot: &found,
        kafka: None,
    };
    follower.follow(outcome, 0.1, now(0));
    let view = follower.follow(outcome, 0.1, now(10));
    assert_eq!(view.by_module["n"].standing.state, State::Unknown);
    assert_eq!(view.by_module["m"].standing.state, State::Ok);
    assert_eq!(view.standing.state, State::Unknown);
}

/// What the bound on memory rests on.
#[test]
fn a_partition_takes_less_than_three_kib() {
    let ring = size_of::<Ring>() + crate::ring::POINTS * 16;
    let line = size_of::<crate::history::Line>() + crate::history::POINTS * 8;
    let rest = size_of::<Memory>() + size_of::<PartitionView>() + 200;
    assert!(ring + line + rest < 3 * 1024, "{ring} + {line} + {rest}");
}

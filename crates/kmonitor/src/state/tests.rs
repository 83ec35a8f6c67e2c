//! Sequences as rounds saw them, and the states that were told.

use kcommon::kafka::CommitOffset;

use super::*;
use crate::lag;

const LIMITS: Limits = Limits {
    lagging_ms: 60_000,
    stalled_ms: 60_000,
    stopped_ms: 10_000,
};

/// The commit times of the sequences are those of a server whose clock agrees with ours.
const EPOCH_MS: i64 = 1_800_000_000_000;

fn now(second: i64) -> Now {
    Now {
        mono_ms: second * 1000,
        wall_ms: EPOCH_MS + second * 1000,
    }
}

/// A round: second, commit, log start, log end, age of the oldest waiting record in seconds, owned.
type Seen = (i64, i64, i64, i64, i64, bool);

struct Partition {
    judge: Judge,
    changed_ms: i64,
    commit: i64,
}

impl Partition {
    fn new(second: i64, commit: i64, changed_at: i64) -> Self {
        Self {
            judge: Judge::new(now(second)),
            changed_ms: EPOCH_MS + changed_at * 1000,
            commit,
        }
    }

    fn sees(&mut self, (second, commit, start, end, age, owned): Seen) -> State {
        if commit != self.commit {
            self.commit = commit;
            self.changed_ms = now(second).wall_ms;
        }
        let committed = Committed::At(CommitOffset::try_from(commit).unwrap());
        let log = Some(LogRange { start, end });
        let look = Look {
            committed,
            changed_ms: Some(self.changed_ms),
            log,
            lag: lag::lag(committed, log),
            age_ms: Some(age * 1000),
            owner: owned.then_some("host1:uuid"),
            kafka: None,
        };
        self.judge.look(&look, LIMITS, now(second));
        self.judge.verdict().state
    }
}

fn states(partition: &mut Partition, rounds: &[Seen]) -> Vec<State> {
    rounds.iter().map(|seen| partition.sees(*seen)).collect()
}

#[test]
fn a_module_that_keeps_up_is_ok_at_once_and_stays_so() {
    let mut partition = Partition::new(0, 0, 0);
    for round in 0..20 {
        let commit = round * 1000;
        let state = partition.sees((round * 10, commit, 0, commit + 300, 1, true));
        assert_eq!(state, State::Ok, "round {round}");
    }
    assert_eq!(partition.judge.verdict().since_ms, 0);
    assert_eq!(partition.judge.verdict().reason, "");
}

#[test]
fn a_killed_module_is_stopped_at_the_second_round_without_owner() {
    let mut partition = Partition::new(0, 0, 0);
    let seen = [
        (0, 1000, 0, 1100, 1, true),
        (10, 2000, 0, 2100, 1, true),
        (20, 2500, 0, 3100, 6, false),
        (30, 2500, 0, 4100, 16, false),
        (40, 2500, 0, 5100, 26, false),
    ];
    assert_eq!(
        states(&mut partition, &seen),
        [State::Ok, State::Ok, State::Ok, State::Stopped, State::Stopped]
    );
    let verdict = partition.judge.verdict();
    assert_eq!(verdict.since_ms, 20_000, "since nobody owns it");
    assert_eq!(verdict.reason, "no instance owns it; 2600 records wait");
}

#[test]
fn an_idle_module_that_nobody_runs_is_stopped_after_two_rounds() {
    let mut partition = Partition::new(0, 500, -3600);
    let seen = [
        (0, 500, 0, 500, 0, true),
        (10, 500, 0, 500, 0, false),
        (20, 500, 0, 500, 0, false),
        (30, 500, 0, 500, 0, false),
    ];
    assert_eq!(
        states(&mut partition, &seen),
        [State::Ok, State::Ok, State::Stopped, State::Stopped]
    );
}

#[test]
fn a_module_that_was_dead_before_the_monitor_started_is_never_called_ok() {
    let mut partition = Partition::new(0, 500, -3600);
    let seen = [
        (0, 500, 0, 500, 0, false),
        (1, 500, 0, 500, 0, false),
        (11, 500, 0, 500, 0, false),
    ];
    assert_eq!(
        states(&mut partition, &seen),
        [State::Unknown, State::Unknown, State::Stopped]
    );
}

#[test]
fn a_rebalance_without_owners_for_one_round_changes_nothing() {
    let mut partition = Partition::new(0, 0, 0);
    let mut commit = 0;
    for round in 0..30 {
        commit += 1000;
        let owned = round % 4 != 3;
        let state = partition.sees((round * 10, commit, 0, commit + 10, 0, owned));
        assert_eq!(state, State::Ok, "round {round}");
    }
}

#[test]
fn commits_without_an_owner_are_no_stop() {
    // Other tools commit without claiming.
    let mut partition = Partition::new(0, 0, 0);
    for round in 0..20 {
        let commit = (round + 1) * 1000;
        let state = partition.sees((round * 5, commit, 0, commit + 10, 0, false));
        assert!(matches!(state, State::Ok), "round {round}: {state:?}");
    }
}

#[test]
fn a_stuck_backend_is_stalled_once_records_have_waited_long_enough() {
    let mut partition = Partition::new(0, 100, -7200);
    // Two hours of silence are no stall, and neither is the first record after them.
    let mut told = Vec::new();
    for round in 0..10 {
        let age = (round - 1).max(0) * 10;
        let end = if round == 0 { 100 } else { 100 + round };
        told.push(partition.sees((round * 10, 100, 0, end, age, true)));
    }
    let stalled = told.iter().position(|state| *state == State::Stalled);
    assert_eq!(stalled, Some(8), "{told:?}");
    let verdict = partition.judge.verdict();
    assert_eq!(
        verdict.reason,
        "the commit stays at 100 while 9 records wait; owner: host1:uuid"
    );
    assert_eq!(verdict.since_ms, 10_000, "when the first of them came");
    // It goes on: one good look is not enough, two are.
    assert_eq!(partition.sees((100, 105, 0, 110, 3, true)), State::Stalled);
    assert_eq!(partition.sees((110, 110, 0, 110, 0, true)), State::Ok);
}

#[test]
fn after_a_restart_of_the_monitor_a_stall_is_known_by_the_second_look() {
    let mut partition = Partition::new(0, 100, -3600);
    assert_eq!(partition.sees((0, 100, 0, 500, 1800, true)), State::Unknown);
    assert_eq!(partition.sees((1, 100, 0, 500, 1801, true)), State::Stalled);
    assert_eq!(partition.judge.verdict().since_ms, -1_800_000);
}

#[test]
fn a_slow_module_is_lagging_and_not_stalled() {
    let mut partition = Partition::new(0, 0, 0);
    let mut told = Vec::new();
    for round in 0..12 {
        told.push(partition.sees((round * 10, round * 10, 0, round * 1000, round * 9, true)));
    }
    assert_eq!(told[6], State::Ok, "54 s are not too old");
    assert_eq!(told[8], State::Lagging, "{told:?}");
    assert!(!told.contains(&State::Stalled));
}

#[test]
fn a_lag_that_wavers_around_the_limit_changes_nothing() {
    let mut partition = Partition::new(0, 0, 0);
    for round in 0..30 {
        let age = if round % 2 == 0 { 59 } else { 61 };
        let state = partition.sees((round * 10, round * 10, 0, round * 1000 + 1, age, true));
        assert_eq!(state, State::Ok, "round {round}");
    }
}

#[test]
fn a_commit_that_goes_back_is_rewound_until_it_is_where_it_was() {
    let mut partition = Partition::new(0, 0, 0);
    let seen = [
        (0, 4000, 0, 5000, 1, true),
        (10, 5000, 0, 5000, 0, true),
        (20, 1000, 0, 5000, 30, true),
        (30, 2000, 0, 5000, 30, true),
        (40, 4999, 0, 5100, 20, true),
        (50, 5100, 0, 5200, 1, true),
        (60, 5200, 0, 5300, 1, true),
    ];
    assert_eq!(
        states(&mut partition, &seen),
        [
            State::Ok,
            State::Ok,
            State::Ok,
            State::Rewound,
            State::Rewound,
            State::Rewound,
            State::Ok
        ]
    );
}

#[test]
fn records_that_are_gone_are_counted_and_come_before_everything_else() {
    let mut partition = Partition::new(0, 100, -10);
    partition.sees((0, 100, 0, 1000, 20, true));
    partition.sees((10, 100, 222, 1000, 20, false));
    assert_eq!(partition.sees((20, 100, 222, 1000, 20, false)), State::Lost);
    assert_eq!(
        partition.judge.verdict().reason,
        "122 records between the commit 100 and the log start 222 are gone"
    );
    partition.sees((30, 222, 222, 1000, 20, true));
    assert_eq!(partition.sees((40, 300, 222, 1000, 20, true)), State::Ok);
}

#[test]
fn a_topic_made_anew_is_ahead_and_then_begins_afresh() {
    let mut partition = Partition::new(0, 900, -10);
    partition.sees((0, 900, 0, 1000, 1, true));
    partition.sees((10, 900, 0, 3, 0, true));
    assert_eq!(partition.sees((20, 900, 0, 4, 0, true)), State::Ahead);
    assert!(
        partition
            .judge
            .verdict()
            .reason
            .contains("900 is beyond the log end 4")
    );
    // The module follows; 900 of the old log is no mark to come back to.
    partition.sees((30, 4, 0, 5, 0, true));
    assert_eq!(partition.sees((40, 4, 0, 5, 1, true)), State::Ok);
}

#[test]
fn a_source_that_is_away_for_one_look_changes_nothing_and_for_two_is_told() {
    let mut partition = Partition::new(0, 100, -10);
    partition.sees((0, 100, 0, 100, 0, true));
    partition
        .judge
        .blind("ZooKeeper cannot be read: no answer", now(10));
    assert_eq!(partition.judge.verdict().state, State::Ok);
    partition.sees((20, 100, 0, 100, 0, true));
    partition
        .judge
        .blind("ZooKeeper cannot be read: no answer", now(30));
    partition
        .judge
        .blind("ZooKeeper cannot be read: no answer", now(40));
    let verdict = partition.judge.verdict().clone();
    assert_eq!((verdict.state, verdict.since_ms), (State::Unknown, 30_000));
    assert_eq!(verdict.reason, "ZooKeeper cannot be read: no answer");
    partition.sees((50, 100, 0, 100, 0, true));
    assert_eq!(partition.sees((60, 100, 0, 100, 0, true)), State::Ok);
}

#[test]
fn without_log_ends_or_commits_nothing_is_called_ok() {
    let look = |committed, log: Option<LogRange>| Look {
        committed,
        changed_ms: None,
        log,
        lag: lag::lag(committed, log),
        age_ms: None,
        owner: Some("host1:uuid"),
        kafka: Some("no broker answers"),
    };
    let told = |look: Look<'_>| {
        let mut judge = Judge::new(now(0));
        (0..3).for_each(|second| judge.look(&look, LIMITS, now(second)));
        let verdict = judge.verdict();
        (verdict.state, verdict.reason.clone())
    };
    let log = Some(LogRange { start: 0, end: 5 });
    let at = Committed::At(CommitOffset::ZERO);
    let unowned = Look {
        owner: None,
        changed_ms: Some(-1_000_000),
        ..look(at, log)
    };
    assert_eq!(
        told(unowned),
        (
            State::Unknown,
            "nobody owns it, and it is not seen for long enough to say since when".to_owned()
        )
    );
    assert_eq!(
        told(look(at, None)),
        (State::Unknown, "no log end: no broker answers".to_owned())
    );
    assert_eq!(told(look(Committed::Never, log)).0, State::NoOffset);
    assert_eq!(told(look(Committed::LogStart, log)).0, State::NoOffset);
    assert_eq!(told(look(Committed::Unreadable, log)).0, State::Unknown);
    let empty = Some(LogRange { start: 0, end: 0 });
    assert_eq!(
        told(look(Committed::LogStart, empty)).0,
        State::Ok,
        "nothing waits there"
    );
}

#[test]
fn a_first_record_that_is_never_delivered_is_stalled() {
    let log = Some(LogRange { start: 0, end: 5 });
    let mut judge = Judge::new(now(0));
    for second in (0..100).step_by(10) {
        let look = Look {
            committed: Committed::LogStart,
            changed_ms: None,
            log,
            lag: Ok(5),
            age_ms: None,
            owner: Some("host1:uuid"),
            kafka: None,
        };
        judge.look(&look, LIMITS, now(second));
    }
    assert_eq!(judge.verdict().state, State::Stalled);
}

#[test]
fn a_wall_clock_that_jumps_changes_no_state() {
    let mut partition = Partition::new(0, 0, 0);
    for round in 0..20 {
        let commit = round * 1000;
        let jump = if round % 3 == 0 { 86_400_000 } else { -86_400_000 };
        let committed = Committed::At(CommitOffset::try_from(commit).unwrap());
        let log = Some(LogRange {
            start: 0,
            end: commit + 10,
        });
        let look = Look {
            committed,
            changed_ms: Some(EPOCH_MS + jump),
            log,
            lag: lag::lag(committed, log),
            age_ms: Some(100),
            owner: Some("host1:uuid"),
            kafka: None,
        };
        let now = Now {
            wall_ms: EPOCH_MS - jump,
            mono_ms: round * 10_000,
        };
        partition.judge.look(&look, LIMITS, now);
        assert_eq!(partition.judge.verdict().state, State::Ok, "round {round}");
    }
}

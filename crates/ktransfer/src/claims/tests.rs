//! One rule a test; what happens in random orders is the simulation's.

use std::collections::BTreeSet;
use std::time::Duration;

use kcommon::kafka::{CommitOffset, PartitionId};
use tokio::time::Instant;

use super::{CHECK_EVERY, Claimed, Claims, Confirmed, RELEASE_DELAY, Step, Stored, View, Written};
use crate::acks::{Acks, Builder, Map, TopicIdentity};
use crate::assignment::{Assignment, CommitOutcome, Epochs, Order};

const P: PartitionId = PartitionId(0);
const OURS: i64 = 1;

fn stored(bytes: &str, version: i32) -> Stored {
    Stored {
        bytes: bytes.as_bytes().to_vec(),
        version,
    }
}

fn offset(number: i64) -> CommitOffset {
    CommitOffset::try_from(number).unwrap()
}

fn topic(id: &str) -> TopicIdentity {
    TopicIdentity::from_znode(format!(r#"{{"topic_id":"{id}"}}"#).as_bytes(), 7)
}

/// Everything below `base` is done, and these records above it.
fn above(base: i64, done: &[i64]) -> Acks {
    let mut acks = Builder::new(offset(base));
    done.iter().for_each(|at| acks.add(&(*at..at + 1)));
    acks.finish()
}

fn below(base: i64) -> Acks {
    above(base, &[])
}

/// A partition of the topic "one", as its offset znode holds it.
fn ours(bytes: &str, version: i32) -> Claimed {
    let stored = stored(bytes, version);
    let base = stored.position().unwrap_or(CommitOffset::ZERO);
    Claimed::Ours(stored, Map::empty(Some(topic("one")), base))
}

fn map(acks: Acks) -> Option<Map> {
    let topic = Some(topic("one"));
    Some(Map { topic, acks })
}

fn view(partitions: i32, members: &[&str], owners: &[(i32, i64)]) -> View {
    View {
        session: OURS,
        partitions: (0..partitions).map(PartitionId).collect(),
        members: members.iter().map(|id| (*id).to_owned()).collect(),
        owners: owners
            .iter()
            .map(|(partition, owner)| (PartitionId(*partition), *owner))
            .collect(),
        overtaken: BTreeSet::new(),
        classic: None,
    }
}

struct Scene {
    claims: Claims,
    now: Instant,
}

impl Scene {
    fn new() -> Self {
        Self {
            claims: Claims::new("a".into(), Epochs::default(), Duration::from_secs(10)),
            now: Instant::now(),
        }
    }

    /// The only member, which is about to claim partition 0.
    fn claiming() -> Self {
        let mut scene = Self::new();
        assert_eq!(
            scene.claims.seen(&view(1, &["a"], &[]), scene.now),
            [Step::Claim(P)]
        );
        scene
    }

    /// Claims partition 0, whose znode holds `bytes` at version 5.
    fn claimed(bytes: &str) -> (Self, Vec<Step>) {
        let mut scene = Self::claiming();
        let steps = scene.claims.claimed(P, ours(bytes, 5), scene.now);
        (scene, steps)
    }

    /// Runs partition 0 from offset 7, version 5.
    fn running() -> (Self, Assignment) {
        let (scene, steps) = Self::claimed("7");
        let assignment = assigned(&steps, &below(7));
        (scene, assignment)
    }

    /// A commit, and its answer.
    fn commit(&mut self, assignment: Assignment, done: Acks, answer: Result<Written, Stored>) -> Vec<Step> {
        let _commit = self.claims.commit(assignment, done);
        self.claims.committed(assignment, answer, self.now)
    }

    /// The look at the offset of partition 0, for which it is time.
    #[track_caller]
    fn looks(&mut self) -> u64 {
        let steps = self.claims.seen(&view(1, &["a"], &[(0, OURS)]), self.now);
        let [Step::Look { look, .. }] = steps[..] else {
            panic!("{steps:?}")
        };
        look
    }
}

/// The assignment whose revoke is the only step.
#[track_caller]
fn revoked(steps: &[Step]) -> Assignment {
    let [Step::Tell(Order::Revoke { assignment, .. })] = steps[..] else {
        panic!("{steps:?}")
    };
    assignment
}

/// The release of partition 0.
fn release(stored: Stored, map: Option<Map>) -> Step {
    Step::Release {
        partition: P,
        stored,
        insist: false,
        map,
    }
}

/// The assignment that is the only step.
#[track_caller]
fn assigned(steps: &[Step], expected: &Acks) -> Assignment {
    let [Step::Tell(Order::Assign { assignment, done })] = steps else {
        panic!("{steps:?}")
    };
    assert_eq!(done, expected);
    *assignment
}

fn done(assignment: Assignment, outcome: CommitOutcome) -> Step {
    Step::Tell(Order::CommitDone { assignment, outcome })
}

#[test]
fn a_commit_expects_the_version_that_the_last_write_left() {
    let (mut scene, assignment) = Scene::running();
    let commit = |version, position| Step::Commit {
        assignment,
        version,
        position: offset(position),
        map: None,
    };
    assert_eq!(scene.claims.commit(assignment, below(9)), [commit(5, 9)]);
    assert_eq!(
        scene
            .claims
            .committed(assignment, Ok(Written::Stored(6)), scene.now),
        [done(assignment, CommitOutcome::Committed(offset(9)))]
    );
    assert_eq!(scene.claims.commit(assignment, below(12)), [commit(6, 12)]);
}

#[test]
fn a_look_decides_nothing_about_a_partition_that_was_answered_about_meanwhile() {
    let overtaken = |owners: &[(i32, i64)]| View {
        overtaken: BTreeSet::from([P]),
        ..view(1, &["a"], owners)
    };
    // Claimed while the look was under way, which still found no owner.
    let (mut scene, _assignment) = Scene::running();
    assert_eq!(scene.claims.seen(&overtaken(&[]), scene.now), []);
    assert_eq!(scene.claims.len(), 1);
    // Released meanwhile: our owner znode of before is no stray, and not to be deleted.
    let mut scene = Scene::new();
    assert_eq!(scene.claims.seen(&overtaken(&[(0, OURS)]), scene.now), []);
    // Refused to us meanwhile: it is not free, as the look says.
    assert_eq!(scene.claims.seen(&overtaken(&[]), scene.now), []);
    assert!(scene.claims.is_empty());
}

#[test]
fn a_session_that_goes_on_confirms_each_claim_before_it_commits_again() {
    let (mut scene, assignment) = Scene::running();
    // Its answer is lost with the client.
    let _again = scene.commit(assignment, below(9), Ok(Written::NotStored));
    assert_eq!(scene.claims.reattached(), [Step::Confirm(assignment)]);
    assert!(!scene.claims.runs(assignment));
    assert_eq!(
        scene.claims.commit(assignment, below(10)),
        [done(assignment, CommitOutcome::Again)]
    );
    // It had been stored.
    let found = Confirmed::Ours(Some(stored("9", 6)));
    assert_eq!(scene.claims.confirmed(assignment, found, scene.now), []);
    assert!(scene.claims.runs(assignment));
    let commit = Step::Commit {
        assignment,
        version: 6,
        position: offset(10),
        map: None,
    };
    assert_eq!(scene.claims.commit(assignment, below(10)), [commit]);
}

#[test]
fn a_session_that_goes_on_finds_what_others_did_meanwhile() {
    // An operator moved the offset.
    let (mut scene, assignment) = Scene::running();
    let _confirm = scene.claims.reattached();
    let found = Confirmed::Ours(Some(stored("500", 6)));
    let steps = scene.claims.confirmed(assignment, found, scene.now);
    revoked(&steps);
    // The owner znode was deleted, or taken by another.
    let (mut scene, assignment) = Scene::running();
    let _confirm = scene.claims.reattached();
    assert_eq!(
        scene.claims.confirmed(assignment, Confirmed::NotOurs, scene.now),
        [Step::Tell(Order::Lost { assignment })]
    );
    // Nothing could be read: it waits for the next client.
    let (mut scene, assignment) = Scene::running();
    let _confirm = scene.claims.reattached();
    assert_eq!(
        scene.claims.confirmed(assignment, Confirmed::Unknown, scene.now),
        []
    );
    assert!(!scene.claims.runs(assignment));
    assert_eq!(scene.claims.reattached(), [Step::Confirm(assignment)]);
}

/// Runs partitions 0 to 7 as the only member.
fn running_eight() -> Scene {
    let mut scene = Scene::new();
    let steps = scene.claims.seen(&view(8, &["a"], &[]), scene.now);
    assert_eq!(steps.len(), 8);
    for partition in 0..8 {
        let ours = ours("7", 5);
        let _assign = scene.claims.claimed(PartitionId(partition), ours, scene.now);
    }
    scene
}

#[test]
fn extras_are_given_up_a_quarter_at_a_time_and_only_when_those_before_have_an_owner() {
    let mut scene = running_eight();
    let owners = |sessions: [i64; 8]| -> Vec<(i32, i64)> { (0..8).zip(sessions).collect() };
    let crowd = |sessions| view(8, &["a", "b"], &owners(sessions));
    assert_eq!(scene.claims.seen(&crowd([OURS; 8]), scene.now), []);
    scene.now += RELEASE_DELAY;
    let steps = scene.claims.seen(&crowd([OURS; 8]), scene.now);
    let assignment = revoked(&steps);
    assert_eq!(
        scene.claims.seen(&crowd([OURS; 8]), scene.now),
        [],
        "it is being drained"
    );
    let drained = scene.claims.drained(assignment, Some(below(7)), scene.now);
    assert!(matches!(drained[..], [Step::Release { .. }]));
    scene.claims.released(assignment.partition);
    let at = usize::try_from(assignment.partition.0).unwrap();
    let mut free = crowd([OURS; 8]);
    free.owners.remove(&assignment.partition);
    assert_eq!(scene.claims.seen(&free, scene.now), [], "nobody has taken it yet");
    let mut sessions = [OURS; 8];
    sessions[at] = 2;
    let steps = scene.claims.seen(&crowd(sessions), scene.now);
    revoked(&steps);
}

#[test]
fn who_is_no_member_any_more_gives_everything_up() {
    let mut scene = running_eight();
    let owners: Vec<(i32, i64)> = (0..8).map(|partition| (partition, OURS)).collect();
    assert_eq!(scene.claims.seen(&view(8, &[], &owners), scene.now), []);
    scene.now += RELEASE_DELAY;
    assert_eq!(
        scene.claims.seen(&view(8, &[], &owners), scene.now).len(),
        8,
        "nobody may be there to take them one by one"
    );
}

#[test]
fn a_second_commit_waits_for_the_answer_to_the_first() {
    let (mut scene, assignment) = Scene::running();
    assert_eq!(scene.claims.commit(assignment, below(9)).len(), 1);
    assert_eq!(
        scene.claims.commit(assignment, below(10)),
        [done(assignment, CommitOutcome::Again)]
    );
}

#[test]
fn a_truncated_log_is_begun_anew_where_it_ends_even_below_what_is_stored() {
    let (mut scene, assignment) = Scene::running();
    let _commit = scene.claims.commit(assignment, below(9));
    let revoke = Step::Tell(Order::Revoke {
        assignment,
        deadline: scene.now,
    });
    assert_eq!(
        scene.claims.truncated(assignment, offset(3), scene.now),
        [revoke],
        "what is on the wire is cut at once"
    );
    assert_eq!(
        scene.claims.commit(assignment, below(10)),
        [done(assignment, CommitOutcome::Refused)]
    );
    assert_eq!(scene.claims.drained(assignment, Some(below(9)), scene.now), []);
    let steps = scene
        .claims
        .committed(assignment, Ok(Written::Stored(6)), scene.now);
    let release = Step::Release {
        partition: P,
        stored: stored("3", 6),
        insist: false,
        map: map(below(3)),
    };
    assert_eq!(
        steps,
        [done(assignment, CommitOutcome::Committed(offset(9))), release]
    );
}

#[test]
fn a_truncation_that_is_found_during_a_release_is_released_as_such() {
    let (mut scene, assignment) = Scene::running();
    let _revoke = scene.claims.stop(scene.now);
    assert_eq!(
        scene.claims.truncated(assignment, offset(3), scene.now),
        [],
        "it is being revoked"
    );
    let release = Step::Release {
        partition: P,
        stored: stored("3", 5),
        insist: false,
        map: map(below(3)),
    };
    assert_eq!(
        scene.claims.drained(assignment, Some(below(9)), scene.now),
        [release]
    );
}

#[test]
fn a_module_that_ends_at_a_truncation_leaves_where_the_log_ends() {
    let (mut scene, assignment) = Scene::running();
    let _revoke = scene.claims.truncated(assignment, offset(3), scene.now);
    let steps = scene.claims.abandon(scene.now);
    let release = Step::Release {
        partition: P,
        stored: stored("3", 5),
        insist: false,
        map: map(below(3)),
    };
    assert_eq!(steps, [release]);
}

#[test]
fn an_operators_move_goes_before_a_truncation() {
    let (mut scene, assignment) = Scene::running();
    let _commit = scene.claims.commit(assignment, below(9));
    let _revoke = scene.claims.truncated(assignment, offset(3), scene.now);
    let _refused = scene.claims.committed(assignment, Err(stored("5", 8)), scene.now);
    let steps = scene.claims.drained(assignment, Some(below(9)), scene.now);
    let release = Step::Release {
        partition: P,
        stored: stored("5", 8),
        insist: false,
        map: None,
    };
    assert_eq!(steps, [release]);
}

#[test]
fn an_answer_of_an_earlier_epoch_changes_nothing() {
    let (mut scene, old) = Scene::running();
    let _commit = scene.claims.commit(old, below(9));
    assert_eq!(
        scene.claims.seen(&view(1, &["a"], &[]), scene.now),
        [Step::Tell(Order::Lost { assignment: old }), Step::Claim(P)]
    );
    let steps = scene.claims.claimed(P, ours("7", 20), scene.now);
    let [Step::Tell(Order::Assign { assignment: new, .. })] = steps[..] else {
        panic!("{steps:?}")
    };
    let _commit = scene.claims.commit(new, below(8));
    assert_eq!(
        scene.claims.committed(old, Ok(Written::Stored(6)), scene.now),
        [done(old, CommitOutcome::Refused)]
    );
    assert_eq!(
        scene.claims.committed(new, Ok(Written::Stored(21)), scene.now),
        [done(new, CommitOutcome::Committed(offset(8)))]
    );
    assert_eq!(
        scene.claims.commit(old, below(30)),
        [done(old, CommitOutcome::Refused)]
    );
    let _revoked = scene.claims.stop(scene.now);
    assert_eq!(scene.claims.drained(old, Some(below(30)), scene.now), []);
}

#[test]
fn who_is_fenced_loses_the_partition() {
    let (mut scene, assignment) = Scene::running();
    let _commit = scene.claims.commit(assignment, below(9));
    assert_eq!(
        scene.claims.committed(assignment, Ok(Written::Fenced), scene.now),
        [
            done(assignment, CommitOutcome::Refused),
            Step::Tell(Order::Lost { assignment })
        ]
    );
    assert!(scene.claims.is_empty());
}

#[test]
fn an_owner_znode_that_another_deleted_or_took_is_a_lost_claim() {
    for owners in [&[][..], &[(0, 99)]] {
        let (mut scene, assignment) = Scene::running();
        let steps = scene.claims.seen(&view(1, &["a"], owners), scene.now);
        assert_eq!(steps[0], Step::Tell(Order::Lost { assignment }));
    }
}

#[test]
fn an_operators_move_is_adopted_after_a_drain() {
    let (mut scene, assignment) = Scene::running();
    let _commit = scene.claims.commit(assignment, below(9));
    let deadline = scene.now + Duration::from_secs(10);
    assert_eq!(
        scene
            .claims
            .committed(assignment, Err(stored("500", 6)), scene.now),
        [
            done(assignment, CommitOutcome::Refused),
            Step::Tell(Order::Revoke { assignment, deadline })
        ]
    );
    // The module had not seen the order yet: its commit would undo the move.
    assert_eq!(
        scene.claims.commit(assignment, below(11)),
        [done(assignment, CommitOutcome::Refused)]
    );
    let steps = scene.claims.drained(assignment, Some(below(11)), scene.now);
    let moved = assigned(&steps, &below(500));
    assert!(moved.epoch > assignment.epoch);
}

#[test]
fn a_stuck_partition_learns_of_a_move_by_looking() {
    let (mut scene, assignment) = Scene::running();
    scene.now += CHECK_EVERY;
    let seen = view(1, &["a"], &[(0, OURS)]);
    let look = scene.looks();
    assert_eq!(scene.claims.seen(&seen, scene.now), [], "one look at a time");
    let steps = scene.claims.looked(P, look, Some(stored("500", 6)), scene.now);
    assert_eq!(revoked(&steps), assignment);
}

#[test]
fn a_look_that_a_commit_overtook_is_no_move() {
    let (mut scene, assignment) = Scene::running();
    scene.now += CHECK_EVERY;
    let look = scene.looks();
    let _stored = scene.commit(assignment, below(9), Ok(Written::Stored(6)));
    assert_eq!(scene.claims.looked(P, look, Some(stored("7", 5)), scene.now), []);
}

#[test]
fn the_former_value_after_a_commit_that_may_have_been_stored_is_a_move_back() {
    let unsure = || {
        let (mut scene, assignment) = Scene::running();
        let _again = scene.commit(assignment, below(9), Ok(Written::NotStored));
        (scene, assignment)
    };
    let (mut scene, assignment) = unsure();
    let _confirm = scene.claims.reattached();
    let found = Confirmed::Ours(Some(stored("7", 7)));
    assert_eq!(
        revoked(&scene.claims.confirmed(assignment, found, scene.now)),
        assignment
    );
    let (mut scene, assignment) = unsure();
    scene.now += CHECK_EVERY;
    let look = scene.looks();
    let steps = scene.claims.looked(P, look, Some(stored("7", 7)), scene.now);
    assert_eq!(revoked(&steps), assignment);
}

#[test]
fn a_partition_stopped_by_garbage_is_released_as_it_is_found() {
    let (mut scene, steps) = Scene::claimed("garbage");
    assert_eq!(steps, []);
    assert_eq!(scene.claims.stop(scene.now), [Step::Sweep(P)]);
}

#[test]
fn garbage_stops_the_partition_keeps_the_claim_and_is_looked_at_again() {
    let (mut scene, steps) = Scene::claimed("seven");
    assert_eq!(steps, []);
    assert_eq!(scene.claims.stopped().count(), 1);
    assert_eq!(scene.claims.len(), 1);
    let seen = view(1, &["a"], &[(0, OURS)]);
    assert_eq!(scene.claims.seen(&seen, scene.now), []);
    scene.now += CHECK_EVERY;
    let steps = scene.claims.seen(&seen, scene.now);
    let [
        Step::Look {
            look, known: None, ..
        },
    ] = steps[..]
    else {
        panic!("{steps:?}")
    };
    assert_eq!(
        scene.claims.looked(P, look, Some(stored("eight", 6)), scene.now),
        []
    );
    scene.now += CHECK_EVERY;
    let look = scene.looks();
    let steps = scene.claims.looked(P, look, Some(stored("8\n", 7)), scene.now);
    assigned(&steps, &below(8));
    assert_eq!(scene.claims.stopped().count(), 0);
}

#[test]
fn extras_are_given_up_only_when_the_group_has_been_the_same_for_a_while() {
    let (mut scene, assignment) = Scene::running();
    // "0" sorts before "a": the only partition is its.
    let crowd = view(1, &["0", "a"], &[(0, OURS)]);
    assert_eq!(scene.claims.seen(&crowd, scene.now), []);
    scene.now += RELEASE_DELAY / 2;
    assert_eq!(
        scene.claims.seen(&view(1, &["a"], &[(0, OURS)]), scene.now),
        [],
        "it died again"
    );
    scene.now += RELEASE_DELAY / 2;
    assert_eq!(
        scene.claims.seen(&crowd, scene.now),
        [],
        "the group changed again"
    );
    assert_eq!(scene.claims.next_release(1), Some(scene.now + RELEASE_DELAY));
    scene.now += RELEASE_DELAY;
    let steps = scene.claims.seen(&crowd, scene.now);
    assert_eq!(revoked(&steps), assignment);
    let steps = scene.claims.drained(assignment, Some(below(40)), scene.now);
    assert_eq!(steps, [release(stored("40", 5), map(below(40)))]);
    assert_eq!(scene.claims.len(), 1, "it counts until it is released");
    scene.claims.released(P);
    assert!(scene.claims.is_empty());
}

#[test]
fn a_claim_that_is_answered_after_the_stop_is_released() {
    let mut scene = Scene::claiming();
    assert_eq!(scene.claims.stop(scene.now), []);
    let steps = scene.claims.claimed(P, ours("7", 5), scene.now);
    assert_eq!(steps, [release(stored("7", 5), None)]);
}

#[test]
fn a_release_waits_for_the_commit_on_its_way() {
    let (mut scene, assignment) = Scene::running();
    let _commit = scene.claims.commit(assignment, below(9));
    let _revoke = scene.claims.stop(scene.now);
    assert_eq!(scene.claims.drained(assignment, Some(below(11)), scene.now), []);
    let steps = scene
        .claims
        .committed(assignment, Ok(Written::Stored(6)), scene.now);
    assert_eq!(steps.last(), Some(&release(stored("11", 6), map(below(11)))));
}

#[test]
fn a_release_never_goes_back() {
    let (mut scene, assignment) = Scene::running();
    let _revoke = scene.claims.stop(scene.now);
    let steps = scene.claims.drained(assignment, Some(below(3)), scene.now);
    assert_eq!(steps, [release(stored("7", 5), None)]);
}

#[test]
fn a_move_during_the_drain_outlives_the_release() {
    let (mut scene, assignment) = Scene::running();
    let _commit = scene.claims.commit(assignment, below(9));
    let _revoke = scene.claims.stop(scene.now);
    let _moved = scene
        .claims
        .committed(assignment, Err(stored("500", 6)), scene.now);
    let steps = scene.claims.drained(assignment, Some(below(11)), scene.now);
    assert_eq!(steps, [release(stored("500", 6), None)]);
}

#[test]
fn an_owner_znode_of_ours_that_nobody_knows_is_swept() {
    let mut scene = Scene::new();
    assert_eq!(
        scene.claims.seen(&view(1, &["a"], &[(0, OURS)]), scene.now),
        [Step::Sweep(P)]
    );
    assert_eq!(
        scene.claims.seen(&view(1, &["a"], &[(0, OURS)]), scene.now),
        [],
        "once"
    );
    scene.claims.released(P);
    assert_eq!(
        scene.claims.seen(&view(1, &["a"], &[]), scene.now),
        [Step::Claim(P)]
    );
}

#[test]
fn eight_claims_are_on_their_way_at_most() {
    let mut scene = Scene::new();
    let seen = view(20, &["a"], &[]);
    let steps = scene.claims.seen(&seen, scene.now);
    assert_eq!(steps.len(), 8);
    assert_eq!(scene.claims.seen(&seen, scene.now), []);
    let Step::Claim(first) = steps[0] else {
        panic!("{steps:?}")
    };
    let next = scene.claims.claimed(first, Claimed::NotOurs, scene.now);
    assert!(
        matches!(next[..], [Step::Claim(next)] if next != first),
        "the next goes out at once: {next:?}"
    );
    let mut all: Vec<Step> = steps.into_iter().skip(1).chain(next).collect();
    let mut claimed = 0;
    while let Some(Step::Claim(partition)) = all.pop() {
        let steps = scene.claims.claimed(partition, ours("7", 1), scene.now);
        all.extend(steps.into_iter().filter(|step| matches!(step, Step::Claim(_))));
        claimed += 1;
    }
    assert_eq!(
        claimed, 19,
        "what was taken by another is not tried again before the next look"
    );
}

#[test]
fn a_lost_session_takes_everything_the_module_runs() {
    let (mut scene, assignment) = Scene::running();
    assert_eq!(scene.claims.lost(), [Step::Tell(Order::Lost { assignment })]);
    assert!(scene.claims.is_empty());
}

#[test]
fn what_is_done_above_the_position_is_stored_and_emptied_once() {
    let (mut scene, assignment) = Scene::running();
    let mut commit = |acks: Acks, version| {
        let steps = scene.claims.commit(assignment, acks.clone());
        let [Step::Commit { position, map, .. }] = &steps[..] else {
            panic!("{steps:?}")
        };
        assert_eq!(*position, acks.base());
        let map = map.clone();
        let _stored = scene
            .claims
            .committed(assignment, Ok(Written::Stored(version)), scene.now);
        (map, scene.claims.stored_above())
    };
    assert_eq!(commit(below(8), 6), (None, 0));
    assert_eq!(commit(above(8, &[9, 11]), 7), (map(above(8, &[9, 11])), 2));
    assert_eq!(
        commit(above(8, &[9, 10, 11]), 8),
        (map(above(8, &[9, 10, 11])), 3)
    );
    assert_eq!(
        commit(below(12), 9),
        (map(below(12)), 0),
        "so that it is seen to be empty"
    );
    assert_eq!(commit(below(13), 10), (None, 0));
}

#[test]
fn a_claim_takes_over_what_was_done_above_the_position() {
    let mut scene = Scene::claiming();
    let found = Claimed::Ours(stored("7", 5), map(above(7, &[9])).unwrap());
    let steps = scene.claims.claimed(P, found, scene.now);
    assigned(&steps, &above(7, &[9]));
    assert_eq!(scene.claims.stored_above(), 1);
}

#[test]
fn an_operators_move_voids_what_was_done_above() {
    let (mut scene, assignment) = Scene::running();
    let _moved = scene.commit(assignment, above(9, &[500, 501]), Err(stored("500", 6)));
    let steps = scene
        .claims
        .drained(assignment, Some(above(9, &[500, 501])), scene.now);
    assigned(&steps, &below(500));
    assert_eq!(scene.claims.stored_above(), 0);
}

#[test]
fn a_release_stores_what_is_done_above_even_where_the_position_stands_still() {
    let (mut scene, assignment) = Scene::running();
    let _revoke = scene.claims.stop(scene.now);
    let steps = scene
        .claims
        .drained(assignment, Some(above(7, &[8, 9])), scene.now);
    assert_eq!(steps, [release(stored("7", 5), map(above(7, &[8, 9])))]);
}

#[test]
fn a_module_that_ended_leaves_what_was_stored_as_it_is() {
    let (mut scene, assignment) = Scene::running();
    let _stored = scene.commit(assignment, above(9, &[10]), Ok(Written::Stored(6)));
    let steps = scene.claims.abandon(scene.now);
    assert_eq!(steps.last(), Some(&release(stored("9", 6), None)));
}

#[test]
fn a_topic_created_anew_is_claimed_anew() {
    let (mut scene, assignment) = Scene::running();
    let deadline = scene.now + Duration::from_secs(10);
    assert_eq!(scene.claims.topic_is(&topic("one"), deadline), []);
    assert_eq!(
        scene.claims.topic_is(&topic("two"), deadline),
        [Step::Tell(Order::Revoke { assignment, deadline })]
    );
    assert_eq!(scene.claims.topic_is(&topic("two"), deadline), [], "once");
    assert_eq!(
        scene.claims.commit(assignment, below(9)),
        [done(assignment, CommitOutcome::Refused)]
    );
    assert_eq!(
        scene.claims.drained(assignment, Some(below(9)), scene.now),
        [release(stored("7", 5), None)]
    );
    scene.claims.released(P);
    assert_eq!(
        scene.claims.seen(&view(1, &["a"], &[]), scene.now),
        [Step::Claim(P)]
    );
}

#[test]
fn a_topic_that_was_not_known_is_the_one_that_is_seen_first() {
    let mut scene = Scene::claiming();
    let found = Claimed::Ours(stored("7", 5), Map::empty(None, offset(7)));
    let assignment = assigned(&scene.claims.claimed(P, found, scene.now), &below(7));
    assert_eq!(scene.claims.topic_is(&topic("one"), scene.now), []);
    let steps = scene.claims.commit(assignment, above(7, &[9]));
    assert!(
        matches!(&steps[..], [Step::Commit { map: stored, .. }] if *stored == map(above(7, &[9]))),
        "{steps:?}"
    );
    assert_eq!(scene.claims.topic_is(&topic("two"), scene.now).len(), 1);
}

//! A deterministic simulation of a group of members, with the real claims, requests, looks, lease, dispatcher, ledgers
//! and commits, against models of ZooKeeper, Kafka, the backend, the network and time. A seed decides everything.
//!
//! Processes stand still, crash, stop and join; sessions end; messages are late or lost after they were carried out or
//! before; operators move, break and delete znodes; logs have gaps, grow, lose their start and records in between; the topic is
//! created anew; keys are stuck, and memory is short. At each
//! step [`truth`] checks the invariants of `docs/architecture.md`; at the end the faults stop and the group must rest.
//!
//! `cargo xtask test sim` runs it; `--seed N` runs one seed and prints its last events, `--schedules N` runs so many.
//! A run that fails prints its seed.

mod coordination;
mod dice;
mod env;
mod faults;
mod kafka;
mod member;
mod module;
mod mutation;
mod network;
mod session;
mod settle;
mod truth;
mod world;
mod zookeeper;

use std::panic::{AssertUnwindSafe, catch_unwind};

use mutation::{Mutation, mutate};
use truth::{Invariant, Violation};
use world::World;

/// How many schedules the tests of a normal run have together.
const SCHEDULES: u64 = 10_000;

/// Other numbers than these come from the command line, by `cargo xtask test sim`.
const SEED: &str = "KTRANSFER_SIM_SEED";
const SCHEDULES_WANTED: &str = "KTRANSFER_SIM_SCHEDULES";

/// Parts that run beside each other.
const PARTS: u64 = 4;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    )
}

/// Runs one schedule; how many steps it took.
fn run(seed: u64, traced: bool) -> Result<u64, (Violation, String)> {
    let mut world = World::new(seed, traced);
    world.run(settle::length(seed));
    world.settle();
    match world.truth.violation.take() {
        Some(violation) => {
            let story = world.story(&violation);
            Err((violation, story))
        }
        None => Ok(world.steps),
    }
}

/// Runs one schedule; when it fails, once more to tell how it came to that.
fn check(seed: u64) -> u64 {
    let again = format!("seed {seed}; run it alone by `cargo xtask test sim --seed {seed}`");
    match catch_unwind(AssertUnwindSafe(|| run(seed, false))) {
        Ok(Ok(steps)) => steps,
        Ok(Err(_)) => match run(seed, true) {
            Err((_violation, story)) => panic!("{again}\n{story}"),
            Ok(_) => panic!("{again}\nit did not fail again: the simulation is not deterministic"),
        },
        Err(_panic) => panic!("{again}; the panic is above"),
    }
}

fn check_part(part: u64) {
    if let Some(seed) = number(SEED) {
        if part == 0 {
            println!("seed {seed}: {} steps, nothing violated", check(seed));
        }
        return;
    }
    let schedules = number(SCHEDULES_WANTED).unwrap_or(SCHEDULES);
    let steps: u64 = (0..schedules)
        .filter(|seed| seed % PARTS == part)
        .map(check)
        .sum();
    println!("part {part} of {schedules} schedules: {steps} steps, nothing violated");
}

#[test]
fn whatever_happens_the_invariants_hold_part_1() {
    check_part(0);
}

#[test]
fn whatever_happens_the_invariants_hold_part_2() {
    check_part(1);
}

#[test]
fn whatever_happens_the_invariants_hold_part_3() {
    check_part(2);
}

#[test]
fn whatever_happens_the_invariants_hold_part_4() {
    check_part(3);
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..20 {
        let once = run(seed, false).map_err(|(violation, _)| violation.text);
        assert_eq!(
            once,
            run(seed, true).map_err(|(violation, _)| violation.text),
            "seed {seed}"
        );
    }
}

/// Runs schedules with a defect until one of them fails.
fn caught(mutation: Mutation, within: u64) -> Option<(u64, Violation)> {
    mutate(Some(mutation));
    let found = (0..within).find_map(|seed| run(seed, false).err().map(|(violation, _)| (seed, violation)));
    mutate(None);
    found
}

#[track_caller]
fn is_caught(mutation: Mutation, invariants: &[Invariant]) {
    let Some((seed, violation)) = caught(mutation, 2_000) else {
        panic!("{mutation:?} is not noticed");
    };
    println!("{mutation:?}: seed {seed}, {violation:?}");
    assert!(
        invariants.contains(&violation.invariant),
        "{mutation:?} breaks {invariants:?}, and {violation:?} was noticed with seed {seed}"
    );
}

#[test]
fn commits_without_a_fence_are_noticed() {
    is_caught(
        Mutation::UnfencedCommit,
        &[Invariant::NoLoss, Invariant::OnePusher, Invariant::NextOffset],
    );
}

#[test]
fn a_lease_that_does_not_end_is_noticed() {
    is_caught(Mutation::EndlessLease, &[Invariant::OnePusher]);
    is_caught(Mutation::LeaseFromTheAnswer, &[Invariant::OnePusher]);
}

#[test]
fn claims_that_outlive_their_session_are_noticed() {
    is_caught(
        Mutation::ClaimsOutliveTheSession,
        &[Invariant::OnePusher, Invariant::OneOwner],
    );
}

#[test]
fn epochs_that_outlive_their_session_are_noticed() {
    is_caught(Mutation::NothingIsVoid, &[Invariant::OnePusher]);
}

#[test]
fn a_release_before_the_drain_is_noticed() {
    is_caught(
        Mutation::ReleaseBeforeDrain,
        &[Invariant::OnePusher, Invariant::OneOwner],
    );
}

#[test]
fn older_epochs_that_are_not_waited_for_are_noticed() {
    is_caught(Mutation::NoWaitForOlderEpochs, &[Invariant::OnePusher]);
}

#[test]
fn acknowledgements_of_older_epochs_are_noticed() {
    is_caught(
        Mutation::OldEpochCounts,
        &[Invariant::NoLoss, Invariant::OnePusher, Invariant::Order],
    );
}

#[test]
fn a_commit_over_a_pending_record_is_noticed() {
    is_caught(Mutation::CommitsLastPlusOne, &[Invariant::NoLoss]);
}

#[test]
fn a_stored_number_that_is_not_the_next_offset_is_noticed() {
    is_caught(
        Mutation::CommitsTheLast,
        &[Invariant::NextOffset, Invariant::OneOwner],
    );
}

#[test]
fn maps_that_outlive_a_foreign_write_are_noticed() {
    is_caught(Mutation::AnyMapHolds, &[Invariant::NoLoss]);
    is_caught(
        Mutation::AcksOutliveTheMove,
        &[Invariant::NoLoss, Invariant::Order],
    );
}

#[test]
fn a_position_that_outlives_its_claim_is_noticed() {
    is_caught(
        Mutation::PositionOutlivesTheClaim,
        &[Invariant::NoLoss, Invariant::Order, Invariant::OneOwner],
    );
}

#[test]
fn records_of_a_key_beside_each_other_are_noticed() {
    is_caught(Mutation::KeysAreNotOrdered, &[Invariant::Order]);
}

#[test]
fn partitions_that_begin_at_their_end_are_noticed() {
    is_caught(
        Mutation::NewPartitionsBeginAtTheirEnd,
        &[Invariant::NoLoss, Invariant::NextOffset],
    );
}

#[test]
fn a_topic_created_anew_that_is_not_seen_is_noticed() {
    is_caught(
        Mutation::TopicsAreTheirNames,
        &[Invariant::NoLoss, Invariant::OneOwner],
    );
}

#[test]
fn dropped_bodies_that_are_given_up_are_noticed() {
    is_caught(Mutation::DroppedIsGone, &[Invariant::NoLoss, Invariant::Order]);
}

#[test]
fn dropped_bodies_that_are_not_read_again_are_noticed() {
    is_caught(Mutation::NothingIsReread, &[Invariant::OneOwner]);
}

#[test]
fn commits_that_leave_out_what_is_done_above_are_noticed() {
    is_caught(Mutation::NothingAboveIsStored, &[Invariant::Replay]);
}

#[test]
fn commits_that_do_not_come_when_they_are_due_are_noticed() {
    is_caught(Mutation::CommitsAreRare, &[Invariant::Replay]);
}

#[test]
fn records_that_are_done_before_they_are_stored_elsewhere_are_noticed() {
    is_caught(
        Mutation::DoneBeforeItIsStored,
        &[Invariant::NoLoss, Invariant::Order],
    );
}

#[test]
fn a_quota_that_is_off_by_one_is_noticed() {
    is_caught(Mutation::QuotaOffByOne, &[Invariant::OneOwner]);
}

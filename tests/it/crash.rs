//! Instances that die, stop, lose ZooKeeper or lose Kafka, under load: nothing is lost, and each key stays in order.
//!
//! How long partitions stood idle is printed, not asserted: `cargo xtask test crash -- --nocapture` shows it.

#[cfg(test)]
mod acks;

use std::time::{Duration, Instant};

use ktests::{Behaviour, Daemon, OwnCluster, When, cluster, eventually, own_cluster};

use crate::fleet::{PATIENCE, SESSION, World};

/// Slow enough that a fault meets pushes under way.
fn slow() -> Behaviour {
    Behaviour::status(200).after(Duration::from_millis(2))
}

async fn world(what: &str, partitions: i32) -> World {
    let world = World::new(cluster(), what, partitions).await;
    world.backend.on(When::always(), slow());
    world
}

/// Two instances, and the partitions of the first.
struct Pair {
    first: Daemon,
    _second: Daemon,
    of_first: Vec<i32>,
}

async fn pair(world: &World, partitions: usize) -> Pair {
    let first = world.named("first", SESSION, None).await;
    let id = world.only_member().await;
    let _second = world.named("second", SESSION, None).await;
    world.wait_owned(partitions, 2).await;
    // Partitions move a few at a time.
    let of_first = eventually("each owns its half", PATIENCE, async || {
        let owned = world.owned_by(&id).await;
        (owned.len() == partitions / 2).then_some(owned)
    })
    .await;
    Pair {
        first,
        _second,
        of_first,
    }
}

/// For each partition of the first, from `since` until the second began to push it.
fn taken_over(world: &World, pair: &Pair, since: Instant) -> Vec<Duration> {
    let after = |partition: &i32| {
        let pushes = world.pushed_by("second", *partition);
        let first = pushes.iter().map(|seen| seen.start).find(|start| *start > since);
        first.map(|start| start - since)
    };
    let mut times: Vec<Duration> = pair.of_first.iter().filter_map(after).collect();
    times.sort();
    times
}

/// For each partition of the first, from the end of its last push until the second began to push it.
fn idle(world: &World, pair: &Pair) -> Vec<Duration> {
    let between = |partition: &i32| {
        let of_first = world.pushed_by("first", *partition);
        let last = of_first.iter().filter_map(|seen| seen.end).max()?;
        let of_second = world.pushed_by("second", *partition);
        Some(of_second.first()?.start.saturating_duration_since(last))
    };
    let mut times: Vec<Duration> = pair.of_first.iter().filter_map(between).collect();
    times.sort();
    times
}

#[tokio::test]
async fn the_survivor_takes_over_from_a_killed_instance() {
    let world = world("kill-one", 8).await;
    let mut pair = pair(&world, 8).await;
    let load = world.trickle(16_000);
    world.wait_delivered(2_000).await;
    let killed = Instant::now();
    pair.first.kill().await;
    let produced = load.await.unwrap();
    world.wait_committed(16_000).await;
    world.wait_owned(8, 1).await;
    let report = world.check(&produced);
    report.assert_at_least_once();
    let times = taken_over(&world, &pair, killed);
    assert_eq!(times.len(), 4, "every partition was taken over");
    eprintln!("kill -9, session {SESSION:?}: pushed elsewhere after {times:.2?}; {report}");
}

#[tokio::test]
async fn instances_that_were_all_killed_go_on_where_they_were() {
    let world = world("kill-all", 4).await;
    let (mut first, mut second) = (world.instance().await, world.instance().await);
    world.wait_owned(4, 2).await;
    let load = world.trickle(6_000);
    world.wait_delivered(2_000).await;
    first.kill().await;
    second.kill().await;
    let produced = load.await.unwrap();
    first.restart().await;
    second.restart().await;
    world.wait_committed(6_000).await;
    world.check(&produced).assert_at_least_once();
}

#[tokio::test]
async fn a_terminated_instance_hands_over_without_a_repeat() {
    let world = world("terminate", 8).await;
    let mut pair = pair(&world, 8).await;
    let load = world.trickle(10_000);
    world.wait_delivered(2_000).await;
    let told = Instant::now();
    let status = pair.first.terminate().await;
    assert!(status.success(), "{status}");
    world.wait_owned(8, 1).await;
    let produced = load.await.unwrap();
    world.wait_committed(10_000).await;
    world.check(&produced).assert_exactly_once();
    let times = taken_over(&world, &pair, told);
    let idle = idle(&world, &pair);
    eprintln!(
        "SIGTERM: pushed elsewhere after {times:.2?}, partitions idle for {idle:.2?}, nothing repeated"
    );
}

#[tokio::test]
async fn a_second_instance_joins_without_a_repeat() {
    let world = world("join", 8).await;
    let _first = world.instance().await;
    let load = world.trickle(4_000);
    world.wait_delivered(500).await;
    let _second = world.instance().await;
    world.wait_owned(8, 2).await;
    let produced = load.await.unwrap();
    world.wait_committed(4_000).await;
    world.check(&produced).assert_exactly_once();
}

/// Four partitions on a cluster of its own, whose servers the scenario stops.
async fn own_world(what: &str) -> (OwnCluster, World) {
    let own = own_cluster().await;
    let world = World::new(own.cluster.clone(), what, 4).await;
    world.backend.on(When::always(), slow());
    (own, world)
}

#[tokio::test]
async fn pushing_goes_on_after_zookeeper_was_away_for_five_seconds() {
    let (mut own, world) = own_world("zk-short").await;
    let _instances = (world.instance().await, world.instance().await);
    zookeeper_is_away(&mut own, &world, Duration::from_secs(5)).await;
}

#[tokio::test]
async fn pushing_goes_on_after_zookeeper_was_away_for_longer_than_the_session() {
    let (mut own, world) = own_world("zk-long").await;
    let _instances = (world.instance().await, world.instance().await);
    zookeeper_is_away(&mut own, &world, Duration::from_secs(12)).await;
}

/// A server that comes back restores its sessions with their whole time-out before them: whoever made a new session
/// would be kept out for so long by its own former claims.
#[tokio::test]
async fn claims_outlive_zookeeper_being_away_for_longer_than_the_session() {
    let (mut own, world) = own_world("zk-kept").await;
    let _instances = (world.instance().await, world.instance().await);
    world.wait_owned(4, 2).await;
    let mut produced = world.produce(0..1_000, 100).await;
    world.wait_committed(1_000).await;
    let before = world.claims().await;
    own.stop_zookeeper().await.unwrap();
    // Three times the session, and by far the client's own patience with it.
    tokio::time::sleep(Duration::from_secs(12)).await;
    produced.extend(world.produce(1_000..2_000, 100).await);
    assert_eq!(
        world.backend.delivered(),
        1_000,
        "nothing is pushed without a lease"
    );
    own.start_zookeeper().await.unwrap();
    let back = Instant::now();
    world.wait_delivered(1_001).await;
    println!("first push {:?} after ZooKeeper answered again", back.elapsed());
    world.wait_committed(2_000).await;
    assert_eq!(world.claims().await, before, "the claims are the same");
    world.check(&produced).assert_exactly_once();
}

async fn zookeeper_is_away(own: &mut OwnCluster, world: &World, time: Duration) {
    // The load lasts for longer than the fault.
    let load = world.trickle(40_000);
    world.wait_delivered(1_000).await;
    own.stop_zookeeper().await.unwrap();
    // The length of the fault is the scenario, not a wait for something.
    tokio::time::sleep(time).await;
    own.start_zookeeper().await.unwrap();
    let back = Instant::now();
    let delivered = world.backend.delivered();
    world.wait_delivered(delivered + 1).await;
    eprintln!(
        "ZooKeeper away for {time:?}: the next push is answered {:.2} s after it is back",
        back.elapsed().as_secs_f64()
    );
    let produced = load.await.unwrap();
    eventually("everything is committed after the fault", PATIENCE, async || {
        world.committed().await == produced.len()
    })
    .await;
    world.check(&produced).assert_at_least_once();
}

#[tokio::test]
async fn pushing_goes_on_after_the_broker_was_restarted() {
    let (mut own, world) = own_world("broker").await;
    let _instance = world.instance().await;
    let load = world.trickle(4_000);
    world.wait_delivered(1_000).await;
    own.stop_broker().await.unwrap();
    own.start_broker().await.unwrap();
    let produced = load.await.unwrap();
    world.wait_committed(4_000).await;
    world.check(&produced).assert_exactly_once();
}

//! Instances that come and go in good order, or again and again: what moves, and for how long nobody has it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ktests::{Daemon, Seen, cluster, eventually};
use tokio_util::sync::CancellationToken;

use crate::fleet::{PATIENCE, World};

/// Ten times what a partition may lie idle.
const IDLE: Duration = Duration::from_secs(20);

/// The longest time in which a partition had records and no push began, by the partition in the URI.
fn longest_idle(seen: &[Seen]) -> Duration {
    let mut last: BTreeMap<String, Instant> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    let mut starts: Vec<(Instant, String)> = seen
        .iter()
        .map(|seen| {
            let uri = String::from_utf8_lossy(&seen.uri);
            (seen.start, uri.split('/').nth(3).unwrap().to_owned())
        })
        .collect();
    starts.sort();
    for (start, partition) in starts {
        if let Some(before) = last.insert(partition, start) {
            longest = longest.max(start - before);
        }
    }
    longest
}

#[tokio::test]
async fn a_rolling_restart_of_four_instances_loses_and_repeats_nothing() {
    let world = World::new(cluster(), "rolling", 8).await;
    let mut instances: Vec<Daemon> = Vec::new();
    for _ in 0..4 {
        instances.push(world.instance().await);
    }
    world.wait_owned(8, 4).await;
    let stop = CancellationToken::new();
    let load = world.steady(stop.clone());
    world.wait_delivered(500).await;
    for instance in &mut instances {
        let began = Instant::now();
        assert!(instance.terminate().await.success());
        println!("an instance drained and ended in {:?}", began.elapsed());
        world.wait_owned(8, 3).await;
        instance.restart().await;
        world.wait_owned(8, 4).await;
    }
    stop.cancel();
    let produced = load.await.unwrap();
    world.wait_committed(produced.len()).await;
    world.check(&produced).assert_exactly_once();
    let idle = longest_idle(&world.backend.requests());
    println!(
        "{} records, the longest time without a push of a partition {idle:?}",
        produced.len()
    );
    assert!(idle < IDLE, "{idle:?}");
}

#[tokio::test]
async fn an_instance_that_crashes_in_a_loop_moves_nothing() {
    let world = World::new(cluster(), "crashloop", 8).await;
    let _instances = (world.instance().await, world.instance().await);
    eventually("both have their share", PATIENCE, async || {
        let owners = world.znodes.owners(&world.module, &world.topic).await.unwrap();
        let first = owners.values().next().cloned().unwrap_or_default();
        owners.len() == 8 && owners.values().filter(|owner| **owner == first).count() == 4
    })
    .await;
    let before = world.claims().await;
    let mut crashing = world.setup().spawn();
    for _ in 0..5 {
        // All is owned, so it does not join at once; where it is killed it would next.
        eventually("it is about to join", PATIENCE, async || {
            crashing.readiness().await.contains("joining the group")
        })
        .await;
        crashing.kill().await;
        crashing = world.setup().spawn();
    }
    crashing.kill().await;
    // Longer than a session would last that it left behind, and than the others wait before they give up.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(world.claims().await, before, "every claim is the one of before");
}

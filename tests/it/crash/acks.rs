//! kill -9 behind a stuck key: what was delivered above the stored offset is not pushed again, but for what the formula in
//! `docs/delivery-guarantees.md` allows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kcommon::kafka::PartitionId;
use kcommon::zookeeper::{Session, Settings, layout};
use ktests::{Behaviour, Daemon, Produced, Seen, When, cluster, eventually, numbered};
use ktransfer::acks::Map;
use tokio::task::JoinHandle;

use crate::fleet::{PATIENCE, World};

/// Workers of the module, so pushes in flight at most.
const IN_FLIGHT: usize = 100;
/// Acknowledged records above the stuck one when the instance is killed, at least.
const ACKNOWLEDGED: usize = 20_000;
/// Ten times as long as a commit may take on its way, from the moment whose acknowledgements it holds.
const COMMITTED_WITHIN: Duration = Duration::from_secs(1);

/// The offset that a request is for, in the only partition.
fn offset(seen: &Seen) -> i64 {
    let uri = std::str::from_utf8(&seen.uri).unwrap();
    let path = uri.split('?').next().unwrap();
    path.rsplit('/').next().unwrap().parse().unwrap()
}

fn delivered(seen: &[Seen]) -> BTreeSet<i64> {
    seen.iter()
        .filter(|seen| seen.is_delivered())
        .map(offset)
        .collect()
}

/// One partition whose first record fails for ever; with it waits every hundredth.
async fn world(what: &str) -> World {
    let mut world = World::new(cluster(), what, 1).await;
    world.file["max_uncommitted"] = 1_000_000.into();
    world.file["worker_num"] = IN_FLIGHT.into();
    world.file["zk_offset_update_interval_sec"] = 1.into();
    world.backend.on(When::key("k0"), Behaviour::status(500));
    world
}

/// What is stored for the only partition, which has to hold.
async fn stored(world: &World) -> Map {
    let settings = Settings {
        hosts: vec![world.cluster.zookeeper.clone()],
        chroot: world.cluster.chroot.clone(),
        session_timeout: Duration::from_secs(4),
        auth: None,
    };
    let session = Session::connect(&settings).await.unwrap();
    let p = PartitionId(0);
    let offset = session.get(&layout::offset(&world.module, &world.topic, p)).await;
    let acks = session.get(&layout::acks(&world.module, &world.topic, p)).await;
    let (offset, acks) = (offset.unwrap().unwrap(), acks.unwrap().unwrap());
    assert_eq!(offset.stat.mzxid, acks.stat.mzxid);
    let map = Map::decode(&acks.data).unwrap();
    assert_eq!(map.acks.base().to_znode(), offset.data);
    map
}

/// So many records of all that were produced are not of the stuck key.
fn others(produced: usize) -> usize {
    produced - produced.div_ceil(100)
}

/// 500 records a second for four seconds.
fn trickle(world: &World, from: usize) -> JoinHandle<Vec<Produced>> {
    let (writer, topic) = (world.cluster.writer().unwrap(), world.topic.clone());
    tokio::spawn(async move {
        let mut produced = Vec::new();
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for first in (from..from + 2_000).step_by(10) {
            pace.tick().await;
            let portion = numbered(first..first + 10, 100);
            produced.extend(writer.produce_checked(&topic, portion).await.unwrap());
        }
        produced
    })
}

/// Kills the instance while `load` is pushed, starts it again, and holds what it repeats against the formula.
async fn kill_and_count(
    world: &World,
    mut instance: Daemon,
    mut produced: Vec<Produced>,
    load: Option<JoinHandle<Vec<Produced>>>,
    killed_after: usize,
) {
    world.wait_delivered(killed_after).await;
    let killed = Instant::now();
    instance.kill().await;
    let first_life = world.backend.requests();
    let done = delivered(&first_life);
    let map = stored(world).await;
    assert_eq!(map.acks.base().get(), 0, "the head is stuck");
    let kept: BTreeSet<i64> = map.acks.ranges().flatten().collect();
    assert!(kept.is_subset(&done));
    let missing: BTreeSet<i64> = done.difference(&kept).copied().collect();
    let newest = first_life
        .iter()
        .filter(|seen| seen.is_delivered() && seen.end.is_some_and(|end| end + COMMITTED_WITHIN > killed))
        .count();
    let allowed = IN_FLIGHT + newest.max(1_000);
    assert!(
        missing.len() <= allowed,
        "{} of {} would be repeated, {allowed} are allowed",
        missing.len(),
        done.len()
    );

    instance.restart().await;
    if let Some(load) = load {
        produced.extend(load.await.unwrap());
    }
    let others = others(produced.len());
    eventually("all but the stuck key is delivered", PATIENCE, async || {
        world.backend.delivered() >= others && delivered(&world.backend.requests()).len() == others
    })
    .await;
    let second_life = delivered(&world.backend.requests()[first_life.len()..]);
    let repeated: BTreeSet<i64> = second_life.intersection(&done).copied().collect();
    assert!(repeated.is_subset(&missing), "what is stored is not pushed again");
    let in_flight = first_life
        .iter()
        .filter(|seen| seen.end.is_none_or(|end| end >= killed) && !seen.is_delivered())
        .count();
    assert!(in_flight <= IN_FLIGHT);
    let skipped = instance.metric("ktransfer_records_done_before_total", &[]).await;
    assert_eq!(skipped, Some(map.acks.count() as f64));

    world.backend.off(When::key("k0"));
    world.wait_committed(produced.len()).await;
    world.check(&produced).assert_at_least_once();
}

#[tokio::test]
async fn at_500_records_a_second_a_kill_repeats_hundreds_behind_a_stuck_key() {
    let world = world("stuck-slow").await;
    let backlog = world.produce(0..ACKNOWLEDGED + 2_000, 100).await;
    let instance = world.instance().await;
    let at_rest = others(backlog.len());
    world.wait_delivered(at_rest).await;
    let load = trickle(&world, backlog.len());
    kill_and_count(&world, instance, backlog, Some(load), at_rest + 1_000).await;
}

#[tokio::test]
async fn at_full_speed_a_kill_repeats_what_the_formula_says_behind_a_stuck_key() {
    let world = world("stuck-fast").await;
    let backlog = world.produce(0..2 * ACKNOWLEDGED, 100).await;
    let instance = world.instance().await;
    kill_and_count(&world, instance, backlog, None, ACKNOWLEDGED).await;
}

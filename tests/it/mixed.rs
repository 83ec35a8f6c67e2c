//! A fleet of both kinds: members that follow the classic protocol beside ours, joining and leaving.

use ktests::{Behaviour, Daemon, Original, When, cluster, eventually};

use crate::fleet::{PATIENCE, World};

/// Eight partitions, and the ids that keep their places in the order whatever our own ids are.
async fn world(what: &str) -> World {
    let world = World::new(cluster(), what, 8).await;
    world.backend.on(When::always(), Behaviour::status(200));
    world
}

async fn original(world: &World, id: &str) -> Original {
    Original::join(&world.cluster, id, &world.module, &world.topic)
        .await
        .unwrap()
}

/// Waits until the classic members hold these, and ours everything else.
async fn wait_split(world: &World, originals: &[(&Original, &[i32])], ours: usize) {
    eventually("the fleet follows the classic plan", PATIENCE, async || {
        let (owned, owners) = world.owners().await;
        let held = originals
            .iter()
            .all(|(member, expected)| member.held().into_iter().collect::<Vec<_>>() == *expected);
        held && owned == 8 && owners == originals.len() + ours
    })
    .await;
}

async fn deliver(world: &World, from: usize, to: usize) -> Vec<ktests::Produced> {
    world.produce(from..to, 100).await
}

#[tokio::test]
async fn classic_members_join_and_leave_and_every_partition_is_owned() {
    let world = world("mixed").await;
    let first: Daemon = world.instance().await;
    world.wait_owned(8, 1).await;
    let mut produced = deliver(&world, 0, 1_000).await;
    world.wait_committed(1_000).await;

    // Ours lie between these two ids.
    let low = original(&world, "0:low").await;
    wait_split(&world, &[(&low, &[0, 1, 2, 3])], 1).await;
    let high = original(&world, "zzz:high").await;
    wait_split(&world, &[(&low, &[0, 1, 2]), (&high, &[6, 7])], 1).await;
    let second = world.instance().await;
    wait_split(&world, &[(&low, &[0, 1]), (&high, &[6, 7])], 2).await;
    low.leave().await.unwrap();
    wait_split(&world, &[(&high, &[6, 7])], 2).await;
    drop(first);
    wait_split(&world, &[(&high, &[4, 5, 6, 7])], 1).await;

    // What they hold they leave where it is; the rest is theirs no more when they have left.
    produced.extend(deliver(&world, 1_000, 2_000).await);
    high.leave().await.unwrap();
    world.wait_owned(8, 1).await;
    world.wait_committed(2_000).await;
    world.check(&produced).assert_at_least_once();
    drop(second);
}

#[tokio::test]
async fn a_late_commit_of_a_classic_member_is_written_over() {
    let world = world("mixed-late").await;
    let _instance = world.instance().await;
    world.wait_owned(8, 1).await;
    let produced = deliver(&world, 0, 1_000).await;
    world.wait_committed(1_000).await;
    let before = world.znodes.offsets(&world.module, &world.topic).await.unwrap();
    let member = original(&world, "0:late").await;
    wait_split(&world, &[(&member, &[0, 1, 2, 3])], 1).await;
    // It has never owned 7, and what it writes there nobody has delivered.
    member.commit(7, 100_000).await.unwrap();
    eventually("ours is written again", PATIENCE, async || {
        world.znodes.offsets(&world.module, &world.topic).await.unwrap() == before
    })
    .await;
    member.leave().await.unwrap();
    world.wait_owned(8, 1).await;
    world.check(&produced).assert_exactly_once();
}

//! A topic as a whole: pushed to its end, with one key beside the others, and after a crash with nothing left to push.

use ktests::{Behaviour, NewRecord, When, cluster};
use serde::Serialize;
use serde_json::json;

use crate::fleet::World;

#[derive(Serialize)]
struct Call {
    method: &'static str,
    number: usize,
}

/// Records as modules with `methods` expect them.
fn calls(method: &'static str, numbers: std::ops::Range<usize>) -> impl Iterator<Item = NewRecord> {
    numbers.map(move |number| {
        let body = rmp_serde::to_vec_named(&Call { method, number }).unwrap();
        NewRecord::keyed(format!("k{}", number % 10), body)
    })
}

/// The original stops for ever after 32,624 of these records.
#[tokio::test]
async fn eight_partitions_with_a_window_of_200_are_pushed_to_the_end() {
    let world = World::new(cluster(), "eight", 8).await;
    let produced = world.produce(0..400_000, 10_000).await;
    let _instance = world.instance().await;
    world.wait_committed(400_000).await;
    world.check(&produced).assert_exactly_once();
}

#[tokio::test]
async fn a_failing_key_delays_only_itself() {
    let world = World::new(cluster(), "stuck-key", 4).await;
    world.backend.on(When::key("k7"), Behaviour::status(500));
    let _instance = world.instance().await;
    let produced = world.produce(0..20_000, 1_000).await;
    // Everything but the 20 records of the one key.
    world.wait_delivered(19_980).await;
    world.backend.on(When::key("k7"), Behaviour::status(200));
    world.wait_committed(20_000).await;
    world.check(&produced).assert_exactly_once();
}

#[tokio::test]
async fn a_restart_after_everything_was_filtered_repeats_nothing() {
    let mut world = World::new(cluster(), "all-filtered", 1).await;
    world.file["methods"] = json!(["Wanted"]);
    let mut daemon = world.instance().await;
    world
        .cluster
        .produce(&world.topic, calls("Other", 0..500))
        .await
        .unwrap();
    world.wait_committed(500).await;
    daemon.kill().await;
    daemon.restart().await;
    let wanted = world
        .cluster
        .produce_checked(&world.topic, calls("Wanted", 0..1))
        .await
        .unwrap();
    world.wait_committed(501).await;
    world.check(&wanted).assert_exactly_once();
}

//! A request on the wire when the lease ends: it is cut before another can own the partition.

use std::time::{Duration, Instant};

use ktests::{Behaviour, Proxy, When, check, cluster, eventually};
use serde_json::json;

use crate::fleet::{PATIENCE, SESSION, World};

#[tokio::test]
async fn a_request_on_the_wire_is_cut_before_another_instance_owns_its_partition() {
    let mut world = World::new(cluster(), "wire", 2).await;
    // The seed's own example: no read time-out, so nothing but the lease can end these requests.
    world.file["protocol"]["read_timeout_ms"] = json!(0);
    let proxy = Proxy::start(&world.cluster.zookeeper).await;
    let _cut_off = world.named("a", SESSION, Some(&proxy)).await;
    let cut_off = world.only_member().await;
    let _other = world.named("b", SESSION, None).await;
    world.wait_owned(2, 2).await;
    let partition = world.owned_by(&cut_off).await[0];

    world.backend.on(When::always(), Behaviour::hang());
    let produced = world.produce(0..200, 50).await;
    let of = |pusher| world.pushed_by(pusher, partition);
    eventually("requests are on the wire", PATIENCE, async || !of("a").is_empty()).await;
    let start = Instant::now();
    proxy.cut();
    eventually("the other pushes the partition", PATIENCE, async || {
        !of("b").is_empty()
    })
    .await;

    let taken_over = of("b").iter().map(|seen| seen.start).min().unwrap();
    let cuts: Vec<Instant> = of("a")
        .iter()
        .map(|seen| {
            assert_eq!(seen.status, None);
            seen.end.expect("open while another owns the partition")
        })
        .collect();
    let last = cuts.into_iter().max().unwrap();
    assert!(
        last < taken_over,
        "cut {:?} after another had begun",
        last - taken_over
    );
    eprintln!(
        "session {SESSION:?}: cut {:.2} s after ZooKeeper was out of reach, first push elsewhere after {:.2} s",
        (last - start).as_secs_f64(),
        (taken_over - start).as_secs_f64()
    );

    world.backend.off(When::always());
    world.backend.cut_connections().await;
    proxy.heal();
    world.wait_owned(2, 2).await;
    world.wait_committed(200).await;
    check(&produced, &world.backend.requests()).assert_at_least_once();
    // Nothing that hangs is left, so that the instances stop at once.
    eventually("nothing is open", Duration::from_secs(60), async || {
        world.backend.requests().iter().all(|seen| seen.end.is_some())
    })
    .await;
}

//! What one takes from the others: nothing that they need. Memory beside a long backlog, and a live partition beside another's.

use std::time::Duration;

use ktests::{Backend, Behaviour, NewRecord, When, eventually};
use serde_json::json;

use super::world::{self, SOON, Scene, delivers, module_path, noise, rss_mib};

#[tokio::test]
async fn a_long_backlog_of_many_keys_and_large_bodies_stays_within_its_memory() {
    const RECORDS: usize = 200_000;
    let (scene, backend) = (Scene::new("backlog", 2).await, Backend::start().await);
    let large = noise(900_000);
    let records = (0..RECORDS).map(|number| {
        let body = match number % 5000 {
            2500 => large.clone(),
            _ => format!("{number:060}").into_bytes(),
        };
        NewRecord::keyed(format!("k{number}"), body).in_partition(i32::try_from(number % 2).unwrap())
    });
    scene.produce(records).await;
    backend.stop_server(0).await;
    let mut module = scene.module(&backend.addresses());
    module["worker_num"] = json!(50);
    // So long that many have failed before the first one is tried again.
    module["fail_retry_interval_ms"] = json!(30_000);
    let mut daemon = scene.spawn(&module);
    let mut peak = 0;
    // Each key fails, so that what is taken in waits.
    eventually("half of it waits in memory", 5 * SOON, async || {
        peak = peak.max(rss_mib(daemon.pid()));
        let waiting = daemon.metric("ktransfer_records_uncommitted", &[]).await;
        waiting.is_some_and(|waiting| waiting >= 100_000.0)
    })
    .await;
    backend.start_server(0).await;
    eventually("all is delivered", 5 * SOON, async || {
        peak = peak.max(rss_mib(daemon.pid()));
        backend.delivered() >= RECORDS
    })
    .await;
    assert!(peak < 300, "{peak} MiB were resident");
    daemon.wait_ready().await;
    let half = i64::try_from(RECORDS / 2).unwrap();
    scene.stores_all([(0, half), (1, half)]).await;
}

#[tokio::test]
async fn a_backlog_on_one_partition_does_not_delay_a_live_one() {
    let (scene, backend) = (Scene::new("live", 2).await, Backend::start().await);
    backend.on(
        When::always(),
        Behaviour::status(200).after(Duration::from_millis(10)),
    );
    let of = |partition: i32, count: usize| {
        (0..count).map(move |n| {
            NewRecord::keyed(format!("{partition}-{}", n % 100), format!("{partition}-{n}"))
                .in_partition(partition)
        })
    };
    let mut module = scene.module(&backend.addresses());
    module["worker_num"] = json!(4);
    scene.produce(of(0, 4000)).await;
    let _daemon = scene.start(&module).await;
    delivers(&backend, 100).await;
    scene.produce(of(1, 50)).await;
    let to = |partition: i32| {
        let prefix = format!("/push/{partition}/");
        let requests = backend.requests();
        let those = requests
            .iter()
            .filter(|seen| seen.uri.starts_with(prefix.as_bytes()) && seen.status == Some(200));
        those.count()
    };
    eventually("the live partition is delivered", SOON, async || to(1) == 50).await;
    let beside = to(0);
    assert!(
        beside < 3000,
        "{beside} of the backlog went before 50 live records"
    );
    delivers(&backend, 4050).await;
}

#[tokio::test]
async fn a_module_whose_backend_hangs_takes_nothing_from_49_others() {
    const OTHERS: usize = 49;
    const RECORDS: usize = 20;
    let (stuck, others) = (Scene::new("hoards", 2).await, Scene::new("others", 1).await);
    let (hanging, backend) = (Backend::start().await, Backend::start().await);
    hanging.on(When::always(), Behaviour::hang());
    backend.on(When::always(), Behaviour::status(503));
    // Two of these are all of the budget that is not reserved.
    let body = noise(256 << 10);
    let large = (0..40_u8).map(|n| {
        NewRecord::keyed(format!("k{n}"), [&body[..], &[n]].concat()).in_partition(i32::from(n % 2))
    });
    stuck.produce(large).await;
    let names: Vec<String> = (0..OTHERS).map(|n| format!("{}-{n}", others.name)).collect();
    let mut listed: Vec<&str> = names.iter().map(String::as_str).collect();
    listed.push(&stuck.name);
    let mut main = world::main_file(&others.cluster, &listed);
    main["body_budget_bytes"] = json!(1 << 20);
    let mut setup = world::setup(&main).file(
        module_path(&stuck.name),
        stuck.module(&hanging.addresses()).to_string(),
    );
    for name in &names {
        // Of one topic, each at an offset of its own.
        let mut module = others.module(&backend.addresses());
        module["protocol"]["uri"] = json!(format!("/{name}/{{#TRANSID}}"));
        module["fail_retry_interval_ms"] = json!(1000);
        setup = setup.file(module_path(name), module.to_string());
    }
    let daemon = setup.spawn();
    let held = async |name: &str, metric: &str| {
        let label = format!("module=\"{name}\"");
        daemon.metric(metric, &[&label]).await.unwrap_or_default()
    };
    eventually("the one that hangs has what it can get", SOON, async || {
        held(&stuck.name, "ktransfer_body_budget_held_bytes").await >= 524_288.0
    })
    .await;
    // As much as each module's part of the reserved half takes: ten kilobytes.
    let small = noise(200);
    others
        .produce((0..RECORDS).map(|n| world::keyed(format!("k{n}"), small.clone())))
        .await;
    eventually(
        "each of the others takes all of its records in",
        SOON,
        async || {
            for name in &names {
                if held(name, "ktransfer_records_uncommitted").await < 20.0 {
                    return false;
                }
            }
            true
        },
    )
    .await;
    backend.off(When::always());
    delivers(&backend, OTHERS * RECORDS).await;
    let mut uris: Vec<_> = backend.requests().into_iter().map(|seen| seen.uri).collect();
    uris.sort();
    uris.dedup();
    assert_eq!(uris.len(), OTHERS * RECORDS, "each module pushes each record");
    assert_eq!(backend.delivered(), OTHERS * RECORDS, "and is done with it once");
    assert_eq!(hanging.delivered(), 0);
}

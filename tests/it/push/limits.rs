//! Time-outs and the limit of an answer.

use std::time::Duration;

use ktests::{Backend, Behaviour, When, eventually};
use serde_json::json;

use super::raw::{Act, Raw};
use super::world::{SOON, Scene, delivers, keyed, noise, of_offset, produce_any};

/// More than the kernel takes from a sender whose receiver does not read.
const LARGE: usize = 12 << 20;

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_asked_for_again() {
    let (scene, backend) = (Scene::new("hang", 1).await, Backend::start().await);
    let half = Raw::start(Act::HalfAnswer).await;
    backend.on(When::key("k").attempt(1), Behaviour::hang());
    let mut module = scene.module(&[half.address(), backend.address(), backend.address()]);
    module["protocol"]["read_timeout_ms"] = json!(300);
    scene.produce([keyed("k", "body")]).await;
    let daemon = scene.start(&module).await;
    scene.stores(1).await;
    // The first attempt got half of an answer, the second none, the third all of it.
    assert_eq!(half.heads().len(), 1);
    let requests = backend.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].status, Some(200));
    assert_eq!(requests[0].status, None);
    eventually("the connection of the time-out is closed", SOON, async || {
        backend.requests()[0].end.is_some()
    })
    .await;
    assert!(daemon.log().contains("read timed out"), "{}", daemon.log());
}

#[tokio::test]
async fn without_a_read_timeout_an_answer_is_waited_for_and_the_others_still_count() {
    let (scene, backend) = (Scene::new("patient", 1).await, Backend::start().await);
    let full = super::raw::Full::start().await;
    backend.on(
        When::key("k"),
        Behaviour::status(200).after(Duration::from_secs(3)),
    );
    let mut module = scene.module(&[full.address(), backend.address()]);
    // As in the seed's own example.
    module["protocol"]["read_timeout_ms"] = json!(0);
    module["protocol"]["write_timeout_ms"] = json!(100);
    module["protocol"]["conn_timeout_ms"] = json!(100);
    scene.produce([keyed("k", "body")]).await;
    let daemon = scene.start(&module).await;
    scene.stores(1).await;
    assert_eq!(backend.count(), 1);
    assert!(daemon.log().contains("connect timed out"), "{}", daemon.log());
}

#[tokio::test]
async fn a_backend_that_only_hangs_is_reported_and_is_no_longer_when_it_answers() {
    let (scene, backend) = (Scene::new("hangs", 1).await, Backend::start().await);
    backend.on(When::always(), Behaviour::hang());
    let mut module = scene.module(&backend.addresses());
    module["protocol"]["read_timeout_ms"] = json!(0);
    scene.produce(["a", "b", "c"].map(|key| keyed(key, "body"))).await;
    let mut daemon = scene.start(&module).await;
    // The promise is half a minute.
    eventually("the silence is reported", Duration::from_secs(300), async || {
        let reasons = daemon.readiness().await;
        reasons.contains("no push has ended for 30 s although 2 are on their way")
    })
    .await;
    assert_eq!(daemon.metric("ktransfer_backend_down", &[]).await, Some(1.0));
    backend.off(When::always());
    backend.cut_connections().await;
    scene.stores(3).await;
    daemon.wait_ready().await;
}

#[tokio::test]
async fn the_read_timeout_begins_with_the_last_byte_sent() {
    let scene = Scene::of_large_records("late").await;
    let server = Raw::start(Act::ReadLate(Duration::from_secs(4))).await;
    produce_any(&scene, "k", Some(&noise(LARGE))).await;
    let mut module = scene.module(&[server.address()]);
    module["protocol"]["read_timeout_ms"] = json!(2000);
    let daemon = scene.start(&module).await;
    scene.stores(1).await;
    assert_eq!(server.heads().len(), 1);
    assert!(!daemon.log().contains("timed out"), "{}", daemon.log());
}

#[tokio::test]
async fn a_backend_that_does_not_read_times_out_writing() {
    let scene = Scene::of_large_records("unread").await;
    let (silent, backend) = (Raw::start(Act::Silent).await, Backend::start().await);
    let body = noise(LARGE);
    produce_any(&scene, "k", Some(&body)).await;
    let mut module = scene.module(&[silent.address(), backend.address()]);
    module["protocol"]["write_timeout_ms"] = json!(2000);
    let daemon = scene.start(&module).await;
    scene.stores(1).await;
    let requests = backend.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].body == body);
    assert!(daemon.log().contains("write timed out"), "{}", daemon.log());
}

#[tokio::test]
async fn an_answer_that_is_too_long_counts_by_its_status_and_ends_its_connection() {
    let (scene, backend) = (Scene::new("long", 1).await, Backend::start().await);
    let long = |status| Behaviour::status(status).with_body(vec![b'x'; 100_000]);
    backend.on(When::key("long"), long(201));
    backend.on(When::key("failed").attempt(1), long(500));
    backend.on(
        When::key("fits"),
        Behaviour::status(200).with_body(vec![b'x'; 1000]),
    );
    let mut module = scene.module(&backend.addresses());
    module["worker_num"] = json!(1);
    module["protocol"]["max_response_bytes"] = json!(1000);
    scene
        .produce(["first", "long", "fits", "failed"].map(|key| keyed(key, "body")))
        .await;
    let _daemon = scene.start(&module).await;
    delivers(&backend, 4).await;
    let requests = backend.requests();
    let seen: Vec<_> = (0..4).map(|offset| of_offset(&requests, offset)).collect();
    assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1, 2]);
    assert_eq!(seen[0][0].connection, seen[1][0].connection);
    assert_ne!(seen[1][0].connection, seen[2][0].connection);
    assert_eq!(seen[2][0].connection, seen[3][0].connection);
    assert_ne!(seen[3][0].connection, seen[3][1].connection);
    scene.stores(4).await;
}

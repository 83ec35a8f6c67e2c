//! Which server takes a push, on which connection, and what a connection that fails costs.

use ktests::{Backend, Behaviour, When, eventually, ports};
use serde_json::json;

use super::raw::{Act, Full, Raw};
use super::world::{SOON, Scene, delivers, keyed, of_key, of_offset, unkeyed};

#[tokio::test]
async fn every_attempt_takes_the_next_server() {
    let (scene, backend) = (Scene::new("turns", 1).await, Backend::start_servers(3).await);
    backend.on(When::key("twice").attempt(1), Behaviour::status(500));
    let mut module = scene.module(&backend.addresses());
    module["worker_num"] = json!(1);
    let twice = (0..5).map(|n| keyed("twice", format!("twice-{n}")));
    let once = (0..10).map(|n| keyed(format!("once-{n}"), "once"));
    scene.produce(twice.chain(once)).await;
    let _daemon = scene.start(&module).await;
    delivers(&backend, 15).await;
    let servers: Vec<usize> = backend.requests().iter().map(|seen| seen.server).collect();
    let turns: Vec<usize> = (0..20).map(|nth| nth % 3).collect();
    assert_eq!(servers, turns);
}

#[tokio::test]
async fn connections_are_kept_and_each_worker_has_one_to_each_server() {
    let (scene, backend) = (Scene::new("kept", 1).await, Backend::start_servers(2).await);
    let mut module = scene.module(&backend.addresses());
    module["worker_num"] = json!(4);
    scene.produce((0..400).map(|n| unkeyed(format!("{n}")))).await;
    let _daemon = scene.start(&module).await;
    delivers(&backend, 400).await;
    let requests = backend.requests();
    let mut connections: Vec<u32> = requests.iter().map(|seen| seen.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    assert!((2..=8).contains(&connections.len()), "{connections:?}");
    assert_eq!(requests.len(), 400);
}

#[tokio::test]
async fn a_backend_that_closes_idle_connections_costs_no_attempt() {
    let (scene, backend) = (Scene::new("idle", 1).await, Backend::start_servers(2).await);
    let mut module = scene.module(&backend.addresses());
    module["max_retry_times"] = json!(0);
    let daemon = scene.start(&module).await;
    let outcome = async |outcome: &str| {
        let label = format!("outcome=\"{outcome}\"");
        daemon
            .metric("ktransfer_pushes_total", &[&label])
            .await
            .unwrap_or_default()
    };
    for round in 1..=5_u32 {
        scene
            .produce((0..10).map(|n| unkeyed(format!("{round}-{n}"))))
            .await;
        // Every answer has arrived: the backend has only written them.
        eventually("the answers are there", SOON, async || {
            outcome("delivered").await >= f64::from(10 * round)
        })
        .await;
        backend.cut_connections().await;
    }
    assert!(outcome("repeated").await >= 4.0);
    assert!((outcome("exhausted").await - 0.0).abs() < 0.5);
    assert_eq!(backend.count(), 50);
    // The backend says that it closes: not even a repetition.
    let repeated = outcome("repeated").await;
    backend.on(When::always(), Behaviour::status(200).and_close());
    scene
        .produce((0..10).map(|n| unkeyed(format!("close-{n}"))))
        .await;
    delivers(&backend, 60).await;
    // At most those that were open from the last round.
    assert!(outcome("repeated").await <= repeated + 4.0);
    assert_eq!(backend.count(), 60);
    scene.stores(60).await;
}

#[tokio::test]
async fn a_reused_connection_that_breaks_before_the_answer_is_repeated_once_at_once() {
    let (scene, backend) = (Scene::new("reused", 1).await, Backend::start().await);
    backend.on(When::key("once").attempt(1), Behaviour::reset());
    backend.on(When::key("closed").attempt(1), Behaviour::close());
    backend.on(When::key("always"), Behaviour::reset());
    let mut module = scene.module(&backend.addresses());
    module["max_retry_times"] = json!(0);
    module["worker_num"] = json!(1);
    let first = ["warm", "once", "closed", "always", "last"];
    scene.produce(first.map(|key| keyed(key, "body"))).await;
    let daemon = scene.start(&module).await;
    delivers(&backend, 4).await;
    let requests = backend.requests();
    let counts: Vec<usize> = (0..5).map(|offset| of_offset(&requests, offset).len()).collect();
    // The connection after `always` is a new one, so that `last` needs one request.
    assert_eq!(counts, [1, 2, 2, 2, 1]);
    scene.stores(5).await;
    let dropped = daemon
        .metric("ktransfer_pushes_total", &["outcome=\"exhausted\""])
        .await;
    assert_eq!(dropped, Some(1.0));
}

#[tokio::test]
async fn servers_that_refuse_or_do_not_answer_a_connect_are_passed_in_turn() {
    let (scene, backend) = (Scene::new("refuse", 1).await, Backend::start().await);
    let (full, nobody) = (Full::start().await, format!("127.0.0.1:{}", ports::free_port()));
    let mut module = scene.module(&[nobody, full.address(), backend.address()]);
    module["protocol"]["conn_timeout_ms"] = json!(100);
    module["worker_num"] = json!(4);
    let produced = scene
        .cluster
        .produce_checked(
            &scene.name,
            of_key("a", 5).chain(of_key("b", 5)).chain(of_key("c", 5)),
        )
        .await
        .unwrap();
    let daemon = scene.start(&module).await;
    delivers(&backend, 15).await;
    ktests::check(&produced, &backend.requests()).assert_exactly_once();
    scene.stores(15).await;
    let log = daemon.log();
    assert!(log.contains("push failed; it will be repeated"), "{log}");
    eventually("both failures were counted", SOON, async || {
        daemon
            .metric("ktransfer_pushes_total", &["outcome=\"retried\""])
            .await
            .is_some_and(|count| count >= 2.0)
    })
    .await;
}

#[tokio::test]
async fn a_connect_time_out_is_an_attempt() {
    let scene = Scene::new("connect", 1).await;
    let full = Full::start().await;
    let mut module = scene.module(&[full.address()]);
    module["protocol"]["conn_timeout_ms"] = json!(100);
    module["max_retry_times"] = json!(1);
    scene.produce([unkeyed("body")]).await;
    let daemon = scene.start(&module).await;
    scene.stores(1).await;
    assert!(daemon.log().contains("connect timed out"), "{}", daemon.log());
    let outcomes = ["retried", "exhausted"].map(|outcome| format!("outcome=\"{outcome}\""));
    for outcome in outcomes {
        let count = daemon.metric("ktransfer_pushes_total", &[&outcome]).await;
        assert_eq!(count, Some(1.0), "{outcome}");
    }
}

#[tokio::test]
async fn a_backend_that_says_408_when_it_closes_an_idle_connection_costs_no_attempt() {
    let scene = Scene::new("says408", 1).await;
    let server = Raw::start(Act::ClosesWith408).await;
    let mut module = scene.module(&[server.address()]);
    module["max_retry_times"] = json!(0);
    module["worker_num"] = json!(1);
    let daemon = scene.start(&module).await;
    for offset in 0..3 {
        scene.produce([unkeyed("body")]).await;
        // A second later: the connection has been closed by then.
        scene.stores(offset + 1).await;
    }
    assert_eq!(server.heads().len(), 3);
    for (outcome, count) in [("delivered", 3.0), ("repeated", 2.0), ("exhausted", 0.0)] {
        let label = format!("outcome=\"{outcome}\"");
        let counted = daemon.metric("ktransfer_pushes_total", &[&label]).await;
        assert_eq!(counted, Some(count), "{outcome}");
    }
}

#[tokio::test]
async fn an_answer_without_length_is_taken_and_one_that_is_no_http_is_none() {
    let scene = Scene::new("answers", 1).await;
    let (old, garbage) = (Raw::start(Act::Old).await, Raw::start(Act::Garbage).await);
    let mut module = scene.module(&[garbage.address(), old.address()]);
    module["worker_num"] = json!(1);
    scene.produce(of_key("k", 3)).await;
    let daemon = scene.start(&module).await;
    scene.stores(3).await;
    assert_eq!((garbage.heads().len(), old.heads().len()), (3, 3));
    let repeated = daemon
        .metric("ktransfer_pushes_total", &["outcome=\"retried\""])
        .await;
    assert_eq!(repeated, Some(3.0));
}

#[tokio::test]
async fn a_push_is_a_post_with_one_request_line() {
    let (scene, server) = (
        Scene::new("line", 1).await,
        Raw::start(Act::ReadLate(std::time::Duration::ZERO)).await,
    );
    scene.produce([keyed("k", "body")]).await;
    let _daemon = scene.start(&scene.module(&[server.address()])).await;
    scene.stores(1).await;
    let heads = server.heads();
    let expected = format!(
        "POST /push/0/0?key=k HTTP/1.1\r\nhost: {}\r\ncontent-length: 4\r\n\r\n",
        server.address()
    );
    assert_eq!(heads, [expected]);
}

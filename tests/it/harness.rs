//! The harness itself, where it touches real servers.

use std::time::Duration;

use ktests::{Backend, Behaviour, NewRecord, When, cluster, eventually, http, own_cluster, unique};

#[tokio::test]
async fn what_is_produced_is_read_back() {
    let (cluster, topic) = (cluster(), unique("readback"));
    cluster.create_topic(&topic, 2).await.unwrap();
    let record = |partition, body: &'static str| NewRecord::keyed("k", body).in_partition(partition);
    let places = cluster
        .produce(&topic, [record(1, "a"), record(0, "b"), record(1, "c")])
        .await
        .unwrap();
    assert_eq!(places, [(1, 0), (0, 0), (1, 1)]);
    assert_eq!(cluster.read_values(&topic).await.unwrap(), [b"b", b"a", b"c"]);
}

#[tokio::test]
async fn a_topic_is_grown_and_deleted() {
    let (cluster, topic) = (cluster(), unique("grown"));
    cluster.create_topic(&topic, 1).await.unwrap();
    cluster.grow_topic(&topic, 3).await.unwrap();
    assert_eq!(cluster.watermarks(&topic).await.unwrap().len(), 3);
    // Deleting goes on for a moment after it was answered, and the old topic counts as existing until then.
    for partitions in [2, 1, 2] {
        cluster.delete_topic(&topic).await.unwrap();
        let size = usize::try_from(partitions).unwrap();
        eventually("the topic is new", Duration::from_secs(60), async || {
            cluster.create_topic(&topic, partitions).await.unwrap();
            cluster
                .watermarks(&topic)
                .await
                .is_ok_and(|logs| logs.len() == size)
        })
        .await;
    }
    cluster.delete_topic(&topic).await.unwrap();
}

#[tokio::test]
async fn the_backend_answers_as_it_is_told() {
    let backend = Backend::start().await;
    let url = |key: &str| format!("http://{}/x?key={key}", backend.address());
    backend.on(When::key("a b"), Behaviour::status(503).with_body("busy"));
    backend.on(When::key("r").attempt(1), Behaviour::reset());
    backend.on(When::key("c").attempt(1), Behaviour::close());
    let answer = http::post(&url("a%20b"), "1").await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (503, "busy"));
    for key in ["r", "c"] {
        http::post(&url(key), "2").await.unwrap_err();
        assert_eq!(http::post(&url(key), "2").await.unwrap().status, 200);
    }
    let seen = backend.requests();
    let brief: Vec<_> = seen.iter().map(|seen| (seen.attempt, seen.status)).collect();
    assert_eq!(
        brief,
        [
            (1, Some(503)),
            (1, None),
            (2, Some(200)),
            (1, None),
            (2, Some(200))
        ]
    );
    assert_eq!(seen[0].key.as_deref(), Some(&b"a b"[..]));
    assert_eq!(seen[0].header("host"), Some(backend.address().as_str()));
    assert_eq!((backend.count(), backend.delivered()), (5, 2));
}

#[tokio::test]
async fn a_request_that_hangs_stays_open_until_its_client_leaves() {
    let backend = Backend::start().await;
    backend.on(When::always(), Behaviour::hang());
    let url = format!("http://{}/", backend.address());
    let client = tokio::spawn(async move { http::post(&url, "1").await });
    eventually("the request is seen", Duration::from_secs(10), async || {
        backend.count() == 1
    })
    .await;
    assert!(backend.requests()[0].end.is_none());
    client.abort();
    eventually("its end is seen", Duration::from_secs(10), async || {
        backend.requests()[0].end.is_some()
    })
    .await;
}

#[tokio::test]
async fn a_stopped_backend_refuses_and_comes_back_on_its_port() {
    let backend = Backend::start_servers(2).await;
    let url = format!("http://{}/", backend.addresses()[1]);
    backend.stop_server(1).await;
    http::get(&url).await.unwrap_err();
    backend.start_server(1).await;
    assert_eq!(http::get(&url).await.unwrap().status, 200);
    assert_eq!(backend.requests()[0].server, 1);
}

#[tokio::test]
async fn znodes_are_written_and_read_below_the_chroot() {
    let (znodes, module) = (cluster().znodes().await.unwrap(), unique("znodes"));
    let path = format!("/consumers/{module}/offsets/t/0");
    znodes.set(&path, "12").await.unwrap();
    znodes.set(&path, "13").await.unwrap();
    assert_eq!(znodes.offsets(&module, "t").await.unwrap(), [(0, 13)].into());
    assert!(!znodes.is_ephemeral(&path).await.unwrap());
    znodes.delete(&path).await.unwrap();
    assert_eq!(znodes.get(&path).await.unwrap(), None);
}

#[tokio::test]
async fn the_servers_of_a_private_cluster_stop_and_start_with_their_data() {
    let mut own = own_cluster().await;
    own.cluster.create_topic("t", 1).await.unwrap();
    own.cluster
        .produce("t", [NewRecord::keyed("k", "1")])
        .await
        .unwrap();
    own.stop_zookeeper().await.unwrap();
    own.start_zookeeper().await.unwrap();
    own.stop_broker().await.unwrap();
    own.start_broker().await.unwrap();
    assert_eq!(own.cluster.read_topic("t").await.unwrap().len(), 1);
}

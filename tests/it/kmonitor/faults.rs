//! What may be wrong around kmonitor: garbage in ZooKeeper, servers that are away, clusters that do not exist.

use ktests::{Proxy, cluster, own_cluster};

use super::world::{Monitor, SESSION, Znodes, kept_by_kafka, produce, section, topic};

#[tokio::test]
async fn garbage_in_zookeeper_costs_its_own_partition_only() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "garbage").await;
    let topic = topic(&cluster, "garbage", &[10; 6]).await;
    let offsets = format!("/consumers/m/offsets/{topic}");
    znodes.make(&format!("{offsets}/0"), b"garbage").await;
    znodes.make(&format!("{offsets}/1"), b"").await;
    znodes.make(&format!("{offsets}/2"), &[0xff; 900_000]).await;
    znodes.make(&format!("{offsets}/3"), b"-1").await;
    znodes
        .make(&format!("{offsets}/4"), b"99999999999999999999")
        .await;
    znodes.make(&format!("{offsets}/5"), b"9").await;
    for stray in ["lock", "01", "-1", "2147483648"] {
        znodes.make(&format!("{offsets}/{stray}"), b"5").await;
    }
    znodes.make("/consumers/m/offsets/no topic/0", b"5").await;
    znodes.make("/consumers/m/ids/half", b"{\"subscription\":").await;
    znodes.make("/consumers/m/ids/binary", &[0, 159, 146, 150]).await;
    znodes.make("/consumers/a leaf <&>", b"nothing below").await;
    znodes.make("/consumers/odd/offsets", b"no topics").await;
    znodes.commit("sound", &topic, 0, 4).await;
    let monitor = Monitor::of(&cluster, &znodes).await;
    let json = concat!(
        r#"{"c":{"a leaf \u003c\u0026\u003e":{},"m":{"5":1},"odd":{},"#,
        r#""sound":{"0":6,"1":10,"2":10,"3":10,"4":10,"5":10}}}"#
    );
    let answer = monitor.shows(json).await;
    assert_eq!(answer.header("x-kmonitor-unknown"), Some("5"));
    let sound = (1..6).map(|partition| format!("- c.sound.{partition}.delay 10\n"));
    let zabbix = monitor.get("/delay?format=zabbix").await.body;
    assert_eq!(
        zabbix,
        format!(
            "- c.m.5.delay 1\n- c.sound.0.delay 6\n{}",
            sound.collect::<String>()
        )
    );

    znodes.make(&format!("{offsets}/0"), b"10\n").await;
    monitor
        .shows(&json.replace(r#""m":{"5":1}"#, r#""m":{"0":0,"5":1}"#))
        .await;
    monitor.stop().await;
}

#[tokio::test]
async fn a_topic_that_is_deleted_or_made_anew_shows_no_wrong_number() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "anew").await;
    let topic = topic(&cluster, "anew", &[10, 10]).await;
    let other = super::world::topic(&cluster, "anew-other", &[10]).await;
    znodes.register("m", "host:uuid", &topic).await;
    znodes.commit("m", &topic, 0, 4).await;
    znodes.commit("m", &topic, 1, 4).await;
    znodes.commit("other", &other, 0, 4).await;
    let monitor = Monitor::of(&cluster, &znodes).await;
    monitor
        .shows(r#"{"c":{"m":{"0":6,"1":6},"other":{"0":6}}}"#)
        .await;
    cluster.delete_topic(&topic).await.unwrap();
    monitor.shows(r#"{"c":{"m":{},"other":{"0":6}}}"#).await;
    // The new topic has one partition, and the old commit is beyond its end.
    ktests::eventually("the topic can be made again", super::world::SOON, async || {
        cluster.create_topic(&topic, 1).await.is_ok()
    })
    .await;
    produce(&cluster, &topic, 0, 3).await;
    monitor.shows(r#"{"c":{"m":{},"other":{"0":6}}}"#).await;
    znodes.commit("m", &topic, 0, 1).await;
    monitor.shows(r#"{"c":{"m":{"0":2},"other":{"0":6}}}"#).await;
    monitor.stop().await;
}

#[tokio::test]
async fn a_cluster_that_is_not_there_keeps_nobody_from_asking_about_the_others() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "two").await;
    let topic = topic(&cluster, "two", &[3]).await;
    znodes.commit("m", &topic, 0, 1).await;
    let nowhere = format!("127.0.0.1:{}", ktests::ports::free_port());
    // Connections are made and never answered.
    let hung = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = hung.local_addr().unwrap().to_string();
    let ours = |name, brokers| section(name, &cluster.zookeeper, &znodes.chroot, Some(brokers));
    let monitor = Monitor::start(&[
        ("here", ours("here", &cluster.brokers)),
        ("hung_broker", ours("hung_broker", &hangs)),
        ("hung_zookeeper", section("hung_zookeeper", &hangs, "/mq", None)),
        ("no_broker", ours("no_broker", &nowhere)),
        (
            "no_chroot",
            section("no_chroot", &cluster.zookeeper, "/kmonitor/nowhere", None),
        ),
        ("no_zookeeper", section("no_zookeeper", &nowhere, "/mq", None)),
    ])
    .await;
    let json = concat!(
        r#"{"here":{"m":{"0":2}},"hung_broker":{"m":{}},"hung_zookeeper":{},"#,
        r#""no_broker":{"m":{}},"no_chroot":{},"no_zookeeper":{}}"#
    );
    let answer = monitor.shows(json).await;
    assert_eq!(answer.header("x-kmonitor-unknown"), Some("2"));
    assert_eq!(
        answer.header("x-kmonitor-stale"),
        Some("hung_zookeeper,no_chroot,no_zookeeper")
    );
    assert_eq!(
        monitor.get("/delay?cluster=here").await.body,
        r#"{"here":{"m":{"0":2}}}"#
    );
    assert_eq!(
        monitor.get("/delay?cluster=no_zookeeper").await.body,
        r#"{"no_zookeeper":{}}"#
    );
    monitor.stop().await;
}

#[tokio::test]
async fn servers_that_stop_make_their_numbers_absent_and_nothing_is_ever_written() {
    let mut own = own_cluster().await;
    let cluster = own.cluster.clone();
    let znodes = Znodes::at(&cluster, &cluster.chroot).await;
    let topic = topic(&cluster, "written", &[10]).await;
    znodes.commit("m", &topic, 0, 4).await;
    let registered = section("c", &cluster.zookeeper, &cluster.chroot, None);
    let before = (znodes.tree().await, kept_by_kafka(&cluster).await);
    let monitor = Monitor::start(&[("c", registered + " kafka_groups: true\n")]).await;
    let known = r#"{"c":{"m":{"0":6}}}"#;
    monitor.shows(known).await;
    let after = (znodes.tree().await, kept_by_kafka(&cluster).await);
    assert_eq!(after, before, "kmonitor writes nothing to ZooKeeper or Kafka");

    own.stop_broker().await.unwrap();
    let answer = monitor.shows(r#"{"c":{"m":{}}}"#).await;
    assert_eq!(answer.header("x-kmonitor-unknown"), Some("1"));
    own.start_broker().await.unwrap();
    monitor.shows(known).await;

    own.stop_zookeeper().await.unwrap();
    let answer = monitor.shows(r#"{"c":{}}"#).await;
    assert_eq!(answer.header("x-kmonitor-stale"), Some("c"));
    own.start_zookeeper().await.unwrap();
    monitor.shows(known).await;
    assert!(monitor.lives());
    monitor.stop().await;
}

#[tokio::test]
async fn a_session_of_zookeeper_that_expires_is_made_anew() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "expiry").await;
    let topic = topic(&cluster, "expiry", &[10]).await;
    znodes.commit("m", &topic, 0, 4).await;
    let proxy = Proxy::start(&cluster.zookeeper).await;
    let section = section("c", &proxy.address(), &znodes.chroot, Some(&cluster.brokers));
    let monitor = Monitor::start(&[("c", section)]).await;
    monitor.shows(r#"{"c":{"m":{"0":6}}}"#).await;
    proxy.cut();
    let answer = monitor.shows(r#"{"c":{}}"#).await;
    assert_eq!(answer.header("x-kmonitor-stale"), Some("c"));
    // The server drops it meanwhile: three times the session, and what it takes the server to look.
    tokio::time::sleep(3 * SESSION).await;
    znodes.commit("m", &topic, 0, 7).await;
    proxy.heal();
    monitor.shows(r#"{"c":{"m":{"0":3}}}"#).await;
    assert!(monitor.lives());
    monitor.stop().await;
}

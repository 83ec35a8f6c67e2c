//! kmonitor on a real Kafka and a real ZooKeeper: the bytes it answers, the page, and that nothing stops it.

mod api;
mod faults;
mod groups;
mod notify;
mod page;
mod process;
mod server;
mod tools;
#[cfg(test)]
mod world;

use ktests::cluster;

use world::{Monitor, Znodes, produce, topic};

#[tokio::test]
async fn the_seeds_forms_are_answered_byte_for_byte() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "forms").await;
    let one = topic(&cluster, "forms-1", &[20]).await;
    let two = topic(&cluster, "forms-2", &[5]).await;
    znodes.commit("test_module_1", &one, 0, 8).await;
    znodes.commit("test_module_2", &two, 0, 5).await;
    let section = world::section(
        "test_cluster",
        &cluster.zookeeper,
        &znodes.chroot,
        Some(&cluster.brokers),
    );
    let monitor = Monitor::start(&[("test_cluster", section)]).await;

    let json = r#"{"test_cluster":{"test_module_1":{"0":12},"test_module_2":{"0":0}}}"#;
    let zabbix = "- test_cluster.test_module_1.0.delay 12\n- test_cluster.test_module_2.0.delay 0\n";
    let answer = monitor.shows(json).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("x-kmonitor-unknown"), Some("0"));
    assert_eq!(answer.header("x-kmonitor-stale"), None);
    for question in [
        "/delay?format=json",
        "/delay?cluster=test_cluster",
        "/delay?cluster=&format=",
    ] {
        assert_eq!(monitor.get(question).await.body, json, "{question}");
    }
    for question in [
        "/delay?format=zabbix",
        "/delay?cluster=test_cluster&format=zabbix",
    ] {
        let answer = monitor.get(question).await;
        assert_eq!(answer.body, zabbix, "{question}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    monitor.stop().await;
}

#[tokio::test]
async fn the_lag_of_a_dead_module_grows() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "dead").await;
    let topic = topic(&cluster, "dead", &[10]).await;
    znodes.commit("m", &topic, 0, 10).await;
    let monitor = Monitor::of(&cluster, &znodes).await;
    monitor.shows(r#"{"c":{"m":{"0":0}}}"#).await;
    produce(&cluster, &topic, 0, 7).await;
    monitor.shows(r#"{"c":{"m":{"0":7}}}"#).await;
    produce(&cluster, &topic, 0, 1000).await;
    monitor.shows(r#"{"c":{"m":{"0":1007}}}"#).await;
    znodes.commit("m", &topic, 0, 1017).await;
    monitor.shows(r#"{"c":{"m":{"0":0}}}"#).await;
    monitor.stop().await;
}

#[tokio::test]
async fn many_partitions_are_sorted_as_text() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "sorted").await;
    let topic = topic(&cluster, "sorted", &[1; 11]).await;
    for partition in 0..11 {
        znodes.commit("m", &topic, partition, 0).await;
    }
    let monitor = Monitor::of(&cluster, &znodes).await;
    let json = r#"{"c":{"m":{"0":1,"1":1,"10":1,"2":1,"3":1,"4":1,"5":1,"6":1,"7":1,"8":1,"9":1}}}"#;
    monitor.shows(json).await;
    monitor.stop().await;
}

#[tokio::test]
async fn modules_come_and_go_without_a_restart() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "come").await;
    let monitor = Monitor::of(&cluster, &znodes).await;
    monitor.shows(r#"{"c":{}}"#).await;
    let topic = topic(&cluster, "come", &[3, 3]).await;
    znodes.commit("m", &topic, 0, 1).await;
    znodes.commit("m", &topic, 1, 2).await;
    monitor.shows(r#"{"c":{"m":{"0":2,"1":1}}}"#).await;
    znodes.delete(&format!("/consumers/m/offsets/{topic}/0")).await;
    znodes.delete(&format!("/consumers/m/offsets/{topic}/1")).await;
    znodes.delete(&format!("/consumers/m/offsets/{topic}")).await;
    monitor.shows(r#"{"c":{"m":{}}}"#).await;
    znodes.delete("/consumers/m/offsets").await;
    znodes.delete("/consumers/m").await;
    monitor.shows(r#"{"c":{}}"#).await;
    monitor.stop().await;
}

#[tokio::test]
async fn a_modules_earlier_topic_does_not_overwrite_the_present_one() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "topics").await;
    let before = topic(&cluster, "topics-before", &[100]).await;
    let now = topic(&cluster, "topics-now", &[10]).await;
    znodes.commit("m", &now, 0, 7).await;
    znodes.commit("m", &before, 0, 1).await;
    znodes.register("m", "host:uuid", &now).await;
    let monitor = Monitor::of(&cluster, &znodes).await;
    monitor.shows(r#"{"c":{"m":{"0":3}}}"#).await;
    // Dead, the topic with the newest commit counts; that is still the earlier one until the module commits again.
    znodes.delete("/consumers/m/ids/host:uuid").await;
    monitor.shows(r#"{"c":{"m":{"0":99}}}"#).await;
    znodes.commit("m", &now, 0, 8).await;
    monitor.shows(r#"{"c":{"m":{"0":2}}}"#).await;
    monitor.stop().await;
}

#[tokio::test]
async fn a_new_partition_is_behind_by_all_its_records_until_it_is_committed() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "grown").await;
    let topic = topic(&cluster, "grown", &[4]).await;
    znodes.register("m", "host:uuid", &topic).await;
    let monitor = Monitor::of(&cluster, &znodes).await;
    // Nothing committed at all: where the module will start is its own setting.
    let answer = monitor.shows(r#"{"c":{"m":{}}}"#).await;
    assert_eq!(answer.header("x-kmonitor-unknown"), Some("1"));
    znodes.commit("m", &topic, 0, 4).await;
    monitor.shows(r#"{"c":{"m":{"0":0}}}"#).await;
    cluster.grow_topic(&topic, 2).await.unwrap();
    produce(&cluster, &topic, 1, 6).await;
    monitor.shows(r#"{"c":{"m":{"0":0,"1":6}}}"#).await;
    znodes.commit("m", &topic, 1, 5).await;
    monitor.shows(r#"{"c":{"m":{"0":0,"1":1}}}"#).await;
    monitor.stop().await;
}

#[tokio::test]
async fn a_commit_beyond_the_log_end_is_absent_and_not_zero() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "ahead").await;
    let topic = topic(&cluster, "ahead", &[4, 4]).await;
    znodes.commit("m", &topic, 0, 5).await;
    znodes.commit("m", &topic, 1, 4).await;
    let monitor = Monitor::of(&cluster, &znodes).await;
    let answer = monitor.shows(r#"{"c":{"m":{"1":0}}}"#).await;
    assert_eq!(answer.header("x-kmonitor-unknown"), Some("1"));
    produce(&cluster, &topic, 0, 1).await;
    let answer = monitor.shows(r#"{"c":{"m":{"0":0,"1":0}}}"#).await;
    assert_eq!(answer.header("x-kmonitor-unknown"), Some("0"));
    monitor.stop().await;
}

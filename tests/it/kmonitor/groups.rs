//! Kafka's own consumer groups beside ZooKeeper's modules, and on a cluster that has no ZooKeeper.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ktests::cluster::{Options, own_cluster_with};
use ktests::{Cluster, cluster};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;

use super::world::{Monitor, SOON, Znodes, section, topic};

/// A member of a group: reads, commits once that four records are done, and stays until it is dropped.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reader {
    fn start(cluster: &Cluster, group: &str, topic: &str) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &cluster.brokers)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "6000")
            .create()
            .unwrap();
        consumer.subscribe(&[topic]).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let topic = topic.to_owned();
        let thread = std::thread::spawn(move || {
            let mut committed = false;
            while !stopped.load(Ordering::Relaxed) {
                let read = consumer.poll(Duration::from_millis(100));
                if matches!(read, Some(Ok(_))) && !std::mem::replace(&mut committed, true) {
                    let mut list = TopicPartitionList::new();
                    list.add_partition_offset(&topic, 0, Offset::Offset(4)).unwrap();
                    consumer.commit(&list, CommitMode::Sync).unwrap();
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Waits until the group is as it should be.
async fn shows(monitor: &Monitor, group: &str, is: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let deadline = tokio::time::Instant::now() + SOON;
    while tokio::time::Instant::now() < deadline {
        let answer = monitor.get(&format!("/api/v1/modules/c/{group}")).await;
        last = serde_json::from_str(&answer.body).unwrap();
        if is(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{group} is not as it should be: {last:#}");
}

/// A group with a member is shown with its lag and its owner, and stopped when the member is gone.
async fn follow(cluster: &Cluster, monitor: &Monitor, topic: &str) {
    let group = format!("group-{topic}");
    let reader = Reader::start(cluster, &group, topic);
    let well = shows(monitor, &group, |group| group["lag"] == 6 && group["owned"] == 1).await;
    assert_eq!(well["partitions"][0]["committed"], 4);
    assert_eq!(well["topics"][0], topic);
    assert_eq!(well["instances"].as_array().unwrap().len(), 1);
    shows(monitor, &group, |group| group["state"] == "ok").await;
    tokio::task::spawn_blocking(|| drop(reader)).await.unwrap();
    let left = shows(monitor, &group, |group| group["state"] == "stopped").await;
    assert_eq!((&left["lag"], &left["owned"]), (&6.into(), &0.into()));
}

#[tokio::test]
async fn groups_that_commit_to_kafka_are_shown_beside_modules() {
    let cluster = cluster();
    let znodes = Znodes::of(&cluster, "groups").await;
    let topic = topic(&cluster, "groups", &[10]).await;
    znodes.commit("m", &topic, 0, 1).await;
    let section = section("c", &cluster.zookeeper, &znodes.chroot, Some(&cluster.brokers));
    let monitor = Monitor::start(&[("c", section + " kafka_groups: true\n")]).await;
    shows(&monitor, "m", |module| module["lag"] == 9).await;
    follow(&cluster, &monitor, &topic).await;
    shows(&monitor, "m", |module| module["lag"] == 9).await;
    monitor.stop().await;
}

#[tokio::test]
async fn a_cluster_without_zookeeper_shows_its_groups() {
    let own = own_cluster_with(Options {
        kraft: true,
        ..Options::default()
    })
    .await;
    let topic = topic(&own.cluster, "kraft", &[10]).await;
    let section = format!(
        "c:\n broker_hosts: [{}]\n kafka_groups: true\n",
        own.cluster.brokers
    );
    let monitor = Monitor::start(&[("c", section)]).await;
    follow(&own.cluster, &monitor, &topic).await;
    let clusters = monitor.get("/api/v1/clusters").await.body;
    let clusters: Value = serde_json::from_str(&clusters).unwrap();
    assert!(
        clusters["clusters"][0]["sources"]["zookeeper"].is_null(),
        "{clusters}"
    );
    assert_eq!(clusters["clusters"][0]["sources"]["kafka"]["up"], true);
    monitor.stop().await;
}

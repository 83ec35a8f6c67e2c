//! The configuration files of ZooKeeper and Kafka, as text. Nothing here touches a disk.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// The chroot of the original's examples; Kafka creates it.
pub const CHROOT: &str = "/mq/test_cluster";

/// Any legal cluster id; it only has to be the same for every broker of one cluster.
pub(super) const KRAFT_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";

/// A second listener of a broker, which tells its clients to come to another port: that of a proxy before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Front {
    /// Where the broker listens.
    pub listens: u16,
    /// Where it says that it does.
    pub says: u16,
}

/// Where a broker stands in its cluster.
pub(super) struct Broker<'a> {
    /// 0 for the first.
    pub(super) id: usize,
    /// How many there are.
    pub(super) count: usize,
    pub(super) port: u16,
    pub(super) front: Option<Front>,
    pub(super) data: &'a Path,
    pub(super) metadata: Metadata,
}

/// Who keeps the cluster's metadata.
#[derive(Clone, Copy)]
pub(super) enum Metadata {
    /// ZooKeeper at this port, below [`CHROOT`].
    ZooKeeper(u16),
    /// The first broker, with its controller listening at this port.
    Kraft(u16),
}

/// A stand-alone ZooKeeper. The short tick lets sessions of one second expire as fast as tests need.
pub(super) fn zookeeper(port: u16, data: &Path) -> String {
    format!(
        "tickTime=500\nminSessionTimeout=1000\nmaxSessionTimeout=60000\nmaxClientCnxns=0\n\
         clientPortAddress=127.0.0.1\nclientPort={port}\ndataDir={}\n\
         admin.enableServer=false\n4lw.commands.whitelist=*\n",
        data.display()
    )
}

/// One broker.
pub(super) fn broker(broker: &Broker<'_>) -> String {
    let Broker {
        id,
        count,
        port,
        front,
        data,
        metadata,
    } = broker;
    let replicas = (*count).min(3);
    let common = format!(
        "log.dirs={}\nauto.create.topics.enable=false\ngroup.initial.rebalance.delay.ms=0\n\
         offsets.topic.replication.factor={replicas}\noffsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor={replicas}\ntransaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\ndefault.replication.factor={replicas}\n\
         log.cleaner.dedupe.buffer.size=16777216\nnum.io.threads=4\nnum.network.threads=2\n",
        data.display()
    );
    let place = match metadata {
        Metadata::ZooKeeper(zookeeper) => format!(
            "broker.id={id}\n{}\
             zookeeper.connect=127.0.0.1:{zookeeper}{CHROOT}\nzookeeper.session.timeout.ms=6000\n",
            listeners(*port, *front)
        ),
        Metadata::Kraft(controller) => kraft(*id, *port, *controller),
    };
    common + &place
}

fn listeners(port: u16, front: Option<Front>) -> String {
    let Some(Front { listens, says }) = front else {
        return format!("listeners=PLAINTEXT://127.0.0.1:{port}\n");
    };
    format!(
        "listeners=PLAINTEXT://127.0.0.1:{port},FRONT://127.0.0.1:{listens}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},FRONT://127.0.0.1:{says}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,FRONT:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT\n"
    )
}

fn kraft(id: usize, port: u16, controller: u16) -> String {
    let (roles, listeners) = if id == 0 {
        (
            "broker,controller",
            format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
        )
    } else {
        ("broker", format!("PLAINTEXT://127.0.0.1:{port}"))
    };
    format!(
        "node.id={id}\nprocess.roles={roles}\nlisteners={listeners}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         controller.quorum.voters=0@127.0.0.1:{controller}\n"
    )
}

/// Logging of the servers to standard output, for reload4j (Kafka 3, ZooKeeper).
pub(super) const LOG4J: &str = "log4j.rootLogger=INFO, out\n\
    log4j.appender.out=org.apache.log4j.ConsoleAppender\n\
    log4j.appender.out.layout=org.apache.log4j.PatternLayout\n\
    log4j.appender.out.layout.ConversionPattern=%d %p %m (%c)%n\n\
    log4j.logger.kafka.request.logger=WARN\n\
    log4j.logger.state.change.logger=WARN\n";

/// The same for log4j 2 (Kafka 4).
pub(super) const LOG4J2: &str = "rootLogger.level=INFO\nrootLogger.appenderRef.out.ref=out\n\
    appender.out.type=Console\nappender.out.name=out\n\
    appender.out.layout.type=PatternLayout\nappender.out.layout.pattern=%d %p %m (%c)%n\n";

/// The Maven project that names the jars of one Kafka version and of the logging it writes to.
pub(super) fn pom(kafka: &str) -> String {
    let (group, artifact, version) = if kafka.starts_with('3') {
        ("org.slf4j", "slf4j-reload4j", "1.7.36")
    } else {
        ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.24.3")
    };
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>\n"
        )
    };
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  <modelVersion>4.0.0</modelVersion>\n  \
         <groupId>local</groupId><artifactId>kafka-jars</artifactId><version>1</version>\
         <packaging>pom</packaging>\n  <dependencies>\n{}{}  </dependencies>\n</project>\n",
        dependency("org.apache.kafka", "kafka_2.13", kafka),
        dependency(group, artifact, version),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_brokers_replicate_three_times_and_one_does_not() {
        let text = |count| {
            let data = Path::new("/d");
            broker(&Broker {
                id: 0,
                count,
                port: 9092,
                front: None,
                data,
                metadata: Metadata::ZooKeeper(2181),
            })
        };
        assert!(text(3).contains("offsets.topic.replication.factor=3\n"));
        assert!(text(1).contains("offsets.topic.replication.factor=1\n"));
        assert!(text(1).contains("zookeeper.connect=127.0.0.1:2181/mq/test_cluster\n"));
    }
}

//! `bench kproxy`: one request is one record, each with a key of 10,000, as in the original's use; brokers near and far.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use ktests::cluster::Options;
use ktests::{Daemon, Setup, ports, unique};

use super::load::{Figures, Server, Template, measure};
use super::yardstick::Running;
use super::{Common, Kafka, median, micros, millis};

const BODY: usize = 200;
const PARTITIONS: i32 = 8;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(super) common: Common,
    /// How many clients at once; one line of the table each.
    #[arg(long, value_delimiter = ',', default_value = "1,64,256,1024")]
    clients: Vec<usize>,
    /// The acknowledgement that is asked for: 0, 1 or -1.
    #[arg(long, default_value = "1", allow_hyphen_values = true)]
    acks: String,
    /// Brokers of the private cluster; each partition has a replica on each of up to three.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    brokers: u8,
    /// How far away the brokers are, in milliseconds there and back; one table each. 0 is on this machine.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    round_trip_ms: Vec<u32>,
    /// More lines of kproxy.yaml, to try a setting: --set 'linger_ms: 1'.
    #[arg(long)]
    set: Vec<String>,
}

impl Arguments {
    pub(super) fn servers(&self) -> Options {
        Options {
            brokers: self.brokers.into(),
            fronts: self.round_trip_ms.iter().any(|time| *time > 0),
            ..Options::default()
        }
    }
}

pub(super) async fn bench(arguments: &Arguments, kafka: &Kafka) -> Result<()> {
    let Common { seconds, runs, .. } = arguments.common;
    let topic = unique("bench");
    let replication = i32::from(arguments.brokers.min(3));
    kafka
        .cluster()
        .create_replicated_topic(&topic, PARTITIONS, replication)
        .await?;
    println!(
        "kproxy: POST /commit, acks={}, {BODY}-byte bodies, 10000 keys, {PARTITIONS} partitions, {replication} replicas; closed \
         loop on one thread\nyardstick: a hyper server with the same answer and no Kafka; median of {runs} runs of {seconds} s, \
         alternating",
        arguments.acks
    );
    for setting in &arguments.set {
        println!("with {setting}");
    }
    for &millis in &arguments.round_trip_ms {
        table(arguments, kafka, &topic, Duration::from_millis(millis.into())).await?;
    }
    Ok(())
}

/// One table, with brokers this far away.
async fn table(arguments: &Arguments, kafka: &Kafka, topic: &str, round_trip: Duration) -> Result<()> {
    let common = arguments.common;
    let (brokers, _far) = brokers(kafka, round_trip).await?;
    let (daemon, port) = start(&brokers, &arguments.set).await;
    let kproxy = Server {
        port,
        pid: daemon.pid(),
    };
    let hyper = Running::server().await?;
    let yardstick = Server {
        port: hyper.port,
        pid: hyper.pid,
    };
    let template = Template::post(
        &format!("/commit?topic={topic}&acks={}&key=k", arguments.acks),
        BODY,
    );
    println!(
        "\nround trip to the brokers: {} ms more than on this machine\n\n\
         | clients | req/s | p50 ms | p99 ms | CPU µs/req | RSS MiB | yardstick req/s | p99 ms | CPU µs/req | ratio | CPU ratio |\n\
         |---|---|---|---|---|---|---|---|---|---|---|",
        round_trip.as_millis()
    );
    for &clients in &arguments.clients {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..common.runs {
            theirs.push(measure(yardstick, clients, &template, common.length()).await?);
            ours.push(measure(kproxy, clients, &template, common.length()).await?);
        }
        let rate = |figures: &Figures| figures.per_second;
        print_row(clients, &median(ours, rate)?, &median(theirs, rate)?);
    }
    Ok(())
}

/// The addresses of brokers this far away, and the proxies that make them so.
async fn brokers(kafka: &Kafka, round_trip: Duration) -> Result<(String, Vec<Running>)> {
    if round_trip.is_zero() {
        return Ok((kafka.cluster().brokers.clone(), Vec::new()));
    }
    ensure!(
        !kafka.fronts().is_empty(),
        "--round-trip-ms needs brokers that know of the proxies: leave out --shared-cluster"
    );
    let (mut addresses, mut proxies) = (Vec::new(), Vec::new());
    for front in kafka.fronts() {
        proxies.push(Running::far(front.says, front.listens, round_trip).await?);
        addresses.push(format!("127.0.0.1:{}", front.says));
    }
    Ok((addresses.join(","), proxies))
}

async fn start(brokers: &str, more: &[String]) -> (Daemon, u16) {
    let port = ports::free_port();
    let brokers = brokers.split(',');
    let brokers: String = brokers.map(|broker| format!("  - {broker}\n")).collect();
    let file = format!(
        "log_dir: ./log\nlog_level: 4\nlisten_address: 127.0.0.1\nport: {port}\nread_timeout_ms: 5000\n\
         write_timeout_ms: 5000\nmax_request_size_bytes: 10485760\nbroker_hosts:\n{brokers}{}\n",
        more.join("\n")
    );
    (Setup::new("kproxy", file).start().await, port)
}

fn print_row(clients: usize, ours: &Figures, theirs: &Figures) {
    println!(
        "| {clients} | {:.0} | {:.2} | {:.2} | {:.1} | {} | {:.0} | {:.2} | {:.1} | {:.2} | {:.2} |",
        ours.per_second,
        millis(ours.p50),
        millis(ours.p99),
        micros(ours.cpu),
        ours.rss_mib,
        theirs.per_second,
        millis(theirs.p99),
        micros(theirs.cpu),
        ours.per_second / theirs.per_second,
        ours.cpu.as_secs_f64() / theirs.cpu.as_secs_f64(),
    );
}

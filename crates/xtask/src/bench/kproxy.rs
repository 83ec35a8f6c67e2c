//! `bench kproxy`: one request is one record, each with a key of 10,000, as in the original's use.

use anyhow::Result;
use clap::Args;
use ktests::{Cluster, Daemon, Setup, ports, unique};

use super::load::{Figures, Server, Template, measure};
use super::yardstick::Running;
use super::{Common, median, micros, millis};

const BODY: usize = 200;
const PARTITIONS: i32 = 8;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(super) common: Common,
    /// How many clients at once; one line of the table each.
    #[arg(long, value_delimiter = ',', default_value = "1,64,256")]
    clients: Vec<usize>,
    /// The acknowledgement that is asked for: 0, 1 or -1.
    #[arg(long, default_value = "1", allow_hyphen_values = true)]
    acks: String,
}

pub(super) async fn bench(arguments: &Arguments, cluster: &Cluster) -> Result<()> {
    let Common { seconds, runs, .. } = arguments.common;
    let topic = unique("bench");
    cluster.create_topic(&topic, PARTITIONS).await?;
    let (daemon, port) = start(cluster).await;
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
        "kproxy: POST /commit, acks={}, {BODY}-byte bodies, 10000 keys, {PARTITIONS} partitions; closed loop on one \
         thread\nyardstick: a hyper server with the same answer and no Kafka; median of {runs} runs of {seconds} s, \
         alternating\n",
        arguments.acks
    );
    println!(
        "| clients | req/s | p50 ms | p99 ms | CPU µs/req | RSS MiB | yardstick req/s | p99 ms | CPU µs/req | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for &clients in &arguments.clients {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            theirs.push(measure(yardstick, clients, &template, arguments.common.length()).await?);
            ours.push(measure(kproxy, clients, &template, arguments.common.length()).await?);
        }
        let rate = |figures: &Figures| figures.per_second;
        print_row(clients, &median(ours, rate)?, &median(theirs, rate)?);
    }
    Ok(())
}

async fn start(cluster: &Cluster) -> (Daemon, u16) {
    let port = ports::free_port();
    let brokers = cluster.brokers.split(',');
    let brokers: String = brokers.map(|broker| format!("  - {broker}\n")).collect();
    let file = format!(
        "log_dir: ./log\nlog_level: 4\nlisten_address: 127.0.0.1\nport: {port}\nread_timeout_ms: 5000\n\
         write_timeout_ms: 5000\nmax_request_size_bytes: 10485760\nbroker_hosts:\n{brokers}"
    );
    (Setup::new("kproxy", file).start().await, port)
}

fn print_row(clients: usize, ours: &Figures, theirs: &Figures) {
    println!(
        "| {clients} | {:.0} | {:.2} | {:.2} | {:.1} | {} | {:.0} | {:.2} | {:.1} | {:.2} |",
        ours.per_second,
        millis(ours.p50),
        millis(ours.p99),
        micros(ours.cpu),
        ours.rss_mib,
        theirs.per_second,
        millis(theirs.p99),
        micros(theirs.cpu),
        ours.per_second / theirs.per_second,
    );
}

//! `bench kproxy`: one request is one record, as in the original's use.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use ktests::{Cluster, Daemon, Setup, eventually, http, ports};

use super::load::{Figures, measure};
use super::yardstick;

const KEYS: usize = 10_000;
const BODY: usize = 200;
const PARTITIONS: i32 = 8;
const START: Duration = Duration::from_secs(20);

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many clients at once, one run each.
    #[arg(long, value_delimiter = ',', default_value = "1,64,256")]
    clients: Vec<usize>,
    /// The acknowledgement that is asked for: 0, 1 or -1.
    #[arg(long, default_value = "1", allow_hyphen_values = true)]
    acks: String,
}

pub(super) async fn bench(arguments: &Arguments, cluster: &Cluster, binaries: &Path) -> Result<()> {
    cluster.create_topic("bench", PARTITIONS).await?;
    let (daemon, address) = start(cluster, binaries).await?;
    let yard_port = ports::free_port();
    let yard = yardstick::spawn(&["server".to_owned(), yard_port.to_string()])?;
    let yard_pid = yard.id().context("the yardstick ended")?;
    let yard_address = format!("127.0.0.1:{yard_port}");
    eventually("the yardstick answers", START, async || {
        http::get(&format!("http://{yard_address}/")).await.is_ok()
    })
    .await;
    println!(
        "kproxy, acks={}, {BODY}-byte bodies, {KEYS} keys, {PARTITIONS} partitions; yardstick: hyper, no Kafka\n",
        arguments.acks
    );
    println!(
        "clients | kproxy req/s |  p50 ms |  p99 ms | CPU µs | RSS MiB | yardstick req/s | p99 ms | CPU µs | ratio"
    );
    for &clients in &arguments.clients {
        let requests = Arc::new(requests(&address, &arguments.acks));
        let yardstick = measure(&yard_address, clients, &requests, yard_pid).await?;
        let figures = measure(&address, clients, &requests, daemon.pid()).await?;
        print_row(clients, &figures, &yardstick);
    }
    Ok(())
}

async fn start(cluster: &Cluster, binaries: &Path) -> Result<(Daemon, String)> {
    let port = ports::free_port();
    let brokers: Vec<&str> = cluster.brokers.split(',').collect();
    let file = serde_json::json!({
        "log_dir": "./log",
        "log_level": 4,
        "port": port,
        "read_timeout_ms": 100,
        "write_timeout_ms": 100,
        "req_pool_size": 10240,
        "producer_num": 1,
        "max_request_size_bytes": 10_485_760,
        "broker_hosts": brokers,
    });
    let daemon = Setup::new("kproxy", serde_yaml::to_string(&file)?)
        .binaries(binaries)
        .start()
        .await;
    Ok((daemon, format!("127.0.0.1:{port}")))
}

/// One request per key.
fn requests(address: &str, acks: &str) -> Vec<Vec<u8>> {
    let body = "x".repeat(BODY);
    let request = |key: usize| {
        format!(
            "POST /commit?topic=bench&key=key-{key}&acks={acks} HTTP/1.1\r\nhost: {address}\r\n\
             content-length: {BODY}\r\n\r\n{body}"
        )
    };
    (0..KEYS).map(|key| request(key).into_bytes()).collect()
}

fn print_row(clients: usize, figures: &Figures, yardstick: &Figures) {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!(
        "{clients:>7} | {:>12.0} | {:>7.2} | {:>7.2} | {:>6.1} | {:>7} | {:>15.0} | {:>6.2} | {:>6.1} | {:>5.2}",
        figures.per_second,
        millis(figures.p50),
        millis(figures.p99),
        micros(figures.cpu),
        figures.rss_mib,
        yardstick.per_second,
        millis(yardstick.p99),
        micros(yardstick.cpu),
        figures.per_second / yardstick.per_second,
    );
}

//! Whether servers answer, which is more than an open port.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::process::POLL;

/// How long one question may take.
const ANSWER: Duration = Duration::from_secs(2);

/// Whether the ZooKeeper at `host:port` answers `srvr` as a serving member.
#[must_use]
pub fn zookeeper_answers(address: &str) -> bool {
    ask_srvr(address).is_ok_and(|answer| answer.contains("Mode:"))
}

/// How many packets the ZooKeeper at `host:port` has received so far, from everybody.
///
/// # Errors
/// It does not answer.
pub fn zookeeper_received(address: &str) -> Result<u64> {
    let answer = ask_srvr(address)?;
    let line = answer.lines().find_map(|line| line.strip_prefix("Received: "));
    Ok(line.context("no line about it")?.trim().parse()?)
}

fn ask_srvr(address: &str) -> Result<String> {
    let address = address.to_socket_addrs()?.next().context("no such host")?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(b"srvr")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// How many brokers the broker at `host:port` knows of; 0 when it does not answer a metadata request.
#[must_use]
pub fn broker_count(address: &str) -> usize {
    client(address)
        .and_then(|client| client.fetch_metadata(None, ANSWER).context("metadata"))
        .map_or(0, |metadata| metadata.brokers().len())
}

/// Waits until every broker of `addresses` knows of all `count`.
///
/// # Errors
/// They do not find each other in `patience`.
pub fn wait_for_brokers(addresses: &str, count: usize, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !addresses.split(',').all(|address| broker_count(address) == count) {
        if Instant::now() >= deadline {
            bail!("the {count} brokers at {addresses} do not find each other");
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Creates a persistent path in the ZooKeeper at `host:port`.
///
/// # Errors
/// ZooKeeper refuses or is away.
pub(super) fn create_path(address: &str, path: &str) -> Result<()> {
    let work = async {
        let client = zookeeper_client::Client::connect(address).await?;
        let mode = zookeeper_client::CreateMode::Persistent;
        client
            .mkdir(path, &mode.with_acls(zookeeper_client::Acls::anyone_all()))
            .await
    };
    // On a thread of its own: the caller may already be inside a runtime.
    std::thread::scope(|scope| {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime
                .block_on(work)
                .with_context(|| format!("create {path} in ZooKeeper at {address}"))
        };
        scope.spawn(run).join().expect("the thread does not panic")
    })
}

fn client(address: &str) -> Result<BaseConsumer> {
    let client = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "100")
        .create()?;
    Ok(client)
}

//! A closed-loop HTTP load generator: each client sends its next request when it has the answer to the last.
//!
//! Requests are rendered beforehand and sockets are used without an HTTP library, so that the generator costs little of
//! the cores it shares with what it measures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::usage;

/// Time before anything counts.
const WARM_UP: Duration = Duration::from_secs(2);
/// Time that counts.
const MEASURE: Duration = Duration::from_secs(5);

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// The figures of one run.
pub(super) struct Figures {
    pub(super) per_second: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    /// CPU time of the measured process per request.
    pub(super) cpu: Duration,
    pub(super) rss_mib: u64,
}

/// Sends `requests` in turn to `address` from `clients` connections and measures the process `pid` meanwhile.
pub(super) async fn measure(
    address: &str,
    clients: usize,
    requests: &Arc<Vec<Vec<u8>>>,
    pid: u32,
) -> Result<Figures> {
    let phase = Arc::new(AtomicU8::new(WARMING));
    let (address, requests) = (address.to_owned(), requests.clone());
    let seen = phase.clone();
    let load = std::thread::spawn(move || run(&address, clients, &requests, &seen));
    tokio::time::sleep(WARM_UP).await;
    let (cpu, start) = (usage::cpu(pid)?, Instant::now());
    phase.store(MEASURING, Ordering::Relaxed);
    tokio::time::sleep(MEASURE).await;
    phase.store(OVER, Ordering::Relaxed);
    let (cpu, elapsed) = (usage::cpu(pid)? - cpu, start.elapsed());
    let rss_mib = usage::rss_mib(pid)?;
    let latencies = tokio::task::spawn_blocking(|| load.join().expect("the load does not panic")).await??;
    let count = latencies.len();
    if count == 0 {
        bail!("no request was answered in {} s", MEASURE.as_secs());
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of seconds' requests fits")]
    let per_second = count as f64 / elapsed.as_secs_f64();
    Ok(Figures {
        per_second,
        p50: Duration::from_micros(latencies.value_at_quantile(0.5)),
        p99: Duration::from_micros(latencies.value_at_quantile(0.99)),
        cpu: Duration::from_secs_f64(cpu.as_secs_f64() / (per_second * elapsed.as_secs_f64())),
        rss_mib,
    })
}

fn run(
    address: &str,
    clients: usize,
    requests: &Arc<Vec<Vec<u8>>>,
    phase: &Arc<AtomicU8>,
) -> Result<Histogram<u64>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut running = JoinSet::new();
        for number in 0..clients {
            let (address, requests, phase) = (address.to_owned(), requests.clone(), phase.clone());
            // Clients begin at different places, so that they do not send the same key at the same time.
            let first = number * requests.len() / clients;
            running.spawn(async move { client(&address, &requests, first, &phase).await });
        }
        let mut all = histogram()?;
        while let Some(ended) = running.join_next().await {
            all.add(ended??)?;
        }
        Ok(all)
    })
}

async fn client(
    address: &str,
    requests: &[Vec<u8>],
    first: usize,
    phase: &AtomicU8,
) -> Result<Histogram<u64>> {
    let mut stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    let mut latencies = histogram()?;
    let mut buffer = Vec::with_capacity(4096);
    for request in requests.iter().cycle().skip(first) {
        let start = Instant::now();
        stream.write_all(request).await?;
        read_answer(&mut stream, &mut buffer).await?;
        match phase.load(Ordering::Relaxed) {
            WARMING => {}
            MEASURING => latencies.record(u64::try_from(start.elapsed().as_micros())?)?,
            _ => break,
        }
    }
    Ok(latencies)
}

/// Microseconds up to a minute.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

/// Reads exactly one answer with `content-length`; anything but 200 is an error.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            bail!("the server closed the connection");
        }
        let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        if buffer.len() >= head + 4 + content_length(&buffer[..head])? {
            break;
        }
    }
    if !buffer.starts_with(b"HTTP/1.1 200") {
        bail!("the server answered: {}", String::from_utf8_lossy(buffer));
    }
    Ok(())
}

fn content_length(head: &[u8]) -> Result<usize> {
    let lines = head.split(|&byte| byte == b'\n');
    let value = lines.filter_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        name.eq_ignore_ascii_case(b"content-length:").then_some(value)
    });
    let value = value
        .into_iter()
        .next()
        .context("an answer without content-length")?;
    Ok(std::str::from_utf8(value)?.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_found_in_any_case() {
        assert_eq!(
            content_length(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nx: y").unwrap(),
            12
        );
        assert_eq!(content_length(b"HTTP/1.1 200 OK\r\ncontent-length:0").unwrap(), 0);
        content_length(b"HTTP/1.1 200 OK").unwrap_err();
    }
}

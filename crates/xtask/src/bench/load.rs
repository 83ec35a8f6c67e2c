//! A closed-loop HTTP load: each client sends its next request when it has the whole answer to the last.
//!
//! All clients share the calling thread. Requests are patched in place and sockets are used without an HTTP library, so
//! that the load costs little of the cores it shares with what it measures. Any answer but 200 ends the measurement.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{process, sink};

/// Time before anything counts.
const WARM_UP: Duration = Duration::from_secs(2);
/// The memory that a client has for an answer at first.
const ANSWER: usize = 4096;
/// The longest answer.
const MAX_ANSWER: usize = 4 << 20;

/// A request whose key can be changed in place.
#[derive(Clone)]
pub(super) struct Template {
    bytes: Vec<u8>,
    /// Where the key's digits begin.
    digits: usize,
}

/// What is measured.
#[derive(Clone, Copy)]
pub(super) struct Server {
    /// On loopback.
    pub(super) port: u16,
    /// Its process.
    pub(super) pid: u32,
}

/// The figures of one measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) per_second: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    /// CPU time of the server per request.
    pub(super) cpu: Duration,
    /// Resident memory of the server at the end.
    pub(super) rss_mib: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    WarmUp,
    Counting,
    Over,
}

/// What the clients of one measurement share.
struct Run {
    phase: Cell<Phase>,
    /// In microseconds.
    latencies: RefCell<Histogram<u64>>,
}

impl Template {
    /// A POST to `path`, to which the digits of a key are added, with a body of this length.
    pub(super) fn post(path: &str, body: usize) -> Self {
        let start = format!("POST {path}");
        let rest = " HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: ";
        let body = "x".repeat(body);
        Self {
            bytes: format!("{start}0000{rest}{}\r\n\r\n{body}", body.len()).into_bytes(),
            digits: start.len(),
        }
    }

    /// A GET of `path`, to which the digits of a key are added.
    pub(super) fn get(path: &str) -> Self {
        let start = format!("GET {path}");
        Self {
            bytes: format!("{start}0000 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").into_bytes(),
            digits: start.len(),
        }
    }

    /// The request with key `number` of 10,000.
    fn with_key(&mut self, number: usize) -> &[u8] {
        let digits = format!("{:04}", number % 10_000);
        self.bytes[self.digits..self.digits + 4].copy_from_slice(digits.as_bytes());
        &self.bytes
    }
}

/// Measures `server` for `length` with so many clients. Needs a `LocalSet`.
pub(super) async fn measure(
    server: Server,
    clients: usize,
    template: &Template,
    length: Duration,
) -> Result<Figures> {
    let run = Rc::new(Run {
        phase: Cell::new(Phase::WarmUp),
        latencies: RefCell::new(Histogram::new_with_bounds(1, 60_000_000, 3)?),
    });
    let mut running = JoinSet::new();
    for number in 0..clients {
        // Clients begin at different keys.
        let first = number * 10_000 / clients;
        running.spawn_local(client(server.port, Rc::clone(&run), template.clone(), first));
    }
    let counted = tokio::select! {
        counted = count(server.pid, &run, length) => counted?,
        ended = running.join_next() => bail!("a client ended early: {ended:?}"),
    };
    run.phase.set(Phase::Over);
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let latencies = run.latencies.borrow();
    let quantile = |quantile| Duration::from_micros(latencies.value_at_quantile(quantile));
    let requests = u32::try_from(latencies.len())?;
    if requests == 0 {
        bail!("not one request was answered in {length:?}");
    }
    Ok(Figures {
        per_second: f64::from(requests) / counted.elapsed.as_secs_f64(),
        p50: quantile(0.5),
        p99: quantile(0.99),
        cpu: counted.cpu / requests,
        rss_mib: process::rss_mib(server.pid)?,
    })
}

struct Counted {
    elapsed: Duration,
    cpu: Duration,
}

async fn count(pid: u32, run: &Run, length: Duration) -> Result<Counted> {
    tokio::time::sleep(WARM_UP).await;
    let (start, cpu) = (Instant::now(), process::cpu(pid)?);
    run.phase.set(Phase::Counting);
    tokio::time::sleep(length).await;
    run.phase.set(Phase::Over);
    Ok(Counted {
        elapsed: start.elapsed(),
        cpu: process::cpu(pid)? - cpu,
    })
}

async fn client(port: u16, run: Rc<Run>, mut template: Template, first: usize) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; ANSWER];
    for number in first.. {
        let start = Instant::now();
        stream.write_all(template.with_key(number)).await?;
        read_answer(&mut stream, &mut buffer).await?;
        match run.phase.get() {
            Phase::WarmUp => {}
            Phase::Counting => {
                let micros = u64::try_from(start.elapsed().as_micros())?;
                run.latencies.borrow_mut().record(micros)?;
            }
            Phase::Over => break,
        }
    }
    Ok(())
}

/// Reads exactly one answer; anything but 200 is an error.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<()> {
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            ensure!(filled < MAX_ANSWER, "an answer is longer than {MAX_ANSWER} bytes");
            buffer.resize(2 * filled, 0);
        }
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            bail!("the server closed the connection");
        }
        filled += read;
        let answer = &buffer[..filled];
        let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let length = sink::content_length(&answer[..head])?.context("an answer without content-length")?;
        if filled < head + 4 + length {
            continue;
        }
        if !answer.starts_with(b"HTTP/1.1 200") {
            bail!("the server answered: {}", String::from_utf8_lossy(answer));
        }
        return Ok(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_whatever_its_key() {
        let mut template = Template::post("/commit?key=k", 3);
        let expected = "POST /commit?key=k0042 HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 3\r\n\r\nxxx";
        assert_eq!(template.with_key(10_042), expected.as_bytes());
    }
}

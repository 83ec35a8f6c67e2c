//! The backend of ktransfer's benchmark: takes POSTs, counts them, answers 200. Written by hand and on one thread, so that
//! it takes more than any client sends and leaves the other core to what is measured.
//!
//! A GET is answered with what was counted, as JSON. It reads no more of HTTP than these clients send: `content-length`
//! bodies, no pipelining, no chunks.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ktests::http;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The answer to each push.
const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// The longest request. Memory is taken only for what comes.
const MAX_REQUEST: usize = 2 << 20;
/// Tokio's timers end up to a millisecond late: half of it is taken off, so that the mean is right.
const LATE: Duration = Duration::from_micros(500);

/// How long the sink takes for a push. By default it answers at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Service {
    /// For most pushes.
    pub(super) usual: Duration,
    /// One push of so many takes `slow`; 0: none does.
    pub(super) one_in: u64,
    /// For the others.
    pub(super) slow: Duration,
}

impl Service {
    /// How long it takes for the push with this number.
    fn of(self, number: u64) -> Duration {
        let slow = self.one_in > 0 && number.is_multiple_of(self.one_in);
        if slow { self.slow } else { self.usual }
    }
}

/// What a sink has taken.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Taken {
    /// Requests.
    pub(super) count: u64,
    /// From the first to the last.
    pub(super) between: Duration,
    /// Requests that were answered.
    pub(super) answered: u64,
    /// The sum of the times from a whole request to its answer.
    pub(super) served: Duration,
}

/// Asks the sink at `port`.
pub(super) async fn taken(port: u16) -> Result<Taken> {
    let answer = http::get(&format!("http://127.0.0.1:{port}/")).await?;
    Ok(serde_json::from_slice(&answer.body)?)
}

#[derive(Default)]
struct Tally {
    count: Cell<u64>,
    first: Cell<Option<Instant>>,
    last: Cell<Option<Instant>>,
    answered: Cell<u64>,
    served: Cell<Duration>,
}

impl Tally {
    /// A push has come; returns when.
    fn note(&self) -> Instant {
        let now = Instant::now();
        self.count.set(self.count.get() + 1);
        self.first.set(self.first.get().or(Some(now)));
        self.last.set(Some(now));
        now
    }

    /// A push that came at `came` is answered.
    fn note_answer(&self, came: Instant) {
        self.answered.set(self.answered.get() + 1);
        self.served.set(self.served.get() + came.elapsed());
    }

    fn taken(&self) -> Taken {
        let between = self
            .last
            .get()
            .zip(self.first.get())
            .map(|(last, first)| last - first);
        Taken {
            count: self.count.get(),
            between: between.unwrap_or_default(),
            answered: self.answered.get(),
            served: self.served.get(),
        }
    }
}

/// Serves until the process is ended. Needs a `LocalSet`.
pub(super) async fn serve(port: u16, service: Service) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let tally = Rc::new(Tally::default());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let tally = Rc::clone(&tally);
        tokio::task::spawn_local(async move {
            if let Err(error) = connection(stream, &tally, service).await {
                eprintln!("the backend of the benchmark: {error:#}");
            }
        });
    }
}

async fn connection(mut stream: TcpStream, tally: &Tally, service: Service) -> Result<()> {
    let mut buffer = vec![0; MAX_REQUEST];
    let mut filled = 0;
    loop {
        let read = match stream.read(&mut buffer[filled..]).await {
            Ok(read) => read,
            // A client that was ended between two requests.
            Err(_reset) if filled == 0 => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let Some(length) = request_length(&buffer[..filled])? else {
            if filled == buffer.len() {
                bail!("a request of more than {MAX_REQUEST} bytes");
            }
            continue;
        };
        if filled < length {
            continue;
        }
        if buffer.starts_with(b"POST") {
            let came = tally.note();
            let takes = service.of(tally.count.get());
            if !takes.is_zero() {
                tokio::time::sleep(takes.saturating_sub(LATE)).await;
                tally.note_answer(came);
            }
            stream.write_all(TAKEN).await?;
        } else {
            let body = serde_json::to_string(&tally.taken())?;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await?;
        }
        buffer.copy_within(length..filled, 0);
        filled -= length;
    }
}

/// The length of the request that `bytes` begin with; none before the end of its head.
fn request_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    Ok(Some(head + 4 + content_length(&bytes[..head])?.unwrap_or(0)))
}

/// The value of `content-length` in a head, if it has one.
pub(super) fn content_length(head: &[u8]) -> Result<Option<usize>> {
    const NAME: &[u8] = b"content-length:";
    let value = head.split(|&byte| byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then_some(value)
    });
    let parsed = value.map(|value| str::from_utf8(value)?.trim().parse().context("a length"));
    parsed.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_push_of_many_is_slow() {
        let service = Service {
            usual: Duration::from_millis(5),
            one_in: 10,
            slow: Duration::from_secs(5),
        };
        let slow = (1..=100).filter(|number| service.of(*number) == service.slow);
        assert_eq!(slow.count(), 10);
        assert_eq!(Service::default().of(0), Duration::ZERO);
    }

    #[test]
    fn a_request_ends_with_its_body() {
        let request = b"POST /a HTTP/1.1\r\nhost: b\r\nContent-Length: 3\r\n\r\nabcPOST";
        assert_eq!(request_length(request).unwrap(), Some(request.len() - 4));
        assert_eq!(request_length(&request[..40]).unwrap(), None);
    }

    #[test]
    fn a_request_without_a_length_has_no_body() {
        let request = b"GET / HTTP/1.1\r\nhost: b\r\n\r\n";
        assert_eq!(request_length(request).unwrap(), Some(request.len()));
        request_length(b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n").unwrap_err();
    }
}

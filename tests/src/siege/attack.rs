//! The clients that harm. Each goes on with a new connection when kproxy ends one.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use super::finding::Measures;

/// A byte of a slow client comes this often.
const TRICKLE: Duration = Duration::from_secs(1);
/// Between two connections of a client that opens and closes them.
const CHURN: Duration = Duration::from_millis(5);
/// Before a client that could not connect, or was cut, tries again.
const AGAIN: Duration = Duration::from_millis(100);
/// Connections that do nothing.
const IDLE: usize = 10_000;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Announce 10 GB and send it, or the most that is taken and send a byte of it a second.
    Announce,
    /// Send a byte a second of their heads and bodies.
    Trickle,
    /// Send one request behind the other and never read an answer.
    Deaf,
    /// Open connections and reset them: at once, within a head, within a body, before the answer.
    Churn,
    /// Hold 10,000 connections open, half of them after one post.
    Idle,
}

/// Whom a client attacks.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) port: u16,
    pub(super) topic: String,
    pub(super) measures: Arc<Measures>,
    pub(super) stop: CancellationToken,
}

impl Attack {
    /// All of them.
    pub const EVERY: [Self; 5] = [Self::Announce, Self::Trickle, Self::Deaf, Self::Churn, Self::Idle];

    /// How many clients there are.
    #[must_use]
    pub const fn clients(self) -> usize {
        match self {
            Self::Announce => 64,
            Self::Trickle => 500,
            Self::Deaf => 100,
            Self::Churn => 16,
            Self::Idle => IDLE,
        }
    }

    /// The memory that they may cost, in MiB.
    #[must_use]
    pub const fn memory_mib(self) -> u64 {
        match self {
            Self::Announce | Self::Trickle | Self::Deaf | Self::Churn => 24,
            Self::Idle => 150,
        }
    }

    /// Whether kproxy ends what they do by itself.
    pub(super) const fn is_cut(self) -> bool {
        !matches!(self, Self::Churn)
    }

    /// How long a connection of theirs may live with the time-outs of a siege.
    pub(super) const fn longest_life(self) -> Duration {
        Duration::from_secs(10)
    }

    /// One of the clients, until it is told to stop.
    pub(super) async fn client(self, number: usize, target: Target) {
        let stop = target.stop.clone();
        let Some(()) = stop
            .run_until_cancelled(tokio::time::sleep(self.start(number)))
            .await
        else {
            return;
        };
        loop {
            let start = Instant::now();
            let ended = stop.run_until_cancelled(self.connection(number, &target)).await;
            // A connection that was never made had no life.
            if matches!(ended, None | Some(Ok(()))) {
                target.measures.life(start.elapsed());
            }
            if ended.is_none() {
                return;
            }
            tokio::time::sleep(if self == Self::Churn { CHURN } else { AGAIN }).await;
        }
    }

    /// Many clients come one after the other: a full backlog of the listening socket would only cost them a second.
    fn start(self, number: usize) -> Duration {
        match self {
            Self::Idle => Duration::from_micros(200) * u32::try_from(number).unwrap_or(0),
            _ => Duration::from_millis(2) * u32::try_from(number).unwrap_or(0),
        }
    }

    /// One connection, until kproxy ends it.
    async fn connection(self, number: usize, target: &Target) -> io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        if self == Self::Deaf {
            // What waits in the client's own kernel is no cost of kproxy's.
            socket.set_recv_buffer_size(4096)?;
        }
        let mut stream = socket.connect(([127, 0, 0, 1], target.port).into()).await?;
        let ended = match self {
            Self::Announce => announce(&mut stream, number, target).await,
            Self::Trickle => trickle(&mut stream, number, target).await,
            Self::Deaf => deaf(&mut stream).await,
            Self::Churn => churn(stream, number, target).await,
            Self::Idle => idle(&mut stream, number, target).await,
        };
        // Whatever the end was like, it was the connection's.
        ended.or(Ok(()))
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Announce => "announce 10 GB, or the most that is taken, and hardly send it",
            Self::Trickle => "send a byte a second",
            Self::Deaf => "never read an answer",
            Self::Churn => "open and reset connections",
            Self::Idle => "hold connections open",
        };
        write!(formatter, "{} clients {what}", self.clients())
    }
}

impl Target {
    fn head(&self, length: u64) -> String {
        format!(
            "POST /commit?topic={}&key=attack HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n",
            self.topic
        )
    }
}

async fn announce(stream: &mut TcpStream, number: usize, target: &Target) -> io::Result<()> {
    if number.is_multiple_of(2) {
        stream.write_all(target.head(10 * 1024 * 1024).as_bytes()).await?;
        return drip(stream, &[b'x'; 64]).await;
    }
    stream.write_all(target.head(10_000_000_000).as_bytes()).await?;
    loop {
        stream.write_all(&[b'x'; 64 * 1024]).await?;
    }
}

async fn trickle(stream: &mut TcpStream, number: usize, target: &Target) -> io::Result<()> {
    let head = target.head(100_000);
    if number.is_multiple_of(2) {
        stream.write_all(head.as_bytes()).await?;
        return drip(stream, &[b'x'; 64]).await;
    }
    drip(stream, head.as_bytes()).await
}

/// Sends a byte now and then until the other side closes; what it says is thrown away.
async fn drip(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let (mut from, mut to) = stream.split();
    let send = async {
        for byte in bytes {
            to.write_all(&[*byte]).await?;
            tokio::time::sleep(TRICKLE).await;
        }
        Ok(())
    };
    let mut sink = tokio::io::sink();
    tokio::select! {
        sent = send => sent,
        read = tokio::io::copy(&mut from, &mut sink) => read.map(drop),
    }
}

async fn deaf(stream: &mut TcpStream) -> io::Result<()> {
    let requests = "GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    loop {
        stream.write_all(requests.as_bytes()).await?;
    }
}

async fn churn(mut stream: TcpStream, number: usize, target: &Target) -> io::Result<()> {
    let whole = target.head(4) + "abcd";
    let sent = match number % 4 {
        0 => 0,
        1 => 20,
        2 => whole.len() - 2,
        _ => whole.len(),
    };
    stream.write_all(&whole.as_bytes()[..sent]).await?;
    stream.set_zero_linger()
}

async fn idle(stream: &mut TcpStream, number: usize, target: &Target) -> io::Result<()> {
    if number.is_multiple_of(2) {
        let request = target.head(4) + "abcd";
        stream.write_all(request.as_bytes()).await?;
    }
    let mut answer = [0; 512];
    while stream.read(&mut answer).await? > 0 {}
    Ok(())
}

//! A client of kproxy without an HTTP library: posts over one connection, one record after the other, and reads whole answers.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take before it counts as never coming.
const PATIENCE: Duration = Duration::from_secs(60);

/// One client. Connects when it has to.
#[derive(Debug)]
pub struct Poster {
    port: u16,
    stream: Option<TcpStream>,
    received: Vec<u8>,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nobody listens: nothing was sent.
    NotConnected,
    /// The connection ended: the record may be stored.
    Cut,
    /// A minute went by.
    Hung,
}

impl Reply {
    /// Whether the answer leaves it open if the record is stored.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        self.body.contains("\"possibly_persisted\"")
    }

    /// Whether the answer says that the record is not stored.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.body.contains("\"not_persisted\"")
    }

    /// A text of the answer, such as `code`.
    #[must_use]
    pub fn word(&self, name: &str) -> Option<String> {
        let (_, rest) = self.body.split_once(&format!("\"{name}\":\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    }

    /// A number of the answer, such as `offset`.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        let (_, rest) = self.body.split_once(&format!("\"{name}\":"))?;
        let end = rest.find([',', '}'])?;
        rest[..end].parse().ok()
    }
}

impl Poster {
    /// A client of the kproxy at this loopback port.
    #[must_use]
    pub const fn new(port: u16) -> Self {
        Self {
            port,
            stream: None,
            received: Vec::new(),
        }
    }

    /// `POST /commit?query`.
    ///
    /// # Errors
    /// There is no whole answer. The next call connects again.
    pub async fn post(&mut self, query: &str, body: &[u8]) -> Result<Reply, Lost> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await.map_err(|_refused| Lost::NotConnected)?,
        };
        self.received.clear();
        let head = format!(
            "POST /commit?{query} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let exchange = async {
            stream.write_all(&[head.as_bytes(), body].concat()).await?;
            self.read(&mut stream).await
        };
        let answer = timeout(PATIENCE, exchange).await.map_err(|_elapsed| Lost::Hung)?;
        let (reply, closes) = answer.map_err(|_ended| Lost::Cut)?;
        if !closes {
            self.stream = Some(stream);
        }
        Ok(reply)
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// An answer, and whether the connection ends with it.
    async fn read(&mut self, stream: &mut TcpStream) -> io::Result<(Reply, bool)> {
        loop {
            if let Some(whole) = parse(&self.received) {
                return Ok(whole);
            }
            if stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn parse(received: &[u8]) -> Option<(Reply, bool)> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| *found == name).map(|(_, value)| value)
    };
    let length: usize = header("content-length")?.parse().ok()?;
    let body = received.get(end + 4..end + 4 + length)?;
    let reply = Reply {
        status: head.split(' ').nth(1)?.parse().ok()?,
        body: String::from_utf8_lossy(body).into_owned(),
    };
    Some((reply, header("connection") == Some("close")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\nconnection: close\r\n\r\n{\"partition\":3,\"offset\":7}";
        assert_eq!(parse(&text[..text.len() - 1]), None);
        let (reply, closes) = parse(text).unwrap();
        assert!(closes && reply.status == 200);
        assert_eq!(
            (reply.number("partition"), reply.number("offset")),
            (Some(3), Some(7))
        );
        assert_eq!(reply.number("timestamp"), None);
    }
}

//! Servers that no HTTP library would let be so bad: one that never reads, one that reads late, one whose answer stops in
//! the middle, one that does not accept.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What a server does with each connection.
#[derive(Clone, Copy)]
pub(super) enum Act {
    /// Accepts and never reads.
    Silent,
    /// Reads the request only after a pause, then answers 200.
    ReadLate(Duration),
    /// Reads the request, answers 200 with half of the promised body, and goes on no further.
    HalfAnswer,
    /// Answers with something that is no HTTP.
    Garbage,
    /// Answers like a server of 1996: the end of the connection is the end of the body.
    Old,
    /// Answers 200, and says 408 and closes as soon as the connection is idle, as proxies do.
    ClosesWith408,
}

/// A running server. It ends with this handle.
pub(super) struct Raw {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Raw {
    pub(super) async fn start(act: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(accept(listener, act, Arc::clone(&heads)));
        Self { address, heads, task }
    }

    pub(super) fn address(&self) -> String {
        self.address.clone()
    }

    /// The heads of the requests that were read to their end.
    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, act: Act, heads: Arc<Mutex<Vec<String>>>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, act, Arc::clone(&heads)));
    }
}

async fn serve(mut stream: TcpStream, act: Act, heads: Arc<Mutex<Vec<String>>>) {
    let answer: &[u8] = match act {
        Act::Silent => return std::future::pending().await,
        Act::ReadLate(pause) => {
            tokio::time::sleep(pause).await;
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        }
        Act::HalfAnswer => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        Act::Garbage => b"HTTP/1.1 OK 200\r\n\r\n",
        Act::Old => b"HTTP/1.0 200 OK\r\n\r\nsome text",
        Act::ClosesWith408 => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    };
    while let Some(head) = read_request(&mut stream).await {
        heads.lock().unwrap().push(head);
        if stream.write_all(answer).await.is_err() || matches!(act, Act::Old) {
            return;
        }
        if matches!(act, Act::ClosesWith408) {
            // Long enough that the client has read the answer: else both come together, which is right as well.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let timeout = b"HTTP/1.1 408 Request Time-out\r\nConnection: close\r\n\r\n";
            stream.write_all(timeout).await.unwrap_or_default();
            return;
        }
    }
}

/// Reads a request with `Content-Length`; none when the connection ends.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some(head)
}

/// A server whose queue of waiting connections is full, so that a connect is never answered. It ends with this handle.
pub(super) struct Full {
    address: String,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Full {
    pub(super) async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await
        {
            waiting.push(connected.unwrap());
            assert!(
                waiting.len() < 100,
                "the queue of waiting connections never fills"
            );
        }
        Self {
            address: address.to_string(),
            _listener: listener,
            _waiting: waiting,
        }
    }

    pub(super) fn address(&self) -> String {
        self.address.clone()
    }
}

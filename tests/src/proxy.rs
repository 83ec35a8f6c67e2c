//! A TCP proxy between a daemon and ZooKeeper that holds bytes back without closing anything (a cut cable, in both
//! directions or in one), delays them, and resets connections: at once, or around a request of a given kind.
//!
//! It understands messages that begin with their length in four bytes, as ZooKeeper's and Kafka's do, and passes them
//! on whole. It changes none.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// How many messages wait in each direction of a connection; the sender waits when there are more.
const QUEUE: usize = 1024;

/// The longest message that is passed on, in bytes; a longer one ends its connection.
const LONGEST: usize = 16 * 1024 * 1024;

/// The operation code of a ZooKeeper `multi`.
const MULTI: i32 = 14;

/// How requests and answers pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gate {
    requests: bool,
    answers: bool,
    delay: Duration,
    /// Bytes of requests that pass in a second, over all connections.
    rate: Option<u32>,
    /// Raised to reset every connection.
    resets: u64,
}

/// Which requests a reset waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    opcode: Option<i32>,
    bytes: Vec<u8>,
}

/// When a connection is reset around a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Instead of passing the request: the server never sees it.
    Before,
    /// When its answer comes, which is not passed: the server has done it, and the client does not know.
    After,
}

/// A reset that waits for its request.
#[derive(Debug)]
struct Trap {
    request: Request,
    moment: Moment,
}

/// What the handle and the connections share.
#[derive(Debug)]
struct Shared {
    gate: watch::Sender<Gate>,
    /// When the next request may pass at the gate's rate.
    turn: Mutex<Instant>,
    trap: Mutex<Option<Trap>>,
    /// The text of the request from which on answers are held back.
    hold: Mutex<Option<Vec<u8>>>,
    /// The requests that were passed on since the answers are held back.
    requested: Mutex<Vec<u8>>,
}

/// A running proxy. It ends, with all its connections, when this handle is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Request {
    /// A ZooKeeper `multi`: a claim, a release, or a commit with more than the offset.
    #[must_use]
    pub fn multi() -> Self {
        Self {
            opcode: Some(MULTI),
            ..Self::default()
        }
    }

    /// The same, but only with this text in it, such as a path.
    #[must_use]
    pub fn with(self, text: &str) -> Self {
        Self {
            bytes: text.as_bytes().to_vec(),
            ..self
        }
    }

    /// `message` is a request after the first one of its connection: length, xid, operation code, body.
    fn fits(&self, message: &[u8]) -> bool {
        let opcode = number(message, 8);
        self.opcode.is_none_or(|wanted| opcode == Some(wanted)) && contains(message, &self.bytes)
    }
}

impl Proxy {
    /// Listens on a free loopback port and passes everything to `target`, `host:port`.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start(target: &str) -> Self {
        Self::start_at(0, target).await
    }

    /// The same at this port, 0 for any.
    ///
    /// # Panics
    /// When it is taken.
    pub async fn start_at(port: u16, target: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.expect("the port is free");
        let address = listener.local_addr().expect("it is bound");
        let (gate, _gates) = watch::channel(Gate {
            requests: true,
            answers: true,
            delay: Duration::ZERO,
            rate: None,
            resets: 0,
        });
        let shared = Arc::new(Shared {
            gate,
            turn: Mutex::new(Instant::now()),
            trap: Mutex::default(),
            hold: Mutex::default(),
            requested: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, target.to_owned(), Arc::clone(&shared)));
        Self {
            address,
            shared,
            task: task.abort_handle(),
        }
    }

    /// `host:port` to connect to.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Holds back every byte from now on, in both directions. New connections are accepted and get no answer.
    pub fn cut(&self) {
        self.set(|gate| (gate.requests, gate.answers) = (false, false));
    }

    /// Passes on what was held back, and everything after it without delay.
    pub fn heal(&self) {
        self.set(|gate| {
            (gate.requests, gate.answers) = (true, true);
            (gate.delay, gate.rate) = (Duration::ZERO, None);
        });
    }

    /// From now on so many bytes of requests pass in a second, over all connections; the others wait.
    pub fn slow_to(&self, bytes_a_second: u32) {
        self.set(|gate| gate.rate = Some(bytes_a_second));
    }

    /// Lets requests through from now on, and holds back their answers.
    pub fn hold_answers(&self) {
        self.shared.hold_answers();
    }

    /// The same, but from the first request on that has this text in it; that one has no answer either.
    ///
    /// # Panics
    /// When a connection panicked.
    pub fn hold_answers_to(&self, text: &str) {
        self.shared.requested().clear();
        let mut hold = self.shared.hold.lock().expect("no panic inside");
        *hold = Some(text.as_bytes().to_vec());
    }

    /// Lets answers and notifications through from now on, and holds back requests.
    pub fn hold_requests(&self) {
        self.set(|gate| (gate.requests, gate.answers) = (false, true));
    }

    /// From now on every message arrives this much later, in each direction: a request and its answer take twice as long.
    pub fn delay(&self, delay: Duration) {
        self.set(|gate| gate.delay = delay);
    }

    /// Whether a request with this text was passed on since the answers are held back.
    #[must_use]
    pub fn passed(&self, text: &str) -> bool {
        contains(&self.shared.requested(), text.as_bytes())
    }

    /// Resets every connection, with what it holds back, and lets new ones pass everything.
    pub fn reset(&self) {
        self.set(|gate| gate.resets += 1);
        self.heal();
    }

    /// Resets the connection that carries the next request of this kind, once. A second call takes the place of the first.
    pub fn reset_at(&self, request: Request, moment: Moment) {
        *self.shared.trap() = Some(Trap { request, moment });
    }

    /// Whether a reset asked for by [`Proxy::reset_at`] still waits for its request.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.shared.trap().is_some()
    }

    fn set(&self, change: impl FnOnce(&mut Gate)) {
        self.shared.gate.send_modify(change);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn trap(&self) -> MutexGuard<'_, Option<Trap>> {
        self.trap.lock().expect("no panic inside")
    }

    fn requested(&self) -> MutexGuard<'_, Vec<u8>> {
        self.requested.lock().expect("no panic inside")
    }

    fn hold_answers(&self) {
        self.requested().clear();
        self.gate
            .send_modify(|gate| (gate.requests, gate.answers) = (true, false));
    }

    /// When a request of this length may pass.
    fn turn(&self, length: usize) -> Instant {
        let Some(rate) = self.gate.borrow().rate else {
            return Instant::now();
        };
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let mut turn = self.turn.lock().expect("no panic inside");
        *turn = (*turn).max(Instant::now()) + Duration::from_secs(1) * length / rate.max(1);
        *turn
    }

    /// Whether answers are to be held back from this request on; asked for once.
    fn holds_from(&self, message: &[u8]) -> bool {
        let mut hold = self.hold.lock().expect("no panic inside");
        hold.take_if(|text| contains(message, text)).is_some()
    }

    /// The moment of the reset that this request was waited for with, if it was. It is waited for no longer.
    fn caught(&self, message: &[u8]) -> Option<Moment> {
        let mut trap = self.trap();
        trap.take_if(|trap| trap.request.fits(message))
            .map(|trap| trap.moment)
    }
}

async fn accept(listener: TcpListener, target: String, shared: Arc<Shared>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _peer)) = accepted else { continue };
                // A server that is away is a connection that ends at once.
                if let Ok(server) = TcpStream::connect(&target).await {
                    connections.spawn(carry(client, server, Arc::clone(&shared)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection to its end, which is a reset unless one side closed it.
async fn carry(mut client: TcpStream, mut server: TcpStream, shared: Arc<Shared>) {
    // Without it a small message may wait for an acknowledgement; failing only costs speed.
    client
        .set_nodelay(true)
        .and(server.set_nodelay(true))
        .unwrap_or_default();
    let mut resets = shared.gate.subscribe();
    let before = resets.borrow_and_update().resets;
    // The xid of the request whose answer resets the connection.
    let awaited = Mutex::new(None);
    let closed = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let requests = Direction {
            shared: &shared,
            awaited: &awaited,
            is_paced: true,
            passes: |gate| gate.requests,
            judge: Direction::judge_request,
        };
        let answers = Direction {
            is_paced: false,
            passes: |gate| gate.answers,
            judge: Direction::judge_answer,
            ..requests
        };
        tokio::select! {
            _ = resets.wait_for(|gate| gate.resets != before) => false,
            closed = requests.pump(from_client, to_server) => closed,
            closed = answers.pump(from_server, to_client) => closed,
        }
    };
    if !closed {
        client
            .set_zero_linger()
            .and(server.set_zero_linger())
            .unwrap_or_default();
    }
}

/// Whether a message is passed, or its connection reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ruling {
    Pass,
    Reset,
}

/// One direction of a connection.
#[derive(Clone, Copy)]
struct Direction<'a> {
    shared: &'a Shared,
    awaited: &'a Mutex<Option<i32>>,
    /// Whether the gate's rate holds here.
    is_paced: bool,
    passes: fn(&Gate) -> bool,
    judge: fn(&Self, &[u8], bool) -> Ruling,
}

impl Direction<'_> {
    /// Passes messages on until the sender closes (true) or a message resets the connection (false).
    async fn pump(&self, from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin) -> bool {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let mut write = pin!(self.write(to, waiting));
        tokio::select! {
            closed = &mut write => closed,
            // What was read is still passed on.
            () = self.read(from, queue) => write.await,
        }
    }

    async fn read(&self, mut from: impl AsyncRead + Unpin, queue: mpsc::Sender<(Instant, Vec<u8>)>) {
        while let Ok(message) = read_message(&mut from).await {
            let due = Instant::now() + self.shared.gate.borrow().delay;
            if queue.send((due, message)).await.is_err() {
                return;
            }
        }
    }

    async fn write(
        &self,
        mut to: impl AsyncWrite + Unpin,
        mut waiting: mpsc::Receiver<(Instant, Vec<u8>)>,
    ) -> bool {
        let mut gate = self.shared.gate.subscribe();
        let mut first = true;
        while let Some((due, message)) = waiting.recv().await {
            tokio::time::sleep_until(due).await;
            if self.is_paced {
                tokio::time::sleep_until(self.shared.turn(message.len())).await;
            }
            // The sender of the gate lives in what is shared.
            let open = gate.wait_for(|gate| (self.passes)(gate)).await.is_ok();
            let ruling = (self.judge)(self, &message, first);
            first = false;
            if !open || ruling == Ruling::Reset {
                return false;
            }
            if to.write_all(&message).await.is_err() {
                return true;
            }
        }
        true
    }

    fn judge_request(&self, message: &[u8], first: bool) -> Ruling {
        // The first message makes the session; it has neither xid nor operation code.
        let caught = if first { None } else { self.shared.caught(message) };
        match caught {
            Some(Moment::Before) => return Ruling::Reset,
            Some(Moment::After) => *self.awaited() = number(message, 4),
            None => {}
        }
        // Before it is passed on: its answer must not be quicker.
        if self.shared.holds_from(message) {
            self.shared.hold_answers();
        }
        if !self.shared.gate.borrow().answers {
            self.shared.requested().extend_from_slice(message);
        }
        Ruling::Pass
    }

    fn judge_answer(&self, message: &[u8], first: bool) -> Ruling {
        let xid = if first { None } else { number(message, 4) };
        let awaited = *self.awaited();
        if xid.is_some() && xid == awaited {
            Ruling::Reset
        } else {
            Ruling::Pass
        }
    }

    fn awaited(&self) -> MutexGuard<'_, Option<i32>> {
        self.awaited.lock().expect("no panic inside")
    }
}

/// A whole message, its length included.
async fn read_message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = [0; 4];
    from.read_exact(&mut head).await?;
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = head.to_vec();
    message.resize(4 + length, 0);
    from.read_exact(&mut message[4..]).await?;
    Ok(message)
}

/// The big-endian number at this place of a message.
fn number(message: &[u8], at: usize) -> Option<i32> {
    let bytes = message.get(at..at + 4)?.try_into().ok()?;
    Some(i32::from_be_bytes(bytes))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as a client of ZooKeeper sends it, or as a server answers it.
    fn message(xid: i32, opcode: i32, text: &str) -> Vec<u8> {
        let body = [&xid.to_be_bytes()[..], &opcode.to_be_bytes(), text.as_bytes()].concat();
        let length = u32::try_from(body.len()).unwrap();
        [&length.to_be_bytes()[..], &body].concat()
    }

    /// A server that sends every message back, with the proxy before it and a client that has said hello.
    async fn scene() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _peer)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        let proxy = Proxy::start(&address).await;
        let client = connect(&proxy).await;
        (proxy, client)
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let hello = message(0, MULTI, "hello");
        assert_eq!(exchange(&mut client, &hello).await.unwrap(), hello);
        client
    }

    async fn exchange(client: &mut TcpStream, message: &[u8]) -> io::Result<Vec<u8>> {
        client.write_all(message).await?;
        read_message(client).await
    }

    /// Whether nothing comes for a while; the while is no promise, a slow machine only sees less.
    async fn is_silent(client: &mut TcpStream) -> bool {
        let answer = tokio::time::timeout(Duration::from_millis(100), client.peek(&mut [0])).await;
        answer.is_err()
    }

    #[tokio::test]
    async fn what_is_held_back_in_one_direction_arrives_when_it_is_healed() {
        let (proxy, mut client) = scene().await;
        let request = message(1, 4, "/path");
        proxy.hold_answers();
        client.write_all(&request).await.unwrap();
        assert!(is_silent(&mut client).await);
        assert!(proxy.passed("/path"));
        proxy.hold_requests();
        assert_eq!(read_message(&mut client).await.unwrap(), request);
        client.write_all(&request).await.unwrap();
        assert!(is_silent(&mut client).await);
        proxy.heal();
        assert_eq!(read_message(&mut client).await.unwrap(), request);
    }

    #[tokio::test]
    async fn a_delay_holds_in_both_directions() {
        let (proxy, mut client) = scene().await;
        proxy.delay(Duration::from_millis(60));
        let start = Instant::now();
        exchange(&mut client, &message(1, 4, "")).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(120));
    }

    #[tokio::test]
    async fn a_rate_holds_over_all_connections() {
        let (proxy, mut client) = scene().await;
        let mut other = connect(&proxy).await;
        let request = message(1, 4, &"x".repeat(984));
        proxy.slow_to(10_000);
        let start = Instant::now();
        exchange(&mut client, &request).await.unwrap();
        exchange(&mut other, &request).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(190));
    }

    #[tokio::test]
    async fn only_the_kind_of_request_that_is_waited_for_resets_its_connection() {
        let (proxy, mut client) = scene().await;
        proxy.reset_at(Request::multi().with("/b"), Moment::Before);
        for other in [message(1, 4, "/b"), message(2, MULTI, "/a")] {
            assert_eq!(exchange(&mut client, &other).await.unwrap(), other);
        }
        assert!(proxy.is_waiting());
        let caught = exchange(&mut client, &message(3, MULTI, "/b")).await;
        assert_eq!(caught.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(!proxy.is_waiting());
        // Once: the next connection passes it.
        let mut client = connect(&proxy).await;
        exchange(&mut client, &message(3, MULTI, "/b")).await.unwrap();
    }

    #[tokio::test]
    async fn a_reset_after_a_request_comes_when_the_server_has_answered_it() {
        let (proxy, mut client) = scene().await;
        proxy.reset_at(Request::multi(), Moment::After);
        proxy.hold_answers();
        client.write_all(&message(7, MULTI, "/c")).await.unwrap();
        assert!(is_silent(&mut client).await);
        assert!(proxy.passed("/c"), "the server has it");
        proxy.heal();
        let lost = read_message(&mut client).await;
        assert_eq!(lost.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_reset_ends_every_connection() {
        let (proxy, mut client) = scene().await;
        let mut other = connect(&proxy).await;
        proxy.reset();
        for client in [&mut client, &mut other] {
            let error = read_message(client).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        connect(&proxy).await;
    }
}

//! A TCP proxy that can hold bytes back without closing anything, which is what a cut cable looks like, and that can
//! let requests through and lose their answers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// Requests pass, answers are held back.
    Requests,
    Closed,
}

/// Ends with its handle.
pub(super) struct Proxy {
    address: SocketAddr,
    gate: watch::Sender<Gate>,
    /// Raised to close every connection.
    resets: watch::Sender<u64>,
    /// The requests that were passed on since the answers are held back.
    requested: Arc<Mutex<Vec<u8>>>,
    task: AbortHandle,
}

impl Proxy {
    /// Listens on a free port and passes everything to `target`.
    pub(super) async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, gates) = watch::channel(Gate::Open);
        let (resets, mut reset) = watch::channel(0);
        let requested = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&requested);
        let target = target.to_owned();
        let task = tokio::spawn(async move {
            let mut pumps = JoinSet::new();
            while let Ok((client, _peer)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&target).await else {
                    continue;
                };
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                reset.mark_unchanged();
                let record = Some(Arc::clone(&record));
                let requests = Direction {
                    gate: gates.clone(),
                    passes: &[Gate::Open, Gate::Requests],
                    record,
                };
                let answers = Direction {
                    gate: gates.clone(),
                    passes: &[Gate::Open],
                    record: None,
                };
                pumps.spawn(until_reset(requests.pump(from_client, to_server), reset.clone()));
                pumps.spawn(until_reset(answers.pump(from_server, to_client), reset.clone()));
            }
        });
        Self {
            address,
            gate,
            resets,
            requested,
            task: task.abort_handle(),
        }
    }

    /// `host:port` to connect to.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Holds back every byte from now on, in both directions.
    pub(super) fn cut(&self) {
        self.gate.send_replace(Gate::Closed);
    }

    /// Passes on what was held back, and everything after it.
    pub(super) fn heal(&self) {
        self.gate.send_replace(Gate::Open);
    }

    /// Lets requests through from now on, and holds back their answers.
    pub(super) fn hold_answers(&self) {
        self.requested.lock().unwrap().clear();
        self.gate.send_replace(Gate::Requests);
    }

    /// Whether a request with this text was passed on since the answers are held back.
    pub(super) fn passed(&self, text: &str) -> bool {
        let requested = self.requested.lock().unwrap();
        requested
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    }

    /// Closes every connection, with what it holds back, and lets new ones pass everything.
    pub(super) fn reset(&self) {
        self.resets.send_modify(|resets| *resets += 1);
        self.heal();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn until_reset(pump: impl Future<Output = ()>, mut reset: watch::Receiver<u64>) {
    tokio::select! {
        biased;
        _ = reset.changed() => {}
        () = pump => {}
    }
}

/// One direction of a connection.
struct Direction {
    gate: watch::Receiver<Gate>,
    passes: &'static [Gate],
    record: Option<Arc<Mutex<Vec<u8>>>>,
}

impl Direction {
    async fn pump(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let open = self
                .gate
                .wait_for(|gate| self.passes.contains(gate))
                .await
                .is_ok();
            if !open || to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
            if let Some(record) = &self.record {
                record.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        }
    }
}

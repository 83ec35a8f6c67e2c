//! A TCP proxy that can stop passing bytes without closing anything: what a cut cable looks like.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Ends with its last handle.
pub(super) struct Proxy {
    address: SocketAddr,
    open: watch::Sender<bool>,
    task: AbortHandle,
}

impl Proxy {
    /// Listens on a free port and passes everything to `target`.
    pub(super) async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, gate) = watch::channel(true);
        let target = target.to_owned();
        let task = tokio::spawn(async move {
            let mut pumps = JoinSet::new();
            while let Ok((client, _peer)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&target).await else {
                    continue;
                };
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                pumps.spawn(pump(from_client, to_server, gate.clone()));
                pumps.spawn(pump(from_server, to_client, gate.clone()));
            }
        });
        Self {
            address,
            open,
            task: task.abort_handle(),
        }
    }

    /// `host:port` to connect to.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Holds back every byte from now on, in both directions.
    pub(super) fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Passes on what was held back, and everything after it.
    pub(super) fn heal(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if gate.wait_for(|open| *open).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

//! A scriptable HTTP backend: it answers as it is told, per key and per attempt, and remembers every request with its
//! start and end.
//!
//! It runs on a thread of its own, so that a busy test does not slow it and a blocked one does not stop it. It takes
//! well over 100,000 requests per second on one core.
//!
//! What it remembers grows with every request; for runs that last, an [`Observer`] is told instead.

mod history;
mod script;
mod server;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

pub use history::Seen;
pub use script::{Behaviour, When};

use rustls::ServerConfig;

use history::History;
use script::Script;
use server::Command;

/// A running backend of one or more servers that share script and history. It ends with this handle.
#[derive(Debug)]
pub struct Backend {
    shared: Arc<Shared>,
    commands: tokio::sync::mpsc::Sender<Command>,
    servers: Vec<SocketAddr>,
}

/// Is told of every request in the backend's place, which then remembers none. Called with the history locked: it must not
/// call the backend.
pub trait Observer: Send + std::fmt::Debug {
    /// A request has been read whole. Gives a number for it.
    fn begin(&mut self, seen: &Seen) -> u64;

    /// The request of this number was answered with `status`, or its connection ended without an answer.
    fn end(&mut self, number: u64, status: Option<u16>, now: Instant);
}

/// What the handle and the servers' thread share.
#[derive(Debug)]
struct Shared {
    script: Mutex<Script>,
    history: Mutex<History>,
}

impl Backend {
    /// A backend of one server that answers 200 until told otherwise.
    pub async fn start() -> Self {
        Self::start_servers(1).await
    }

    /// A backend of `count` servers.
    pub async fn start_servers(count: usize) -> Self {
        Self::with(count, History::default(), None).await
    }

    /// A backend of `count` servers that speak TLS.
    pub async fn start_secure(count: usize, config: Arc<ServerConfig>) -> Self {
        Self::with(count, History::default(), Some(config)).await
    }

    /// A backend of `count` servers that remembers no request, numbers no attempt and tells `observer` instead.
    pub async fn observed(count: usize, observer: impl Observer + 'static) -> Self {
        Self::with(count, History::told_to(Box::new(observer)), None).await
    }

    async fn with(count: usize, history: History, tls: Option<Arc<ServerConfig>>) -> Self {
        let shared = Arc::new(Shared {
            script: Mutex::default(),
            history: Mutex::new(history),
        });
        let commands = server::spawn(shared.clone(), tls);
        let mut backend = Self {
            shared,
            commands,
            servers: Vec::new(),
        };
        for _ in 0..count {
            let port = crate::ports::free_port();
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            backend.servers.push(address);
            backend.start_server(backend.servers.len() - 1).await;
        }
        backend
    }

    /// `host:port` of the first server.
    #[must_use]
    pub fn address(&self) -> String {
        self.servers[0].to_string()
    }

    /// `host:port` of every server.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(ToString::to_string).collect()
    }

    /// From now on, requests that `when` describes are answered so. Key with attempt goes before key, key before
    /// attempt, attempt before everything.
    ///
    /// # Panics
    /// When the backend's thread has panicked.
    pub fn on(&self, when: When, behaviour: Behaviour) {
        self.shared
            .script
            .lock()
            .expect("no panic inside")
            .set(when, Some(behaviour));
    }

    /// Takes back what [`Backend::on`] said for exactly this `when`.
    ///
    /// # Panics
    /// When the backend's thread has panicked.
    pub fn off(&self, when: When) {
        self.shared
            .script
            .lock()
            .expect("no panic inside")
            .set(when, None);
    }

    /// Every request so far, in the order of their starts; none of an observed backend.
    ///
    /// # Panics
    /// When the backend's thread has panicked.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.shared
            .history
            .lock()
            .expect("no panic inside")
            .requests()
            .to_vec()
    }

    /// How many requests came.
    ///
    /// # Panics
    /// When the backend's thread has panicked.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.history.lock().expect("no panic inside").count()
    }

    /// How many requests were answered with 2xx. A repeated record counts each time.
    ///
    /// # Panics
    /// When the backend's thread has panicked.
    #[must_use]
    pub fn delivered(&self) -> usize {
        self.shared.history.lock().expect("no panic inside").delivered()
    }

    /// Forgets the requests so far, but for what an observer knows.
    ///
    /// # Panics
    /// When the backend's thread has panicked.
    pub fn forget(&self) {
        self.shared.history.lock().expect("no panic inside").forget();
    }

    /// Stops one server: its port refuses, its connections are cut.
    pub async fn stop_server(&self, server: usize) {
        let (done, stopped) = tokio::sync::oneshot::channel();
        self.command(Command::Stop { server, done }).await;
        stopped.await.unwrap_or_default();
    }

    /// Starts a stopped server on its old port.
    ///
    /// # Panics
    /// When the port is taken.
    pub async fn start_server(&self, server: usize) {
        let (done, started) = tokio::sync::oneshot::channel();
        self.command(Command::Start {
            server,
            address: self.servers[server],
            done,
        })
        .await;
        let listening = started.await.expect("the backend's thread lives");
        listening.expect("the backend listens on its port");
    }

    /// Cuts every connection of every server; the ports stay open. What a load balancer's restart does.
    pub async fn cut_connections(&self) {
        for server in 0..self.servers.len() {
            self.stop_server(server).await;
            self.start_server(server).await;
        }
    }

    async fn command(&self, command: Command) {
        self.commands
            .send(command)
            .await
            .expect("the backend's thread lives");
    }
}

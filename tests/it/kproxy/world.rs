//! What every kproxy scenario needs: a running proxy, a raw client, a reader of answers.

use std::collections::HashMap;
use std::time::Duration;

use ktests::{Cluster, Daemon, Setup, ports::free_port, unique};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Ten times what anything here should take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A topic of its own for a test.
pub(crate) async fn topic(cluster: &Cluster, name: &str, partitions: i32) -> String {
    let topic = unique(&format!("kproxy-{name}"));
    cluster.create_topic(&topic, partitions).await.unwrap();
    topic
}

/// A whole request with a body, keep-alive.
pub(crate) fn request(topic: &str, body: &str) -> String {
    format!(
        "POST /commit?topic={topic}&key=k HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The keys that kproxy demands, with time-outs that a loaded machine keeps.
pub(crate) fn config(brokers: &str, port: u16) -> HashMap<&'static str, String> {
    let brokers: Vec<String> = brokers
        .split(',')
        .map(|broker| format!("\n  - {broker}"))
        .collect();
    HashMap::from([
        ("log_dir", "./log".to_owned()),
        ("log_level", "16".to_owned()),
        ("port", port.to_string()),
        ("listen_address", "127.0.0.1".to_owned()),
        ("read_timeout_ms", "30000".to_owned()),
        ("write_timeout_ms", "30000".to_owned()),
        ("max_request_size_bytes", "1000000".to_owned()),
        ("produce_timeout_ms", "30000".to_owned()),
        ("broker_hosts", brokers.concat()),
    ])
}

/// A configuration as text.
pub(crate) fn yaml(config: &HashMap<&'static str, String>) -> String {
    config
        .iter()
        .map(|(key, value)| format!("{key}: {value}\n"))
        .collect()
}

/// A kproxy of its own.
pub(crate) struct Proxy {
    pub(crate) daemon: Daemon,
    pub(crate) port: u16,
}

impl Proxy {
    /// With the defaults.
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        Self::start_with(cluster, &[]).await
    }

    /// With these keys in place of the defaults; one without a value is left out.
    pub(crate) async fn start_with(cluster: &Cluster, keys: &[(&'static str, &str)]) -> Self {
        let mut proxy = Self::spawn_with(cluster, keys);
        proxy.daemon.wait_ready().await;
        proxy
    }

    /// As `start_with`, without waiting for anything.
    pub(crate) fn spawn_with(cluster: &Cluster, keys: &[(&'static str, &str)]) -> Self {
        let port = free_port();
        let mut config = config(&cluster.brokers, port);
        for (key, value) in keys {
            if value.is_empty() {
                config.remove(key);
            } else {
                config.insert(key, (*value).to_owned());
            }
        }
        let daemon = Setup::new("kproxy", yaml(&config)).spawn();
        Self { daemon, port }
    }

    /// Ends it; it has to drain.
    pub(crate) async fn stop(mut self) {
        let status = self.daemon.terminate().await;
        assert!(status.success(), "{status}: {}", self.daemon.output());
    }

    /// A connection.
    pub(crate) async fn connect(&self) -> Client {
        Client::try_connect(self.port).await.expect("kproxy listens")
    }

    /// `POST /commit?query` on a connection of its own.
    pub(crate) async fn post(&self, query: &str, body: impl AsRef<[u8]>) -> Answer {
        self.post_with(query, "", body).await
    }

    /// The same with more headers, each line ended by `\r\n`.
    pub(crate) async fn post_with(&self, query: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        let body = body.as_ref();
        let head = format!(
            "POST /commit?{query} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let mut client = self.connect().await;
        client.send(head).await;
        client.send(body).await;
        client.answer().await
    }

    /// Any request on a connection of its own; headers each ended by `\r\n`.
    pub(crate) async fn ask(&self, line: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        let mut client = self.connect().await;
        client
            .send(format!(
                "{line} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
            ))
            .await;
        client.answer().await
    }

    /// The sum of the samples of a metric with these labels, 0 when there is none.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.daemon.metric(name, labels).await.unwrap_or(0.0)
    }
}

/// A raw HTTP/1.1 client.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// A connection, unless nobody listens.
    pub(crate) async fn try_connect(port: u16) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.set_nodelay(true).unwrap();
        Some(Self {
            stream,
            received: Vec::new(),
        })
    }

    /// Sends bytes as they are. A connection that kproxy has closed is no failure here: its answer tells.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.ok();
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads until `text` has come, and drops it and what came before.
    pub(crate) async fn read_until(&mut self, text: &str) -> Vec<u8> {
        self.try_read_until(text).await.unwrap_or_else(|| {
            panic!(
                "closed before {text:?}: {:?}",
                String::from_utf8_lossy(&self.received)
            );
        })
    }

    async fn try_read_until(&mut self, text: &str) -> Option<Vec<u8>> {
        loop {
            let at = self
                .received
                .windows(text.len())
                .position(|window| window == text.as_bytes());
            if let Some(at) = at {
                let rest = self.received.split_off(at + text.len());
                return Some(std::mem::replace(&mut self.received, rest));
            }
            if !self.read_more().await {
                return None;
            }
        }
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("an answer before the end")
    }

    /// The next answer, unless the connection ends before it.
    pub(crate) async fn try_answer(&mut self) -> Option<Answer> {
        let head = self.try_read_until("\r\n\r\n").await?;
        let mut answer = Answer::head(&String::from_utf8(head).unwrap());
        let length = answer
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        while self.received.len() < length {
            assert!(self.read_more().await, "closed inside a body");
        }
        let rest = self.received.split_off(length);
        answer.body = String::from_utf8(std::mem::replace(&mut self.received, rest)).unwrap();
        Some(answer)
    }

    /// Waits until kproxy closes, and gives what it sent before.
    pub(crate) async fn closed(&mut self) -> String {
        self.drain().await;
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// Waits until kproxy closes, whatever it sends before.
    pub(crate) async fn drain(&mut self) {
        while self.read_more().await {}
    }

    /// Whether kproxy has closed, as far as what has arrived tells.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.stream.try_read_buf(&mut self.received) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    /// False when the connection has ended, one way or the other.
    async fn read_more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
        !matches!(read.expect("kproxy answers or closes"), Ok(0) | Err(_))
    }
}

/// What kproxy answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn head(text: &str) -> Self {
        let mut lines = text.trim_end().lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        Self {
            status: status.parse().unwrap(),
            headers: lines
                .map(|line| line.split_once(": ").unwrap())
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: String::new(),
        }
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    /// The place of a stored record.
    pub(crate) fn stored(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// Asserts a refusal with this status and code, complete in its form.
    pub(crate) fn refused(&self, status: u16, code: &str) -> &Self {
        let told = self.json();
        let error = &told["error"];
        assert_eq!(
            (self.status, error["code"].as_str()),
            (status, Some(code)),
            "{self:?}"
        );
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| message.len() > 10),
            "{self:?}"
        );
        let outcome = if status == 504 {
            "possibly_persisted"
        } else {
            "not_persisted"
        };
        assert_eq!(error["outcome"], outcome, "{self:?}");
        let passes = [429, 503].contains(&status);
        assert_eq!(self.header("retry-after").is_some(), passes, "{self:?}");
        self
    }
}

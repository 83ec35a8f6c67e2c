//! Clients that harm a kproxy, beside guests that only want to post, and what it costs: memory, connections that live too long,
//! guests that wait or are refused.
//!
//! The measures are taken here; whether they are good is [`Finding::complaints`]. Times are multiplied by who asks: a loaded
//! machine says nothing about them.

mod attack;
mod finding;
mod overload;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Cluster, Daemon, Poster, Setup, ports, unique};

pub use attack::Attack;
pub use finding::{Finding, Latencies};
pub use overload::Overload;

/// Clients that only want to post.
const GUESTS: usize = 8;
/// Between two posts of a guest.
const GUEST_PAUSE: Duration = Duration::from_millis(50);
/// The value of every record.
const BODY: [u8; 200] = [b'x'; 200];
/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(250);
/// How long guests are alone before an attack.
const BEFORE: Duration = Duration::from_secs(2);

/// A kproxy with short time-outs, and its topic.
#[derive(Debug)]
pub struct Besieged {
    daemon: Daemon,
    port: u16,
    topic: String,
}

impl Besieged {
    /// Starts one on a cluster, with a topic of its own. `setup` may say where its binary is.
    ///
    /// # Errors
    /// The topic cannot be made.
    ///
    /// # Panics
    /// kproxy does not start.
    pub async fn start(cluster: &Cluster, setup: impl FnOnce(Setup) -> Setup) -> anyhow::Result<Self> {
        let topic = unique("siege");
        cluster.create_topic(&topic, 8).await?;
        let port = ports::free_port();
        let brokers = cluster.brokers.split(',');
        let brokers: String = brokers.map(|broker| format!("  - {broker}\n")).collect();
        let file = format!(
            "log_dir: ./log\nlog_level: 4\nlisten_address: 127.0.0.1\nport: {port}\nread_timeout_ms: 3000\n\
             write_timeout_ms: 3000\nheader_timeout_ms: 3000\nrequest_timeout_ms: 6000\nidle_timeout_ms: 6000\n\
             max_request_size_bytes: 10485760\nbroker_hosts:\n{brokers}"
        );
        let daemon = setup(Setup::new("kproxy", file)).start().await;
        Ok(Self { daemon, port, topic })
    }

    /// Lets clients of this kind at it for so long, with guests beside them.
    ///
    /// # Panics
    /// kproxy ends.
    pub async fn attack(&self, attack: Attack, length: Duration) -> Finding {
        let measures = Arc::new(finding::Measures::default());
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for guest in 0..GUESTS {
            tasks.spawn(self.guest(guest, Arc::clone(&measures), stop.clone()));
        }
        tokio::time::sleep(BEFORE).await;
        measures.forget_answers();
        let before = self.resident();
        let target = attack::Target {
            port: self.port,
            topic: self.topic.clone(),
            measures: Arc::clone(&measures),
            stop: stop.clone(),
        };
        for number in 0..attack.clients() {
            tasks.spawn(attack.client(number, target.clone()));
        }
        let resident = self.look(length).await;
        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a client does not panic");
        }
        self.finding(attack.into(), before, resident, &measures).await
    }

    async fn finding(
        &self,
        kind: finding::Kind,
        before: u64,
        resident: Vec<u64>,
        measures: &finding::Measures,
    ) -> Finding {
        let cut = self.count("kproxy_connections_cut_total", &[]).await;
        let slow = self
            .count("kproxy_requests_total", &["result=\"slow_request\""])
            .await;
        let too_large = self
            .count("kproxy_requests_total", &["result=\"body_too_large\""])
            .await;
        Finding::new(kind, before, resident, measures).with_ended(cut + slow + too_large)
    }

    /// Ends it.
    ///
    /// # Panics
    /// It does not end in good order.
    pub async fn stop(mut self) {
        let status = self.daemon.terminate().await;
        assert!(status.success(), "{status}: {}", self.daemon.output());
    }

    fn guest(
        &self,
        number: usize,
        measures: Arc<finding::Measures>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (port, query) = (self.port, format!("topic={}&key=guest{number}", self.topic));
        async move {
            let mut poster = Poster::new(port);
            while !stop.is_cancelled() {
                let start = Instant::now();
                let answer = poster.post(&query, &BODY).await;
                measures.enter(answer, start.elapsed());
                tokio::time::sleep(GUEST_PAUSE).await;
            }
        }
    }

    /// Resident memory in KiB, now and then, for so long.
    async fn look(&self, length: Duration) -> Vec<u64> {
        let end = Instant::now() + length;
        let mut resident = Vec::new();
        while Instant::now() < end {
            tokio::time::sleep(LOOK).await;
            resident.push(self.resident());
        }
        resident
    }

    fn resident(&self) -> u64 {
        resident_kib(self.daemon.pid()).expect("kproxy runs")
    }

    async fn count(&self, name: &str, labels: &[&str]) -> u64 {
        let sum = self.daemon.metric(name, labels).await.unwrap_or(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a counter is a whole number, far below 2^53"
        )]
        let count = sum as u64;
        count
    }
}

/// Resident memory of a process in KiB, none when it has ended.
fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

//! Clients that post to a kproxy before three brokers while brokers, connections and kproxy itself fail, one after the other;
//! then [`vows`](crate::vows) says whether every answer was true.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Options, own_cluster_with};
use crate::poster::{Lost, Reply};
use crate::vows::{Told, Verdict, Witness, judge};
use crate::{Daemon, OwnCluster, Poster, Proxy, Setup, eventually, ports, unique};

/// Clients, each with a key of its own.
const CLIENTS: usize = 64;
const BROKERS: usize = 3;
const PARTITIONS: i32 = 8;
/// How long a fault lasts.
const FAULT: Duration = Duration::from_secs(3);
/// How long a client that was refused, or found nobody, waits before its next post.
const AGAIN: Duration = Duration::from_millis(50);
/// Records that are stored between two faults: so many at least, and so much of a long run.
const BETWEEN: usize = 500;
const OF_A_RUN: usize = 50;
/// Ten times what a recovery should take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A broker is killed and started again.
    KillBroker,
    /// A broker hands over what it leads, stops, and is started again.
    StopBroker,
    /// Two brokers stop: too few replicas are in sync.
    StopTwoBrokers,
    /// Nothing passes between kproxy and one broker.
    OneSilent,
    /// Nothing passes between kproxy and any broker.
    AllSilent,
    /// Brokers take what comes, their answers are lost, and then every connection breaks.
    LostAnswers,
    /// Every connection to a broker breaks.
    Reset,
    /// kproxy is told to stop, and started again.
    Terminate,
    /// kproxy is killed and started again.
    Kill,
}

impl Fault {
    const EVERY: [Self; 9] = [
        Self::KillBroker,
        Self::LostAnswers,
        Self::Kill,
        Self::StopBroker,
        Self::AllSilent,
        Self::Terminate,
        Self::StopTwoBrokers,
        Self::Reset,
        Self::OneSilent,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::KillBroker => "a broker was killed",
            Self::StopBroker => "a broker stopped",
            Self::StopTwoBrokers => "two brokers stopped",
            Self::OneSilent => "one broker was silent",
            Self::AllSilent => "all brokers were silent",
            Self::LostAnswers => "answers of all brokers were lost",
            Self::Reset => "connections to brokers were reset",
            Self::Terminate => "kproxy was told to stop",
            Self::Kill => "kproxy was killed",
        })
    }
}

/// What the clients have done so far.
#[derive(Debug, Default)]
struct Progress {
    posts: AtomicUsize,
    stored: AtomicUsize,
}

/// Everything that may fail.
#[derive(Debug)]
pub struct Ordeal {
    own: OwnCluster,
    proxies: Vec<Proxy>,
    daemon: Daemon,
    port: u16,
    topic: String,
    progress: Arc<Progress>,
}

impl Ordeal {
    /// Starts brokers, proxies before them, and a kproxy. `setup` may say where its binary is.
    ///
    /// # Errors
    /// The topic cannot be made.
    ///
    /// # Panics
    /// A server does not start.
    pub async fn start(setup: impl FnOnce(Setup) -> Setup) -> Result<Self> {
        let options = Options {
            brokers: BROKERS,
            heap_mb: 512,
            fronts: true,
            ..Options::default()
        };
        let own = own_cluster_with(options).await;
        let topic = unique("ordeal");
        let settings = [("min.insync.replicas", "2")];
        own.cluster
            .create_topic_with(&topic, PARTITIONS, 3, &settings)
            .await?;
        let (cluster, proxies) = own.through_proxies().await;
        let port = ports::free_port();
        let brokers = cluster.brokers.split(',');
        let brokers: String = brokers.map(|broker| format!("  - {broker}\n")).collect();
        let file = format!(
            "log_dir: ./log\nlog_level: 4\nlisten_address: 127.0.0.1\nport: {port}\nread_timeout_ms: 30000\n\
             write_timeout_ms: 30000\nmax_request_size_bytes: 1000000\nproduce_timeout_ms: 4000\n\
             stall_timeout_ms: 1500\ndrain_timeout_ms: 3000\nbroker_hosts:\n{brokers}"
        );
        let daemon = setup(Setup::new("kproxy", file)).start().await;
        Ok(Self {
            own,
            proxies,
            daemon,
            port,
            topic,
            progress: Arc::default(),
        })
    }

    /// Posts at least so many records, with every kind of fault at least once meanwhile, and judges the answers. `say` is told
    /// of each fault.
    ///
    /// # Errors
    /// A broker does not come back, or the topic cannot be read.
    ///
    /// # Panics
    /// kproxy does not come back, or stores nothing any more.
    pub async fn run(mut self, posts: usize, mut say: impl FnMut(&str)) -> Result<Verdict> {
        let stop = CancellationToken::new();
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let progress = Arc::clone(&self.progress);
            let client = client(number, self.port, self.topic.clone(), progress, stop.clone());
            clients.spawn(client);
        }
        self.stores_more(BETWEEN).await;
        let between = (posts / OF_A_RUN).saturating_sub(BETWEEN);
        let mut round = 0;
        while round == 0 || self.progress.posts.load(Ordering::Relaxed) < posts {
            for fault in Fault::EVERY {
                self.commit(fault, round).await?;
                let healed = Instant::now();
                self.stores_more(BETWEEN).await;
                let seconds = healed.elapsed().as_secs_f64();
                let posts = self.progress.posts.load(Ordering::Relaxed);
                say(&format!(
                    "{posts} posts: {fault}; {BETWEEN} more stored {seconds:.1} s after its end"
                ));
                self.stores_more(between).await;
            }
            round += 1;
        }
        stop.cancel();
        let mut witnesses = Vec::new();
        while let Some(witness) = clients.join_next().await {
            witnesses.push(witness?);
        }
        witnesses.sort_by_key(Witness::number);
        let status = self.daemon.terminate().await;
        anyhow::ensure!(status.success(), "kproxy ended with {status}");
        let records = self.own.cluster.read_topic(&self.topic).await?;
        Ok(judge(&witnesses, &records))
    }

    async fn stores_more(&self, count: usize) {
        let stored = || self.progress.stored.load(Ordering::Relaxed);
        let enough = stored() + count;
        eventually("records are stored", PATIENCE, async || stored() >= enough).await;
    }

    /// Makes a fault, and undoes it.
    async fn commit(&mut self, fault: Fault, round: usize) -> Result<()> {
        let (first, second) = (round % BROKERS, (round + 1) % BROKERS);
        match fault {
            Fault::KillBroker => {
                self.own.kill_broker_of_id(first).await?;
                tokio::time::sleep(FAULT).await;
                self.own.start_broker_of_id(first).await?;
            }
            Fault::StopBroker => {
                self.own.stop_broker_of_id(first).await?;
                self.own.start_broker_of_id(first).await?;
            }
            Fault::StopTwoBrokers => {
                self.own.stop_broker_of_id(first).await?;
                self.own.stop_broker_of_id(second).await?;
                tokio::time::sleep(FAULT).await;
                self.own.start_broker_of_id(first).await?;
                self.own.start_broker_of_id(second).await?;
            }
            Fault::OneSilent => {
                self.proxies[first].cut();
                tokio::time::sleep(FAULT).await;
                self.proxies[first].heal();
            }
            Fault::AllSilent => {
                self.proxies.iter().for_each(Proxy::cut);
                tokio::time::sleep(FAULT).await;
                self.proxies.iter().for_each(Proxy::heal);
            }
            Fault::LostAnswers => {
                self.proxies.iter().for_each(Proxy::hold_answers);
                // Odd rounds last longer than records wait.
                tokio::time::sleep(FAULT / if round.is_multiple_of(2) { 10 } else { 1 }).await;
                self.proxies.iter().for_each(Proxy::reset);
            }
            Fault::Reset => self.proxies.iter().for_each(Proxy::reset),
            Fault::Terminate => {
                let status = self.daemon.terminate().await;
                anyhow::ensure!(status.success(), "kproxy ended with {status}");
                self.daemon.start_again();
            }
            Fault::Kill => {
                self.daemon.kill().await;
                self.daemon.start_again();
            }
        }
        Ok(())
    }
}

/// A client: one post after the other, each when the last is answered.
async fn client(
    number: usize,
    port: u16,
    topic: String,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Witness {
    let mut witness = Witness::new(number);
    let mut poster = Poster::new(port);
    while !stop.is_cancelled() {
        let query = format!("topic={topic}&key={}&acks=-1", witness.key());
        let answer = poster.post(&query, witness.body().as_bytes()).await;
        let Some(told) = told(answer) else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        progress.posts.fetch_add(1, Ordering::Relaxed);
        match &told {
            Told::Stored { .. } => drop(progress.stored.fetch_add(1, Ordering::Relaxed)),
            Told::NotStored(_) => tokio::time::sleep(AGAIN).await,
            Told::Unsure | Told::Senseless => {}
        }
        witness.enter(told);
    }
    witness
}

/// What an answer says of its record; nothing when there was no post.
fn told(answer: Result<Reply, Lost>) -> Option<Told> {
    let reply = match answer {
        Ok(reply) => reply,
        Err(Lost::NotConnected) => return None,
        Err(Lost::Cut) => return Some(Told::Unsure),
        Err(Lost::Hung) => return Some(Told::Senseless),
    };
    let place = reply.number("partition").zip(reply.number("offset"));
    Some(match (reply.status, place) {
        (200, Some((partition, offset))) => Told::Stored {
            partition: i32::try_from(partition).unwrap_or(-1),
            offset,
        },
        (200, None) => Told::Senseless,
        _ if reply.is_unsure() => Told::Unsure,
        _ if reply.is_refusal() => Told::NotStored(reply.word("code").unwrap_or_default()),
        _ => Told::Senseless,
    })
}

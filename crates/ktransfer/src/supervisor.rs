//! Keeps every module of the process alive: starts its thread and its coordination together, ends them together, starts them
//! again with back-off after a failure, and follows changes of its file and of the list of modules. Modules share nothing here but
//! the process: what happens to one is seen in its own readiness, metrics and log lines, and concerns no other.

mod fleet;
mod life;
pub mod operate;
pub mod reload;
mod seat;
mod source;
mod states;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kcommon::daemon::{Context, Failure};
use kcommon::readiness::{Latch, Readiness};
use kcommon::watched::Watched;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::assignment::Epochs;
use crate::budget::Budget;
use crate::committer::Stored;
use crate::config;
use crate::consumer::Brokers;
use crate::coordinator;
use crate::lease::Lease;
use crate::sessions::Keeper;
use crate::watermarks::Watermarks;
use fleet::{Fleet, Read};
use operate::Operator;
use reload::{Reloaded, Reloader, Requests};
use states::States;

/// The longest wait between two tries to reach ZooKeeper: pushing is to go on soon after it is back.
const LONGEST_RECONNECT: Duration = Duration::from_secs(1);

/// What all modules of the process share.
#[derive(Clone)]
struct Shared {
    /// The clusters that the process was started with.
    clusters: Arc<BTreeMap<Option<String>, Cluster>>,
    budget: Budget,
    stored: Stored,
    readiness: Readiness,
    states: States,
}

/// What all modules of one cluster share: a session of its own, and so a lease and epochs of their own.
#[derive(Clone)]
struct Cluster {
    process: coordinator::Process,
    lease: Lease,
    /// Without hosts: those registered in ZooKeeper.
    brokers: Brokers,
}

/// Runs ktransfer until `context` asks it to stop and every module has drained.
///
/// # Errors
/// A module could not be stopped in an orderly way.
pub async fn run(config: config::Main, context: Context) -> Result<(), Failure> {
    let mut hangup = hangup()?;
    for problem in &config.base.tolerated {
        tracing::error!(%problem, "wrong module configuration; the other modules run");
    }
    let member = coordinator::new_id();
    let (shared, keepers) = shared(&config, &context, &member);
    let _shown = shared.states.show();
    tracing::info!(
        member,
        clusters = keepers.len(),
        modules = config.modules.len(),
        "ktransfer started"
    );
    let (reloader, mut requests) = Reloader::new();
    let operator = Operator::new(&shared);
    context
        .admin
        .add(admin::routes(reloader, operator, config.token.clone()));
    let mut following = Following {
        watched: Watched::new(config.sources()),
        fleet: Fleet::new(config, shared),
    };
    context.supervisor.started();
    let stop_keeper = CancellationToken::new();
    let mut keeping = JoinSet::new();
    for keeper in keepers {
        keeping.spawn(keeper.run(stop_keeper.clone()));
    }

    let outcome = following
        .follow(&context, &mut keeping, &mut requests, &mut hangup)
        .await;
    // Modules first: they need the session to commit and release.
    following.fleet.stop().await;
    stop_keeper.cancel();
    while keeping.join_next().await.is_some() {}
    tracing::info!("ktransfer stopped");
    outcome
}

fn hangup() -> Result<Signal, Failure> {
    let taken = signal(SignalKind::hangup());
    taken.map_err(|error| Failure::new(format!("no signal handler: {error}")))
}

/// The next request to read the configuration again. The end of those who ask is the end of the process.
async fn next(requests: &mut Requests) -> oneshot::Sender<Reloaded> {
    match requests.recv().await {
        Some(request) => request,
        None => std::future::pending().await,
    }
}

fn shared(config: &config::Main, context: &Context, member: &str) -> (Shared, Vec<Keeper>) {
    let (mut clusters, mut keepers) = (BTreeMap::new(), Vec::new());
    for (name, settings) in &config.clusters {
        let latch = match name {
            Some(name) => format!("zookeeper {name}"),
            None => "zookeeper".to_owned(),
        };
        let (cluster, keeper) = cluster(settings, context.readiness.latch(latch), member);
        clusters.insert(name.clone(), cluster);
        keepers.push(keeper);
    }
    let shared = Shared {
        clusters: Arc::new(clusters),
        budget: Budget::new(config.body_budget_bytes, config.modules.len()),
        stored: Stored::default(),
        readiness: context.readiness.clone(),
        states: States::default(),
    };
    (shared, keepers)
}

fn cluster(settings: &config::Cluster, latch: Latch, member: &str) -> (Cluster, Keeper) {
    let (lease, epochs) = (Lease::new(), Epochs::default());
    let keeper = Keeper::new(
        settings.zookeeper.clone(),
        LONGEST_RECONNECT,
        lease.clone(),
        epochs.clone(),
        latch,
    );
    let brokers = Brokers {
        hosts: settings.broker_hosts.clone(),
        options: settings.options.clone(),
    };
    let process = coordinator::Process {
        member: member.to_owned(),
        sessions: keeper.sessions(),
        epochs,
        watermarks: Watermarks::new(brokers.clone()),
    };
    let cluster = Cluster {
        process,
        lease,
        brokers,
    };
    (cluster, keeper)
}

/// The modules, and the look at their files.
struct Following {
    watched: Watched,
    fleet: Fleet,
}

impl Following {
    /// Follows the files until the process is asked to stop.
    async fn follow(
        &mut self,
        context: &Context,
        keeping: &mut JoinSet<()>,
        requests: &mut Requests,
        hangup: &mut Signal,
    ) -> Result<(), Failure> {
        loop {
            let mut answer: Option<oneshot::Sender<Reloaded>> = None;
            let asked_by = tokio::select! {
                () = context.stop.requested() => break Ok(()),
                // Does not end before it is told to, unless by a panic.
                Some(_ended) = keeping.join_next() => {
                    break Err(Failure::new("the keeper of a ZooKeeper session ended; see the log, and report this"));
                }
                ended = self.fleet.ended() => match ended {
                    Ok(()) => continue,
                    Err(failure) => break Err(failure),
                },
                () = self.watched.changed() => "changed files",
                _ = hangup.recv() => "SIGHUP",
                asked = next(requests) => {
                    answer = Some(asked);
                    "POST /reload"
                }
            };
            let reloaded = tokio::select! {
                () = context.stop.requested() => break Ok(()),
                reloaded = self.reload(asked_by) => reloaded,
            };
            if let Some(answer) = answer {
                // Whoever asked may have gone.
                drop(answer.send(reloaded));
            }
        }
    }

    /// Reads all files again and lets the modules follow.
    async fn reload(&mut self, asked_by: &str) -> Reloaded {
        let last = self.fleet.main().clone();
        let read = tokio::task::spawn_blocking(move || Read::files(&last)).await;
        let Ok(read) = read else {
            // A panic is in the log; the files are as good as not read.
            return Reloaded::default();
        };
        let reloaded = self.fleet.take(read);
        self.watched.watch(self.fleet.main().sources());
        if asked_by != "changed files" || !reloaded.is_nothing() {
            reloaded.tell(asked_by);
        }
        reloaded
    }
}

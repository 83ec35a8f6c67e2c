//! Keeps every module of the process alive: starts its thread and its coordination together, ends them together, starts them
//! again with back-off after a failure, and follows changes of its file. Modules share nothing here but the process: what
//! happens to one is seen in its own readiness, metrics and log lines, and concerns no other.

mod life;
mod source;

use std::time::Duration;

use kcommon::config::Invalid;
use kcommon::daemon::{Context, Failure};
use kcommon::readiness::{Latch, Readiness};
use metrics::{Gauge, counter, gauge};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::assignment::Epochs;
use crate::budget::Budget;
use crate::committer::Stored;
use crate::config::{self, Enabled};
use crate::coordinator;
use crate::lease::Lease;
use crate::meters::{INVALID, RESTARTS, RUNNING};
use crate::sessions::Keeper;
use crate::watermarks::Watermarks;
use life::{Ended, Life};
use source::{Change, Watched};

/// The wait before a module that failed is started again; doubles up to [`LONGEST_BACK_OFF`].
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);
/// A module that has run for so long begins with the first back-off again.
const HEALTHY: Duration = Duration::from_secs(60);

/// The longest wait between two tries to reach ZooKeeper: pushing is to go on soon after it is back.
const LONGEST_RECONNECT: Duration = Duration::from_secs(1);

/// What all modules of the process share.
#[derive(Clone)]
struct Shared {
    process: coordinator::Process,
    lease: Lease,
    budget: Budget,
    stored: Stored,
    readiness: Readiness,
    /// `host:port`; empty = those registered in ZooKeeper.
    broker_hosts: Vec<String>,
}

/// Runs ktransfer until `context` asks it to stop and every module has drained.
///
/// # Errors
/// A module could not be stopped in an orderly way.
pub async fn run(config: config::Main, context: Context) -> Result<(), Failure> {
    for problem in &config.base.tolerated {
        tracing::error!(%problem, "wrong module configuration; the other modules run");
    }
    let (lease, epochs) = (Lease::new(), Epochs::default());
    let keeper = Keeper::new(
        config.zookeeper,
        LONGEST_RECONNECT,
        lease.clone(),
        epochs.clone(),
        context.readiness.latch("zookeeper"),
    );
    let broker_hosts: Vec<_> = config.broker_hosts.iter().map(ToString::to_string).collect();
    let shared = Shared {
        process: coordinator::Process {
            member: coordinator::new_id(),
            sessions: keeper.sessions(),
            epochs,
            watermarks: Watermarks::new(&broker_hosts),
        },
        lease,
        budget: Budget::new(config.body_budget_bytes, config.modules.len()),
        stored: Stored::default(),
        readiness: context.readiness.clone(),
        broker_hosts,
    };
    tracing::info!(
        member = shared.process.member,
        modules = config.modules.len(),
        "ktransfer started"
    );
    context.supervisor.started();
    let (stop_modules, stop_keeper) = (CancellationToken::new(), CancellationToken::new());
    let mut modules = JoinSet::new();
    for enabled in config.modules {
        modules.spawn(supervise(enabled, shared.clone(), stop_modules.clone()));
    }
    let mut keeping = JoinSet::new();
    keeping.spawn(keeper.run(stop_keeper.clone()));

    let outcome = tokio::select! {
        () = context.stop.requested() => Ok(()),
        // Neither ends before it is told to, unless by a panic.
        Some(_ended) = modules.join_next() => Err(Failure::new("the supervisor of a module ended; see the log, and report this")),
        Some(_ended) = keeping.join_next() => Err(Failure::new("the keeper of the ZooKeeper session ended; see the log, and report this")),
    };
    // Modules first: they need the session to commit and release.
    stop_modules.cancel();
    while modules.join_next().await.is_some() {}
    stop_keeper.cancel();
    while keeping.join_next().await.is_some() {}
    tracing::info!("ktransfer stopped");
    outcome
}

/// One module for the whole life of the process.
async fn supervise(enabled: Enabled, shared: Shared, stop: CancellationToken) {
    let name = enabled.name.clone();
    let latch = shared.readiness.latch(format!("module {name}"));
    let invalid_entries = gauge!(INVALID);
    // A module that is listed twice has this gauge from its other entry.
    let running = enabled
        .path()
        .map(|_file| gauge!(RUNNING, "module" => name.clone()));
    let mut watched = Watched::new(enabled);
    let mut module = watched.module();
    let mut back_off = FIRST_BACK_OFF;
    while !stop.is_cancelled() {
        let valid = match module {
            Ok(valid) => valid,
            Err(invalid) => {
                tell_running(running.as_ref(), 0.0);
                tell_invalid(&name, &latch, &invalid);
                invalid_entries.increment(1.0);
                let change = stop.run_until_cancelled(watched.changed()).await;
                invalid_entries.decrement(1.0);
                match change {
                    Some(Change::Valid(changed)) => module = Ok(*changed),
                    Some(Change::Invalid(changed)) => module = Err(changed),
                    None => return,
                }
                continue;
            }
        };
        tell_running(running.as_ref(), 1.0);
        let began = tokio::time::Instant::now();
        let ended = Life::new(valid.clone(), &shared, &latch)
            .run(&mut watched, &stop)
            .await;
        tell_running(running.as_ref(), 0.0);
        module = match ended {
            Ended::Stopped => return,
            Ended::Changed(changed) => {
                tracing::info!(module = name, "module file changed; starting again with it");
                Ok(*changed)
            }
            Ended::Failed(reason) => {
                if began.elapsed() > HEALTHY {
                    back_off = FIRST_BACK_OFF;
                }
                counter!(RESTARTS, "module" => name.clone()).increment(1);
                tracing::error!(
                    module = name,
                    reason,
                    ?back_off,
                    "module failed; starting it again after a pause"
                );
                latch.not_ready(format!("failed: {reason}; it is started again"));
                stop.run_until_cancelled(tokio::time::sleep(back_off)).await;
                back_off = (back_off * 2).min(LONGEST_BACK_OFF);
                Ok(valid)
            }
        };
    }
}

fn tell_running(running: Option<&Gauge>, value: f64) {
    if let Some(running) = running {
        running.set(value);
    }
}

fn tell_invalid(name: &str, latch: &Latch, invalid: &Invalid) {
    tracing::error!(module = name, problems = %invalid, "module not started: its configuration is wrong");
    latch.not_ready(format!("wrong configuration: {invalid}"));
}

//! One life of a module: its thread and its coordination, from the first broker's address to the last released claim.

use std::time::Duration;

use kcommon::readiness::Latch;
use kcommon::zookeeper::{self, Session};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::source::Source;
use super::states::Runs;
use super::{Cluster, Shared};
use crate::config::Module;
use crate::consumer::{Brokers, Prefetch};
use crate::coordinator;
use crate::module::{self, ModuleError};

/// Orders and reports that may wait on either side; both sides go on without room here.
const CHANNEL: usize = 1024;
/// Questions of people that may wait.
const QUESTIONS: usize = 16;
/// The wait before the brokers' addresses are asked for again.
const RETRY: Duration = Duration::from_secs(1);
/// What a module's thread may take to end after its coordination has.
const THREAD_GRACE: Duration = Duration::from_secs(5);

/// How a life ended.
pub(super) enum Ended {
    /// It was asked to.
    Stopped,
    /// Its file says something else.
    Changed(Box<Module>),
    /// It failed, for this reason.
    Failed(String),
}

pub(super) struct Life<'a> {
    module: Module,
    shared: &'a Shared,
    cluster: Cluster,
    latch: &'a Latch,
}

/// How a module's thread ended; an error is a panic.
type ThreadOutcome = Result<Result<(), ModuleError>, oneshot::error::RecvError>;

/// The two halves of a running module.
struct Halves {
    coordination: JoinHandle<coordinator::Ended>,
    thread: oneshot::Receiver<Result<(), ModuleError>>,
    stop: CancellationToken,
}

impl<'a> Life<'a> {
    pub(super) fn new(module: Module, shared: &'a Shared, cluster: Cluster, latch: &'a Latch) -> Self {
        Self {
            module,
            shared,
            cluster,
            latch,
        }
    }

    pub(super) async fn run(self, source: &mut Source, stop: &CancellationToken) -> Ended {
        self.latch.not_ready("starting");
        let (brokers, prefetch) = tokio::select! {
            () = stop.cancelled() => return Ended::Stopped,
            found = async { (self.brokers().await, self.prefetch().await) } => found,
        };
        let mut halves = match self.start(brokers, prefetch) {
            Ok(halves) => halves,
            Err(error) => return Ended::Failed(format!("cannot start a thread: {error}")),
        };
        // Not before its halves have a say of their own: in between nothing would speak against being ready.
        self.latch.ready();
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    halves.end().await;
                    return Ended::Stopped;
                }
                outcome = &mut halves.thread => {
                    halves.end_coordination().await;
                    return Ended::Failed(why(outcome));
                }
                ended = &mut halves.coordination => {
                    return Ended::Failed(self.without_coordination(ended, &mut halves).await);
                }
                said = source.changed() => match said {
                    Ok(module) if module != self.module => {
                        halves.end_coordination().await;
                        // The drain is over; how the thread ends changes nothing about the new file.
                        let _outcome = self.thread_ended(&mut halves).await;
                        return Ended::Changed(Box::new(module));
                    }
                    Ok(_same) => source.accept(),
                    Err(invalid) => source.refuse(&invalid),
                },
            }
        }
    }

    /// What is left to do when coordination ended first, and why it did.
    async fn without_coordination(
        &self,
        ended: Result<coordinator::Ended, JoinError>,
        halves: &mut Halves,
    ) -> String {
        // A module ends when its orders do.
        let outcome = self.thread_ended(halves).await;
        match ended {
            // It saw the end of the module before we did.
            Ok(_gave_up) => why(outcome),
            Err(error) => {
                tracing::error!(module = self.module.name, %error, "coordination panicked");
                coordinator::sweep(&self.coordinated(), &self.cluster.process).await;
                "its coordination panicked; the log has the place".into()
            }
        }
    }

    /// Waits for the end of the module's thread, however long: a second life beside it could push the same records.
    async fn thread_ended(&self, halves: &mut Halves) -> ThreadOutcome {
        loop {
            match tokio::time::timeout(THREAD_GRACE, &mut halves.thread).await {
                Ok(outcome) => return outcome,
                Err(_elapsed) => {
                    self.latch
                        .not_ready("its thread does not end; it is not started again before");
                    tracing::error!(module = self.module.name, "the thread of the module does not end");
                }
            }
        }
    }

    /// What coordination needs to know of the module.
    fn coordinated(&self) -> coordinator::Module {
        coordinator::Module {
            name: self.module.name.clone(),
            topic: self.module.topic.clone(),
            initial_offset: self.module.initial_offset,
            drain_timeout: self.module.drain_timeout,
        }
    }

    /// The brokers to begin with; waits until there are some.
    async fn brokers(&self) -> Vec<String> {
        if !self.cluster.brokers.hosts.is_empty() {
            return self.cluster.brokers.hosts.clone();
        }
        loop {
            let session = self.session().await;
            match zookeeper::brokers(&session).await {
                Ok(brokers) if !brokers.is_empty() => return brokers,
                Ok(_none) => self.latch.not_ready(
                    "no broker is registered in ZooKeeper; is zk_chroot that of the Kafka cluster?",
                ),
                Err(error) => self
                    .latch
                    .not_ready(format!("cannot read the brokers from ZooKeeper: {error}")),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Waits for a session with ZooKeeper.
    async fn session(&self) -> Session {
        let mut sessions = self.cluster.process.sessions.clone();
        loop {
            if let Some(session) = sessions.current() {
                return session;
            }
            self.latch.not_ready("waits for ZooKeeper");
            sessions.changed().await;
        }
    }

    /// How much the Kafka client may hold of each partition. Asked once: a topic that nobody knows yet counts as a large one.
    async fn prefetch(&self) -> Prefetch {
        // Without one nothing is claimed either.
        let session = self.session().await;
        let watermarks = &self.cluster.process.watermarks;
        let partitions = watermarks.partitions(&session, &self.module.topic).await;
        Prefetch::of(partitions.ok().flatten().map(|partitions| partitions.len()))
    }

    fn start(&self, hosts: Vec<String>, prefetch: Prefetch) -> std::io::Result<Halves> {
        let (order_sender, orders) = mpsc::channel(CHANNEL);
        let (reports, report_receiver) = mpsc::channel(CHANNEL);
        let (thread_ended, thread) = oneshot::channel();
        let name = &self.module.name;
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let start = module::Start {
            questions: asked,
            module: self.module.clone(),
            brokers: Brokers {
                hosts,
                options: self.cluster.brokers.options.with(&self.module.options),
            },
            prefetch,
            orders,
            reports,
            lease: self.cluster.lease.clone(),
            budget: self.shared.budget.clone(),
            stored: self.shared.stored.clone(),
            latch: self.shared.readiness.latch(format!("module {name} partitions")),
            backend: self.shared.readiness.latch(format!("module {name} backend")),
        };
        std::thread::Builder::new()
            .name(format!("kt-{name}"))
            .spawn(move || {
                let outcome = module::run(start);
                // The supervisor has gone only when the process ends.
                drop(thread_ended.send(outcome));
            })?;
        let runs = Runs {
            topic: self.module.topic.clone(),
            cluster: self.module.cluster.clone(),
            questions,
        };
        self.shared.states.runs(name, Some(runs));
        let link = coordinator::Link {
            orders: order_sender,
            reports: report_receiver,
            latch: self.shared.readiness.latch(format!("module {name} coordination")),
        };
        let stop = CancellationToken::new();
        let running = coordinator::run(
            self.coordinated(),
            self.cluster.process.clone(),
            link,
            stop.clone(),
        );
        Ok(Halves {
            coordination: tokio::spawn(running),
            thread,
            stop,
        })
    }
}

impl Halves {
    /// Ends coordination: it drains the module, commits and releases. With it the orders end, and so the thread.
    async fn end_coordination(&mut self) {
        self.stop.cancel();
        if !self.coordination.is_finished()
            && let Err(error) = (&mut self.coordination).await
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the coordination of a module panicked"
            );
        }
    }

    /// Ends both, because the process ends.
    async fn end(&mut self) {
        self.end_coordination().await;
        if tokio::time::timeout(THREAD_GRACE, &mut self.thread)
            .await
            .is_err()
        {
            tracing::error!("the thread of a module does not end; the end of the process will do it");
        }
    }
}

fn why(outcome: ThreadOutcome) -> String {
    match outcome {
        Ok(Ok(())) => "it ended without being asked to".into(),
        Ok(Err(error)) => kcommon::daemon::Failure::from_error(&error).to_string(),
        Err(_panicked) => "its thread panicked; the log has the place".into(),
    }
}

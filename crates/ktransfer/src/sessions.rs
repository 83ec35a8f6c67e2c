//! The process's ZooKeeper session: made, kept alive, made again when it ends.
//!
//! One session serves all modules, so that one lease and one set of heartbeats cover them. [`Keeper::run`] is the
//! only one who makes sessions and extends the lease; coordinators take the current session from [`Sessions`] and
//! see that it ended by getting another or none. Every epoch of an ended session is void before the next session
//! can extend the lease.
//!
//! Only the server knows that a session has ended. One that was restarted restores its sessions with their whole
//! time-out before them, so a client that believes its own clock and makes a new session is kept out by its own former
//! owner znodes. So a session that gives no answer is attached to anew, by its id, until the server takes it or
//! refuses it. Taken: the same session goes on through another client, the lease holds every epoch up, and each
//! coordinator confirms what it reads to be still its own. Refused: it has ended. [`attempts`](Attempts) says when to try.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use kcommon::readiness::Latch;
use kcommon::zookeeper::{Error, Session, Settings};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::attempts::Attempts;
use crate::assignment::{Epoch, Epochs};
use crate::lease::{BootTime, Lease, Terms};

mod attempts;

/// The wait after the first failure to connect; it doubles up to the configured one.
const FIRST_RETRY: Duration = Duration::from_millis(200);

/// Heartbeats on their way at a time: as many as are sent during one heartbeat's patience.
const HEARTBEATS_IN_FLIGHT: usize = 8;

/// Where a coordinator gets its session from.
#[derive(Clone, Debug)]
pub struct Sessions {
    current: watch::Receiver<Option<Session>>,
    lease: Lease,
}

/// Makes and keeps the session.
#[derive(Debug)]
pub struct Keeper {
    settings: Settings,
    longest_retry: Duration,
    lease: Lease,
    epochs: Epochs,
    latch: Latch,
    current: watch::Sender<Option<Session>>,
}

impl Sessions {
    /// The session of this moment, if there is one.
    #[must_use]
    pub fn current(&mut self) -> Option<Session> {
        self.current.borrow_and_update().clone()
    }

    /// Waits until another session, another client of the same session, or none, has taken the place of the one last
    /// read by [`Sessions::current`]. Pends for ever once the keeper has ended.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn changed(&mut self) {
        if self.current.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// A partition that was claimed before the session was attached to anew has been read again and is ours still.
    pub fn confirm(&self, epoch: Epoch) {
        self.lease.confirm(epoch);
    }
}

impl Keeper {
    /// `longest_retry` bounds the wait between two tries to connect; `latch` says why there is no session.
    #[must_use]
    pub fn new(
        settings: Settings,
        longest_retry: Duration,
        lease: Lease,
        epochs: Epochs,
        latch: Latch,
    ) -> Self {
        let current = watch::Sender::new(None);
        Self {
            settings,
            longest_retry,
            lease,
            epochs,
            latch,
            current,
        }
    }

    /// A source of the sessions that [`Keeper::run`] will make.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions {
            current: self.current.subscribe(),
            lease: self.lease.clone(),
        }
    }

    /// Runs until `stop`, then closes the session. Stop the coordinators first: they need it to release.
    pub async fn run(self, stop: CancellationToken) {
        while let Some(mut session) = stop.run_until_cancelled(self.connect()).await {
            tracing::info!(session = %session.id(), timeout = ?session.timeout(), "ZooKeeper session made");
            let kept = loop {
                self.latch.ready();
                self.current.send_replace(Some(session.clone()));
                if stop
                    .run_until_cancelled(keep(&session, &self.lease))
                    .await
                    .is_none()
                {
                    break Some(session);
                }
                match stop.run_until_cancelled(self.attach(&session)).await {
                    Some(Some(attached)) => session = attached,
                    Some(None) => break None,
                    None => break Some(session),
                }
            };
            self.lease.void(self.epochs.next());
            self.current.send_replace(None);
            if let Some(session) = kept {
                session.close().await;
                return;
            }
            self.latch
                .not_ready("the ZooKeeper session has ended; making another");
            tracing::warn!("ZooKeeper session ended; all claims are lost");
        }
    }

    /// Attaches anew to a session that gives no answer; `None` if the server says that it has ended.
    async fn attach(&self, session: &Session) -> Option<Session> {
        tracing::warn!(session = %session.id(), "ZooKeeper does not answer; attaching to the session anew");
        let first = FIRST_RETRY.min(self.longest_retry);
        let mut attempts = Attempts::new(session.timeout(), first, self.longest_retry);
        loop {
            let begun = Instant::now();
            match session.reattach(&self.settings).await {
                Ok(attached) => {
                    // Before the lease can be extended.
                    self.lease.hold(self.epochs.next());
                    tracing::info!(session = %attached.id(), "ZooKeeper has kept the session; it goes on");
                    return Some(attached);
                }
                Err(Error::Expired) => return None,
                Err(error) => self
                    .latch
                    .not_ready(format!("the ZooKeeper session gives no answer: {error}")),
            }
            tokio::time::sleep(attempts.failed(begun, Instant::now())).await;
        }
    }

    async fn connect(&self) -> Session {
        let mut retry = FIRST_RETRY.min(self.longest_retry);
        let mut said = None;
        loop {
            match Session::connect(&self.settings).await {
                Ok(session) => return session,
                Err(error) => {
                    let reason = error.to_string();
                    // Once per reason: an outage of an hour is one line.
                    if said.as_ref() != Some(&reason) {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "no ZooKeeper session; trying on"
                        );
                        self.latch.not_ready(&reason);
                        said = Some(reason);
                    }
                }
            }
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(self.longest_retry);
        }
    }
}

/// Sends heartbeats and extends the lease by those that are answered, until the session may have ended: this client
/// says so, or nothing was answered for half the time-out. (The client would go on for longer, and look for the server at
/// intervals that double without limit.)
async fn keep(session: &Session, lease: &Lease) {
    let terms = Terms::new(session.timeout());
    let mut ticks = tokio::time::interval(terms.heartbeat());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut beats = FuturesUnordered::new();
    let patience = session.timeout() / 2;
    let mut silent_until = Instant::now() + patience;
    loop {
        tokio::select! {
            // Answers first: they extend the lease.
            biased;
            Some((sent, answer)) = beats.next(), if !beats.is_empty() => match answer {
                Ok(_chroot) => {
                    lease.extend(sent, terms);
                    silent_until = Instant::now() + patience;
                }
                Err(Error::Expired) => return,
                Err(error) => tracing::debug!(%error, "heartbeat not answered"),
            },
            () = session.expired() => return,
            () = tokio::time::sleep_until(silent_until) => return,
            _tick = ticks.tick(), if beats.len() < HEARTBEATS_IN_FLIGHT => {
                // The request is sent when the future is first polled, which is later: the safe side.
                let sent = BootTime::now();
                beats.push(async move { (sent, session.exists("/").await) });
            }
        }
    }
}

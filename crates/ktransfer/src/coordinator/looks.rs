//! When the group is looked at, and the look that is under way.
//!
//! A look is a job like a claim or a commit: its answers may hang until the session ends, and meanwhile commits are
//! sent and a stop is heard. So it may be overtaken: what was answered about a partition while a look was under way
//! is newer than what the look found of it, and [`Event::Seen`] names those partitions.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kcommon::kafka::PartitionId;
use kcommon::zookeeper::{Error, Session};
use tokio::time::Instant;

use super::group::{Group, Look, Seen};
use super::servers::{Brokers, ZooKeeper};
use super::store::Store;
use crate::watermarks::Watermarks;

/// The least time between two looks at the group.
const SPACING: Duration = Duration::from_millis(100);

/// Everything is read again so often, whatever the watches say.
pub(crate) const FULL_EVERY: Duration = Duration::from_secs(5);

/// The wait after a look or a claim that failed.
const RETRY: Duration = Duration::from_millis(500);

/// What a look ends with; see [`Group::look`].
pub(crate) type Outcome = Result<Option<Seen>, Error>;

/// The looks of one session, one at a time.
pub(crate) struct Looks<Z = Session, B = Watermarks> {
    store: Store<Z, B>,
    state: State<Z, B>,
    /// Partitions that were answered about since the look under way began.
    overtaken: BTreeSet<PartitionId>,
    last: Instant,
    next: Instant,
    next_full: Instant,
}

enum State<Z, B> {
    Idle(Box<Group<Z, B>>),
    UnderWay(BoxFuture<'static, (Box<Group<Z, B>>, Outcome)>),
}

/// What can happen to the looks.
pub(crate) enum Event {
    /// A watch says that something may have changed.
    Changed,
    /// A look has ended.
    Seen {
        outcome: Outcome,
        /// Partitions of which something newer is known.
        overtaken: BTreeSet<PartitionId>,
    },
}

impl<Z: ZooKeeper, B: Brokers<Z>> Looks<Z, B> {
    pub(crate) fn new(store: Store<Z, B>) -> Self {
        let now = Instant::now();
        Self {
            state: State::Idle(Box::new(Group::new(store.clone()))),
            store,
            overtaken: BTreeSet::new(),
            last: now,
            next: now,
            next_full: now,
        }
    }

    /// Begins a look if one is due and none is under way. `present` says whether we want to be a member.
    pub(crate) fn begin(&mut self, present: bool, now: Instant) {
        let full = self.next_full <= now;
        let State::Idle(group) = &mut self.state else {
            return;
        };
        let mut group = std::mem::replace(group, Box::new(Group::new(self.store.clone())));
        self.last = now;
        self.next = now + FULL_EVERY;
        if full {
            self.next_full = now + FULL_EVERY;
        }
        self.overtaken.clear();
        let look = async move {
            let outcome = group.look(Look { present, full }).await;
            (group, outcome)
        };
        self.state = State::UnderWay(look.boxed());
    }

    /// Waits for a watch, or for the end of the look under way.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn event(looks: Option<&mut Self>) -> Event {
        let Some(looks) = looks else {
            return std::future::pending().await;
        };
        match &mut looks.state {
            State::Idle(group) => {
                group.changed().await;
                Event::Changed
            }
            State::UnderWay(look) => {
                let (mut group, outcome) = look.await;
                let overtaken = std::mem::take(&mut looks.overtaken);
                overtaken.iter().for_each(|partition| group.forget(*partition));
                looks.state = State::Idle(group);
                Event::Seen { outcome, overtaken }
            }
        }
    }

    /// A claim or a release of the partition was answered: what was read of it before is worth nothing.
    pub(crate) fn forget(&mut self, partition: PartitionId) {
        match &mut self.state {
            State::Idle(group) => group.forget(partition),
            State::UnderWay(_) => {
                self.overtaken.insert(partition);
            }
        }
    }

    /// Ends a look under way without its answer: nothing more of it is sent, our `ids` znode not created either.
    pub(crate) fn cancel(&mut self) {
        if matches!(self.state, State::UnderWay(_)) {
            self.state = State::Idle(Box::new(Group::new(self.store.clone())));
            self.soon();
        }
    }

    /// Something may have changed: look again, but not more often than allowed.
    pub(crate) fn soon(&mut self) {
        self.next = self.next.min(self.last + SPACING);
    }

    /// A claim did not succeed: look again, but not at once.
    pub(crate) fn retry(&mut self, now: Instant) {
        self.next = self.next.min(now + RETRY);
    }

    /// The look failed: everything is to be read again, but not at once.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.next = now + RETRY;
        self.next_full = now + RETRY;
    }

    /// Everything is to be read now.
    pub(crate) fn all_now(&mut self, now: Instant) {
        self.next_full = now;
    }

    /// When the next look is due; `None` while one is under way.
    pub(crate) fn due(&self) -> Option<Instant> {
        matches!(self.state, State::Idle(_)).then(|| self.next.min(self.next_full))
    }

    /// When the last look began.
    pub(crate) fn last(&self) -> Instant {
        self.last
    }
}

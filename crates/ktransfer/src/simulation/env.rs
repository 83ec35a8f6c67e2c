//! What a process sees of the world, what can happen to it, and how it acts on the rest.

use std::collections::BTreeSet;
use std::time::Duration;

use kcommon::kafka::PartitionId;
use tokio::time::Instant;

use super::dice::{Dice, Time};
use super::kafka::Kafka;
use super::session::Label;
use super::truth::Truth;
use crate::assignment::{Epoch, Epochs, Order};
use crate::config::InitialOffset;
use crate::lease::Terms;

/// What can happen to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// An answer for whom this label stands, in this session.
    Answered(i64, Label, u64),
    Beat(i64),
    Look(i64),
    Topic(i64),
    /// The session is over, and the keeper has learned it.
    SessionOver(i64),
    /// So has the coordinator.
    ClaimsOver(i64),
    Connect,
    /// The next order reaches the module.
    Order,
    /// The next report reaches the coordinator.
    Report,
    /// Of the module with this number.
    Tick(u64),
    /// The lease may have run out.
    LeaseEnds,
    Take(usize),
    Write(usize, u64),
    Finish(usize, u64, bool),
    Cut(usize, u64),
    Fetch(PartitionId, Epoch),
    /// Letters are offered to where they are stored; of the module with this number.
    Offer(u64),
    /// One has been stored; of the module with this number.
    Stored(u64, u64),
    /// The reader of bodies that were dropped goes on; of the module with this number.
    Reread(u64),
    /// A clean stop begins.
    Stop,
    /// It ends, whatever is left.
    Exit,
    /// The module's task ends with a panic; the process goes on.
    ModuleDies,
}

impl What {
    /// Whether it happens on the module's thread.
    pub(super) fn is_of_module(self) -> bool {
        use What::{Cut, Fetch, Finish, LeaseEnds, Offer, Order, Reread, Stored, Take, Tick, Write};
        matches!(
            self,
            Offer(_)
                | Stored(..)
                | Order
                | Tick(_)
                | LeaseEnds
                | Take(_)
                | Write(..)
                | Finish(..)
                | Cut(..)
                | Fetch(..)
                | Reread(_)
        )
    }
}

/// What a process sees of the world, and how it acts on it.
pub(super) struct Env<'a> {
    pub(super) now: Time,
    pub(super) base: Instant,
    pub(super) dice: &'a mut Dice,
    pub(super) truth: &'a mut Truth,
    pub(super) kafka: &'a Kafka,
    pub(super) backend: &'a Backend,
    /// Events of this process, with their times.
    pub(super) events: Vec<(Time, What)>,
    /// Pushes that the backend will have taken, or refused, by then.
    pub(super) pushes: Vec<(Time, usize, u64, u64, bool)>,
    pub(super) orders: Vec<Order>,
    /// Epochs that were confirmed to be ours after the session was attached to anew.
    pub(super) confirmed: Vec<Epoch>,
}

/// The backend of this moment.
#[derive(Debug, Default)]
pub(super) struct Backend {
    /// Keys that fail whatever their record is.
    pub(super) stuck: BTreeSet<(PartitionId, u8)>,
    /// One in so many pushes fails; 0: none.
    pub(super) failing: u64,
    /// Of the records that fail, one in so many is given up and goes elsewhere; 0: none.
    pub(super) given_up: u64,
    /// The longest that a push takes.
    pub(super) slowest: Time,
}

impl Backend {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        Self {
            stuck: BTreeSet::new(),
            failing: if dice.one_in(3) { dice.between(2, 10) } else { 0 },
            given_up: if dice.one_in(3) { dice.between(1, 4) } else { 0 },
            slowest: if dice.one_in(4) {
                dice.between(500, 3_000)
            } else {
                dice.between(5, 200)
            },
        }
    }
}

impl Env<'_> {
    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_millis(self.now)
    }

    pub(super) fn after(&mut self, wait: Time, what: What) {
        self.events.push((self.now + wait, what));
    }

    /// In a moment, at times in a longer one: what goes over a queue of the process.
    pub(super) fn soon(&mut self, what: What) {
        let late = if self.dice.one_in(20) {
            self.dice.below(150)
        } else {
            self.dice.below(4)
        };
        self.after(late, what);
    }

    pub(super) fn order(&mut self, session: i64, order: Order) {
        if let Order::Assign { assignment, done } = &order {
            self.truth.assigned(*assignment, session, done, self.now);
        }
        self.orders.push(order);
    }
}

/// What all processes of a run have in common.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) timeout: Time,
    pub(super) drain: Duration,
    pub(super) commit_interval: Duration,
    pub(super) max_uncommitted: usize,
    pub(super) workers: usize,
    /// The byte budget of a module.
    pub(super) budget: usize,
    pub(super) initial: InitialOffset,
    pub(super) epochs: Epochs,
}

impl Settings {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        Self {
            timeout: dice.between(2_000, 5_000),
            drain: Duration::from_millis(dice.between(100, 2_000)),
            commit_interval: Duration::from_millis(dice.between(50, 1_500)),
            max_uncommitted: usize::try_from(dice.between(2, 40)).unwrap(),
            workers: usize::try_from(dice.between(1, 4)).unwrap(),
            budget: if dice.one_in(2) {
                usize::try_from(dice.between(500, 6_000)).unwrap()
            } else {
                1 << 16
            },
            initial: if dice.one_in(3) {
                InitialOffset::Latest
            } else {
                InitialOffset::Earliest
            },
            epochs: Epochs::default(),
        }
    }

    pub(super) fn terms(&self) -> Terms {
        Terms::new(Duration::from_millis(self.timeout))
    }
}

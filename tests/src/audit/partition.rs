//! Who pushes one partition, what is open of it, and what was repeated since it changed hands. Pure.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Bound;
use super::report::NOTHING;

/// Giving back what is too much waits for two seconds: a pusher that pushes again within this time of its last push never
/// went.
const FLICKER: Duration = Duration::from_secs(2);

/// The unit in which deliveries are remembered.
const SLOT: Duration = Duration::from_millis(250);

/// An open push.
#[derive(Clone, Debug)]
pub(super) struct Push {
    pub(super) key: Bytes,
    pub(super) step: u64,
    pub(super) pusher: String,
    /// When another pusher began with this partition, or this one with the key, while the push was open.
    pub(super) overlapped_at: Option<(Instant, Pair)>,
}

/// Whose push was still open when the next one began that should have waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pair {
    /// The same pusher's, which had cut it: the backend learns that late.
    Own,
    /// Another's, which was running.
    Running,
    /// Another's, which stood still (SIGSTOP), so that nobody could cut it in time.
    Stopped,
}

/// A partition in the hands of one pusher, from one event that may cause repeats to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// The partition.
    pub partition: i32,
    /// What it followed.
    pub cause: &'static str,
    /// Records that were delivered again.
    pub repeated: u64,
    /// How many the bound allows.
    pub allowed: u64,
}

/// A partition changed hands.
#[derive(Debug)]
struct Change {
    /// When the first push of the new pusher began, and the last one of the one before.
    at: Instant,
    last_of_former: Option<Instant>,
    to: String,
}

#[derive(Debug)]
pub(super) struct Partition {
    id: i32,
    bound: Bound,
    pusher: String,
    open: HashMap<u64, Push>,
    current: Takeover,
    /// Which event to all instances the current take-over has seen.
    seen_event: u64,
    /// When the latest push began.
    last: Option<Instant>,
    /// How it changed hands the latest three times.
    changes: VecDeque<Change>,
    /// Deliveries of the latest slots in which there were any.
    slots: VecDeque<(Instant, u64)>,
}

impl Partition {
    pub(super) fn new(id: i32, bound: Bound) -> Self {
        Self {
            id,
            bound,
            pusher: String::new(),
            open: HashMap::new(),
            current: Takeover {
                partition: id,
                cause: NOTHING,
                repeated: 0,
                allowed: 0,
            },
            seen_event: 0,
            last: None,
            changes: VecDeque::new(),
            slots: VecDeque::new(),
        }
    }

    pub(super) fn pusher(&self) -> &str {
        &self.pusher
    }

    /// What is going on now.
    pub(super) fn takeover(&self) -> &Takeover {
        &self.current
    }

    /// `pusher` pushes. Gives the take-over that ended, if another or an event has come between: `cause` is what was done
    /// to the last pusher, `event` what was done to all, with its number.
    pub(super) fn take_over(
        &mut self,
        pusher: &str,
        cause: Option<&'static str>,
        event: (&'static str, u64),
        now: Instant,
    ) -> Option<Takeover> {
        let changed = pusher != self.pusher;
        if !changed && event.1 == self.seen_event {
            return None;
        }
        let cause = match cause {
            Some(cause) if changed && event.1 == self.seen_event => cause,
            _ if event.1 != self.seen_event => event.0,
            _ => NOTHING,
        };
        let is_first = self.pusher.is_empty();
        self.seen_event = event.1;
        let next = Takeover {
            partition: self.id,
            cause,
            repeated: 0,
            allowed: self.allowed(),
        };
        let ended = std::mem::replace(&mut self.current, next);
        if changed {
            pusher.clone_into(&mut self.pusher);
            self.changes.push_back(Change {
                at: now,
                last_of_former: self.last,
                to: pusher.to_owned(),
            });
            if self.changes.len() > 3 {
                self.changes.pop_front();
            }
            let open = self.open.values_mut().filter(|push| push.pusher != pusher);
            open.for_each(|push| push.overlapped_at = push.overlapped_at.or(Some((now, Pair::Running))));
        }
        (!is_first).then_some(ended)
    }

    /// If who pushes now was pushing a moment ago, with another in between: that other, and how long ago it began. Two are
    /// at work, or the other has pushed once what it should not have. One that held the partition without a push, because
    /// its broker was away, and gave it back after its first has done nothing wrong.
    pub(super) fn interleaved(&self, now: Instant) -> Option<(&str, Duration)> {
        let mut changes = self.changes.iter();
        let [first, between, current] = [changes.next()?, changes.next()?, changes.next()?];
        let never_went = between.last_of_former.is_some_and(|last| now - last < FLICKER);
        (first.to == current.to && never_went).then_some((&*between.to, now - between.at))
    }

    pub(super) fn begin(&mut self, number: u64, push: Push, now: Instant) {
        let same_key = self.open.values_mut().filter(|open| open.key == push.key);
        same_key.for_each(|open| {
            let pair = if open.pusher == push.pusher {
                Pair::Own
            } else {
                Pair::Running
            };
            open.overlapped_at = open.overlapped_at.or(Some((now, pair)));
        });
        self.open.insert(number, push);
        self.last = Some(now);
    }

    /// A push ends.
    pub(super) fn end(&mut self, number: u64) -> Option<Push> {
        self.open.remove(&number)
    }

    /// A push was answered as delivered, for the first time or again.
    pub(super) fn delivered(&mut self, first_time: bool, now: Instant) {
        self.current.repeated += u64::from(!first_time);
        match self.slots.back_mut() {
            Some((slot, count)) if now.saturating_duration_since(*slot) < SLOT => *count += 1,
            _ => self.slots.push_back((now, 1)),
        }
        let newest = now;
        let keep = self.bound.spacing + SLOT;
        while self
            .slots
            .front()
            .is_some_and(|(slot, _)| newest.saturating_duration_since(*slot) > keep)
        {
            self.slots.pop_front();
        }
    }

    /// What may be repeated if the partition is lost now: the deliveries of the longest time between two commits.
    fn allowed(&self) -> u64 {
        let done: u64 = self.slots.iter().map(|(_, count)| count).sum();
        self.bound.in_flight + done.max(1000)
    }
}

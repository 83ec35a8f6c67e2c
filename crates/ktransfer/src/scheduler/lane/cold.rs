//! Records whose bodies were dropped: what is kept of them, which of them are wanted again, and their return.
//!
//! The records of a key that have their bodies always come before those that have not, so its order holds by itself: a new
//! record of a key with a cold tail joins that tail, and a body returns only to the first cold record of its key. The first
//! waiting record of a key is never evicted; so a key in back-off keeps what it tries again.
//!
//! A key is thirsty once one of its records has ended and at most one with a body waits: only then are bodies read again, because
//! a key that does not move has no use for them.

use std::collections::VecDeque;

use super::{KeySlot, Lane, Link};
use crate::key::KeyId;
use crate::record::Record;

/// All that is kept of a record without its body: 16 bytes, because a stuck key may have a million of them. Its key is
/// that of its queue, its number in the ledger follows from its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cold {
    /// The record's offset.
    pub offset: i64,
    /// Its timestamp, by which it is recognized.
    pub timestamp: i64,
}

/// What an eviction has freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Bodies dropped.
    pub records: usize,
    /// What they counted against the budget.
    pub bytes: usize,
}

/// A body to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What is known of the record.
    pub cold: Cold,
    /// The identity of its key.
    pub id: KeyId,
    pub(super) slot: KeySlot,
}

/// The records of a key that have lost their bodies.
#[derive(Debug, Default)]
pub(super) struct Tail {
    cold: VecDeque<Cold>,
    /// Nothing of the key is away and nothing has a body: it is ready once the first one has.
    parked: bool,
    /// Under which offset the lane's thirsty keys have this one, if they do.
    thirst: Option<i64>,
}

impl Lane {
    /// Whether the key has a record without a body, so that every further one joins them.
    pub(in crate::scheduler) fn is_cold(&self, id: KeyId) -> bool {
        self.cold > 0 && self.queue_of(id).is_some_and(|(_, tail)| tail)
    }

    /// Whether a further record of the key could stay without a body: others of the key wait before it.
    pub(in crate::scheduler) fn can_cool(&self, id: KeyId) -> bool {
        self.queue_of(id).is_some_and(|(waits, tail)| waits || tail)
    }

    /// Whether records of the key wait with a body, and without.
    fn queue_of(&self, id: KeyId) -> Option<(bool, bool)> {
        let key = self.by_id.get(&id).and_then(|at| self.keys.get(*at))?;
        Some((key.ends().is_some(), key.tail.is_some()))
    }

    /// Records without a body.
    pub(in crate::scheduler) fn cold(&self) -> usize {
        self.cold
    }

    /// Whether bodies are wanted.
    pub(in crate::scheduler) fn is_thirsty(&self) -> bool {
        !self.thirsty.is_empty()
    }

    /// Adds a record without its body behind those of its key, which [`Lane::can_cool`].
    pub(in crate::scheduler) fn push_cold(&mut self, id: KeyId, cold: Cold) {
        let Some(key) = self.by_id.get(&id).and_then(|at| self.keys.get_mut(*at)) else {
            return;
        };
        key.tail.get_or_insert_default().cold.push_back(cold);
        self.cold += 1;
    }

    /// Drops the last bodies of the keys that have had two or more for the longest time, until `bytes` are free.
    pub(in crate::scheduler) fn evict(&mut self, bytes: usize) -> Evicted {
        let mut evicted = Evicted::default();
        while evicted.bytes < bytes {
            let Some(freed) = self.long.0.get().and_then(|at| self.cool_last(at)) else {
                break;
            };
            evicted.records += 1;
            evicted.bytes += freed;
        }
        evicted
    }

    /// Drops the last body of a key with two or more; returns what it counted.
    fn cool_last(&mut self, at: usize) -> Option<usize> {
        let key = self.keys.get_mut(at).filter(|key| key.is_long())?;
        let (_, last) = key.ends()?;
        let node = self.nodes.remove(last);
        key.ends.1 = node.before;
        key.tail.get_or_insert_default().cold.push_front(Cold {
            offset: node.record.offset.get(),
            timestamp: node.record.timestamp,
        });
        let still_long = key.is_long();
        if let Some(new_last) = node.before.get().and_then(|before| self.nodes.get_mut(before)) {
            new_last.next = Link::NONE;
        }
        self.cold += 1;
        if !still_long {
            self.unlist(at);
        }
        self.reckon(KeySlot(at));
        Some(node.record.size())
    }

    /// A record of a key with a cold tail has ended; `parked`: nothing of the key is left but the tail.
    pub(super) fn thirst(&mut self, slot: KeySlot, parked: bool) {
        let Some(key) = self.keys.get_mut(slot.0) else {
            return;
        };
        let few = !key.is_long();
        let Some(tail) = &mut key.tail else { return };
        tail.parked = parked;
        if few
            && tail.thirst.is_none()
            && let Some(first) = tail.cold.front()
        {
            tail.thirst = Some(first.offset);
            self.thirsty.insert(first.offset, slot);
        }
    }

    /// The tail of a key has changed: a thirsty key stands under its first cold record until it has bodies enough, and a
    /// tail without records is none.
    fn reckon(&mut self, slot: KeySlot) {
        let Some(key) = self.keys.get_mut(slot.0) else {
            return;
        };
        let few = !key.is_long();
        let Some(tail) = &mut key.tail else { return };
        let first = tail.cold.front().map(|first| first.offset);
        if let Some(before) = tail.thirst
            && (first != Some(before) || !few)
        {
            self.thirsty.remove(&before);
            tail.thirst = first.filter(|_first| few);
            if let Some(now) = tail.thirst {
                self.thirsty.insert(now, slot);
            }
        }
        if first.is_none() {
            key.tail = None;
        }
    }

    /// The bodies that are wanted first, in the order of their offsets: some of each of at most `keys` keys, about `records` in
    /// all.
    pub(in crate::scheduler) fn wanted(&self, keys: usize, records: usize) -> Vec<Wanted> {
        let each = (records / self.thirsty.len().clamp(1, keys.max(1))).max(1);
        let mut wanted = Vec::new();
        for slot in self.thirsty.values().take(keys) {
            let Some(key) = self.keys.get(slot.0) else {
                continue;
            };
            let (Some(id), Some(tail)) = (key.id, &key.tail) else {
                continue;
            };
            let some = tail.cold.iter().take(each);
            wanted.extend(some.map(|cold| Wanted {
                cold: *cold,
                id,
                slot: *slot,
            }));
        }
        wanted.sort_unstable_by_key(|wanted| wanted.cold.offset);
        wanted
    }

    /// Whether this is still the first record of its key without a body.
    pub(in crate::scheduler) fn still_wants(&self, wanted: &Wanted) -> bool {
        self.keys.get(wanted.slot.0).is_some_and(|key| {
            let first = key.tail.as_ref().and_then(|tail| tail.cold.front());
            key.id == Some(wanted.id) && first == Some(&wanted.cold)
        })
    }

    /// Whether the record would be pushed next of its key: nothing of it is before this one.
    pub(in crate::scheduler) fn is_next(&self, wanted: &Wanted) -> bool {
        let tail = self.keys.get(wanted.slot.0).and_then(|key| key.tail.as_ref());
        tail.is_some_and(|tail| tail.parked)
    }

    /// Gives the first cold record of a key its body back; returns whether that made the key ready.
    pub(in crate::scheduler) fn restore(&mut self, wanted: &Wanted, record: Record) -> bool {
        let slot = wanted.slot;
        let Some(parked) = self.drop_first(slot).map(std::mem::take) else {
            return false;
        };
        self.append(slot.0, record);
        self.reckon(slot);
        if parked {
            self.resume(slot);
        }
        parked
    }

    /// The first cold record of a key has ended without a body.
    pub(in crate::scheduler) fn give_up(&mut self, wanted: &Wanted) {
        let slot = wanted.slot;
        let parked = self.drop_first(slot).is_some_and(|parked| *parked);
        self.reckon(slot);
        if parked {
            self.forget_idle(slot);
        }
    }

    /// Takes the first cold record of a key away; returns whether the key is parked.
    fn drop_first(&mut self, slot: KeySlot) -> Option<&mut bool> {
        let tail = self.keys.get_mut(slot.0)?.tail.as_mut()?;
        tail.cold.pop_front()?;
        self.cold -= 1;
        Some(&mut tail.parked)
    }
}

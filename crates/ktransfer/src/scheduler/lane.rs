//! The queues of one partition: per key a list of records in offset order, linked through one slab, so that a
//! key costs no allocation of its own and an idle key costs nothing.
//!
//! When memory is short the last records of keys that do not move lose their bodies and stay as [`Cold`] entries
//! behind the others of their key, until the bodies have been read again: see [`cold`].

mod cold;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use slab::Slab;

use crate::assignment::Epoch;
use crate::key::{KeyId, TakeHash};
use crate::record::Record;
use cold::Tail;
pub use cold::{Cold, Evicted, Wanted};

/// Below this capacity nothing is shrunk.
const WORTH_SHRINKING: usize = 4096;

/// A key's place in its lane while it has records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeySlot(usize);

/// A place in a slab or none, in four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link(u32);

impl Link {
    const NONE: Self = Self(u32::MAX);

    fn to(at: usize) -> Self {
        Self(u32::try_from(at).expect("memory ends long before 2^32 records"))
    }

    fn get(self) -> Option<usize> {
        (self != Self::NONE).then(|| usize::try_from(self.0).expect("usize has 32 bits or more"))
    }
}

/// Records of one key: those that wait, and whether one of them is away.
#[derive(Debug)]
struct KeyQueue {
    /// `None` for a record without key, which is a queue of its own.
    id: Option<KeyId>,
    /// The first and the last waiting record that has its body; none when none waits.
    ends: (Link, Link),
    /// Neighbours in the list of keys with two such records or more.
    before: Link,
    after: Link,
    /// What waits behind them without a body.
    tail: Option<Box<Tail>>,
}

impl KeyQueue {
    fn ends(&self) -> Option<(usize, usize)> {
        self.ends.0.get().zip(self.ends.1.get())
    }

    fn set_ends(&mut self, first: usize, last: usize) {
        self.ends = (Link::to(first), Link::to(last));
    }

    /// Two or more wait with their bodies: the last of them may be evicted.
    fn is_long(&self) -> bool {
        self.ends.0 != self.ends.1
    }
}

#[derive(Debug)]
struct Node {
    record: Record,
    /// The neighbours in the key's list. That of the first record of a key to the one before it is stale.
    next: Link,
    before: Link,
}

/// The queues of one partition in one epoch.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) epoch: Epoch,
    /// Whether the scheduler's round holds this partition.
    pub(super) in_turn: bool,
    keys: Slab<KeyQueue>,
    by_id: HashMap<KeyId, usize, TakeHash>,
    nodes: Slab<Node>,
    /// Ready keys by the offset of their head. A ready key stands here exactly once.
    heads: BinaryHeap<Reverse<(i64, KeySlot)>>,
    /// The first and the last key of which two or more records wait, in the order in which they came to that.
    long: (Link, Link),
    /// Keys whose next bodies are wanted, by the offset of the first of them.
    thirsty: BTreeMap<i64, KeySlot>,
    cold: usize,
}

impl Lane {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            in_turn: false,
            keys: Slab::new(),
            by_id: HashMap::default(),
            nodes: Slab::new(),
            heads: BinaryHeap::new(),
            long: (Link::NONE, Link::NONE),
            thirsty: BTreeMap::new(),
            cold: 0,
        }
    }

    pub(super) fn ready(&self) -> usize {
        self.heads.len()
    }

    /// What all records that wait count against the byte budget.
    pub(super) fn queued_bytes(&self) -> usize {
        self.nodes.iter().map(|(_, node)| node.record.size()).sum()
    }

    /// Adds a record behind those of its key; returns whether that made its key ready. A key that
    /// [`Lane::is_cold`] takes no record this way.
    pub(super) fn push(&mut self, id: Option<KeyId>, record: Record) -> bool {
        if let Some(at) = id.and_then(|id| self.by_id.get(&id).copied()) {
            self.append(at, record);
            return false;
        }
        let offset = record.offset.get();
        let node = Link::to(self.nodes.insert(Node {
            record,
            next: Link::NONE,
            before: Link::NONE,
        }));
        let at = self.keys.insert(KeyQueue {
            id,
            ends: (node, node),
            before: Link::NONE,
            after: Link::NONE,
            tail: None,
        });
        if let Some(id) = id {
            self.by_id.insert(id, at);
        }
        self.heads.push(Reverse((offset, KeySlot(at))));
        true
    }

    /// Puts a record behind those of a known key that have their bodies.
    fn append(&mut self, at: usize, record: Record) {
        let Some(key) = self.keys.get_mut(at) else { return };
        let ends = key.ends();
        let node = self.nodes.insert(Node {
            record,
            next: Link::NONE,
            before: key.ends.1,
        });
        let Some((head, tail)) = ends else {
            // The key is known because one is away: it becomes ready when that ends.
            key.set_ends(node, node);
            return;
        };
        let was_long = key.is_long();
        key.set_ends(head, node);
        if let Some(last) = self.nodes.get_mut(tail) {
            last.next = Link::to(node);
        }
        if !was_long {
            self.list(at);
        }
    }

    /// Takes the head of the ready key with the oldest head; the key is then away.
    pub(super) fn pop(&mut self) -> Option<(KeySlot, Record)> {
        let Reverse((_, slot)) = self.heads.pop()?;
        Some((slot, self.take_head(slot)?))
    }

    /// The record that was put back in front of its key, which stayed away, has ended: as [`Lane::end`].
    pub(super) fn release(&mut self, slot: KeySlot) -> bool {
        self.take_head(slot).is_some() && self.end(slot)
    }

    fn take_head(&mut self, slot: KeySlot) -> Option<Record> {
        let key = self.keys.get_mut(slot.0)?;
        let (head, _) = key.ends()?;
        let node = self.nodes.remove(head);
        let was_long = key.is_long();
        if was_long {
            key.ends.0 = node.next;
        } else {
            key.ends = (Link::NONE, Link::NONE);
        }
        if was_long && !key.is_long() {
            self.unlist(slot.0);
        }
        Some(node.record)
    }

    /// The record that was away has ended: the key is ready with its next record, or waits for the body of that, or
    /// is forgotten.
    pub(super) fn end(&mut self, slot: KeySlot) -> bool {
        let Some(key) = self.keys.get(slot.0) else {
            return false;
        };
        let waits = key.ends().is_some();
        if key.tail.is_some() {
            self.thirst(slot, !waits);
        }
        if waits {
            self.resume(slot);
        } else {
            self.forget_idle(slot);
        }
        waits
    }

    /// Puts the record that was away back in front of its key, which stays away.
    pub(super) fn hold(&mut self, slot: KeySlot, record: Record) {
        let Some(key) = self.keys.get_mut(slot.0) else {
            return;
        };
        let ends = key.ends();
        let node = self.nodes.insert(Node {
            record,
            next: key.ends.0,
            before: Link::NONE,
        });
        let Some((head, tail)) = ends else {
            key.set_ends(node, node);
            return;
        };
        let was_long = key.is_long();
        key.set_ends(node, tail);
        if let Some(second) = self.nodes.get_mut(head) {
            second.before = Link::to(node);
        }
        if !was_long {
            self.list(slot.0);
        }
    }

    /// The key is not away any more: ready with its head.
    pub(super) fn resume(&mut self, slot: KeySlot) {
        let head = self.keys.get(slot.0).and_then(KeyQueue::ends);
        if let Some(node) = head.and_then(|(head, _)| self.nodes.get(head)) {
            self.heads.push(Reverse((node.record.offset.get(), slot)));
        }
    }

    /// Gives memory back that a former crowd of keys has left, if it is much.
    pub(super) fn shrink(&mut self) {
        let few = |len: usize, capacity: usize| capacity > WORTH_SHRINKING && len < capacity / 8;
        if few(self.by_id.len(), self.by_id.capacity()) {
            self.by_id.shrink_to(self.by_id.len() * 2);
        }
        if few(self.keys.len(), self.keys.capacity()) {
            self.keys.shrink_to_fit();
        }
        if few(self.nodes.len(), self.nodes.capacity()) {
            self.nodes.shrink_to_fit();
        }
        if few(self.heads.len(), self.heads.capacity()) {
            self.heads.shrink_to(self.heads.len() * 2);
        }
    }

    /// Forgets a key of which nothing waits and nothing is away.
    fn forget_idle(&mut self, slot: KeySlot) {
        if self.keys.get(slot.0).is_some_and(|key| key.tail.is_some()) {
            return;
        }
        if let Some(id) = self.keys.try_remove(slot.0).and_then(|key| key.id) {
            self.by_id.remove(&id);
        }
    }

    /// Puts a key at the end of the list of those with two records or more.
    fn list(&mut self, at: usize) {
        let (link, last) = (Link::to(at), self.long.1);
        if let Some(key) = self.keys.get_mut(at) {
            key.before = last;
            key.after = Link::NONE;
        }
        match last.get().and_then(|last| self.keys.get_mut(last)) {
            Some(last) => last.after = link,
            None => self.long.0 = link,
        }
        self.long.1 = link;
    }

    fn unlist(&mut self, at: usize) {
        let Some(key) = self.keys.get(at) else { return };
        let (before, after) = (key.before, key.after);
        match before.get().and_then(|before| self.keys.get_mut(before)) {
            Some(key) => key.after = after,
            None => self.long.0 = after,
        }
        match after.get().and_then(|after| self.keys.get_mut(after)) {
            Some(key) => key.before = before,
            None => self.long.1 = before,
        }
    }
}

#[cfg(test)]
impl Lane {
    /// Places of all queues together, taken or not.
    pub(super) fn capacity(&self) -> usize {
        self.by_id.capacity() + self.keys.capacity() + self.nodes.capacity() + self.heads.capacity()
    }
}

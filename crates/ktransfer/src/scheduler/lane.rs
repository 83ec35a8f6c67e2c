//! The queues of one partition: per key a list of records in offset order, linked through one slab, so that a
//! key costs no allocation of its own and an idle key costs nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use slab::Slab;

use crate::assignment::Epoch;
use crate::key::{KeyId, TakeHash};
use crate::record::Record;

/// A key's place in its lane while it has records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeySlot(usize);

/// Records of one key: those that wait, and whether one of them is away.
#[derive(Debug)]
struct KeyQueue {
    /// `None` for a record without key, which is a queue of its own.
    id: Option<KeyId>,
    /// The first and the last waiting record; `None` when none waits.
    ends: Option<(usize, usize)>,
}

#[derive(Debug)]
struct Node {
    record: Record,
    next: Option<usize>,
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
        }
    }

    pub(super) fn ready(&self) -> usize {
        self.heads.len()
    }

    /// Bytes of all records that wait.
    pub(super) fn queued_bytes(&self) -> usize {
        self.nodes.iter().map(|(_, node)| node.record.size()).sum()
    }

    /// Adds a record behind those of its key; returns whether that made its key ready.
    pub(super) fn push(&mut self, record: Record) -> bool {
        let (id, offset) = (record.key, record.offset.get());
        let node = self.nodes.insert(Node { record, next: None });
        if let Some(at) = id.and_then(|id| self.by_id.get(&id).copied()) {
            let tail = self.keys.get(at).and_then(|key| key.ends).map(|(_, tail)| tail);
            if let Some(last) = tail.and_then(|tail| self.nodes.get_mut(tail)) {
                last.next = Some(node);
            }
            if let Some(key) = self.keys.get_mut(at) {
                // Without a waiting record the key is known because one is away: it becomes ready when that ends.
                key.ends = Some((key.ends.map_or(node, |(head, _)| head), node));
            }
            return false;
        }
        let at = self.keys.insert(KeyQueue {
            id,
            ends: Some((node, node)),
        });
        if let Some(id) = id {
            self.by_id.insert(id, at);
        }
        self.heads.push(Reverse((offset, KeySlot(at))));
        true
    }

    /// Takes the head of the ready key with the oldest head; the key is then away.
    pub(super) fn pop(&mut self) -> Option<(KeySlot, Record)> {
        let Reverse((_, slot)) = self.heads.pop()?;
        let key = self.keys.get_mut(slot.0)?;
        let (head, tail) = key.ends?;
        let node = self.nodes.remove(head);
        key.ends = node.next.map(|next| (next, tail));
        Some((slot, node.record))
    }

    /// The record that was away has ended: the key is ready with its next record, or forgotten.
    pub(super) fn end(&mut self, slot: KeySlot) -> bool {
        if self.head_offset(slot).is_some() {
            self.resume(slot);
            return true;
        }
        if let Some(id) = self.keys.try_remove(slot.0).and_then(|key| key.id) {
            self.by_id.remove(&id);
        }
        false
    }

    /// Puts the record that was away back in front of its key, which stays away.
    pub(super) fn hold(&mut self, slot: KeySlot, record: Record) {
        let Some(key) = self.keys.get_mut(slot.0) else {
            return;
        };
        let node = self.nodes.insert(Node {
            record,
            next: key.ends.map(|(head, _)| head),
        });
        key.ends = Some((node, key.ends.map_or(node, |(_, tail)| tail)));
    }

    /// The key is not away any more: ready with its head.
    pub(super) fn resume(&mut self, slot: KeySlot) {
        if let Some(offset) = self.head_offset(slot) {
            self.heads.push(Reverse((offset, slot)));
        }
    }

    fn head_offset(&self, slot: KeySlot) -> Option<i64> {
        let (head, _) = self.keys.get(slot.0)?.ends?;
        self.nodes.get(head).map(|node| node.record.offset.get())
    }
}

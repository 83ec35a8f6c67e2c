//! What is written into owner, offset and acks znodes: by whom, and whether it is true.

use std::collections::BTreeSet;

use kcommon::kafka::{CommitOffset, PartitionId};

use super::{Invariant, OnWire, Owed, Truth};
use crate::acks::{Map, TopicIdentity};
use crate::simulation::dice::Time;
use crate::simulation::kafka::{Entry, index};
use crate::simulation::zookeeper::{Applied, OPERATOR, Znode};

impl Truth {
    /// An owner znode was created or deleted. `alive`: the session that did it has not ended.
    pub(in crate::simulation) fn owner_changed(
        &mut self,
        partition: PartitionId,
        applied: &Applied,
        alive: bool,
        now: Time,
    ) {
        let known = self.partition(partition);
        known.owner = applied.after.as_ref().map(|node| node.owner);
        if let Some(node) = &applied.after {
            known.claimed = node.czxid;
        }
        if let Some(owner) = known.owner {
            known.robbed.remove(&owner);
            return;
        }
        let Some(before) = &applied.before else { return };
        let foreign = alive && applied.session != before.owner;
        if applied.session == OPERATOR || foreign && known.unfenced {
            known.robbed.insert(before.owner);
            return;
        }
        if foreign {
            let text = format!(
                "session {} gave up {partition}, which was not its own",
                applied.session
            );
            return self.violated(Invariant::OnePusher, text);
        }
        let Some(left) = self.on_wire_of(before.owner, partition) else {
            return;
        };
        if alive {
            let text = format!("{partition} was released with a push on the wire: {left:?}");
            self.violated(Invariant::OnePusher, text);
        } else if !self.stood_still(left.process, now) {
            let text = format!("a push outlives the session of its owner: {left:?}");
            self.violated(Invariant::OnePusher, text);
        }
    }

    /// A session has ended: what was taken from it is forgotten.
    pub(in crate::simulation) fn session_ended(&mut self, session: i64) {
        for partition in &mut self.partitions {
            partition.robbed.remove(&session);
        }
    }

    fn on_wire_of(&self, session: i64, partition: PartitionId) -> Option<OnWire> {
        let of = |push: &&OnWire| {
            push.assignment.partition == partition
                && self
                    .lives
                    .get(&push.assignment.epoch)
                    .is_some_and(|life| life.session == session)
        };
        self.wire.values().find(of).copied()
    }

    /// An offset znode was written.
    pub(in crate::simulation) fn offset_changed(&mut self, partition: PartitionId, applied: &Applied) {
        let position = |node: &Option<Znode>| -> Option<i64> {
            let node = node.as_ref()?;
            CommitOffset::from_znode(&node.data).ok().map(CommitOffset::get)
        };
        let (before, after) = (position(&applied.before), position(&applied.after));
        let known = self.partition(partition);
        known.changed_before = applied.before.as_ref().map_or(0, |node| node.mzxid);
        known.changed = applied.after.as_ref().map_or(0, |node| node.mzxid);
        let known = self.partition(partition);
        known.writers.0 = applied.session;
        known.unfenced |= applied.after.is_none();
        let robbed = known.unfenced && known.robbed.contains(&applied.session);
        if applied.session == OPERATOR || robbed && known.owner != Some(applied.session) {
            match after {
                // The same number again is no move.
                Some(_) if after == before => {}
                Some(after) if known.ours != Some(after) && known.tried != Some(after) => {
                    known.unsaid = false;
                    known.owed.push(Owed {
                        settled: after,
                        delivered: BTreeSet::new(),
                    });
                }
                None if applied.after.is_some() => {}
                _ => known.unsaid = true,
            }
            return;
        }
        self.partition(partition).ours = after;
        if applied.before.is_some() {
            self.check_fence(partition, applied);
        } else if after.is_some_and(|after| self.begins(partition, after)) {
            return;
        }
        if self.partition(partition).past {
            // By who still takes it for the topic that is gone.
            return;
        }
        // A claim whose read was older than the deletion and whose version came again.
        let known = self.partition(partition);
        let anew = known.unfenced && known.claimed == known.changed || known.anew == known.changed;
        match (before, after) {
            (Some(before), Some(after)) if after < before && !anew => {
                let text = format!("the offset of {partition} went back from {before} to {after}");
                self.violated(Invariant::NextOffset, text);
            }
            (_, Some(after)) => self.check_loss(partition, after),
            (_, None)
                if applied.before.as_ref().map(|node| &node.data)
                    == applied.after.as_ref().map(|node| &node.data) => {}
            (_, None) => {
                let text = format!("{partition}: something that is no offset was written: {applied:?}");
                self.violated(Invariant::NextOffset, text);
            }
        }
    }

    /// A map was written: by who knows the topic of this moment?
    pub(in crate::simulation) fn topic_is_known(
        &mut self,
        partition: PartitionId,
        applied: &Applied,
        topic: &TopicIdentity,
    ) {
        if applied.session == OPERATOR {
            return;
        }
        let map = applied
            .after
            .as_ref()
            .and_then(|node| Some((node.mzxid, Map::decode(&node.data).ok()?.topic?)));
        let Some((transaction, written)) = map else { return };
        let known = self.partition(partition);
        // Who claims may have asked a server that lags.
        if std::mem::replace(&mut known.past, !written.is_same(topic)) && !known.past {
            known.anew = transaction;
        }
    }

    /// Why not all that is owed of a partition is delivered.
    pub(in crate::simulation) fn is_owed(&self, partition: PartitionId) -> Option<String> {
        let known = self.partitions.get(index(partition))?;
        if known.past {
            return Some(format!("nobody knows that the topic of {partition} is another"));
        }
        let logs = self.kafka.lock();
        let log = &logs.logs[index(partition)];
        let missing = |owed: &Owed| {
            let never = |record: &&Entry| record.wanted && !owed.delivered.contains(&record.offset);
            log.from(owed.settled.max(log.start)).iter().find(never).copied()
        };
        let missing: Option<Vec<Entry>> = known.owed.iter().map(missing).collect();
        missing
            .filter(|missing| !missing.is_empty())
            .map(|missing| format!("of {partition} these were never delivered: {missing:?}"))
    }

    /// The first offset of a partition; whether it was that.
    fn begins(&mut self, partition: PartitionId, position: i64) -> bool {
        let start = self.kafka.lock().logs[index(partition)].start;
        let changed = self.partition(partition).changed;
        let first = *self.first.get_or_insert(changed) == changed;
        let latest = self.latest && first;
        let known = self.partition(partition);
        if std::mem::replace(&mut known.begun, true) {
            return false;
        }
        known.owed = vec![Owed {
            settled: position,
            delivered: BTreeSet::new(),
        }];
        if position > start && !latest {
            let text = format!("the new partition {partition} begins at {position}, its log at {start}");
            self.violated(Invariant::NoLoss, text);
        }
        true
    }

    /// A module wants this to be stored.
    pub(in crate::simulation) fn tried(&mut self, partition: PartitionId, position: i64) {
        let known = self.partition(partition);
        known.tried = Some(position);
        // What an operator has written meanwhile is taken for our own.
        known.unsaid |= known.owed.last().is_some_and(|owed| owed.settled == position);
    }

    fn check_fence(&mut self, partition: PartitionId, applied: &Applied) {
        let known = self.partition(partition);
        let (owner, session) = (known.owner, applied.session);
        let free = owner.is_none() && known.robbed.contains(&session);
        if owner != Some(session) && !free {
            let text = format!("session {session} wrote the offset of {partition}, which {owner:?} owns");
            self.violated(Invariant::OnePusher, text);
        }
    }

    fn check_loss(&mut self, partition: PartitionId, position: i64) {
        let logs = self.kafka.lock();
        let log = &logs.logs[index(partition)];
        let (start, end) = (log.start, log.end);
        let known = &mut self.partitions[index(partition)];
        let lost = |owed: &Owed| {
            let never = |record: &&Entry| {
                record.offset < position
                    && record.wanted
                    && record.offset >= start
                    && !owed.delivered.contains(&record.offset)
            };
            log.from(owed.settled).iter().find(never).copied()
        };
        let missing = known.owed.last().and_then(&lost);
        let mut followed = known.followed();
        followed.retain(|owed| lost(owed).is_none());
        for owed in &mut followed {
            owed.settled = owed.settled.max(position);
            owed.delivered = owed.delivered.split_off(&owed.settled);
        }
        known.unsaid = followed.len() > 1;
        known.owed = followed;
        let followed = !known.owed.is_empty();
        drop(logs);
        if let (false, Some(missing)) = (followed, missing) {
            let text = format!("{position} was stored for {partition} and {missing:?} never delivered");
            self.violated(Invariant::NoLoss, text);
        } else if position > end {
            let text = format!("{position} was stored for {partition}, whose log ends at {end}");
            self.violated(Invariant::NextOffset, text);
        }
    }

    /// An acks znode was written. What it says is delivered, and a claim keeps it exactly when nobody else has
    /// written the offset since.
    pub(in crate::simulation) fn acks_changed(&mut self, partition: PartitionId, applied: &Applied) {
        let known = self.partition(partition);
        known.writers.1 = applied.session;
        let unfenced = known.unfenced && known.owner != Some(applied.session);
        if applied.session == OPERATOR || unfenced || known.past {
            return;
        }
        let says = |node: &Option<Znode>| node.as_ref().and_then(|node| Map::decode(&node.data).ok());
        let Some(after) = says(&applied.after) else { return };
        let before = says(&applied.before).filter(|map| !map.acks.is_empty());
        let written = applied.before.as_ref().map_or(0, |node| node.mzxid);
        let transaction = applied.after.as_ref().map_or(0, |node| node.mzxid);
        let known = self.partition(partition);
        if known.claimed == transaction
            && known.anew != transaction
            && let Some(before) = before
        {
            let held = known.changed_before == written;
            if held != (after.acks == before.acks) {
                let text =
                    format!("a claim of {partition}: a map that held is {held}, and it became {after:?}");
                return self.violated(Invariant::NoLoss, text);
            }
        }
        let logs = self.kafka.lock();
        let log = &logs.logs[index(partition)];
        let known = &mut self.partitions[index(partition)];
        let never = |owed: &Owed| {
            let never = |record: &&Entry| {
                record.wanted
                    && record.offset >= log.start.max(owed.settled)
                    && !owed.delivered.contains(&record.offset)
                    && after.acks.ranges().any(|range| range.contains(&record.offset))
            };
            log.from(after.acks.base().get()).iter().find(never).copied()
        };
        let first = known.owed.last().and_then(&never);
        let mut followed = known.followed();
        followed.retain(|owed| never(owed).is_none());
        known.unsaid = followed.len() > 1;
        known.owed = followed;
        let never = first.filter(|_never| known.owed.is_empty());
        drop(logs);
        if let Some(never) = never {
            let text = format!("{never:?} of {partition} is stored as done, and was never delivered");
            self.violated(Invariant::NoLoss, text);
        }
    }
}

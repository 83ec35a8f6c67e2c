//! The claim of a partition: who owns it, from which offset on, and what of the records above it is done.

use kcommon::kafka::{CommitOffset, PartitionId};
use kcommon::zookeeper::{Error, Lifetime, MultiError, Node, Write, layout};

use super::Store;
use super::acks::{Found, Put};
use crate::acks::{Map, TopicIdentity};
use crate::claims::{Claimed, Stored};
use crate::coordinator::meters;
use crate::coordinator::servers::{Brokers, ZooKeeper};

/// Tries of one claim that other writers, and parents that are missing, may spoil. The last leaves the acks znode alone.
const CLAIM_TRIES: usize = 5;

/// What a claim writes.
struct Claim {
    /// The offset znode as it was read.
    read: Option<Stored>,
    /// What it shall hold: what it holds, but for a new partition and a topic created anew.
    offset: Vec<u8>,
    /// What the acks znode shall hold, in bytes and as they are read.
    acks: Vec<u8>,
    map: Map,
    put: Put,
    /// The topic that the stored offset was of, if that is gone.
    of_another: Option<TopicIdentity>,
}

impl<Z: ZooKeeper, B: Brokers<Z>> Store<Z, B> {
    /// Claims a partition that nobody seemed to own.
    pub(crate) async fn claim(&self, partition: PartitionId) -> Claimed {
        for tried in 1..=CLAIM_TRIES {
            match self.try_claim(partition, tried < CLAIM_TRIES).await {
                Ok(Some(claimed)) => return claimed,
                Ok(None) => {}
                Err(Error::Expired) => return Claimed::NotOurs,
                Err(error) => {
                    self.warn(partition, &error, "claim failed; trying again");
                    return Claimed::NotOurs;
                }
            }
        }
        Claimed::NotOurs
    }

    /// `None`: somebody wrote between our read and our write, or a parent was missing; try again.
    async fn try_claim(&self, partition: PartitionId, with_acks: bool) -> Result<Option<Claimed>, Error> {
        let Some(mut claim) = self.read(partition).await? else {
            return Ok(Some(Claimed::NotOurs));
        };
        if !with_acks {
            claim.put = Put::Leave;
        }
        let (owner, offset, acks) = (
            self.owner(partition),
            self.offset(partition),
            self.acks(partition),
        );
        let create = Write::Create {
            path: &owner,
            data: self.member.as_bytes(),
            lifetime: Lifetime::Ephemeral,
        };
        let write = match &claim.read {
            Some(stored) => Write::Set {
                path: &offset,
                data: &claim.offset,
                version: stored.version,
            },
            None => Write::Create {
                path: &offset,
                data: &claim.offset,
                lifetime: Lifetime::Persistent,
            },
        };
        let writes: Vec<Write<'_>> = [create, write]
            .into_iter()
            .chain(claim.put.write(&acks, &claim.acks))
            .collect();
        match self.session.multi(&writes).await {
            Ok(stats) => {
                let written = stats.get(1).copied().flatten();
                // A znode that was just created has version 0; older servers give no stat for it in a multi.
                let version = match (&claim.read, written) {
                    (Some(_), Some(stat)) => stat.version,
                    _ => 0,
                };
                self.tell_restart(partition, &claim);
                let bytes = claim.offset;
                Ok(Some(Claimed::Ours(Stored { bytes, version }, claim.map)))
            }
            Err(error) => self.claim_failed(partition, error).await,
        }
    }

    /// What is there, and what follows from it; `None` if the log would have to be asked and does not answer.
    async fn read(&self, partition: PartitionId) -> Result<Option<Claim>, Error> {
        let paths = [
            self.offset(partition),
            self.acks(partition),
            layout::broker_topic(self.topic.as_str()),
        ];
        let mut nodes = self.session.get_many(&paths).await?.into_iter();
        let (offset, acks, topic) = (nodes.next(), nodes.next(), nodes.next());
        let (offset, acks) = (offset.flatten(), acks.flatten());
        let topic = topic
            .flatten()
            .map(|node: Node| TopicIdentity::from_znode(&node.data, node.stat.czxid));
        let put = if acks.is_some() {
            Put::Overwrite
        } else {
            Put::Create
        };
        let Some(offset) = offset else {
            // The first start gives every partition a znode; one without is a new partition, from its first record.
            let start = self.log_start(partition).await;
            let Some(start) = start else { return Ok(None) };
            let map = Map::empty(topic, start);
            return Ok(Some(self.beginning(partition, None, map, put).await));
        };
        let found = self.found(partition, &offset, acks).await;
        let readable = CommitOffset::from_znode(&offset.data).is_ok();
        let of_another = match (&found.topic, &topic) {
            (Some(then), Some(now)) if readable && !then.is_same(now) => found.topic.clone(),
            _ => None,
        };
        let read = Some(Stored::from(&offset));
        if of_another.is_some() {
            let Some(start) = self.log_start(partition).await else {
                return Ok(None);
            };
            let map = Map::empty(topic, start);
            let claim = self.beginning(partition, read, map, put).await;
            return Ok(Some(Claim { of_another, ..claim }));
        }
        let topic = topic.or_else(|| found.topic.clone());
        Ok(Some(self.as_found(partition, offset, (found, topic), put).await))
    }

    /// From the base of `map` on, whatever was there.
    async fn beginning(&self, partition: PartitionId, read: Option<Stored>, map: Map, put: Put) -> Claim {
        Claim {
            read,
            offset: map.acks.base().to_znode(),
            acks: self.encoded(partition, map.clone()).await,
            map,
            put,
            of_another: None,
        }
    }

    /// From where the former owner left it.
    async fn as_found(
        &self,
        partition: PartitionId,
        offset: Node,
        (found, topic): (Found, Option<TopicIdentity>),
        put: Put,
    ) -> Claim {
        let read = Some(Stored::from(&offset));
        let (acks, map) = match found.holds {
            Some((bytes, map)) if map.topic == topic => (bytes, map),
            other => {
                let position = CommitOffset::from_znode(&offset.data).unwrap_or(CommitOffset::ZERO);
                let mut map = other.map_or_else(|| Map::empty(None, position), |(_bytes, map)| map);
                map.topic = topic;
                (self.encoded(partition, map.clone()).await, map)
            }
        };
        Claim {
            read,
            offset: offset.data,
            acks,
            map,
            put,
            of_another: None,
        }
    }

    async fn claim_failed(
        &self,
        partition: PartitionId,
        error: MultiError,
    ) -> Result<Option<Claimed>, Error> {
        let (module, topic) = (self.module.as_str(), self.topic.as_str());
        let parent = match (error.at, error.source) {
            (Some(0), Error::NodeExists) | (_, Error::Unknown(_)) => {
                return self.claimed_before(partition).await.map(Some);
            }
            (Some(1), Error::BadVersion | Error::NodeExists) => return Ok(None),
            (Some(0), Error::NoNode) => layout::owners(module, topic),
            (Some(1), Error::NoNode) => layout::offsets(module, topic),
            (Some(2), Error::NoNode) => layout::all_acks(module, topic),
            (Some(2), source) => {
                self.warn(
                    partition,
                    &source,
                    "acks znode could not be written; trying again",
                );
                return Ok(None);
            }
            (_, source) => return Err(source),
        };
        self.session.ensure(&parent).await.map(|()| None)
    }

    /// It may be ours, if the answer to this claim or to an earlier one was lost.
    async fn claimed_before(&self, partition: PartitionId) -> Result<Claimed, Error> {
        let state = self.state(partition).await?;
        let Some(offset) = state.offset.filter(|_offset| state.ours) else {
            return Ok(Claimed::NotOurs);
        };
        let acks = self.session.get(&self.acks(partition)).await?;
        let found = self.found(partition, &offset, acks).await;
        let map = match found.holds {
            Some((_bytes, map)) => map,
            // The topic as it was when the offset was written: another one is noticed within half a minute.
            None => Map::empty(found.topic, CommitOffset::ZERO),
        };
        Ok(Claimed::Ours(Stored::from(&offset), map))
    }

    fn tell_restart(&self, partition: PartitionId, claim: &Claim) {
        let (Some(then), Some(stored)) = (&claim.of_another, &claim.read) else {
            return;
        };
        meters::restarted(&self.module).increment(1);
        tracing::error!(
            module = self.module,
            topic = %self.topic,
            %partition,
            stored = %String::from_utf8_lossy(&stored.bytes),
            position = %claim.map.acks.base(),
            %then,
            now = claim.map.topic.as_ref().map(tracing::field::display),
            "the topic was deleted and created anew: its stored offset means nothing, so the partition begins at the \
             start of the log"
        );
    }
}

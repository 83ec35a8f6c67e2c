//! What an owner writes: commits, and the release that ends its claim.

use kcommon::kafka::{CommitOffset, PartitionId};
use kcommon::zookeeper::{Error, MultiError, Write};

use super::acks::Put;
use super::{RETRY, State, Store};
use crate::acks::Map;
use crate::claims::{Committed, Stored, Written};
use crate::coordinator::servers::{Brokers, ZooKeeper};

/// Tries of one commit that are spoilt by the acks znode alone.
const ACKS_TRIES: usize = 4;

/// What a release does with the acks znode.
enum Beside {
    /// What is there goes on to hold, if it does.
    Keep,
    /// These bytes.
    Write(Vec<u8>, Put),
    /// It is void, or cannot be written.
    Leave,
}

impl<Z: ZooKeeper, B: Brokers<Z>> Store<Z, B> {
    /// Writes a position at the version that our last write left.
    pub(crate) async fn commit(
        &self,
        partition: PartitionId,
        version: i32,
        position: CommitOffset,
        map: Option<Map>,
    ) -> Committed {
        let bytes = position.to_znode();
        let written = match self.write(partition, version, &bytes, map).await {
            Ok(version) => Ok(Ok(Written::Stored(version))),
            Err(Error::BadVersion | Error::NoNode | Error::Unknown(_)) => {
                self.commit_of_unknown_outcome(partition, version, &bytes).await
            }
            Err(error) => Err(error),
        };
        written.unwrap_or_else(|error| {
            if !matches!(error, Error::Expired) {
                self.warn(partition, &error, "commit failed; trying again");
            }
            Ok(Written::NotStored)
        })
    }

    /// Writes the offset, with the map if there is one; the offset's new version. What is wrong with the acks znode
    /// never keeps the offset from being written.
    async fn write(
        &self,
        partition: PartitionId,
        version: i32,
        bytes: &[u8],
        map: Option<Map>,
    ) -> Result<i32, Error> {
        let (offset, acks) = (self.offset(partition), self.acks(partition));
        if let Some(map) = map {
            let map = self.encoded(partition, map).await;
            let mut put = Put::Overwrite;
            for _ in 0..ACKS_TRIES {
                let Some(beside) = put.write(&acks, &map) else {
                    break;
                };
                let set = Write::Set {
                    path: &offset,
                    data: bytes,
                    version,
                };
                match self.session.multi(&[set, beside]).await {
                    Ok(stats) => {
                        let stat = stats.first().copied().flatten();
                        return Ok(stat.map_or(version.wrapping_add(1), |stat| stat.version));
                    }
                    Err(MultiError {
                        at: Some(1), source, ..
                    }) if !matches!(source, Error::Unknown(_) | Error::Expired) => {
                        put = self.put_again(partition, put, &source).await;
                    }
                    Err(error) => return Err(error.source),
                }
            }
        }
        let stat = self.session.set(&offset, bytes, version).await?;
        Ok(stat.version)
    }

    async fn commit_of_unknown_outcome(
        &self,
        partition: PartitionId,
        version: i32,
        bytes: &[u8],
    ) -> Result<Committed, Error> {
        let state = self.state(partition).await?;
        if !state.ours {
            return Ok(Ok(Written::Fenced));
        }
        Ok(match state.offset {
            Some(found) if found.stat.version == version => Ok(Written::NotStored),
            Some(found) if found.stat.version == version.wrapping_add(1) && found.data == bytes => {
                Ok(Written::Stored(found.stat.version))
            }
            Some(found) => Err(Stored::from(&found)),
            None => {
                tracing::warn!(
                    module = self.module,
                    topic = %self.topic,
                    %partition,
                    "offset znode was deleted while we own the partition; creating it with our position"
                );
                self.create_offset(partition, bytes)
                    .await
                    .map(|()| Ok(Written::Stored(0)))?
            }
        })
    }

    /// Writes the offset, with what is to stand beside it, and deletes our owner znode. Ends when the owner znode is no
    /// longer ours. With `insist` what somebody else writes meanwhile is written over.
    pub(crate) async fn release(
        &self,
        partition: PartitionId,
        mut stored: Stored,
        (map, insist): (Option<Map>, bool),
    ) {
        let mut beside = match map {
            Some(map) => Beside::Write(self.encoded(partition, map).await, Put::Overwrite),
            None => Beside::Keep,
        };
        loop {
            match self.try_release(partition, &stored, &mut beside).await {
                Ok(None) | Err(Error::Expired) => return,
                Ok(Some(found)) if insist => stored.version = found.version,
                Ok(Some(found)) => {
                    if found != stored {
                        // An operator's write meanwhile holds.
                        beside = Beside::Leave;
                    }
                    stored = found;
                }
                Err(error) => {
                    self.warn(partition, &error, "release failed; trying again");
                    self.session.pause(RETRY).await;
                }
            }
        }
    }

    /// Deletes an owner znode of ours that belongs to no claim, leaving the offset as it is.
    pub(crate) async fn sweep(&self, partition: PartitionId) {
        loop {
            match self.state(partition).await {
                Ok(State {
                    ours: true,
                    offset: Some(offset),
                }) => {
                    return self
                        .release(partition, Stored::from(&offset), (None, false))
                        .await;
                }
                Ok(State {
                    ours: true,
                    offset: None,
                }) => match self.session.delete(&self.owner(partition)).await {
                    Ok(()) | Err(Error::NoNode | Error::Expired) => return,
                    Err(error) => self.warn(
                        partition,
                        &error,
                        "deleting a stray owner znode failed; trying again",
                    ),
                },
                Ok(State { ours: false, .. }) | Err(Error::Expired) => return,
                Err(error) => self.warn(
                    partition,
                    &error,
                    "a stray owner znode could not be read; trying again",
                ),
            }
            self.session.pause(RETRY).await;
        }
    }

    /// `None`: released, or not ours any more. `Some`: the offset holds this instead, try with it.
    async fn try_release(
        &self,
        partition: PartitionId,
        stored: &Stored,
        beside: &mut Beside,
    ) -> Result<Option<Stored>, Error> {
        if matches!(beside, Beside::Keep) {
            *beside = self.kept(partition, stored).await?;
        }
        let (owner, offset, acks) = (
            self.owner(partition),
            self.offset(partition),
            self.acks(partition),
        );
        let set = Write::Set {
            path: &offset,
            data: &stored.bytes,
            version: stored.version,
        };
        let map = match beside {
            Beside::Write(map, put) => put.write(&acks, map),
            Beside::Keep | Beside::Leave => None,
        };
        let with_map = map.is_some();
        let writes: Vec<Write<'_>> = std::iter::once(set)
            .chain(map)
            .chain([Write::Delete { path: &owner }])
            .collect();
        let Err(error) = self.session.multi(&writes).await else {
            return Ok(None);
        };
        match (error.at, error.source) {
            (Some(1), source) if with_map && !matches!(source, Error::Unknown(_) | Error::Expired) => {
                if let Beside::Write(_, put) = beside {
                    *put = self.put_again(partition, *put, &source).await;
                }
                Ok(Some(stored.clone()))
            }
            (_, Error::BadVersion | Error::NoNode | Error::Unknown(_)) => {
                let state = self.state(partition).await?;
                match state.offset {
                    _ if !state.ours => Ok(None),
                    Some(found) if found.stat.version == stored.version => Ok(Some(stored.clone())),
                    Some(found) => Ok(Some(Stored::from(&found))),
                    // Garbage that an operator has deleted does not come back.
                    None if stored.position().is_err() => match self.session.delete(&owner).await {
                        Ok(()) | Err(Error::NoNode) => Ok(None),
                        Err(error) => Err(error),
                    },
                    None => {
                        self.create_offset(partition, &stored.bytes).await?;
                        Ok(Some(Stored {
                            bytes: stored.bytes.clone(),
                            version: 0,
                        }))
                    }
                }
            }
            (_, source) => Err(source),
        }
    }

    /// What is stored beside `stored`, if it holds: it is written again, because the release changes the offset.
    async fn kept(&self, partition: PartitionId, stored: &Stored) -> Result<Beside, Error> {
        let paths = [self.offset(partition), self.acks(partition)];
        let nodes = self.session.get_many(&paths).await?;
        let [Some(offset), Some(acks)] = &nodes[..] else {
            return Ok(Beside::Leave);
        };
        let holds = acks.stat.mzxid == offset.stat.mzxid && Stored::from(offset) == *stored;
        Ok(if holds {
            Beside::Write(acks.data.clone(), Put::Overwrite)
        } else {
            Beside::Leave
        })
    }
}

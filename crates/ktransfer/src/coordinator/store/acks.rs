//! What the acks znode holds, and whether it counts; and the bytes to put into it, made where no record waits for them.

use kcommon::kafka::{CommitOffset, PartitionId};
use kcommon::zookeeper::{Error, Lifetime, Node, Write, layout};

use super::Store;
use crate::acks::{DecodeError, Encoded, Map, TopicIdentity};
use crate::coordinator::servers::{Brokers, ZooKeeper};

/// Maps above this size are coded on a thread of their own; below, handing them over takes longer.
const LARGE: usize = 4 * 1024;

/// What was found in an acks znode.
#[derive(Default)]
pub(super) struct Found {
    /// The topic that it was written for, whether or not the rest holds.
    pub(super) topic: Option<TopicIdentity>,
    /// The znode's bytes and what they say, if they belong to the offset as it stands.
    pub(super) holds: Option<(Vec<u8>, Map)>,
}

/// How the acks znode is written in a `multi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Overwrite,
    Create,
    /// Not at all: it could not be written, and no commit waits for that.
    Leave,
}

impl Put {
    pub(super) fn write<'a>(self, path: &'a str, data: &'a [u8]) -> Option<Write<'a>> {
        match self {
            Self::Overwrite => Some(Write::Overwrite { path, data }),
            Self::Create => Some(Write::Create {
                path,
                data,
                lifetime: Lifetime::Persistent,
            }),
            Self::Leave => None,
        }
    }
}

impl<Z: ZooKeeper, B: Brokers<Z>> Store<Z, B> {
    /// What `node`, the acks znode, says of the partition whose offset znode is `offset`. It holds only if both were
    /// changed by the same transaction: anybody else's write of the offset is one of its own.
    pub(super) async fn found(&self, partition: PartitionId, offset: &Node, node: Option<Node>) -> Found {
        let Some(node) = node else {
            return Found::default();
        };
        let same_write = node.stat.mzxid == offset.stat.mzxid;
        let (bytes, decoded) = decode(node.data).await;
        match decoded {
            Ok(map) => {
                let position = CommitOffset::from_znode(&offset.data);
                let holds = same_write && position.is_ok_and(|position| position == map.acks.base());
                if !holds && !map.acks.is_empty() {
                    tracing::info!(
                        module = self.module, topic = %self.topic, %partition,
                        acknowledged = map.acks.count(),
                        "stored acknowledgements are void: the offset was written without them"
                    );
                }
                Found {
                    topic: map.topic.clone(),
                    holds: holds.then_some((bytes, map)),
                }
            }
            Err(error) => {
                tracing::warn!(
                    module = self.module, topic = %self.topic, %partition,
                    znode = self.acks(partition),
                    error = &error as &dyn std::error::Error,
                    "acks znode is malformed; records above the offset are pushed again, and the znode is written anew"
                );
                Found::default()
            }
        }
    }

    /// The bytes to store.
    pub(super) async fn encoded(&self, partition: PartitionId, map: Map) -> Vec<u8> {
        let Encoded { bytes, left_out } = encode(map).await;
        if left_out > 0 {
            tracing::warn!(
                module = self.module, topic = %self.topic, %partition, left_out,
                "more records are acknowledged above the offset than can be stored; a crash would repeat these"
            );
        }
        bytes
    }

    /// After a `multi` was refused because of the acks znode: how to write it in the next one.
    pub(super) async fn put_again(&self, partition: PartitionId, put: Put, error: &Error) -> Put {
        let next = match (put, error) {
            (Put::Overwrite, Error::NoNode) => Ok(Put::Create),
            (Put::Create, Error::NodeExists) => Ok(Put::Overwrite),
            (Put::Create, Error::NoNode) => {
                let parent = layout::all_acks(&self.module, self.topic.as_str());
                self.session.ensure(&parent).await.map(|()| Put::Create)
            }
            (_, error) => Err(error.clone()),
        };
        next.unwrap_or_else(|error| {
            self.warn(
                partition,
                &error,
                "acknowledgements cannot be stored; the offset is stored without them",
            );
            Put::Leave
        })
    }
}

async fn encode(map: Map) -> Encoded {
    if map.acks.weight() <= LARGE {
        return map.encode();
    }
    let encoding = tokio::task::spawn_blocking(move || map.encode());
    encoding.await.unwrap_or_else(|ended| {
        // The process ends: nothing more is stored.
        tracing::debug!(%ended, "encoding was cut off");
        Encoded {
            bytes: Vec::new(),
            left_out: 0,
        }
    })
}

async fn decode(bytes: Vec<u8>) -> (Vec<u8>, Result<Map, DecodeError>) {
    if bytes.len() <= LARGE {
        let decoded = Map::decode(&bytes);
        return (bytes, decoded);
    }
    let length = bytes.len();
    let decoding = tokio::task::spawn_blocking(move || {
        let decoded = Map::decode(&bytes);
        (bytes, decoded)
    });
    let cut_off = |_ended| (Vec::new(), Err(DecodeError::TooShort(length)));
    decoding.await.unwrap_or_else(cut_off)
}

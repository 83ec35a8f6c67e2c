//! The first start of a module on its topic: every partition gets an offset, all of them from one decision.
//!
//! "From the newest record on" is turned into numbers once, and the numbers are stored before anything is
//! claimed. Otherwise a second instance, or a restart before the first commit, would decide again, later, and
//! skip what came in between. From then on a partition without an offset znode is a new partition.

use kcommon::kafka::{CommitOffset, PartitionId};
use kcommon::zookeeper::{Error, Lifetime, MultiError, Write, layout};

use super::servers::{Brokers, ZooKeeper};
use super::store::Store;
use crate::config::InitialOffset;
use crate::watermarks::{LogEnd, WatermarkError};

/// Znodes created in one `multi`: 500 stay far below ZooKeeper's 1 MiB for a request.
const CHUNK: usize = 500;

/// Times that other instances may get in between.
const TRIES: usize = 10;

/// Why the module cannot start yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error("creating the module's znodes")]
    ZooKeeper(#[source] Error),
    #[error("finding out where the logs start and end")]
    Watermarks(#[source] WatermarkError),
    #[error("other instances keep changing the offset znodes")]
    Contended,
}

/// Creates the parents that are missing and, at the first start, the offsets of all `partitions`. If the offsets
/// cannot be found out, nothing is written.
pub(crate) async fn prepare<Z: ZooKeeper, B: Brokers<Z>>(
    store: &Store<Z, B>,
    partitions: &[PartitionId],
    initial: InitialOffset,
) -> Result<(), PrepareError> {
    let (module, topic) = (store.module.as_str(), store.topic.as_str());
    let parents = [
        layout::ids(module),
        layout::owners(module, topic),
        layout::offsets(module, topic),
        layout::all_acks(module, topic),
    ];
    for parent in &parents {
        store
            .session
            .ensure(parent)
            .await
            .map_err(PrepareError::ZooKeeper)?;
    }
    for _ in 0..TRIES {
        let children = store.session.children(&layout::offsets(module, topic)).await;
        let stored = children.map_err(PrepareError::ZooKeeper)?.unwrap_or_default();
        let missing = missing(&stored, partitions);
        if missing.is_empty() || create(store, &missing, initial).await? {
            return Ok(());
        }
    }
    Err(PrepareError::Contended)
}

/// The partitions that the first start still has to give an offset, the highest first; none if it is over.
///
/// Partition 0 is in the last chunk, so that its znode says that all are there. With up to [`CHUNK`] partitions
/// there is but one chunk, and any child says it: a classic client may have stored any one partition first.
fn missing(stored: &[String], partitions: &[PartitionId]) -> Vec<PartitionId> {
    let exists = |partition: PartitionId| {
        stored
            .iter()
            .any(|name| layout::partition_of(name) == Some(partition))
    };
    let begun_by_us = partitions.len() > CHUNK && !exists(PartitionId(0));
    if !stored.is_empty() && !begun_by_us {
        return Vec::new();
    }
    let mut missing: Vec<PartitionId> = partitions.iter().copied().filter(|p| !exists(*p)).collect();
    missing.sort_unstable_by(|one, other| other.cmp(one));
    missing
}

/// Creates the offsets of `missing`; `false` if another instance was first, with some of them at least.
async fn create<Z: ZooKeeper, B: Brokers<Z>>(
    store: &Store<Z, B>,
    missing: &[PartitionId],
    initial: InitialOffset,
) -> Result<bool, PrepareError> {
    let end = match initial {
        InitialOffset::Earliest => LogEnd::Start,
        InitialOffset::Latest => LogEnd::End,
    };
    let offsets = store
        .watermarks
        .offsets(&store.session, &store.topic, missing, end)
        .await;
    let offsets = offsets.map_err(PrepareError::Watermarks)?;
    let znode = |(partition, offset): (&PartitionId, CommitOffset)| {
        (
            layout::offset(&store.module, store.topic.as_str(), *partition),
            offset.to_znode(),
        )
    };
    let znodes: Vec<(String, Vec<u8>)> = missing.iter().zip(offsets).map(znode).collect();
    for chunk in znodes.chunks(CHUNK) {
        let writes: Vec<Write<'_>> = chunk
            .iter()
            .map(|(path, data)| Write::Create {
                path,
                data,
                lifetime: Lifetime::Persistent,
            })
            .collect();
        match store.session.multi(&writes).await {
            Ok(_stats) => {}
            // What is there now is read again, so an unknown outcome needs no other care.
            Err(MultiError {
                source: Error::NodeExists | Error::Unknown(_),
                ..
            }) => return Ok(false),
            Err(error) => return Err(PrepareError::ZooKeeper(error.source)),
        }
    }
    tracing::info!(
        module = store.module,
        topic = %store.topic,
        partitions = missing.len(),
        ?initial,
        "first start: the offsets of all partitions are stored"
    );
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(count: i32) -> Vec<PartitionId> {
        (0..count).map(PartitionId).collect()
    }

    fn names(numbers: impl IntoIterator<Item = i32>) -> Vec<String> {
        numbers.into_iter().map(|number| number.to_string()).collect()
    }

    #[test]
    fn the_first_start_is_of_all_partitions_with_partition_0_last() {
        assert_eq!(
            missing(&[], &partitions(3)),
            [PartitionId(2), PartitionId(1), PartitionId(0)]
        );
    }

    #[test]
    fn an_absent_offset_beside_others_is_a_new_partition() {
        assert_eq!(missing(&names([0]), &partitions(3)), []);
        assert_eq!(missing(&names([2]), &partitions(3)), []);
    }

    #[test]
    fn a_first_start_of_many_partitions_that_broke_off_goes_on() {
        let all = partitions(1_200);
        let broken_off = missing(&names(700..1_200), &all);
        assert_eq!(broken_off.len(), 700);
        assert_eq!(broken_off.last(), Some(&PartitionId(0)));
        assert_eq!(missing(&names(0..1_200), &all), []);
    }
}

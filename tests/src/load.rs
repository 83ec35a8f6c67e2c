//! A load that lasts: a few records at a time, each key's records numbered in the order of their offsets, for an
//! [`crate::Audit`].

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::audit::stepped;
use crate::{Cluster, NewRecord, Writer};

/// The time between two portions. A portion has each key once at most, so that what is written again keeps its order.
const BEAT: Duration = Duration::from_millis(20);

/// How long a portion may take, whatever happens to the broker.
const PATIENCE: Duration = Duration::from_secs(120);

/// The wait before what was not acknowledged is written again.
const RETRY: Duration = Duration::from_millis(200);

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Records per second, from 50.
    pub rate: u32,
    /// Over how many keys, in turn: at least a fiftieth of the rate.
    pub keys: usize,
}

impl Load {
    /// Writes to `topic` until `stop`, and gives how many records of each key are stored. While the broker is away it
    /// waits, and does not catch up afterwards.
    ///
    /// # Errors
    /// A record is not stored for minutes.
    pub async fn send(
        self,
        cluster: Cluster,
        topic: String,
        stop: CancellationToken,
    ) -> Result<HashMap<Bytes, u64>> {
        // Idempotent, acks from all: what it says is stored is stored once, in the order of each key.
        let mut writer = cluster.writer()?;
        let mut steps: Vec<u64> = vec![0; self.keys];
        let portion = usize::try_from(self.rate * u32::try_from(BEAT.as_millis())? / 1000)?.max(1);
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next = 0;
        while stop.run_until_cancelled(beat.tick()).await.is_some() {
            let records = (next..next + portion).map(|number| {
                let step = &mut steps[number % self.keys];
                *step += 1;
                stepped(&key(number % self.keys), *step - 1)
            });
            let records: Vec<_> = records.collect();
            next += portion;
            store(&cluster, &mut writer, &topic, records).await?;
        }
        let stored = steps.iter().enumerate();
        Ok(stored
            .map(|(number, &count)| (key(number).into(), count))
            .collect())
    }
}

/// Writes a portion until all of it is acknowledged. A broker that comes back answers for a while that it knows no such
/// topic. What is written again may be stored twice: to a judge that is a repeat, and one of a few records.
///
/// It is written again by another client: once in dozens of kills of a broker, a client wrote nothing to a topic any more
/// until its messages timed out, while others wrote to the same broker.
async fn store(
    cluster: &Cluster,
    writer: &mut Writer,
    topic: &str,
    mut records: Vec<NewRecord>,
) -> Result<()> {
    let start = Instant::now();
    loop {
        let failed = writer.try_produce(topic, records).await;
        let mut again = Vec::new();
        for (record, error) in failed {
            if start.elapsed() > PATIENCE {
                return Err(error.context(format!("a record of {topic} is not stored within {PATIENCE:?}")));
            }
            again.push(record);
        }
        if again.is_empty() {
            return Ok(());
        }
        records = again;
        tokio::time::sleep(RETRY).await;
        *writer = cluster.writer()?;
    }
}

fn key(number: usize) -> String {
    format!("k{number}")
}

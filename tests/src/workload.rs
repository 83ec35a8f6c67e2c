//! Records that the checker can tell apart, spread over keys.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use bytes::Bytes;

use crate::checker::Produced;
use crate::{Cluster, NewRecord, Writer};

/// A name that no other test uses, for topics and modules: `<what>-<pid>-<n>`.
#[must_use]
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{what}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// The records `numbers`, over `keys` keys in turn: key `k<n mod keys>`, body `{"n":<n>}` and padding to about 100 bytes.
pub fn numbered(numbers: std::ops::Range<usize>, keys: usize) -> impl Iterator<Item = NewRecord> {
    numbers.map(move |number| {
        NewRecord::keyed(
            format!("k{}", number % keys),
            format!("{{\"n\":{number:>10},\"padding\":\"{:070}\"}}", 0),
        )
    })
}

impl Cluster {
    /// Writes records and gives them as the checker wants them.
    ///
    /// # Errors
    /// One of them is not acknowledged.
    pub async fn produce_checked(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = NewRecord>,
    ) -> Result<Vec<Produced>> {
        self.writer()?.produce_checked(topic, records).await
    }
}

impl Writer {
    /// Writes records and gives them as the checker wants them.
    ///
    /// # Errors
    /// One of them is not acknowledged.
    pub async fn produce_checked(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = NewRecord>,
    ) -> Result<Vec<Produced>> {
        let mut sent: Vec<(Option<Bytes>, Bytes)> = Vec::new();
        let remembered = records
            .into_iter()
            .inspect(|record| sent.push((record.key.clone(), record.value.clone())));
        let places = self.produce(topic, remembered).await?;
        let produced = sent.into_iter().zip(places);
        Ok(produced
            .map(|((key, body), (partition, offset))| Produced {
                key,
                body,
                partition,
                offset,
            })
            .collect())
    }
}

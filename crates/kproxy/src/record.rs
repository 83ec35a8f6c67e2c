//! A record as it is handed to the producer, whichever request it came with.

use rdkafka::message::OwnedHeaders;

/// A record that has passed every check which needs no broker. Borrows: librdkafka makes the one copy.
#[derive(Debug)]
pub(crate) struct Record<'r> {
    /// The name of a topic that exists.
    pub(crate) topic: &'r str,
    /// Decides the partition where that is not given; never empty.
    pub(crate) key: Option<&'r [u8]>,
    /// The value; `None` is a tombstone.
    pub(crate) value: Option<&'r [u8]>,
    /// The partition, when the client chose it.
    pub(crate) partition: Option<i32>,
    /// Milliseconds since 1970; `None` is now.
    pub(crate) timestamp: Option<i64>,
    /// The record's headers.
    pub(crate) headers: Option<OwnedHeaders>,
}

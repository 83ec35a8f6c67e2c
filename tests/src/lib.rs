//! The harness of the scenarios in `tests/it`, also used by `cargo xtask`: a real Kafka and ZooKeeper, a scriptable
//! HTTP backend, a checker of what was pushed, and the daemons as child processes.
//!
//! It never ships, and it asserts no rate and no time: benchmarks do that.

pub mod cluster;
mod kafka;
pub mod paths;
pub mod ports;
mod wait;

pub use cluster::{Cluster, OwnCluster, cluster, own_cluster};
pub use kafka::{NewRecord, Stored};
pub use wait::{Outcome, eventually};

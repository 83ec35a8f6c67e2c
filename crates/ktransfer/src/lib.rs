//! ktransfer pushes the records of Kafka topics to HTTP backends: in order per key, at least once, over a fleet
//! of instances that ZooKeeper coordinates. `docs/architecture.md` has the map.

pub mod assignment;
pub mod claims;
pub mod committer;
pub mod config;
pub mod coordinator;
pub mod key;
pub mod lease;
pub mod ledger;
pub mod methods;
pub mod quota;
pub mod record;
pub mod retry;
pub mod scheduler;
pub mod sessions;
pub mod uri;
pub mod verdict;
pub mod watermarks;

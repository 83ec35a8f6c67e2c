//! The harness of the scenarios in `tests/it`, also used by `cargo xtask`: a real Kafka and ZooKeeper, a scriptable
//! HTTP backend, a proxy that breaks connections, a checker of what was pushed, and the daemons as child processes.
//!
//! It never ships, and it asserts no rate and no time: benchmarks do that.

pub mod audit;
mod authority;
pub mod backend;
pub mod browser;
pub mod checker;
pub mod cluster;
pub mod daemon;
pub mod http;
mod kafka;
mod load;
pub mod mailserver;
pub mod ordeal;
mod original;
pub mod paths;
pub mod ports;
pub mod poster;
pub mod proxy;
pub mod siege;
pub mod vows;
mod wait;
mod workload;
mod znodes;

pub use audit::Audit;
pub use authority::Authority;
pub use backend::{Backend, Behaviour, Observer, Seen, When};
pub use browser::Browser;
pub use checker::{Produced, Report, check};
pub use cluster::{Cluster, OwnCluster, cluster, own_cluster};
pub use daemon::{Daemon, Setup};
pub use kafka::{NewRecord, Stored, Writer};
pub use load::Load;
pub use mailserver::MailServer;
pub use original::Original;
pub use poster::Poster;
pub use proxy::Proxy;
pub use wait::{Outcome, eventually};
pub use workload::{numbered, unique};
pub use znodes::Znodes;

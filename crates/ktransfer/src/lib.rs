//! ktransfer pushes the records of Kafka topics to HTTP backends: in order per key, at least once, over a fleet
//! of instances that ZooKeeper coordinates. `docs/architecture.md` has the map.

pub mod acks;
pub mod adaptive;
mod admin;
pub mod assignment;
pub mod auth;
pub mod balance;
pub mod budget;
pub mod claims;
pub mod committer;
pub mod config;
pub mod consumer;
pub mod content;
pub mod coordinator;
pub mod ctl;
pub mod dispatcher;
pub mod dress;
pub mod fetch;
pub mod files;
pub mod form;
pub mod headers;
pub mod key;
pub mod lease;
pub mod ledger;
pub mod letter;
pub mod letters;
pub mod link;
pub mod meters;
pub mod methods;
pub mod module;
pub mod names;
pub mod outage;
pub mod pace;
pub mod pusher;
pub mod quota;
pub mod range;
pub mod record;
pub mod reread;
pub mod retry;
pub mod scheduler;
pub mod servers;
pub mod sessions;
pub mod signature;
pub mod stall;
pub mod supervisor;
pub mod target;
pub mod throttle;
pub mod tls;
pub mod uri;
pub mod verdict;
pub mod watermarks;
pub mod worker;

pub use meters::help::HELP as METRICS;
pub use supervisor::run;

#[cfg(test)]
mod simulation;

//! kproxy: `POST /commit` puts the body into Kafka.
//!
//! ```text
//! listener -> connection (paced) -> hyper -> service -> commit -> admission -> body -> producer -> librdkafka
//!                                             ^  cluster: topics, health       |
//!                                             +------------- report <----------+
//! ```
//!
//! Pure: `access` (`attempts`, `bucket`, `certificate`, `globs`, `shown`), `request`, `admission`, `encoding`, `entry`, `failure`, `gear`, `headers`, `media`, `ndjson`, `prefixed`, `topics`, `health`, `patience`, `pressure`, `version`, `answer`. The others do the I/O.

pub mod access;
pub mod admission;
mod answer;
mod batch;
mod body;
mod client;
mod cluster;
mod commit;
pub mod config;
mod connection;
mod encoding;
pub mod entry;
pub mod failure;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzed;
mod gear;
mod headers;
mod health;
mod listener;
mod many;
mod media;
pub mod meters;
mod ndjson;
pub mod openapi;
mod options;
mod paced;
pub mod patience;
mod prefixed;
mod pressure;
mod producer;
mod record;
pub mod request;
mod rest;
mod run;
mod server;
mod service;
mod statistics;
mod streams;
pub mod tls;
mod tools;
mod topics;
mod turn;
mod version;
mod watched;

pub use meters::help::HELP as METRICS;
pub use run::run;
pub use tools::TOOLS;

//! kproxy: `POST /commit` puts the body into Kafka.
//!
//! ```text
//! socket (paced) -> hyper -> service -> commit -> admission -> body -> producer -> librdkafka
//!                              ^  cluster: topics, health       |
//!                              +------------- report <----------+
//! ```
//!
//! Pure: `request`, `admission`, `encoding`, `failure`, `gear`, `headers`, `topics`, `health`, `patience`, `answer`. The others do the I/O.

pub mod admission;
mod answer;
mod body;
mod client;
mod cluster;
mod commit;
pub mod config;
mod encoding;
pub mod failure;
mod gear;
mod headers;
mod health;
pub mod meters;
mod paced;
pub mod patience;
mod producer;
mod record;
pub mod request;
mod run;
mod server;
mod service;
mod topics;
mod turn;

pub use run::run;

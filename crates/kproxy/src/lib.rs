//! kproxy: `POST /commit` puts the body into Kafka.
//!
//! ```text
//! socket (paced) -> hyper -> commit -> admission -> body -> producer -> librdkafka
//!                              ^  cluster: topics, health       |
//!                              +------------- report <----------+
//! ```
//!
//! Pure: `request`, `admission`, `failure`, `topics`, `health`, `patience`, `answer`. The others do the I/O.

pub mod admission;
mod answer;
mod body;
mod client;
mod cluster;
mod commit;
pub mod config;
pub mod failure;
mod health;
pub mod meters;
mod paced;
pub mod patience;
mod producer;
pub mod request;
mod run;
mod server;
mod topics;
mod turn;

pub use run::run;

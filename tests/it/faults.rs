//! Faults between a running ktransfer, ZooKeeper and Kafka, under load: a process that stands still, connections that are
//! cut, late or reset, brokers that die. Nothing is lost, no key is out of order, nobody pushes what another owns.
//!
//! Measured times are printed, not asserted: `cargo xtask test faults -- --nocapture` shows them.

mod connections;
mod kafka;
mod lease;
mod pause;
mod truncation;

//! The scenarios, on a real Kafka and ZooKeeper: `cargo xtask test` starts them and runs everything,
//! `cargo xtask test NAME` a part. One file per subject.

#![cfg(test)]

mod coordination;
mod crash;
mod daemon;
mod faults;
mod fleet;
mod harness;
mod kmonitor;
mod kproxy;
mod mixed;
mod modules;
mod promtool;
mod push;
mod rolling;
mod scale;
mod whole;

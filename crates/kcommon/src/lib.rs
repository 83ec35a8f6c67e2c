//! What two or more of the daemons use, and nothing else.

pub mod admin;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod kafka;
pub mod logging;
pub mod meters;
pub mod readiness;
pub mod secret;
pub mod shutdown;
pub mod supervisor;
pub mod tls;
pub mod watched;
pub mod zookeeper;

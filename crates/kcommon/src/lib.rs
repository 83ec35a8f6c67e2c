//! What two or more of the daemons use, and nothing else.

pub mod kafka;
pub mod zookeeper;

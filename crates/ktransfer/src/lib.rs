//! ktransfer

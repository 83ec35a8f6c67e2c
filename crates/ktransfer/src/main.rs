//! ktransfer
fn main() {}

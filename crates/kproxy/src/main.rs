//! kproxy
fn main() {}

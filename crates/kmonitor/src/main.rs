//! kmonitor
fn main() {}

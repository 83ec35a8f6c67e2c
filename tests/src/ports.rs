//! Free TCP ports on loopback.
//!
//! They come from below the range the kernel takes for outgoing connections: a server that is stopped and started
//! again on its port must not find it taken by somebody's client.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port nobody listens on now. The same process never gets one twice, so several may be asked for before any is used.
///
/// # Panics
/// When no port between 12,000 and 31,999 is free.
#[must_use]
pub fn free_port() -> u16 {
    // Processes that ask at the same time begin at different places.
    let start = std::process::id().wrapping_mul(7919);
    let ports = (0..COUNT).map(|_| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        u16::try_from(FIRST + start.wrapping_add(step) % COUNT).expect("below 32,000")
    });
    ports
        .into_iter()
        .find(|&port| is_free(port))
        .expect("not all of 20,000 ports are taken")
}

/// Whether nobody listens on this loopback port now.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once() {
        let ports: std::collections::BTreeSet<u16> = (0..50).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 50);
    }

    #[test]
    fn a_port_in_use_is_not_free() {
        let held = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
        assert!(!is_free(held.local_addr().unwrap().port()));
    }
}

//! The addresses behind the names of servers: looked up again and again, so that pushes follow a change of DNS. A lookup that fails
//! changes nothing.
//!
//! Connections to an address that a name has lost are not used again. Of several addresses each new connection tries another one first,
//! and the others after it.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::{Instant, timeout};

use crate::target::Target;
use crate::throttle::Throttle;

/// How long a lookup may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// One line about failed lookups in so long.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The addresses of one name.
#[derive(Debug, Default)]
pub struct Addresses {
    known: RefCell<Rc<[SocketAddr]>>,
    next: Cell<usize>,
}

impl Addresses {
    /// All of them, each time another one first; none before the first lookup.
    #[must_use]
    pub fn in_turn(&self) -> Vec<SocketAddr> {
        let known = self.known.borrow();
        let mut addresses = known.to_vec();
        if !addresses.is_empty() {
            let first = self.next.get() % addresses.len();
            self.next.set(first + 1);
            addresses.rotate_left(first);
        }
        addresses
    }

    /// Whether a connection to this address may be used, as far as is known.
    #[must_use]
    pub fn has(&self, peer: SocketAddr) -> bool {
        let known = self.known.borrow();
        known.is_empty() || known.contains(&peer)
    }

    /// These from now on; nothing when there is none. Returns whether that is a change, the order apart.
    pub(crate) fn replace(&self, mut found: Vec<SocketAddr>) -> bool {
        found.sort_unstable();
        found.dedup();
        if found.is_empty() || found[..] == self.known.borrow()[..] {
            return false;
        }
        self.known.replace(found.into());
        true
    }
}

/// Looks up the names of a module's servers every so often until the task is dropped.
pub async fn follow(target: Rc<Target>, interval: Duration) -> Infallible {
    let mut failures = Throttle::new(LOG_INTERVAL);
    loop {
        for (name, addresses) in target.servers().named() {
            let module = &target.module().name;
            match timeout(PATIENCE, lookup_host(name)).await {
                Ok(Ok(found)) => {
                    if addresses.replace(found.collect()) {
                        let addresses = addresses.known.borrow();
                        tracing::info!(
                            module,
                            server = name,
                            ?addresses,
                            "the server's addresses have changed"
                        );
                    }
                }
                failed => {
                    let error = match failed {
                        Ok(Err(error)) => error.to_string(),
                        _ => format!("no answer within {} s", PATIENCE.as_secs()),
                    };
                    if let Some(held_back) = failures.pass(Instant::now()) {
                        tracing::warn!(
                            module,
                            server = name,
                            error,
                            lines_held_back = held_back,
                            "the server's name cannot be looked up; its last addresses hold"
                        );
                    }
                }
            }
        }
        tokio::time::sleep(interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 80))
    }

    #[test]
    fn each_connection_begins_with_another_address_and_knows_them_all() {
        let addresses = Addresses::default();
        assert!(addresses.in_turn().is_empty() && addresses.has(address(9)));
        assert!(addresses.replace(vec![address(2), address(1), address(2)]));
        assert!(!addresses.replace(vec![address(1), address(2)]));
        assert_eq!(addresses.in_turn(), [address(1), address(2)]);
        assert_eq!(addresses.in_turn(), [address(2), address(1)]);
        assert_eq!(addresses.in_turn(), [address(1), address(2)]);
        assert!(addresses.has(address(1)) && !addresses.has(address(9)));
        // A name without addresses is a mistake of a moment.
        assert!(!addresses.replace(Vec::new()) && addresses.has(address(1)));
        assert!(addresses.replace(vec![address(9)]));
        assert!(addresses.has(address(9)) && !addresses.has(address(1)));
        assert_eq!(addresses.in_turn(), [address(9)]);
    }
}

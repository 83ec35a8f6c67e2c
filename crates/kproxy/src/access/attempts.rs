//! How many wrong passwords an address may still send. Pure.
//!
//! IPv6 addresses count by their first 64 bits, which one client has all of. A client without an address (a Unix socket) counts as
//! one. The table is bounded by the time that a verification takes; should it be full anyway, it starts anew.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::bucket::Bucket;

/// Wrong passwords that an address may send at once, and in a minute.
const ALLOWED: u64 = 10;
const PERIOD: Duration = Duration::from_secs(60);
/// Most addresses that are remembered.
const ADDRESSES: usize = 20_000;

/// The wrong passwords of the last minute.
#[derive(Debug, Default)]
pub(super) struct Attempts(pub(super) HashMap<Option<IpAddr>, Bucket>);

impl Attempts {
    /// How long this address has to wait until its next password is looked at.
    pub(super) fn wait(&self, address: Option<IpAddr>, now: Instant) -> Option<Duration> {
        self.0.get(&group(address))?.wait(now)
    }

    /// This address has sent a wrong password.
    pub(super) fn failed(&mut self, address: Option<IpAddr>, now: Instant) {
        if self.0.len() >= ADDRESSES {
            self.0.retain(|_, bucket| !bucket.is_full(now));
            if self.0.len() >= ADDRESSES {
                self.0.clear();
            }
        }
        let bucket = self.0.entry(group(address));
        bucket
            .or_insert_with(|| Bucket::new(ALLOWED, PERIOD))
            .take(1, now);
    }
}

fn group(address: Option<IpAddr>) -> Option<IpAddr> {
    Some(match address?.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
        short => short,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn ten_wrong_passwords_a_minute_are_looked_at_and_others_are_not_concerned() {
        let mut attempts = Attempts::default();
        let now = Instant::now() + PERIOD * 10;
        for _ in 0..ALLOWED {
            assert_eq!(attempts.wait(address("10.0.0.1"), now), None);
            attempts.failed(address("10.0.0.1"), now);
        }
        assert_eq!(attempts.wait(address("10.0.0.1"), now), Some(PERIOD / 10));
        assert_eq!(attempts.wait(address("::ffff:10.0.0.1"), now), Some(PERIOD / 10));
        assert_eq!(attempts.wait(address("10.0.0.2"), now), None);
        assert_eq!(attempts.wait(None, now), None);
        assert_eq!(attempts.wait(address("10.0.0.1"), now + PERIOD / 10), None);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_client() {
        let mut attempts = Attempts::default();
        let now = Instant::now() + PERIOD * 10;
        for host in 0..ALLOWED {
            attempts.failed(address(&format!("2001:db8::{host}")), now);
        }
        assert!(attempts.wait(address("2001:db8::ffff"), now).is_some());
        assert_eq!(attempts.wait(address("2001:db8:0:1::1"), now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut attempts = Attempts::default();
        let now = Instant::now() + PERIOD * 10;
        for number in 0..u32::try_from(ADDRESSES + 10).unwrap() {
            attempts.failed(Some(IpAddr::from(number.to_be_bytes())), now);
        }
        assert!(attempts.0.len() <= ADDRESSES);
    }
}

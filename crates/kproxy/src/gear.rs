//! How long a record waits for company on its way to Kafka, by how many requests are open.
//!
//! Pure. No single linger serves every load: 0 is best for few clients and drowns the broker in requests of one record under
//! many; a millisecond or two gathers whole batches under load and would delay a lone client by just that. Requests that are
//! open at the same time have no order between them, so each may take another producer.

use std::time::Duration;

/// One producer's setting, and the load that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gear {
    /// Most open requests for which it is chosen.
    pub(crate) up_to: usize,
    /// Its wait for company (`linger.ms`).
    pub(crate) linger: Duration,
}

/// The gears that follow the load, from low to high. `docs/benchmarks.md` has what others gave.
pub(crate) const BY_LOAD: [Gear; 3] = [
    Gear {
        up_to: 8,
        linger: Duration::ZERO,
    },
    Gear {
        up_to: 128,
        linger: Duration::from_millis(1),
    },
    Gear {
        up_to: usize::MAX,
        linger: Duration::from_millis(2),
    },
];

/// The gears of a producer whose linger is fixed, or that follow the load.
#[must_use]
pub(crate) fn gears(fixed: Option<Duration>) -> Vec<Gear> {
    fixed.map_or_else(
        || BY_LOAD.to_vec(),
        |linger| {
            vec![Gear {
                up_to: usize::MAX,
                linger,
            }]
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_has_a_gear_and_a_higher_one_never_waits_less() {
        for gears in [gears(None), gears(Some(Duration::from_millis(5)))] {
            assert_eq!(gears.last().unwrap().up_to, usize::MAX);
            assert!(gears.is_sorted_by_key(|gear| (gear.up_to, gear.linger)));
        }
    }

    #[test]
    fn a_lone_client_waits_for_nobody() {
        assert_eq!(gears(None)[0].linger, Duration::ZERO);
    }
}

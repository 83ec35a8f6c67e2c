//! Chance and time of a run. The seed alone decides a run: nothing else is random, and no real clock is read.

use std::cell::Cell;
use std::time::Duration;

use crate::lease::BootTime;

/// Milliseconds since the run began.
pub(super) type Time = u64;

/// A small deterministic generator (xorshift64*).
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// From 0 to `limit` - 1.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit.max(1)
    }

    pub(super) fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// An index into something of this length, which is not empty.
    pub(super) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }
}

thread_local! {
    static NOW: Cell<Time> = const { Cell::new(0) };
}

/// Machines have been up for a while when a run begins; only a lease that has not begun ends at 0.
const UP_SINCE: Duration = Duration::from_secs(1_000);

pub(super) fn set_clock(now: Time) {
    NOW.set(now);
}

/// The machines' clock, for leases.
pub(super) fn boot_time() -> BootTime {
    BootTime::after_start(UP_SINCE + Duration::from_millis(NOW.get()))
}

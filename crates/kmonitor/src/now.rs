//! One moment on two clocks: one that never jumps, to measure with, and the wall's, to show and to compare with what others
//! wrote down. Pure.

/// A moment. Durations are differences of `mono_ms` only, so that a wall clock that is set changes no state and no lag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Now {
    /// Milliseconds on a clock that only goes forward, from any start.
    pub(crate) mono_ms: i64,
    /// Unix time in milliseconds.
    pub(crate) wall_ms: i64,
}

impl Now {
    /// When, on the clock that only goes forward, the wall's clock showed `wall_ms`. What lies in the future is now: clocks
    /// of other machines differ.
    #[must_use]
    pub(crate) fn mono_of(self, wall_ms: i64) -> i64 {
        self.mono_ms
            .saturating_sub(self.wall_ms.saturating_sub(wall_ms).max(0))
    }

    /// What the wall's clock shows for a moment on the other.
    #[must_use]
    pub(crate) fn wall_of(self, mono_ms: i64) -> i64 {
        self.wall_ms.saturating_sub(self.mono_ms.saturating_sub(mono_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_same_on_both_clocks_and_the_future_is_now() {
        let now = Now {
            mono_ms: 5000,
            wall_ms: 1_000_000,
        };
        assert_eq!(now.mono_of(997_000), 2000);
        assert_eq!(now.wall_of(2000), 997_000);
        assert_eq!(now.mono_of(2_000_000), 5000);
        assert!(now.mono_of(i64::MIN) < 0);
    }
}

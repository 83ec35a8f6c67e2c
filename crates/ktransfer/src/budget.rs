//! The byte budget of record bodies: one for the process, so that memory has a bound whatever the lag.
//!
//! Half of it is reserved, in equal shares per module and inside a module per partition, so that a module whose
//! backend is dead takes nothing from the others; the other half is lent to whoever needs more. A partition that
//! holds nothing is always allowed one record, however large, or it would stand still for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The budget of the process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Pot>);

#[derive(Debug)]
struct Pot {
    /// Bytes that nobody has borrowed.
    free: AtomicUsize,
    /// Bytes reserved for all modules together.
    reserve: usize,
    /// How many modules share them.
    modules: AtomicUsize,
}

/// What one partition may hold and holds. Gives back what it has borrowed when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    reserved: usize,
    held: usize,
    borrowed: usize,
}

impl Budget {
    /// A budget of `bytes` for `modules` modules.
    #[must_use]
    pub fn new(bytes: usize, modules: usize) -> Self {
        let reserved = bytes / 2;
        Self(Arc::new(Pot {
            free: AtomicUsize::new(bytes - reserved),
            reserve: reserved,
            modules: AtomicUsize::new(modules),
        }))
    }

    /// There are `modules` modules from now on. Each share follows when it is resized next, so for as long the reserves may
    /// be larger together than half of the budget.
    pub fn set_modules(&self, modules: usize) {
        self.0.modules.store(modules, Ordering::Relaxed);
    }

    /// The share of a partition of a module that holds `partitions` of them.
    #[must_use]
    pub fn share(&self, partitions: usize) -> Share {
        Share {
            budget: self.clone(),
            reserved: self.reserved(partitions),
            held: 0,
            borrowed: 0,
        }
    }

    fn reserved(&self, partitions: usize) -> usize {
        let modules = self.0.modules.load(Ordering::Relaxed);
        self.0.reserve / modules.max(1) / partitions.max(1)
    }

    fn borrow(&self, bytes: usize) -> bool {
        let take = |free: usize| free.checked_sub(bytes);
        self.0
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.free.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Share {
    /// Bytes held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes `bytes` for a record, from the reserve or borrowed. `false`: not now.
    #[must_use]
    pub fn take(&mut self, bytes: usize) -> bool {
        let beyond = (self.held + bytes).saturating_sub(self.reserved);
        let missing = beyond.saturating_sub(self.borrowed);
        if missing > 0 {
            if self.budget.borrow(missing) {
                self.borrowed += missing;
            } else if self.held > 0 {
                return false;
            }
        }
        self.held += bytes;
        true
    }

    /// Takes `bytes` for a record that cannot wait, beyond the share if need be. `false`: it is overdrawn already, so that it
    /// never is by more than one record.
    #[must_use]
    pub fn overdraw(&mut self, bytes: usize) -> bool {
        if self.take(bytes) {
            return true;
        }
        if self.held > self.reserved + self.borrowed {
            return false;
        }
        self.held += bytes;
        true
    }

    /// A record of `bytes` has ended.
    pub fn give(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
        self.settle();
    }

    /// The module now holds `partitions` partitions.
    pub fn resize(&mut self, partitions: usize) {
        self.reserved = self.budget.reserved(partitions);
        self.settle();
    }

    fn settle(&mut self) {
        let needed = self.held.saturating_sub(self.reserved);
        let spare = self.borrowed.saturating_sub(needed);
        if spare > 0 {
            self.borrowed -= spare;
            self.budget.give_back(spare);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.borrowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_partition_that_holds_nothing_gets_its_one_record() {
        let budget = Budget::new(100, 1);
        let mut share = budget.share(1);
        assert!(share.take(1_000_000));
        assert!(!share.take(1));
        share.give(1_000_000);
        assert!(share.take(50));
    }

    #[test]
    fn one_record_that_cannot_wait_is_allowed_beyond_the_share() {
        let budget = Budget::new(100, 1);
        let mut share = budget.share(1);
        while share.take(30) {}
        assert_eq!(share.held(), 90);
        assert!(share.overdraw(30));
        assert!(!share.overdraw(1), "one at a time");
        share.give(30);
        assert!(share.overdraw(30));
    }

    #[test]
    fn a_greedy_module_leaves_the_others_their_reserve() {
        let budget = Budget::new(1000, 2);
        let (mut greedy, mut modest) = (budget.share(1), budget.share(1));
        while greedy.take(10) {}
        assert_eq!(greedy.held(), 750);
        while modest.take(10) {}
        assert_eq!(modest.held(), 250);
        greedy.give(10);
        assert!(modest.take(10), "what is given back can be borrowed");
    }

    #[test]
    fn a_module_that_is_added_takes_its_part_of_the_reserve() {
        let budget = Budget::new(1000, 1);
        let mut first = budget.share(1);
        while first.take(10) {}
        assert_eq!(first.held(), 1000);
        for _ in 0..50 {
            first.give(10);
        }
        budget.set_modules(2);
        first.resize(1);
        let mut second = budget.share(1);
        while second.take(10) {}
        assert_eq!(
            second.held(),
            750,
            "its reserve of 250, and all that nobody has borrowed"
        );
        for _ in 0..26 {
            assert!(
                !first.take(10),
                "it holds more than its reserve, and nothing is left to borrow"
            );
            first.give(10);
        }
        assert!(first.take(10), "within its reserve");
    }

    #[test]
    fn a_dropped_share_returns_its_loan() {
        let budget = Budget::new(1000, 2);
        let mut share = budget.share(1);
        while share.take(10) {}
        drop(share);
        assert!(budget.borrow(500));
    }

    proptest! {
        #[test]
        fn held_bytes_stay_within_the_budget(sizes in prop::collection::vec((0usize..3, 1usize..100, any::<bool>(), 1usize..5), 0..300)) {
            let budget = Budget::new(1000, 1);
            let mut shares: Vec<_> = (0..3).map(|_| budget.share(3)).collect();
            let mut held: Vec<Vec<usize>> = vec![Vec::new(); 3];
            for (at, bytes, take, partitions) in sizes {
                if take && shares[at].take(bytes) {
                    held[at].push(bytes);
                } else if let Some(bytes) = held[at].pop() {
                    shares[at].give(bytes);
                }
                shares[at].resize(partitions.max(3));
                let total: usize = shares.iter().map(Share::held).sum();
                // Each partition may hold one record beyond the budget.
                prop_assert!(total <= 1000 + 3 * 100);
            }
            drop(shares);
            prop_assert!(budget.borrow(500), "everything borrowed has come back");
        }
    }
}

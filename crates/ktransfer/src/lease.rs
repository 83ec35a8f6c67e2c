//! How long this process may believe that it owns what it claimed.
//!
//! ZooKeeper gives our partitions away when it has heard nothing from us for the session time-out, and the client
//! library notices that up to 0.65 time-outs too late. So a deadline of our own: the time at which the latest
//! *answered* request was sent, plus the time-out, less a margin. Past it no push starts; half a margin later
//! every request still on the wire is cut, which bounds how long two owners can overlap.
//!
//! The clock is `CLOCK_BOOTTIME`, the only one that also counts while the machine is suspended. [`Terms`] is the
//! arithmetic, without a clock; [`Lease`] is the handle, made once per process and read on every push.
//!
//! A session that is lost voids all epochs handed out before ([`Lease::void`]): the next session extends the same
//! lease, but nothing that was claimed under the former one may be pushed again. A session that was given up by this
//! client and found alive at the server holds them up ([`Lease::hold`]), until each is confirmed to be ours still.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::assignment::Epoch;

/// A reading of the clock that counts from the machine's start, its suspensions included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

/// What the session time-out that the server granted means for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    timeout: Duration,
}

/// The lease of this process. Clones share it; reading it costs one clock call, and a lock nobody waits for once
/// epochs have been held up.
#[derive(Clone, Debug)]
pub struct Lease(Arc<State>);

/// Times are nanoseconds of [`BootTime`]; 0, the machine's start, is long past.
#[derive(Debug)]
struct State {
    clock: fn() -> BootTime,
    /// No push starts from here on.
    deadline: AtomicU64,
    /// What is on the wire is cut from here on.
    cut: AtomicU64,
    /// Epochs below it are void.
    floor: AtomicU64,
    /// Epochs below it need a confirmation.
    held: AtomicU64,
    /// Those of them that have it.
    confirmed: RwLock<BTreeSet<Epoch>>,
}

/// The longest sleep between two looks at the clock: Tokio's timers do not count a suspension.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);

/// The least margin, for time-outs that leave room for it.
const LEAST_MARGIN: Duration = Duration::from_secs(1);

/// The longest time between two heartbeats.
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(1);

impl BootTime {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
        Self(Duration::new(seconds, nanos))
    }

    /// The reading when the machine has been up for so long.
    #[must_use]
    pub const fn after_start(up: Duration) -> Self {
        Self(up)
    }

    fn nanos(self) -> u64 {
        // 584 years of uptime.
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Terms {
    /// The terms of a session with this negotiated time-out.
    #[must_use]
    pub const fn new(timeout: Duration) -> Self {
        Self { timeout }
    }

    /// What is given up for safety: a quarter of the time-out, at least 1 s, but never more than half.
    #[must_use]
    pub fn margin(self) -> Duration {
        (self.timeout / 4).max(LEAST_MARGIN).min(self.timeout / 2)
    }

    /// How often a request of our own is sent: an eighth of the time-out, at most 1 s apart.
    #[must_use]
    pub fn heartbeat(self) -> Duration {
        (self.timeout / 8).min(LONGEST_HEARTBEAT)
    }

    /// No push starts from here on, if nothing that was sent after `sent` is answered.
    #[must_use]
    pub fn deadline(self, sent: BootTime) -> BootTime {
        BootTime(sent.0 + (self.timeout - self.margin()))
    }

    /// What is still on the wire is cut from here on.
    #[must_use]
    pub fn cut(self, sent: BootTime) -> BootTime {
        BootTime(self.deadline(sent).0 + self.margin() / 2)
    }
}

impl Lease {
    /// A lease that has not begun: nothing may be pushed.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(BootTime::now)
    }

    /// The same by another clock, for a simulation.
    #[must_use]
    pub fn with_clock(clock: fn() -> BootTime) -> Self {
        Self(Arc::new(State {
            clock,
            deadline: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            held: AtomicU64::new(0),
            confirmed: RwLock::default(),
        }))
    }

    /// Whether a push of this epoch may start now. Ask in the same poll that writes the request: a thread that
    /// stood still between the check and the write has checked nothing.
    #[must_use]
    pub fn may_push(&self, epoch: Epoch) -> bool {
        let deadline = self.0.deadline.load(Ordering::Acquire);
        self.now() < deadline && !self.is_void(epoch) && !self.is_held(epoch)
    }

    /// From when on no push starts unless the lease is extended; what is past means that none may.
    #[must_use]
    pub fn deadline(&self) -> BootTime {
        BootTime(Duration::from_nanos(self.0.deadline.load(Ordering::Acquire)))
    }

    /// Whether requests of this epoch that are still on the wire must be cut now.
    #[must_use]
    pub fn must_cut(&self, epoch: Epoch) -> bool {
        let cut = self.0.cut.load(Ordering::Acquire);
        self.now() >= cut || self.is_void(epoch)
    }

    /// Waits until requests on the wire must be cut because the lease has run out. Returns at once while it has
    /// not begun. It may be extended again later.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn cut_due(&self) {
        loop {
            let left = self.cut_in();
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
        }
    }

    /// The time until requests on the wire must be cut because the lease has run out; zero from then on.
    #[must_use]
    pub fn cut_in(&self) -> Duration {
        let cut = self.0.cut.load(Ordering::Acquire);
        Duration::from_nanos(cut.saturating_sub(self.now()))
    }

    /// A request that was sent at `sent` has been answered. Earlier than what is known changes nothing.
    pub fn extend(&self, sent: BootTime, terms: Terms) {
        self.0.cut.fetch_max(terms.cut(sent).nanos(), Ordering::AcqRel);
        self.0
            .deadline
            .fetch_max(terms.deadline(sent).nanos(), Ordering::AcqRel);
    }

    /// The session is lost: `epoch` and all before it may not be pushed any more, whatever extends the lease later.
    pub fn void(&self, epoch: Epoch) {
        self.0
            .floor
            .fetch_max(epoch.get().saturating_add(1), Ordering::AcqRel);
    }

    /// The session goes on after this client had given it up: no push of `epoch` and of those before it starts until
    /// it is confirmed. Call it before the lease is extended.
    pub fn hold(&self, epoch: Epoch) {
        let mut confirmed = self.0.confirmed.write().unwrap_or_else(PoisonError::into_inner);
        confirmed.clear();
        self.0
            .held
            .fetch_max(epoch.get().saturating_add(1), Ordering::AcqRel);
    }

    /// The partition of this epoch was read again and is ours still. A void epoch stays void.
    pub fn confirm(&self, epoch: Epoch) {
        let mut confirmed = self.0.confirmed.write().unwrap_or_else(PoisonError::into_inner);
        confirmed.insert(epoch);
    }

    fn now(&self) -> u64 {
        (self.0.clock)().nanos()
    }

    fn is_void(&self, epoch: Epoch) -> bool {
        epoch.get() < self.0.floor.load(Ordering::Acquire)
    }

    fn is_held(&self, epoch: Epoch) -> bool {
        if epoch.get() >= self.0.held.load(Ordering::Acquire) {
            return false;
        }
        let confirmed = self.0.confirmed.read().unwrap_or_else(PoisonError::into_inner);
        !confirmed.contains(&epoch)
    }
}

impl Default for Lease {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::assignment::Epochs;

    /// Longer than a test, shorter than any machine has been up.
    const LONG: Terms = Terms::new(Duration::from_secs(40));

    fn ago(time: Duration) -> BootTime {
        BootTime(BootTime::now().0.saturating_sub(time))
    }

    #[test]
    fn the_margin_is_a_quarter_at_least_a_second_at_most_half() {
        let margin = |ms| Terms::new(Duration::from_millis(ms)).margin().as_millis();
        assert_eq!(margin(30_000), 7_500);
        assert_eq!(margin(10_000), 2_500);
        assert_eq!(margin(4_000), 1_000);
        assert_eq!(margin(3_000), 1_000);
        assert_eq!(margin(1_500), 750);
        assert_eq!(
            Terms::new(Duration::from_secs(30)).heartbeat(),
            Duration::from_secs(1)
        );
        assert_eq!(
            Terms::new(Duration::from_secs(4)).heartbeat(),
            Duration::from_millis(500)
        );
    }

    #[test]
    fn a_lease_that_has_not_begun_allows_nothing() {
        let (lease, epoch) = (Lease::new(), Epochs::default().next());
        assert!(!lease.may_push(epoch));
        assert!(lease.must_cut(epoch));
    }

    #[test]
    fn a_lease_ends_by_itself_first_for_new_pushes_then_for_all() {
        let (lease, epoch) = (Lease::new(), Epochs::default().next());
        lease.extend(BootTime::now(), LONG);
        assert!(lease.may_push(epoch) && !lease.must_cut(epoch));

        let lease = Lease::new();
        lease.extend(ago(LONG.timeout - LONG.margin()), LONG);
        assert!(!lease.may_push(epoch) && !lease.must_cut(epoch));

        let lease = Lease::new();
        lease.extend(ago(LONG.timeout - LONG.margin() / 2), LONG);
        assert!(!lease.may_push(epoch) && lease.must_cut(epoch));
    }

    #[test]
    fn the_deadline_is_past_until_the_lease_begins_and_is_what_extends_it() {
        let (lease, now) = (Lease::new(), BootTime::now());
        assert!(lease.deadline() < now);
        lease.extend(now, LONG);
        assert_eq!(lease.deadline(), LONG.deadline(now));
    }

    #[test]
    fn an_answer_to_an_older_request_shortens_nothing() {
        let (lease, epoch) = (Lease::new(), Epochs::default().next());
        lease.extend(BootTime::now(), LONG);
        lease.extend(ago(LONG.timeout), LONG);
        assert!(lease.may_push(epoch));
    }

    #[test]
    fn a_lost_session_voids_its_epochs_and_the_next_one_does_not_revive_them() {
        let epochs = Epochs::default();
        let (lease, old) = (Lease::new(), epochs.next());
        lease.extend(BootTime::now(), LONG);
        lease.void(epochs.next());
        lease.extend(BootTime::now(), LONG);
        let new = epochs.next();
        assert!(!lease.may_push(old) && lease.must_cut(old));
        assert!(lease.may_push(new) && !lease.must_cut(new));
    }

    #[test]
    fn a_session_that_goes_on_holds_its_epochs_up_until_each_is_confirmed() {
        let epochs = Epochs::default();
        let (lease, one, two) = (Lease::new(), epochs.next(), epochs.next());
        lease.extend(BootTime::now(), LONG);
        lease.hold(epochs.next());
        assert!(!lease.may_push(one) && !lease.may_push(two));
        assert!(!lease.must_cut(one), "what is on the wire was begun as its owner");
        assert!(lease.may_push(epochs.next()), "claimed since");
        lease.confirm(one);
        assert!(lease.may_push(one) && !lease.may_push(two));
        lease.hold(epochs.next());
        assert!(!lease.may_push(one), "each time anew");
        lease.void(epochs.next());
        lease.confirm(one);
        assert!(!lease.may_push(one), "void is for ever");
    }

    #[tokio::test]
    async fn the_cut_is_due_when_the_lease_has_run_out() {
        let lease = Lease::new();
        lease.cut_due().await;
        lease.extend(BootTime::now(), LONG);
        let waited = tokio::time::timeout(Duration::from_millis(10), lease.cut_due()).await;
        assert!(waited.is_err(), "the lease has half a minute left");
    }

    proptest! {
        #[test]
        fn the_cut_lies_between_the_deadline_and_the_servers_expiry(ms in 1_u64..100_000, sent in 0_u64..1 << 40) {
            let terms = Terms::new(Duration::from_millis(ms));
            let sent = BootTime(Duration::from_millis(sent));
            let expiry = BootTime(sent.0 + terms.timeout);
            prop_assert!(terms.deadline(sent) > sent);
            prop_assert!(terms.deadline(sent) < terms.cut(sent));
            prop_assert!(terms.cut(sent) < expiry);
            // At least three heartbeats fit into the time that a lease runs.
            prop_assert!(terms.heartbeat() * 3 < terms.deadline(sent).0 - sent.0);
        }
    }
}

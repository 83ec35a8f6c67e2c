//! How fast a module may push: token buckets for records and for bytes, each filled with this instance's share of what the
//! module may have, which follows the partitions it owns. Pure: the time is an argument.
//!
//! A bucket may be overdrawn by one record, and the debt is waited for: so records larger than a bucket pass, and the mean is exact.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::Instant;

/// What a bucket holds: so much of a second may be made up for after a pause.
const BURST: Duration = Duration::from_millis(100);

/// What a module may push, on all instances together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Attempts a second; none = no limit.
    pub records: Option<NonZeroU64>,
    /// Bytes of bodies a second, as they stand in Kafka; none = no limit.
    pub bytes: Option<NonZeroU64>,
}

/// The pace of one instance of a module.
#[derive(Debug)]
pub struct Pace {
    records: Option<Bucket>,
    bytes: Option<Bucket>,
    /// When the next push may begin, if one was refused.
    waits_until: Option<Instant>,
}

#[derive(Debug)]
struct Bucket {
    /// Of the whole module, a second.
    rate: f64,
    /// Ours of it, a second.
    own: f64,
    /// What may be spent now; less than 0 is a debt.
    level: f64,
    at: Instant,
}

impl Pace {
    /// The pace of a module that owns everything, or nothing when it has no limit.
    #[must_use]
    pub fn new(limits: Limits, now: Instant) -> Option<Self> {
        let bucket = |limit: Option<NonZeroU64>| limit.map(|limit| Bucket::new(limit, now));
        (limits != Limits::default()).then(|| Self {
            records: bucket(limits.records),
            bytes: bucket(limits.bytes),
            waits_until: None,
        })
    }

    /// The instance owns so many of all partitions of the topic from now on.
    pub fn own(&mut self, owned: usize, all: usize, now: Instant) {
        for bucket in self.buckets() {
            bucket.share(owned, all, now);
        }
    }

    /// Whether a push may begin now; if not, [`Pace::waits_until`] says when.
    pub fn admits(&mut self, now: Instant) -> bool {
        let ready = self.buckets().map(|bucket| bucket.ready_at(now)).max();
        self.waits_until = ready.filter(|at| *at > now);
        self.waits_until.is_none()
    }

    /// A push of so many bytes begins.
    pub fn spend(&mut self, bytes: usize) {
        if let Some(records) = &mut self.records {
            records.level -= 1.0;
        }
        if let Some(of_bytes) = &mut self.bytes {
            #[expect(clippy::cast_precision_loss, reason = "bodies are far below 2^52 bytes")]
            let bytes = bytes as f64;
            of_bytes.level -= bytes;
        }
    }

    /// When a push that was refused may begin.
    #[must_use]
    pub fn waits_until(&self) -> Option<Instant> {
        self.waits_until
    }

    /// Whether that time has come; says so once.
    pub fn is_over(&mut self, now: Instant) -> bool {
        self.waits_until.take_if(|until| *until <= now).is_some()
    }

    fn buckets(&mut self) -> impl Iterator<Item = &mut Bucket> {
        self.records.iter_mut().chain(self.bytes.iter_mut())
    }
}

impl Bucket {
    #[expect(
        clippy::cast_precision_loss,
        reason = "nobody pushes 2^52 of anything a second"
    )]
    fn new(limit: NonZeroU64, now: Instant) -> Self {
        let rate = limit.get() as f64;
        Self {
            rate,
            own: rate,
            level: 0.0,
            at: now,
        }
    }

    fn share(&mut self, owned: usize, all: usize, now: Instant) {
        self.fill(now);
        #[expect(clippy::cast_precision_loss, reason = "numbers of partitions")]
        let share = owned as f64 / all.max(owned).max(1) as f64;
        self.own = self.rate * share;
        // What was saved up was for more partitions than these.
        self.level = self.level.min(self.room());
    }

    /// The most that it holds.
    fn room(&self) -> f64 {
        self.own * BURST.as_secs_f64()
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.level = (self.level + passed * self.own).min(self.room());
    }

    /// When it is not in debt. Nothing is owned: in a second it is looked at again.
    fn ready_at(&mut self, now: Instant) -> Instant {
        self.fill(now);
        if self.level >= 0.0 {
            return now;
        }
        let seconds = if self.own > 0.0 {
            -self.level / self.own
        } else {
            1.0
        };
        // Not less than a timer can tell, and a share may change meanwhile.
        now + Duration::from_secs_f64(seconds.clamp(0.001, 60.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(records: u64, bytes: u64) -> Limits {
        Limits {
            records: NonZeroU64::new(records),
            bytes: NonZeroU64::new(bytes),
        }
    }

    /// Pushes of these sizes as soon as they are allowed, for so long; how many there were, and how many bytes.
    fn push_for(pace: &mut Pace, sizes: &[usize], mut now: Instant, long: Duration) -> (f64, f64) {
        let (end, mut pushed) = (now + long, (0.0, 0.0));
        for size in sizes.iter().cycle() {
            while !pace.admits(now) {
                now = pace.waits_until().unwrap();
            }
            if now >= end {
                break;
            }
            pace.spend(*size);
            pushed = (
                pushed.0 + 1.0,
                pushed.1 + f64::from(u32::try_from(*size).unwrap()),
            );
        }
        pushed
    }

    #[test]
    fn without_a_limit_there_is_no_pace() {
        assert!(Pace::new(limits(0, 0), Instant::now()).is_none());
    }

    #[test]
    fn a_pause_is_made_up_for_by_a_tenth_of_a_second_and_no_more() {
        let start = Instant::now();
        let mut pace = Pace::new(limits(100, 0), start).unwrap();
        let now = start + Duration::from_secs(3600);
        let at_once = std::iter::repeat_with(|| {
            let admits = pace.admits(now);
            pace.spend(1);
            admits
        });
        assert_eq!(at_once.take_while(|admitted| *admitted).count(), 11);
    }

    #[test]
    fn an_instance_has_the_share_of_its_partitions() {
        for (owned, all, expected) in [(1, 4, 250.0), (3, 4, 750.0), (4, 4, 1000.0), (2, 1, 1000.0)] {
            let now = Instant::now();
            let mut pace = Pace::new(limits(1000, 0), now).unwrap();
            pace.own(owned, all, now);
            let (records, _) = push_for(&mut pace, &[10], now, Duration::from_secs(30));
            assert!((records / 30.0 - expected).abs() < expected / 100.0, "{records}");
        }
        let now = Instant::now();
        let mut pace = Pace::new(limits(1000, 0), now).unwrap();
        pace.own(0, 4, now);
        pace.spend(1);
        assert!(!pace.admits(now + Duration::from_secs(3600)), "nothing is owned");
    }

    proptest! {
        #[test]
        fn no_limit_is_passed_and_the_tighter_one_is_used_up(
            records in 1_u64..5_000,
            bytes in 1_000_u64..10_000_000,
            sizes in prop::collection::vec(0_usize..100_000, 1..20),
        ) {
            let now = Instant::now();
            let mut pace = Pace::new(limits(records, bytes), now).unwrap();
            let seconds = 30.0;
            let (pushed, of_bytes) = push_for(&mut pace, &sizes, now, Duration::from_secs_f64(seconds));
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let (records, bytes, largest) =
                (records as f64, bytes as f64, *sizes.iter().max().unwrap() as f64);
            // What a bucket holds, and the one record by which it may be overdrawn.
            prop_assert!(pushed <= records * (seconds + 0.1) + 1.0);
            prop_assert!(of_bytes <= bytes * (seconds + 0.1) + largest);
            // A timer tells no less than a millisecond: at a thousand and more a second what is lost is in the bucket.
            prop_assert!(
                pushed >= records * seconds * 0.99 - 1.0 || of_bytes >= bytes * seconds * 0.99 - largest,
                "{} of {} records and {} of {} bytes a second", pushed / seconds, records, of_bytes / seconds, bytes
            );
        }
    }
}

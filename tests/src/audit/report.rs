//! The verdict of an audit, as figures and as text. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::partition::{Pair, Takeover};

/// The cause of what follows no event that was noted.
pub(super) const NOTHING: &str = "nothing that was noted";

/// How many findings are told in words.
const EXAMPLES: usize = 10;

/// How late the backend may learn that a client has closed a connection, on a busy machine.
const NEWS: Duration = Duration::from_millis(500);

/// Everything but `produced`, `pushes` and `delivered` should be zero; repeats and overlaps have their bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// How many records there were.
    pub produced: u64,
    /// How many requests the backend saw.
    pub pushes: u64,
    /// How many different records were delivered.
    pub delivered: u64,
    /// Records that were never delivered.
    pub lost: u64,
    /// Pushes of a key's record before its predecessor was delivered, and keys whose last word is an older record.
    pub out_of_order: u64,
    /// Deliveries of records that were delivered before.
    pub repeated: u64,
    /// Take-overs that followed each other so fast that two must have pushed at once.
    pub interleaved: u64,
    /// The same, when one of the two had been stopped (SIGSTOP): the push of a worker that was stopped between its look at
    /// the lease and its write. At most one for each stop; the scenario of the stopped process judges that.
    pub woken: u64,
    /// Requests that nobody can have meant.
    pub unknown: u64,
    /// Take-overs by what they followed.
    pub causes: BTreeMap<&'static str, Cause>,
    /// Pushes that were still open when the next one of their key, or of their partition by another, had begun.
    pub overlaps: BTreeMap<Pair, Overlaps>,
    /// The first few findings in words.
    pub examples: Vec<String>,
}

/// All take-overs of one cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// How many partitions changed hands, or may have.
    pub takeovers: u64,
    /// What they repeated together.
    pub repeated: u64,
    /// What one of them repeated at most.
    pub most: u64,
    /// How many repeated more than the bound allows.
    pub beyond: u64,
}

/// All overlaps of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overlaps {
    /// How many.
    pub count: u64,
    /// How long the longest took, as the backend saw it.
    pub longest: Duration,
}

impl AuditReport {
    /// Whether nothing was lost, out of order, invented or pushed by two at once, and repeats stayed within their bound.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0
            && self.out_of_order == 0
            && self.interleaved == 0
            && self.unknown == 0
            && self
                .overlaps
                .iter()
                .all(|(pair, overlaps)| is_bounded(*pair, overlaps.longest))
            && self.causes.values().all(|cause| cause.beyond == 0)
    }

    pub(super) fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text());
        }
    }

    pub(super) fn enter(&mut self, takeover: &Takeover) {
        let cause = self.causes.entry(takeover.cause).or_default();
        cause.takeovers += 1;
        cause.repeated += takeover.repeated;
        cause.most = cause.most.max(takeover.repeated);
        if takeover.repeated > takeover.allowed {
            cause.beyond += 1;
            self.example(|| format!("more repeated than the bound: {takeover:?}"));
        }
    }

    pub(super) fn enter_overlap(&mut self, pair: Pair, length: Duration) {
        let overlaps = self.overlaps.entry(pair).or_default();
        overlaps.count += 1;
        overlaps.longest = overlaps.longest.max(length);
        if !is_bounded(pair, length) {
            self.example(|| format!("two pushes at once for {length:?}: {pair:?}"));
        }
    }
}

/// What stands still cannot cut its pushes; everybody else has cut them before the next one begins.
fn is_bounded(pair: Pair, length: Duration) -> bool {
    pair == Pair::Stopped || length <= NEWS
}

impl fmt::Display for AuditReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            produced,
            pushes,
            delivered,
            lost,
            out_of_order,
            repeated,
            interleaved,
            woken,
            unknown,
            causes,
            overlaps,
            examples,
        } = self;
        write!(
            formatter,
            "{produced} records, {pushes} pushes, {delivered} delivered: {lost} lost, {out_of_order} out of order per key, \
             {repeated} repeated, {interleaved} interleaved, {woken} by a stopped pusher on waking, {unknown} unknown"
        )?;
        for (pair, Overlaps { count, longest }) in overlaps {
            let whose = match pair {
                Pair::Own => "cut by their own pusher",
                Pair::Running => "of another pusher",
                Pair::Stopped => "of another pusher that was stopped",
            };
            write!(
                formatter,
                "\n  pushes {whose} that were open when the next one began: {count}, for {} ms at most",
                longest.as_millis()
            )?;
        }
        for (name, cause) in causes {
            let Cause {
                takeovers,
                repeated,
                most,
                beyond,
            } = cause;
            write!(
                formatter,
                "\n  after {name}: {takeovers} take-overs repeated {repeated}, at most {most}, {beyond} beyond the bound"
            )?;
        }
        examples
            .iter()
            .try_for_each(|example| write!(formatter, "\n  {example}"))
    }
}

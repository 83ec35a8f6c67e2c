//! What is known about a cluster after a round, as everybody shows it: the JSON interface, the metrics, the page, whoever
//! notifies. Made by [`crate::follow`], never changed, shared by reference.
//!
//! The field names are those of the JSON interface (`docs/http-api.md`). What is not known is `None` and never 0. Times are
//! Unix times in milliseconds. Pure.

mod sums;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::history::Line;
use crate::state::State;

pub(crate) use self::sums::Sums;

/// How sure a time lag is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Certainty {
    /// Known to half a minute or a tenth, whichever is more.
    Measured,
    /// Interpolated over a longer time.
    Estimated,
    /// The record is older than anybody has watched: this old at least.
    AtLeast,
}

/// How old the oldest waiting record is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TimeLag {
    /// Milliseconds; 0 when nothing waits.
    pub(crate) ms: i64,
    /// How sure that is.
    pub(crate) certainty: Certainty,
}

/// A state as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Standing {
    /// In one word.
    pub(crate) state: State,
    /// [`State::code`].
    pub(crate) code: u8,
    /// Since when.
    pub(crate) since_ms: i64,
    /// In one sentence; empty when all is well.
    pub(crate) reason: String,
}

/// One partition of a module.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PartitionView {
    /// The topic.
    pub(crate) topic: Arc<str>,
    /// The number of the partition.
    pub(crate) partition: i32,
    /// What is wrong with it.
    #[serde(flatten)]
    pub(crate) standing: Standing,
    /// The next offset to deliver.
    pub(crate) committed: Option<i64>,
    /// The oldest offset that the log still has.
    pub(crate) log_start: Option<i64>,
    /// The offset that the next record gets.
    pub(crate) log_end: Option<i64>,
    /// Records that wait.
    pub(crate) lag: Option<u64>,
    /// Age of the oldest of them, in seconds.
    pub(crate) lag_seconds: Option<f64>,
    /// How sure that is.
    pub(crate) lag_seconds_certainty: Option<Certainty>,
    /// Records that were gone before they were delivered.
    pub(crate) lost: Option<u64>,
    /// The instance that owns it.
    pub(crate) owner: Option<Arc<str>>,
    /// The last write of the commit, by ZooKeeper's clock.
    pub(crate) last_commit_ms: Option<i64>,
    /// Records a second that are written to the log.
    pub(crate) rate_in: Option<f64>,
    /// Records a second that the commit moves by.
    pub(crate) rate_out: Option<f64>,
    /// When nothing will wait any more at these rates, in seconds from now; `None` also if the lag grows.
    pub(crate) eta_seconds: Option<f64>,
    /// Lag over time; its last point is the present.
    pub(crate) history: Arc<Line>,
}

/// A live instance of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Instance {
    /// Its id in ZooKeeper.
    pub(crate) id: String,
    /// The part of the id before the first colon.
    pub(crate) host: String,
    /// Partitions that it owns.
    pub(crate) partitions: u64,
}

/// Lag and time lag over time; the last points are the present.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Lines {
    /// Records.
    pub(crate) lag: Arc<Line>,
    /// Seconds, rounded down.
    pub(crate) lag_seconds: Arc<Line>,
}

/// One module.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ModuleView {
    /// Its name.
    pub(crate) module: String,
    /// That of its worst partition, or of the module itself if it cannot be read.
    #[serde(flatten)]
    pub(crate) standing: Standing,
    /// The topics that count.
    pub(crate) topics: Vec<Arc<str>>,
    /// Its numbers, over all partitions.
    #[serde(flatten)]
    pub(crate) sums: Sums,
    /// Its history.
    pub(crate) history: Lines,
    /// Its live instances.
    pub(crate) instances: Vec<Instance>,
    /// Its partitions, by topic and number. Not in lists of modules.
    #[serde(skip)]
    pub(crate) partitions: Vec<PartitionView>,
}

/// ZooKeeper or Kafka of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SourceView {
    /// Whether it told everything that it was asked in the last round.
    pub(crate) up: bool,
    /// Since when that is so.
    pub(crate) since_ms: i64,
    /// What was wrong, if it did not.
    pub(crate) error: Option<String>,
}

/// Both sources of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SourcesView {
    /// `None` for a cluster without ZooKeeper.
    pub(crate) zookeeper: Option<SourceView>,
    /// The brokers.
    pub(crate) kafka: SourceView,
}

/// One cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ClusterView {
    /// Its name.
    pub(crate) cluster: String,
    /// That of its worst module, or unknown while ZooKeeper cannot be read.
    #[serde(flatten)]
    pub(crate) standing: Standing,
    /// Rounds since the start, also failed ones.
    pub(crate) round: u64,
    /// When the last one ended.
    pub(crate) at_ms: i64,
    /// How long it took.
    pub(crate) round_seconds: f64,
    /// From the end of a round to the start of the next.
    pub(crate) interval_seconds: f64,
    /// Where the numbers come from.
    pub(crate) sources: SourcesView,
    /// How many modules there are.
    pub(crate) modules: u64,
    /// The numbers, over all modules.
    #[serde(flatten)]
    pub(crate) sums: Sums,
    /// The times of the points of all histories of the cluster.
    pub(crate) history_at_ms: Vec<i64>,
    /// Its history.
    pub(crate) history: Lines,
    /// By name. Not in lists of clusters.
    #[serde(skip)]
    pub(crate) by_module: BTreeMap<String, ModuleView>,
}

impl TimeLag {
    /// Nothing waits.
    pub(crate) const NONE: Self = Self {
        ms: 0,
        certainty: Certainty::Measured,
    };

    /// In seconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of 285,000 years")]
    pub(crate) fn seconds(self) -> f64 {
        self.ms as f64 / 1000.0
    }
}

impl Standing {
    /// A state with its number.
    #[must_use]
    pub(crate) const fn new(state: State, since_ms: i64, reason: String) -> Self {
        Self {
            state,
            code: state.code(),
            since_ms,
            reason,
        }
    }

    /// The worst of several, each with a name; `since_ms` is that of the one that has been so for longest. When all are well,
    /// that of the last one that has become so. `None` of none.
    #[must_use]
    pub(crate) fn worst<N: std::fmt::Display>(of: impl Iterator<Item = (N, Self)>) -> Option<Self> {
        let mut worst: Option<(N, Self)> = None;
        let mut alike = 0_u64;
        for (name, standing) in of {
            let order = worst.as_ref().map(|(_, worst)| standing.state.cmp(&worst.state));
            match order {
                None | Some(std::cmp::Ordering::Greater) => {
                    alike = 0;
                    worst = Some((name, standing));
                }
                Some(std::cmp::Ordering::Equal) => {
                    alike += 1;
                    if let Some((_, worst)) = &mut worst {
                        worst.since_ms = match worst.state {
                            State::Ok => worst.since_ms.max(standing.since_ms),
                            _ => worst.since_ms.min(standing.since_ms),
                        };
                    }
                }
                Some(std::cmp::Ordering::Less) => {}
            }
        }
        let (name, mut worst) = worst?;
        if worst.state != State::Ok {
            let more = match alike {
                0 => String::new(),
                _ => format!(" (and {alike} more)"),
            };
            worst.reason = format!("{name}: {}{more}", worst.reason);
        }
        Some(worst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(of: &[(&'static str, State, i64)]) -> Standing {
        let standings = of
            .iter()
            .map(|(name, state, since_ms)| (*name, Standing::new(*state, *since_ms, (*name).to_uppercase())));
        Standing::worst(standings).unwrap()
    }

    #[test]
    fn the_worst_one_speaks_for_all_and_the_longest_gives_the_time() {
        let standing = worst(&[
            ("a", State::Lagging, 1),
            ("b", State::Stopped, 9),
            ("c", State::Ok, 2),
            ("d", State::Stopped, 5),
        ]);
        assert_eq!(
            standing,
            Standing::new(State::Stopped, 5, "b: B (and 1 more)".to_owned())
        );
    }

    #[test]
    fn all_is_well_since_the_last_one_is() {
        let standing = worst(&[("a", State::Ok, 1), ("b", State::Ok, 9)]);
        assert_eq!((standing.state, standing.since_ms), (State::Ok, 9));
        assert_eq!(Standing::worst(std::iter::empty::<(&str, Standing)>()), None);
    }
}

//! What is remembered about one partition of a module, and how it becomes what is shown. Pure.

use std::sync::Arc;

use crate::history::{Line, Step};
use crate::lag::Committed;
use crate::now::Now;
use crate::rate::Rate;
use crate::ring::{Ring, Written};
use crate::snapshot::Facts;
use crate::state::{self, Judge, Limits, Look};
use crate::view::{Certainty, PartitionView, Standing, TimeLag};

/// A time lag is called measured when it is known to this many milliseconds, or to a tenth of itself.
const EXACT_MS: i64 = 30_000;

/// How long after it was asked for the same partition may be asked for again.
const ASK_AGAIN_MS: i64 = 60_000;

/// One partition as a round found it, with what belongs to its log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    /// The topic.
    pub(super) topic: &'a Arc<str>,
    /// The partition.
    pub(super) partition: i32,
    /// What the round found.
    pub(super) facts: &'a Facts,
    /// When the log ended where.
    pub(super) ring: Option<&'a Ring>,
    /// Records a second that are written.
    pub(super) rate_in: Option<f64>,
    /// What was wrong with Kafka.
    pub(super) kafka: Option<&'a str>,
    /// From when on something is called wrong.
    pub(super) limits: Limits,
}

/// What is remembered.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    judge: Judge,
    rate_out: Rate,
    /// A record of which it is known when it was written.
    known: Option<(i64, i64)>,
    /// The record whose time is wanted, how sure its age is, and a time before which it was written.
    wants: Option<(i64, Certainty, i64)>,
    asked_ms: Option<i64>,
    line: Arc<Line>,
}

impl Memory {
    /// A partition that is seen for the first time.
    pub(super) fn new(now: Now) -> Self {
        Self {
            judge: Judge::new(now),
            rate_out: Rate::default(),
            known: None,
            wants: None,
            asked_ms: None,
            line: Arc::default(),
        }
    }

    /// A round has found it.
    pub(super) fn look(&mut self, scene: &Scene<'_>, step: Step, now: Now) -> PartitionView {
        let facts = scene.facts;
        let time_lag = self.time_lag(scene, now);
        let look = Look {
            committed: facts.committed,
            changed_ms: facts.changed_ms,
            log: facts.log,
            lag: facts.lag,
            age_ms: time_lag.map(|lag| lag.ms),
            owner: facts.owner.as_deref(),
            kafka: scene.kafka,
        };
        self.judge.look(&look, scene.limits, now);
        let committed = match facts.committed {
            Committed::At(offset) => Some(offset.get()),
            Committed::LogStart | Committed::Never | Committed::Unreadable => None,
        };
        if let Some(committed) = committed {
            self.rate_out.look(committed, now.mono_ms);
        }
        let lag = facts.lag.ok();
        Arc::make_mut(&mut self.line).push(step, lag);
        let rate_out = self.rate_out.per_second();
        PartitionView {
            committed,
            log_start: facts.log.map(|log| log.start),
            log_end: facts.log.map(|log| log.end),
            lag,
            lag_seconds: time_lag.map(TimeLag::seconds),
            lag_seconds_certainty: time_lag.map(|lag| lag.certainty),
            lost: facts.log.map(|_| state::lost(&look)),
            owner: facts.owner.clone(),
            last_commit_ms: facts.changed_ms,
            rate_in: scene.rate_in,
            rate_out,
            eta_seconds: eta(lag, scene.rate_in, rate_out),
            ..self.view((Arc::clone(scene.topic), scene.partition), now)
        }
    }

    /// A round has found nothing, because of `why`.
    pub(super) fn blind(&mut self, name: (Arc<str>, i32), why: &str, step: Step, now: Now) -> PartitionView {
        self.judge.blind(why, now);
        self.wants = None;
        Arc::make_mut(&mut self.line).push(step, None);
        self.view(name, now)
    }

    /// The record whose time is wanted, if it may be asked for: how urgently (the least number first), its offset, and a time
    /// before which it was written.
    pub(super) fn wants(&self, now: Now) -> Option<((bool, i64), i64, i64)> {
        let (offset, certainty, before_ms) = self.wants?;
        let asked_ms = self.asked_ms.unwrap_or(i64::MIN);
        if now.mono_ms.saturating_sub(asked_ms) < ASK_AGAIN_MS {
            return None;
        }
        // What is not even estimated comes first, since false is less than true.
        Some((
            (certainty != Certainty::AtLeast, asked_ms),
            offset,
            now.wall_of(before_ms),
        ))
    }

    /// It was asked for.
    pub(super) const fn asked(&mut self, now: Now) {
        self.asked_ms = Some(now.mono_ms);
    }

    /// The record at `offset` was written at `at_ms`.
    pub(super) const fn learn(&mut self, offset: i64, at_ms: i64) {
        self.known = Some((offset, at_ms));
    }

    fn time_lag(&mut self, scene: &Scene<'_>, now: Now) -> Option<TimeLag> {
        self.wants = None;
        let log = scene.facts.log?;
        if scene.facts.lag.ok()? == 0 {
            self.asked_ms = None;
            return Some(TimeLag::NONE);
        }
        let offset = match scene.facts.committed {
            Committed::At(offset) => offset.get().max(log.start),
            Committed::LogStart => log.start,
            Committed::Never | Committed::Unreadable => return None,
        };
        let age = |at_ms: i64| (now.mono_ms - at_ms).max(0);
        let known = self.known.filter(|(known, _)| *known <= offset);
        let (at_ms, certainty) = match scene.ring?.written(offset) {
            Written::At { at_ms, slack_ms } if slack_ms <= EXACT_MS.max(age(at_ms) / 10) => {
                (at_ms, Certainty::Measured)
            }
            Written::At { .. } | Written::Before { .. }
                if known.is_some_and(|(known, _)| known == offset) =>
            {
                (known?.1, Certainty::Measured)
            }
            Written::At { at_ms, .. } => (at_ms, Certainty::Estimated),
            Written::Before { at_ms, end } => match known {
                Some((known, known_ms)) => (
                    interpolate((known, known_ms), (end, at_ms), offset),
                    Certainty::Estimated,
                ),
                None => (at_ms, Certainty::AtLeast),
            },
            Written::NotYet => return None,
        };
        if certainty != Certainty::Measured {
            let first_ms = match scene.ring?.written(offset) {
                Written::At { at_ms, slack_ms } => at_ms + slack_ms,
                Written::Before { at_ms, .. } => at_ms,
                Written::NotYet => now.mono_ms,
            };
            self.wants = Some((offset, certainty, first_ms));
        }
        Some(TimeLag {
            ms: age(at_ms),
            certainty,
        })
    }

    fn view(&self, (topic, partition): (Arc<str>, i32), now: Now) -> PartitionView {
        let verdict = self.judge.verdict();
        PartitionView {
            topic,
            partition,
            standing: Standing::new(
                verdict.state,
                now.wall_of(verdict.since_ms),
                verdict.reason.clone(),
            ),
            committed: None,
            log_start: None,
            log_end: None,
            lag: None,
            lag_seconds: None,
            lag_seconds_certainty: None,
            lost: None,
            owner: None,
            last_commit_ms: None,
            rate_in: None,
            rate_out: None,
            eta_seconds: None,
            history: Arc::clone(&self.line),
        }
    }
}

fn interpolate(from: (i64, i64), to: (i64, i64), offset: i64) -> i64 {
    let records = i128::from(to.0) - i128::from(from.0);
    if records <= 0 {
        return to.1;
    }
    let time = i128::from(to.1) - i128::from(from.1);
    let passed = time * (i128::from(offset) - i128::from(from.0)) / records;
    i64::try_from(i128::from(from.1) + passed).unwrap_or(to.1)
}

/// When nothing will wait any more, in seconds; `None` if that is not to be seen.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn eta(lag: Option<u64>, rate_in: Option<f64>, rate_out: Option<f64>) -> Option<f64> {
    let (lag, gain) = (lag?, rate_out? - rate_in?);
    match lag {
        0 => Some(0.0),
        _ if gain > 0.0 => Some((lag as f64 / gain).ceil()),
        _ => None,
    }
}

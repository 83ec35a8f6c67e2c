//! The state of a partition: what is wrong with it, in one word, and why, in one sentence.
//!
//! A state is told after two looks in a row that agree, so that no single look changes one; only "all is well" is believed at
//! once at the start. Commits in ZooKeeper are written only when they move, so counting commits says nothing: time decides,
//! by a clock that does not jump. Pure.

use serde::Serialize;

use crate::lag::{Committed, Lag, LogRange, Unknown};
use crate::now::Now;

/// What is wrong with a partition, or with the worst partition of a module. Later ones are worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Nothing waits, or not for long.
    #[default]
    Ok,
    /// The oldest waiting record is older than `lagging_after_ms`, and commits move.
    Lagging,
    /// The module has committed nothing here yet.
    NoOffset,
    /// Somebody owns it, records wait, and the commit has not moved for `stalled_after_ms`.
    Stalled,
    /// Nobody owns it, and the commit does not move, for `stopped_after_ms`.
    Stopped,
    /// The commit went back, and has not come to where it was.
    Rewound,
    /// The commit is beyond the log end.
    Ahead,
    /// Records that were not delivered are gone from the log.
    Lost,
    /// Something that is needed to judge cannot be read.
    Unknown,
}

impl State {
    /// The number of the state for systems that know only numbers. 1 is not used.
    #[must_use]
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Lagging => 2,
            Self::NoOffset => 3,
            Self::Stalled => 4,
            Self::Stopped => 5,
            Self::Rewound => 6,
            Self::Ahead => 7,
            Self::Lost => 8,
            Self::Unknown => 9,
        }
    }
}

/// From when on something is called wrong, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Age of the oldest waiting record.
    pub(crate) lagging_ms: i64,
    /// Time without a move of the commit while records wait.
    pub(crate) stalled_ms: i64,
    /// Time without an owner.
    pub(crate) stopped_ms: i64,
}

/// What one round shows of a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'a> {
    /// The commit.
    pub(crate) committed: Committed,
    /// Unix time of the last write of the commit, by the server's clock.
    pub(crate) changed_ms: Option<i64>,
    /// The log, read after the commit.
    pub(crate) log: Option<LogRange>,
    /// The lag that follows from the two.
    pub(crate) lag: Lag,
    /// How long the oldest waiting record has existed, in milliseconds, as far as it is known; at least.
    pub(crate) age_ms: Option<i64>,
    /// The instance that owns the partition.
    pub(crate) owner: Option<&'a str>,
    /// Why ends of logs may be missing.
    pub(crate) kafka: Option<&'a str>,
}

/// A state with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// What is wrong.
    pub(crate) state: State,
    /// Since when, on the clock that does not jump.
    pub(crate) since_ms: i64,
    /// One sentence; empty when all is well.
    pub(crate) reason: String,
}

/// The judge of one partition: remembers what a state depends on beyond one look.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    verdict: Verdict,
    /// What the last look suggested, if that is not the state.
    candidate: Option<(State, i64)>,
    /// Nothing was looked at yet.
    fresh: bool,
    /// The last known commit, and when it came there.
    commit: Option<i64>,
    moved_ms: i64,
    /// The highest commit of this log.
    highest: i64,
    unowned_ms: Option<i64>,
    waiting_ms: Option<i64>,
}

impl Judge {
    /// A partition that is seen for the first time.
    #[must_use]
    pub(crate) fn new(now: Now) -> Self {
        Self {
            verdict: Verdict {
                state: State::Unknown,
                since_ms: now.mono_ms,
                reason: "seen once so far; the next look decides".to_owned(),
            },
            candidate: None,
            fresh: true,
            commit: None,
            moved_ms: now.mono_ms,
            highest: 0,
            unowned_ms: None,
            waiting_ms: None,
        }
    }

    /// The state as of the last look.
    #[must_use]
    pub(crate) const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Takes a look into account.
    pub(crate) fn look(&mut self, look: &Look<'_>, limits: Limits, now: Now) {
        let first = std::mem::take(&mut self.fresh);
        self.remember(look, now);
        let (state, since_ms) = self.suggest(look, limits, now);
        self.consider(state, since_ms, first);
        if self.verdict.state == state {
            self.verdict.reason = self.reason(state, look);
        }
    }

    /// Nothing can be read: `why` says what is away.
    pub(crate) fn blind(&mut self, why: &str, now: Now) {
        self.consider(State::Unknown, now.mono_ms, false);
        if self.verdict.state == State::Unknown {
            why.clone_into(&mut self.verdict.reason);
        }
    }

    fn consider(&mut self, state: State, since_ms: i64, first: bool) {
        // Without an owner for some time was seen at two looks or more.
        let twice = state == State::Stopped || self.candidate.is_some_and(|(before, _)| before == state);
        if state == self.verdict.state {
            self.candidate = None;
        } else if twice || (first && state == State::Ok) {
            let seen_ms = self.candidate.take().map_or(since_ms, |(_, seen_ms)| seen_ms);
            self.verdict.state = state;
            self.verdict.since_ms = since_ms.min(seen_ms);
            self.verdict.reason.clear();
        } else {
            self.candidate = Some((state, since_ms));
        }
    }

    fn remember(&mut self, look: &Look<'_>, now: Now) {
        if let Some(commit) = position(look) {
            match self.commit {
                None => self.moved_ms = look.changed_ms.map_or(now.mono_ms, |wall| now.mono_of(wall)),
                Some(before) if before != commit => self.moved_ms = now.mono_ms,
                Some(_) => {}
            }
            self.commit = Some(commit);
            self.highest = self.highest.max(commit);
            if look.log.is_some_and(|log| log.end < self.highest) {
                // Another log: what was committed in the one before says nothing.
                self.highest = commit;
            }
        }
        self.unowned_ms = match look.owner {
            Some(_) => None,
            None => self.unowned_ms.or(Some(now.mono_ms)),
        };
        self.waiting_ms = match look.lag {
            Ok(0) => None,
            Ok(_) => self.waiting_ms.or(Some(now.mono_ms)),
            Err(_) => self.waiting_ms,
        };
    }

    /// The state that this look alone would give, and since when it would hold.
    fn suggest(&self, look: &Look<'_>, limits: Limits, now: Now) -> (State, i64) {
        let lag = match look.lag {
            Ok(lag) => lag,
            Err(Unknown::Ahead) => return (State::Ahead, now.mono_ms),
            Err(Unknown::NoOffset) => return (State::NoOffset, now.mono_ms),
            Err(Unknown::OffsetUnreadable | Unknown::LogUnreadable) => return (State::Unknown, now.mono_ms),
        };
        if lost(look) > 0 {
            return (State::Lost, now.mono_ms);
        }
        let idle_ms = now.mono_ms - self.moved_ms;
        let unowned_ms = self.unowned_ms.map_or(0, |since| now.mono_ms - since);
        if look.owner.is_none() && idle_ms >= limits.stopped_ms {
            if unowned_ms >= limits.stopped_ms {
                return (State::Stopped, now.mono_ms - unowned_ms.min(idle_ms));
            }
            if self.verdict.state == State::Unknown {
                // Nothing better is known than that nobody was there at the first look.
                return (State::Unknown, now.mono_ms);
            }
        }
        if lag > 0 {
            let seen_ms = self.waiting_ms.map_or(0, |since| now.mono_ms - since);
            let age_ms = look.age_ms.unwrap_or(seen_ms);
            if idle_ms.min(age_ms) >= limits.stalled_ms {
                return (State::Stalled, now.mono_ms - idle_ms.min(age_ms));
            }
            if self.commit.is_some_and(|commit| commit < self.highest) {
                return (State::Rewound, now.mono_ms);
            }
            if age_ms >= limits.lagging_ms {
                return (
                    State::Lagging,
                    now.mono_ms - (age_ms - limits.lagging_ms).min(seen_ms),
                );
            }
            if look.committed == Committed::LogStart {
                return (State::NoOffset, now.mono_ms - seen_ms);
            }
        }
        (State::Ok, now.mono_ms)
    }

    fn reason(&self, state: State, look: &Look<'_>) -> String {
        let lag = look.lag.unwrap_or_default();
        let commit = self.commit.unwrap_or_default();
        match state {
            State::Ok => String::new(),
            State::Lagging => format!("{} wait longer than allowed", records(lag)),
            State::NoOffset if look.committed == Committed::LogStart => {
                format!(
                    "no commit in this partition yet, while others have one; {} wait",
                    records(lag)
                )
            }
            State::NoOffset => "the module has committed nothing in this topic yet".to_owned(),
            State::Stalled if look.committed == Committed::LogStart => {
                format!(
                    "nothing is committed in this partition while {} wait",
                    records(lag)
                )
            }
            State::Stalled => {
                let owner = look.owner.unwrap_or("nobody");
                format!(
                    "the commit stays at {commit} while {} wait; owner: {owner}",
                    records(lag)
                )
            }
            State::Stopped => format!("no instance owns it; {} wait", records(lag)),
            State::Rewound => {
                let again = self.highest.saturating_sub(commit);
                format!(
                    "the commit went back to {commit} from {}; {again} records come again",
                    self.highest
                )
            }
            State::Ahead => {
                let end = look.log.map_or(0, |log| log.end);
                format!(
                    "the commit {commit} is beyond the log end {end}: the topic was made anew, or the commit is of \
                     another cluster"
                )
            }
            State::Lost => {
                let start = look.log.map_or(0, |log| log.start);
                format!(
                    "{} between the commit {commit} and the log start {start} are gone",
                    records(lost(look))
                )
            }
            State::Unknown if look.lag == Err(Unknown::OffsetUnreadable) => {
                "the offset znode holds no offset, or cannot be read".to_owned()
            }
            State::Unknown if look.lag.is_ok() => {
                "nobody owns it, and it is not seen for long enough to say since when".to_owned()
            }
            State::Unknown => format!(
                "no log end: {}",
                look.kafka.unwrap_or("the partition has no leader")
            ),
        }
    }
}

/// Where the module stands, as a number that moves only when the module does.
const fn position(look: &Look<'_>) -> Option<i64> {
    match look.committed {
        Committed::At(offset) => Some(offset.get()),
        Committed::LogStart => Some(0),
        Committed::Never | Committed::Unreadable => None,
    }
}

/// Records below the log start that were not delivered.
#[must_use]
pub(crate) fn lost(look: &Look<'_>) -> u64 {
    match (look.committed, look.log) {
        (Committed::At(offset), Some(log)) => u64::try_from(log.start - offset.get()).unwrap_or(0),
        _ => 0,
    }
}

fn records(count: u64) -> String {
    match count {
        1 => "1 record".to_owned(),
        _ => format!("{count} records"),
    }
}

#[cfg(test)]
mod tests;

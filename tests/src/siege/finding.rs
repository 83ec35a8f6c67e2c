//! What was measured while a kproxy was attacked, and what is wrong with it.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use super::{Attack, Overload};
use crate::poster::{Lost, Reply};

/// An accepted record is confirmed within this time, 99 of 100.
const ACCEPTED: Duration = Duration::from_secs(1);
/// A refusal takes no longer than this, 99 of 100.
const REFUSED: Duration = Duration::from_millis(100);
/// The last quarter of a run may hold so much more memory than its second, in KiB or in percent.
const SLACK_KIB: u64 = 10 * 1024;
const SLACK_PERCENT: u64 = 10;
/// Shorter runs say nothing about growth.
const LONG_ENOUGH: usize = 240;
/// Looks at the memory that are printed.
const PRINTED: usize = 12;

/// Who attacked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Clients of a kind.
    Clients(Attack),
    /// More records than the broker takes.
    Overload(Overload),
}

impl From<Attack> for Kind {
    fn from(attack: Attack) -> Self {
        Self::Clients(attack)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clients(attack) => attack.fmt(formatter),
            Self::Overload(overload) => overload.fmt(formatter),
        }
    }
}

/// How long answers took.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// The time within which this part of them came, such as 0.99; zero when there are none.
    #[must_use]
    pub fn quantile(&self, per_mille: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * per_mille / 1000).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, all] = [500, 990, 1000].map(|part| self.quantile(part).as_secs_f64() * 1e3);
        write!(
            formatter,
            "{} (p50 {half:.1}, p99 {most:.1}, longest {all:.1} ms)",
            self.count()
        )
    }
}

/// What all clients of an attack enter.
#[derive(Debug, Default)]
pub(super) struct Measures(Mutex<Entered>);

#[derive(Clone, Debug, Default)]
struct Entered {
    stored: Latencies,
    refused: Latencies,
    /// Answers that are neither, and those that never came.
    wrong: Vec<String>,
    wrongs: usize,
    longest_life: Duration,
    lives: usize,
}

impl Measures {
    fn with<T>(&self, change: impl FnOnce(&mut Entered) -> T) -> T {
        change(&mut self.0.lock().expect("no panic inside"))
    }

    /// A guest has its answer, or none.
    pub(super) fn enter(&self, answer: Result<Reply, Lost>, took: Duration) {
        self.with(|entered| match answer {
            Ok(reply) if reply.status == 200 => entered.stored.0.push(took),
            Ok(reply) if reply.status == 503 && reply.is_refusal() => entered.refused.0.push(took),
            other => {
                entered.wrongs += 1;
                if entered.wrong.len() < 5 {
                    entered.wrong.push(format!("{other:?}"));
                }
            }
        });
    }

    /// What was answered so far does not count.
    pub(super) fn forget_answers(&self) {
        self.with(|entered| *entered = Entered::default());
    }

    /// A connection of an attacker has ended, or the attack has.
    pub(super) fn life(&self, life: Duration) {
        self.with(|entered| {
            entered.longest_life = entered.longest_life.max(life);
            entered.lives += 1;
        });
    }
}

/// What an attack came to.
#[derive(Clone, Debug)]
pub struct Finding {
    kind: Kind,
    /// Resident memory before, in KiB.
    before: u64,
    /// The same during the attack, at equal distances.
    resident: Vec<u64>,
    entered: Entered,
    /// Connections and requests that kproxy ended for their slowness or size.
    ended: u64,
    /// What only the attacker can tell is wrong.
    besides: Vec<String>,
}

impl Finding {
    pub(super) fn new(kind: Kind, before: u64, resident: Vec<u64>, measures: &Measures) -> Self {
        Self {
            kind,
            before,
            resident,
            entered: measures.with(|entered| entered.clone()),
            ended: 0,
            besides: Vec::new(),
        }
    }

    pub(super) fn with_ended(self, ended: u64) -> Self {
        Self { ended, ..self }
    }

    pub(super) fn with_besides(self, besides: Vec<String>) -> Self {
        Self { besides, ..self }
    }

    /// The records that were stored, by how long their answer took.
    #[must_use]
    pub const fn stored(&self) -> &Latencies {
        &self.entered.stored
    }

    /// Everything that is wrong. Times may be `patience` times as long as promised.
    #[must_use]
    pub fn complaints(&self, patience: u32) -> Vec<String> {
        let mut complaints = self.besides.clone();
        let Entered {
            stored,
            refused,
            wrong,
            wrongs,
            longest_life,
            ..
        } = &self.entered;
        if *wrongs > 0 {
            complaints.push(format!("{wrongs} answers are wrong or never came: {wrong:?}"));
        }
        if stored.count() == 0 {
            complaints.push("nothing was stored".to_owned());
        }
        for (what, latencies, most) in [("accepted", stored, ACCEPTED), ("refused", refused, REFUSED)] {
            let p99 = latencies.quantile(990);
            if p99 > most * patience {
                complaints.push(format!("p99 of the {what} is {p99:?}, above {most:?}"));
            }
        }
        if let Kind::Clients(attack) = self.kind {
            // A machine that is short of time makes Kafka slow, and then a few are refused rightly.
            let tolerated = stored.count() * usize::try_from(patience.min(10) - 1).unwrap_or(0) / 100;
            if refused.count() > tolerated {
                complaints.push(format!("{} posts of guests were refused", refused.count()));
            }
            if attack.is_cut() && self.ended == 0 {
                complaints.push("no attacker was cut".to_owned());
            }
            if *longest_life > attack.longest_life() * patience {
                complaints.push(format!("an attacker's connection lived for {longest_life:?}"));
            }
        }
        complaints.extend(self.memory());
        complaints
    }

    fn memory(&self) -> Option<String> {
        let most = self.resident.iter().max()?;
        let allowed = match self.kind {
            Kind::Clients(attack) => attack.memory_mib(),
            Kind::Overload(_) => Overload::MEMORY_MIB,
        };
        let grown = most.saturating_sub(self.before) / 1024;
        if grown > allowed {
            return Some(format!("it took {grown} MiB more, above {allowed}"));
        }
        if self.resident.len() < LONG_ENOUGH {
            return None;
        }
        let quarter = self.resident.len() / 4;
        let median = |part: &[u64]| {
            let mut sorted = part.to_vec();
            sorted.sort_unstable();
            sorted[sorted.len() / 2]
        };
        let early = median(&self.resident[quarter..2 * quarter]);
        let late = median(&self.resident[self.resident.len() - quarter..]);
        let grows = late > early + SLACK_KIB.max(early * SLACK_PERCENT / 100);
        grows.then(|| format!("its memory grows: {early} KiB, then {late} KiB"))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entered {
            stored,
            refused,
            wrongs,
            longest_life,
            lives,
            ..
        } = &self.entered;
        let step = self.resident.len().div_ceil(PRINTED).max(1);
        let memory = self
            .resident
            .iter()
            .step_by(step)
            .map(|kib| (kib / 1024).to_string());
        let most = self.resident.iter().max().copied().unwrap_or_default() / 1024;
        write!(
            formatter,
            "{}\n  stored {stored}, refused {refused}, wrong {wrongs}\n  RSS MiB: {} before, {most} at most; {}",
            self.kind,
            self.before / 1024,
            memory.collect::<Vec<_>>().join(" "),
        )?;
        if matches!(self.kind, Kind::Clients(_)) {
            let life = longest_life.as_secs_f64();
            write!(
                formatter,
                "\n  {lives} attacking connections, the longest for {life:.1} s; {} cut or refused for what they did",
                self.ended
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Result<Reply, Lost> {
        let body = body.to_owned();
        Ok(Reply { status, body })
    }

    fn complaints(attack: Attack, resident: Vec<u64>, measures: &Measures) -> Vec<String> {
        Finding::new(attack.into(), 10_000, resident, measures)
            .with_ended(1)
            .complaints(1)
    }

    #[test]
    fn what_is_good_has_no_complaints() {
        let measures = Measures::default();
        measures.enter(reply(200, "{}"), Duration::from_millis(3));
        measures.life(Duration::from_secs(1));
        assert_eq!(complaints(Attack::Trickle, vec![12_000; 300], &measures), [""; 0]);
    }

    #[test]
    fn each_broken_bound_is_told() {
        let good = || {
            let measures = Measures::default();
            measures.enter(reply(200, "{}"), Duration::from_millis(3));
            measures
        };
        let told = |measures: &Measures, resident: Vec<u64>, part: &str| {
            let complaints = complaints(Attack::Churn, resident, measures);
            assert!(
                complaints.iter().any(|told| told.contains(part)),
                "{part}: {complaints:?}"
            );
        };
        let flat = vec![12_000; 300];
        told(&good(), vec![1_000_000; 300], "MiB more");
        told(
            &good(),
            (0..300).map(|look| 12_000 + look * 70).collect(),
            "grows",
        );
        told(&Measures::default(), flat.clone(), "nothing was stored");
        for wrong in [Err(Lost::Hung), reply(504, "possibly_persisted"), reply(503, "?")] {
            let measures = good();
            measures.enter(wrong, Duration::ZERO);
            told(&measures, flat.clone(), "wrong or never came");
        }
        let measures = good();
        measures.enter(reply(503, "\"not_persisted\""), Duration::from_millis(200));
        told(&measures, flat.clone(), "refused");
        let measures = Measures::default();
        measures.enter(reply(200, "{}"), Duration::from_secs(2));
        told(&measures, flat.clone(), "p99 of the accepted");
        let measures = good();
        measures.life(Duration::from_secs(60));
        told(&measures, flat, "lived for");
    }
}

//! Which faults come when: drawn from a seed before the run, so that a seed is a run.
//!
//! Faults of different targets overlap as they like; one target gets the next fault when the last one is over and had
//! time to heal. Three instances, of which the last is never restarted, so that its memory can be followed.

use std::fmt;
use std::time::Duration;

/// How many instances there are.
pub(super) const INSTANCES: usize = 3;

/// The ZooKeeper session time-out of every instance.
pub(super) const SESSION: Duration = Duration::from_secs(4);

/// What is done, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL, and started again after a while.
    Kill { instance: usize },
    /// SIGTERM, and started again after a while.
    Terminate { instance: usize },
    /// SIGSTOP, and SIGCONT after a while.
    Pause { instance: usize },
    /// A module's file is changed at one instance.
    Change { instance: usize, module: usize },
    /// ZooKeeper is stopped, and started again after a while.
    ZooKeeper,
    /// The broker is stopped in good order or killed, and started again after a while.
    Broker { killed: bool },
    /// A module's backend is in trouble for a while.
    Backend { module: usize, trouble: Trouble },
}

/// What a backend does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Both servers refuse connections.
    Down,
    /// The first server refuses connections.
    HalfDown,
    /// Answers late.
    Slow(Duration),
    /// Never answers.
    Hangs,
    /// Resets connections instead of answering.
    Resets,
    /// Closes connections instead of answering.
    Closes,
    /// Answers 500.
    Refuses,
}

/// A fault with its time, and how long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) at: Duration,
    pub(super) fault: Fault,
    pub(super) length: Duration,
}

/// What cannot have two faults at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Instance(usize),
    Servers,
    Backend(usize),
}

/// All faults of a run of this length over so many modules.
pub(super) fn draw(seed: u64, length: Duration, modules: usize) -> Vec<Planned> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut planned: Vec<Planned> = Vec::new();
    let mut at = seconds(&mut random, 3.0, 6.0);
    while at < length {
        // A few tries find a target that is free; if they do not, everything is broken enough.
        let free = (0..8).map(|_| fault(&mut random, modules)).find(|(fault, _)| {
            let busy = planned
                .iter()
                .any(|other| other.fault.target() == fault.target() && other.healed() > at);
            !busy
        });
        if let Some((fault, length)) = free {
            planned.push(Planned { at, fault, length });
        }
        at += seconds(&mut random, 2.0, 6.0);
    }
    planned
}

fn fault(random: &mut fastrand::Rng, modules: usize) -> (Fault, Duration) {
    let any = random.usize(..INSTANCES);
    let restartable = random.usize(..INSTANCES - 1);
    let module = random.usize(..modules);
    match random.u32(..100) {
        0..15 => (
            Fault::Kill {
                instance: restartable,
            },
            seconds(random, 0.5, 8.0),
        ),
        15..27 => (
            Fault::Terminate {
                instance: restartable,
            },
            seconds(random, 0.0, 5.0),
        ),
        27..37 => (Fault::Pause { instance: any }, seconds(random, 0.2, 2.5)),
        37..47 => (Fault::Pause { instance: any }, seconds(random, 6.0, 10.0)),
        47..57 => (
            Fault::Change {
                instance: any,
                module,
            },
            Duration::ZERO,
        ),
        57..63 => (Fault::ZooKeeper, Duration::ZERO),
        63..69 => (Fault::ZooKeeper, seconds(random, 6.0, 10.0)),
        69..77 => {
            let killed = random.bool();
            // One that was killed may not come back before ZooKeeper has forgotten it: it would end at once.
            let least = if killed { 7.0 } else { 0.0 };
            (Fault::Broker { killed }, seconds(random, least, least + 3.0))
        }
        _ => {
            let trouble = trouble(random);
            (Fault::Backend { module, trouble }, seconds(random, 1.0, 8.0))
        }
    }
}

fn trouble(random: &mut fastrand::Rng) -> Trouble {
    match random.u32(..8) {
        0 => Trouble::Down,
        1 => Trouble::HalfDown,
        2 => Trouble::Slow(Duration::from_millis(200)),
        3 => Trouble::Slow(Duration::from_secs(3)),
        4 => Trouble::Hangs,
        5 => Trouble::Resets,
        6 => Trouble::Closes,
        _ => Trouble::Refuses,
    }
}

fn seconds(random: &mut fastrand::Rng, least: f64, most: f64) -> Duration {
    Duration::from_secs_f64(least + random.f64() * (most - least))
}

impl Planned {
    /// When its target may get the next fault: a time to heal later.
    fn healed(&self) -> Duration {
        let heals = match self.fault.target() {
            Target::Instance(_) => 8,
            // Servers take their own time to start.
            Target::Servers => 20,
            Target::Backend(_) => 5,
        };
        self.at + self.length + Duration::from_secs(heals)
    }
}

impl Fault {
    fn target(&self) -> Target {
        match *self {
            Self::Kill { instance }
            | Self::Terminate { instance }
            | Self::Pause { instance }
            | Self::Change { instance, .. } => Target::Instance(instance),
            Self::ZooKeeper | Self::Broker { .. } => Target::Servers,
            Self::Backend { module, .. } => Target::Backend(module),
        }
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = format!("{:.1} s", self.length.as_secs_f64());
        match self.fault {
            Fault::Kill { instance } => write!(
                formatter,
                "SIGKILL to instance {}, back in {length}",
                instance + 1
            ),
            Fault::Terminate { instance } => write!(
                formatter,
                "SIGTERM to instance {}, back {length} after its end",
                instance + 1
            ),
            Fault::Pause { instance } => {
                write!(formatter, "SIGSTOP to instance {} for {length}", instance + 1)
            }
            Fault::Change { instance, module } => write!(
                formatter,
                "file of module {} changed at instance {}",
                module + 1,
                instance + 1
            ),
            Fault::ZooKeeper => write!(formatter, "ZooKeeper stopped, back in {length}"),
            Fault::Broker { killed: true } => write!(formatter, "broker killed, back in {length}"),
            Fault::Broker { killed: false } => write!(formatter, "broker stopped, back in {length}"),
            Fault::Backend { module, trouble } => {
                write!(
                    formatter,
                    "backend of module {}: {trouble:?} for {length}",
                    module + 1
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_seed_is_a_plan() {
        assert_eq!(draw(7, HOUR, 3), draw(7, HOUR, 3));
        assert_ne!(draw(7, HOUR, 3), draw(8, HOUR, 3));
    }

    #[test]
    fn a_fault_comes_every_few_seconds_and_each_kind_in_an_hour() {
        let plan = draw(1, HOUR, 3);
        assert!((500..1500).contains(&plan.len()), "{}", plan.len());
        let kinds: std::collections::BTreeSet<String> = plan
            .iter()
            .map(|planned| {
                let name = format!("{:?}", planned.fault);
                let long = planned.length > SESSION;
                let (kind, _) = name.split_once([' ', '{']).unwrap_or((&name, ""));
                format!(
                    "{kind} {}",
                    if kind == "Pause" || kind == "ZooKeeper" {
                        long
                    } else {
                        false
                    }
                )
            })
            .collect();
        assert_eq!(kinds.len(), 9, "{kinds:?}");
    }

    #[test]
    fn a_target_heals_before_its_next_fault_and_the_last_instance_is_never_restarted() {
        let plan = draw(3, HOUR, 3);
        for (index, planned) in plan.iter().enumerate() {
            let earlier = plan[..index]
                .iter()
                .rev()
                .find(|other| other.fault.target() == planned.fault.target());
            assert!(earlier.is_none_or(|other| other.healed() <= planned.at));
            let restarts = matches!(
                planned.fault,
                Fault::Kill { instance } | Fault::Terminate { instance } if instance == INSTANCES - 1
            );
            assert!(!restarts);
        }
    }
}

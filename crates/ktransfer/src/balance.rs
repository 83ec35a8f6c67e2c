//! Which server takes the next push, for modules that say more than "by turns": weights, servers that are slow, and servers that fail.
//! Pure: the time is an argument.
//!
//! * By turns, each server has as many as its weight says, spread out evenly (the smooth weighted round robin of nginx). With the
//!   fewest in flight, a server that answers twice as slowly gets half as much; where several have equally few, they have turns.
//! * A server whose last pushes have all failed is set aside. When its time is over one push, the probe, finds out whether it is back;
//!   if not, it waits twice as long. Any answer brings it back, that of a push from before too.
//! * When all are set aside, those with the fewest failures and pushes in flight go on: somebody has to be asked.

use std::time::Duration;

use tokio::time::Instant;

/// How servers are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Who is next among the good ones.
    pub policy: Policy,
    /// A share for each server, at least 1; as many as there are servers.
    pub weights: Vec<u32>,
    /// When a server is set aside; `None` = never.
    pub aside: Option<Aside>,
}

/// Who is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// One after the other.
    Turns,
    /// Who has the fewest pushes in flight for its weight.
    LeastInFlight,
}

/// When and for how long a server is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aside {
    /// Failures in a row, at least 1.
    pub failures: u32,
    /// The first time; each further one is twice as long.
    pub first: Duration,
    /// No time is longer. A server that has been good for so long begins with `first` again.
    pub longest: Duration,
}

/// The servers as they are.
#[derive(Debug)]
pub struct Balance {
    settings: Settings,
    servers: Vec<Server>,
    /// Counts choices.
    clock: u64,
}

/// A server that was chosen; to be given back to [`Balance::ended`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a push that is not ended counts as in flight for ever"]
pub struct Choice {
    /// Its number.
    pub server: usize,
    /// Whether this push finds out if it is back.
    pub is_probe: bool,
}

/// How a push ended, for its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It has answered, and is not in trouble.
    Answered,
    /// No connection, no answer, or an answer that says that it is in trouble.
    Failed,
    /// Our own doing: it says nothing of the server.
    Ours,
}

/// What the end of a push has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The server is set aside for so long.
    SetAside(Duration),
    /// The server is back.
    Returned,
}

#[derive(Debug, Default)]
struct Server {
    in_flight: u32,
    /// Its claim to a turn.
    credit: i64,
    /// Failures since its last answer.
    failures: u32,
    /// Times in a row that it was set aside.
    times: u32,
    away: Option<Away>,
    returned: Option<Instant>,
    /// When it was chosen last.
    chosen: u64,
}

#[derive(Debug)]
struct Away {
    until: Instant,
    /// The probe is under way.
    probed: bool,
}

impl Balance {
    /// Servers of which nothing is known.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let servers = settings.weights.iter().map(|_weight| Server::default());
        Self {
            servers: servers.collect(),
            settings,
            clock: 0,
        }
    }

    /// How many servers are set aside.
    #[must_use]
    pub fn away(&self) -> usize {
        self.servers.iter().filter(|server| server.away.is_some()).count()
    }

    /// The server of the next push.
    pub fn choose(&mut self, now: Instant) -> Choice {
        let probe = self.due(now);
        let number = probe.or_else(|| self.next()).unwrap_or_else(|| self.least_bad());
        self.clock += 1;
        if let Some(server) = self.servers.get_mut(number) {
            server.in_flight += 1;
            server.chosen = self.clock;
        }
        Choice {
            server: number,
            is_probe: probe.is_some(),
        }
    }

    /// The push to a server has ended. Returns what that has changed.
    pub fn ended(&mut self, choice: &Choice, ended: Ended, now: Instant) -> Option<Change> {
        let rule = self.settings.aside;
        let server = self.servers.get_mut(choice.server)?;
        server.in_flight = server.in_flight.saturating_sub(1);
        match ended {
            Ended::Ours => {
                if let Some(away) = server.away.as_mut().filter(|_away| choice.is_probe) {
                    away.probed = false;
                }
                None
            }
            Ended::Answered => {
                server.failures = 0;
                server.away.take().map(|_away| {
                    server.returned = Some(now);
                    Change::Returned
                })
            }
            Ended::Failed => {
                server.failures = server.failures.saturating_add(1);
                let rule = rule?;
                let is_over = if server.away.is_some() {
                    choice.is_probe
                } else {
                    server.failures >= rule.failures
                };
                is_over.then(|| Change::SetAside(server.set_aside(&rule, now)))
            }
        }
    }

    /// The server whose time is over, if there is one; it is probed from now on.
    fn due(&mut self, now: Instant) -> Option<usize> {
        let mut servers = self.servers.iter_mut().enumerate();
        let (number, away) = servers.find_map(|(number, server)| {
            let away = server.away.as_mut();
            let away = away.filter(|away| !away.probed && away.until <= now)?;
            Some((number, away))
        })?;
        away.probed = true;
        Some(number)
    }

    /// The next of the good ones; `None` = there is none.
    fn next(&mut self) -> Option<usize> {
        let good = |server: &Server| server.away.is_none();
        let least = match self.settings.policy {
            Policy::Turns => None,
            Policy::LeastInFlight => {
                let loads = self.weighed().filter(|(_, server, _)| good(server));
                loads.map(|(_, server, weight)| Load::of(server, weight)).min()
            }
        };
        let is_candidate = |server: &Server, weight| {
            good(server) && least.is_none_or(|least| Load::of(server, weight).cmp(&least).is_eq())
        };
        let candidates = self.weighed();
        let candidates = candidates.filter(|(_, server, weight)| is_candidate(server, *weight));
        let candidates: Vec<(usize, i64)> = candidates.map(|(number, _, weight)| (number, weight)).collect();
        self.turn(&candidates)
    }

    /// Whose turn it is among these servers with their weights.
    fn turn(&mut self, candidates: &[(usize, i64)]) -> Option<usize> {
        let total: i64 = candidates.iter().map(|(_, weight)| weight).sum();
        let mut best: Option<(i64, usize)> = None;
        for (number, weight) in candidates {
            let server = self.servers.get_mut(*number)?;
            server.credit += weight;
            if best.is_none_or(|(credit, _)| server.credit > credit) {
                best = Some((server.credit, *number));
            }
        }
        let (_, number) = best?;
        self.servers.get_mut(number)?.credit -= total;
        Some(number)
    }

    /// All are set aside.
    fn least_bad(&self) -> usize {
        let servers = self.servers.iter().enumerate();
        let badness = |server: &Server| (server.failures.saturating_add(server.in_flight), server.chosen);
        let least = servers.min_by_key(|(_, server)| badness(server));
        least.map_or(0, |(number, _)| number)
    }

    fn weighed(&self) -> impl Iterator<Item = (usize, &Server, i64)> {
        let weights = self.settings.weights.iter().copied().map(i64::from);
        let servers = self.servers.iter().enumerate().zip(weights);
        servers.map(|((number, server), weight)| (number, server, weight))
    }
}

impl Server {
    fn set_aside(&mut self, rule: &Aside, now: Instant) -> Duration {
        let was_good = |returned| now >= returned + rule.longest;
        if self.returned.take().is_none_or(was_good) && self.away.is_none() {
            self.times = 0;
        }
        let factor = 1_u32.checked_shl(self.times).unwrap_or(u32::MAX);
        let time = rule.first.saturating_mul(factor).min(rule.longest);
        self.times = self.times.saturating_add(1);
        self.away = Some(Away {
            until: now + time,
            probed: false,
        });
        time
    }
}

/// Pushes in flight for a weight.
#[derive(Clone, Copy, Debug)]
struct Load {
    pushes: i64,
    weight: i64,
}

impl Load {
    fn of(server: &Server, weight: i64) -> Self {
        Self {
            pushes: i64::from(server.in_flight),
            weight,
        }
    }
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.pushes * other.weight).cmp(&(other.pushes * self.weight))
    }
}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Load {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: Aside = Aside {
        failures: 3,
        first: Duration::from_secs(1),
        longest: Duration::from_secs(5),
    };

    fn balance(policy: Policy, weights: &[u32]) -> Balance {
        Balance::new(Settings {
            policy,
            weights: weights.to_vec(),
            aside: Some(RULE),
        })
    }

    fn end(balance: &mut Balance, ended: Ended, now: Instant) -> (usize, Option<Change>) {
        let choice = balance.choose(now);
        (choice.server, balance.ended(&choice, ended, now))
    }

    #[test]
    fn turns_are_spread_by_weight() {
        let now = Instant::now();
        for policy in [Policy::Turns, Policy::LeastInFlight] {
            let mut balance = balance(policy, &[5, 1, 1]);
            let servers: Vec<usize> = (0..7)
                .map(|_| end(&mut balance, Ended::Answered, now).0)
                .collect();
            assert_eq!(servers, [0, 0, 1, 0, 2, 0, 0], "{policy:?}");
        }
    }

    #[test]
    fn a_server_that_keeps_its_pushes_gets_no_more_than_its_weight_says() {
        let now = Instant::now();
        let mut balance = balance(Policy::LeastInFlight, &[1, 2]);
        // The first server never answers.
        let mut slow = 0;
        for _ in 0..100 {
            let choice = balance.choose(now);
            if choice.server == 0 {
                slow += 1;
            } else {
                balance.ended(&choice, Ended::Answered, now);
            }
        }
        assert_eq!(slow, 1);
        let open: Vec<usize> = (0..8).map(|_| balance.choose(now).server).collect();
        assert_eq!(open.iter().filter(|server| **server == 0).count(), 2, "{open:?}");
    }

    #[test]
    fn a_failing_server_is_set_aside_for_longer_and_longer_until_a_probe_is_answered() {
        let mut now = Instant::now();
        let mut balance = balance(Policy::Turns, &[1, 1]);
        let seconds = Duration::from_secs;
        // Turns: 0 fails, 1 answers.
        for nth in 1..=3 {
            let choice = balance.choose(now);
            let change = balance.ended(&choice, Ended::Failed, now);
            assert_eq!((choice.server, change.is_some()), (0, nth == 3));
            assert_eq!(end(&mut balance, Ended::Answered, now), (1, None));
        }
        for wait in [1, 2, 4, 5, 5] {
            assert_eq!(end(&mut balance, Ended::Answered, now).0, 1);
            now += seconds(wait);
            let probe = balance.choose(now);
            assert!(probe.server == 0 && probe.is_probe);
            // One at a time, and a probe that is cut is made again.
            assert_eq!(balance.choose(now).server, 1);
            balance.ended(&probe, Ended::Ours, now);
            let probe = balance.choose(now);
            let next = seconds((wait * 2).min(5));
            let change = balance.ended(&probe, Ended::Failed, now);
            assert_eq!(change, Some(Change::SetAside(next)));
        }
        now += seconds(5);
        assert_eq!(
            end(&mut balance, Ended::Answered, now),
            (0, Some(Change::Returned))
        );
        assert_eq!(balance.away(), 0);
        // Bad again at once: as long as before. Bad again after a good time: as at first.
        for (good, wait) in [(0, 5), (5, 1)] {
            now += seconds(good);
            let mut change = None;
            while change.is_none() {
                let choice = balance.choose(now);
                let ended = if choice.server == 0 {
                    Ended::Failed
                } else {
                    Ended::Answered
                };
                change = balance.ended(&choice, ended, now);
            }
            assert_eq!(change, Some(Change::SetAside(seconds(wait))));
            now += seconds(wait);
            assert_eq!(end(&mut balance, Ended::Answered, now).1, Some(Change::Returned));
        }
    }

    #[test]
    fn when_all_are_set_aside_they_take_turns_and_the_first_answer_brings_one_back() {
        let now = Instant::now();
        let mut balance = balance(Policy::Turns, &[1, 1, 1]);
        while balance.away() < 3 {
            end(&mut balance, Ended::Failed, now);
        }
        let mut asked: Vec<usize> = (0..3).map(|_| end(&mut balance, Ended::Failed, now).0).collect();
        asked.sort_unstable();
        assert_eq!(asked, [0, 1, 2]);
        let (back, change) = end(&mut balance, Ended::Answered, now);
        assert_eq!(change, Some(Change::Returned));
        assert!((0..10).all(|_| end(&mut balance, Ended::Answered, now).0 == back));
    }

    /// What happened to one server, in order.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Probed,
        Ended(Ended, bool),
    }

    /// The state of a server, told from all that ever happened to it: whether and until when it is away, and whether it is being
    /// probed.
    fn retold(history: &[(Instant, Event)]) -> Option<(Instant, bool)> {
        let (mut away, mut failures, mut times, mut good_since) = (None, 0, 0, None);
        for (at, event) in history {
            match event {
                Event::Probed => away = away.map(|(until, _)| (until, true)),
                Event::Ended(Ended::Ours, true) => away = away.map(|(until, _)| (until, false)),
                Event::Ended(Ended::Ours, false) => {}
                Event::Ended(Ended::Answered, _) => {
                    failures = 0;
                    if away.take().is_some() {
                        good_since = Some(*at);
                    }
                }
                Event::Ended(Ended::Failed, is_probe) => {
                    failures += 1;
                    let begins = away.is_none() && failures >= RULE.failures;
                    if begins && good_since.is_none_or(|since| *at >= since + RULE.longest) {
                        times = 0;
                    }
                    if begins || (away.is_some() && *is_probe) {
                        let mut time = RULE.first;
                        (0..times).for_each(|_| time = (time * 2).min(RULE.longest));
                        times = (times + 1).min(10);
                        away = Some((*at + time, false));
                        good_since = None;
                    }
                }
            }
        }
        away
    }

    proptest! {
        #[test]
        fn in_each_round_every_server_has_as_many_turns_as_its_weight(
            weights in prop::collection::vec(1_u32..20, 1..6), rounds in 1_usize..4,
        ) {
            let mut balance = balance(Policy::Turns, &weights);
            let (now, total) = (Instant::now(), weights.iter().sum::<u32>());
            for _ in 0..rounds {
                let mut turns = vec![0; weights.len()];
                for _ in 0..total {
                    turns[end(&mut balance, Ended::Answered, now).0] += 1;
                }
                prop_assert_eq!(&turns, &weights);
            }
        }

        #[test]
        fn the_servers_that_are_set_aside_are_those_of_the_naive_one(
            servers in 1_usize..4, by_turns: bool,
            steps in prop::collection::vec((0_u8..10, 0_usize..6, 0_u64..1500), 1..200),
        ) {
            let policy = if by_turns { Policy::Turns } else { Policy::LeastInFlight };
            let mut balance = balance(policy, &vec![1; servers]);
            let mut now = Instant::now();
            let mut history = vec![Vec::new(); servers];
            let mut open: Vec<Choice> = Vec::new();
            for (what, which, wait) in steps {
                now += Duration::from_millis(wait);
                if what < 5 || open.is_empty() {
                    let states: Vec<_> = history.iter().map(|events| retold(events)).collect();
                    let choice = balance.choose(now);
                    let state = states[choice.server];
                    let due = |state: &Option<(Instant, bool)>| {
                        state.is_some_and(|(until, probed)| !probed && until <= now)
                    };
                    prop_assert_eq!(choice.is_probe, states.iter().any(due));
                    prop_assert!(!choice.is_probe || due(&state));
                    let nobody_is_good = states.iter().all(Option::is_some);
                    prop_assert!(choice.is_probe || state.is_none() || nobody_is_good);
                    if choice.is_probe {
                        history[choice.server].push((now, Event::Probed));
                    }
                    open.push(choice);
                } else {
                    let choice = open.swap_remove(which % open.len());
                    let ended = match what { 5 => Ended::Answered, 6 => Ended::Ours, _ => Ended::Failed };
                    balance.ended(&choice, ended, now);
                    history[choice.server].push((now, Event::Ended(ended, choice.is_probe)));
                }
                let away = history.iter().filter(|events| retold(events).is_some()).count();
                prop_assert_eq!(balance.away(), away);
                let in_flight: u32 = balance.servers.iter().map(|server| server.in_flight).sum();
                prop_assert_eq!(in_flight as usize, open.len());
            }
        }
    }
}

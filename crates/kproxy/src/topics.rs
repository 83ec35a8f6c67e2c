//! Which topics exist, as of the last list of the cluster, and when to ask again.
//!
//! Pure; `lookup` does the asking. Names that clients make up take no room here: what is not in the list of the whole
//! cluster is unknown, and the list is fetched again only when it is older than [`Topics::RECHECK`], however many
//! unknown names are asked for. A listed topic stays known until Kafka itself says it is gone, and even then it is only
//! away for a while: a broker that has just started denies topics that it is about to lead.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// What is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The topic exists.
    Yes,
    /// It did not exist a moment ago.
    No,
    /// It did not exist a moment ago, but some seconds before it did.
    Away,
    /// The list is too old to tell.
    Ask,
}

/// The names of a cluster's topics.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    names: HashSet<Box<str>>,
    /// Names that were known and are no more, since when; at most as many as the cluster had.
    away: HashMap<Box<str>, Instant>,
    listed: Option<Listed>,
}

#[derive(Clone, Copy, Debug)]
struct Listed {
    at: Instant,
    took: Duration,
}

impl Topics {
    /// How long an unknown name stays unknown: the longest time until a new topic is noticed.
    pub(crate) const RECHECK: Duration = Duration::from_secs(1);

    /// How long a topic that was known is away rather than unknown.
    pub(crate) const GRACE: Duration = Duration::from_secs(10);

    /// A list that takes long to fetch (thousands of topics) is fetched for this share of the time at most.
    const SHARE: u32 = 20;

    /// Whether `name` exists, as far as can be said at `now`.
    #[must_use]
    pub(crate) fn known(&self, name: &str, now: Instant) -> Known {
        if self.names.contains(name) {
            return Known::Yes;
        }
        if !self.is_fresh(now) {
            return Known::Ask;
        }
        match self.away.get(name) {
            Some(&since) if in_grace(since, now) => Known::Away,
            Some(_) | None => Known::No,
        }
    }

    /// Whether the list is young enough to tell what does not exist.
    #[must_use]
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        let listed = self.listed;
        listed.is_some_and(|listed| now.saturating_duration_since(listed.at) < listed.valid())
    }

    /// Takes a new list that was complete at `now` and took `took` to fetch.
    pub(crate) fn list(&mut self, names: HashSet<Box<str>>, now: Instant, took: Duration) {
        let before = std::mem::replace(&mut self.names, names);
        self.away
            .retain(|name, since| in_grace(*since, now) && !self.names.contains(name));
        let gone = before.into_iter().filter(|name| !self.names.contains(name));
        self.away.extend(gone.map(|name| (name, now)));
        self.listed = Some(Listed { at: now, took });
    }

    /// Kafka said at `now` that `name` does not exist: the next request for it asks again, unless the list is new.
    pub(crate) fn forget(&mut self, name: &str, now: Instant) {
        if let Some(name) = self.names.take(name) {
            self.away.insert(name, now);
        }
    }

    /// Every topic but Kafka's own, which begin with two underscores.
    #[must_use]
    pub(crate) fn sorted(&self) -> Vec<String> {
        let names = self.names.iter().filter(|name| !name.starts_with("__"));
        let mut names: Vec<String> = names.map(ToString::to_string).collect();
        names.sort_unstable();
        names
    }

    /// Any topic of the cluster, for a cheap question to it.
    #[must_use]
    pub(crate) fn any(&self) -> Option<&str> {
        self.names.iter().next().map(AsRef::as_ref)
    }
}

fn in_grace(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < Topics::GRACE
}

impl Listed {
    fn valid(self) -> Duration {
        Topics::RECHECK.max(self.took * Topics::SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(names: &[&str], at: Instant, took: Duration) -> Topics {
        let mut topics = Topics::default();
        topics.list(names.iter().map(|&name| name.into()).collect(), at, took);
        topics
    }

    #[test]
    fn nothing_is_known_before_the_first_list() {
        assert_eq!(Topics::default().known("a", Instant::now()), Known::Ask);
    }

    #[test]
    fn a_listed_topic_stays_known() {
        let now = Instant::now();
        let topics = listed(&["a"], now, Duration::ZERO);
        assert_eq!(topics.known("a", now + Duration::from_secs(86_400)), Known::Yes);
    }

    #[test]
    fn an_unlisted_name_is_unknown_for_a_second_only() {
        let now = Instant::now();
        let topics = listed(&["a"], now, Duration::ZERO);
        assert_eq!(topics.known("b", now), Known::No);
        assert_eq!(topics.known("b", now + Topics::RECHECK), Known::Ask);
    }

    #[test]
    fn a_slow_list_is_fetched_less_often() {
        let now = Instant::now();
        let topics = listed(&["a"], now, Duration::from_millis(500));
        assert_eq!(topics.known("b", now + Duration::from_secs(9)), Known::No);
        assert_eq!(topics.known("b", now + Duration::from_secs(10)), Known::Ask);
    }

    #[test]
    fn a_topic_that_kafka_denies_is_away_before_it_is_unknown() {
        let now = Instant::now();
        let mut topics = listed(&["a"], now, Duration::ZERO);
        topics.forget("a", now);
        assert_eq!(topics.known("a", now), Known::Away);
        assert_eq!(topics.known("a", now + Topics::RECHECK), Known::Ask);
        let later = now + Topics::GRACE;
        topics.list(HashSet::new(), later, Duration::ZERO);
        assert_eq!(topics.known("a", later), Known::No);
    }

    #[test]
    fn a_topic_that_is_listed_no_more_is_away_before_it_is_unknown() {
        let now = Instant::now();
        let mut topics = listed(&["a", "b"], now, Duration::ZERO);
        topics.list(HashSet::from(["b".into()]), now, Duration::ZERO);
        assert_eq!(topics.known("a", now), Known::Away);
        topics.list(HashSet::from(["a".into(), "b".into()]), now, Duration::ZERO);
        assert_eq!(topics.known("a", now), Known::Yes);
        assert!(topics.away.is_empty());
    }

    #[test]
    fn a_made_up_name_takes_no_room() {
        let now = Instant::now();
        let mut topics = listed(&["a"], now, Duration::ZERO);
        topics.forget("b", now);
        assert!(topics.away.is_empty());
    }
}

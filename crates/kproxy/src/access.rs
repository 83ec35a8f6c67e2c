//! Who may do what: which topics anybody may name.

mod globs;

pub use globs::{BadGlob, Globs};

use crate::failure::Failure;

/// Which topics may be named by anybody at all. The default allows every topic.
#[derive(Clone, Debug, Default)]
pub struct TopicRules {
    /// `None` allows all.
    pub allowed: Option<Globs>,
    /// Wins over `allowed`.
    pub denied: Globs,
}

impl TopicRules {
    /// Whether `topic` may be named.
    #[must_use]
    pub fn allow(&self, topic: &str) -> bool {
        !self.denied.matches(topic) && self.allowed.as_ref().is_none_or(|allowed| allowed.matches(topic))
    }

    /// Nothing when `topic` may be named.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn check(&self, topic: &str) -> Result<(), Failure> {
        if self.allow(topic) {
            Ok(())
        } else {
            Err(Failure::TopicNotAllowed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(patterns: &[&str]) -> Globs {
        Globs::new(patterns.iter().map(ToString::to_string)).unwrap()
    }

    #[test]
    fn without_rules_every_topic_is_allowed() {
        assert!(TopicRules::default().allow("anything"));
    }

    #[test]
    fn what_is_denied_is_denied_although_it_is_allowed() {
        let rules = TopicRules {
            allowed: Some(globs(&["orders*", "audit"])),
            denied: globs(&["*.internal"]),
        };
        assert!(rules.allow("orders") && rules.allow("orders.eu") && rules.allow("audit"));
        assert!(!rules.allow("orders.internal") && !rules.allow("audits") && !rules.allow("x"));
        let only_denied = TopicRules {
            allowed: None,
            ..rules
        };
        assert!(only_denied.allow("x") && !only_denied.allow("x.internal"));
    }
}

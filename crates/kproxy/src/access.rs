//! Who asks, and what they may do: rules about topics for all, and principals where a credentials file names them.
//!
//! Without any of it nothing is looked at and nothing is allocated.

mod attempts;
mod bucket;
pub(crate) mod certificate;
mod credentials;
mod globs;
mod logins;
pub mod password;
mod principal;
mod principals;
pub(crate) mod shown;
pub mod token;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::HeaderMap;

pub(crate) use credentials::Credentials;
pub use credentials::CredentialsFile;
pub use globs::{BadGlob, Globs};
use principal::Principal;
pub use principals::SCHEMA as CREDENTIALS_SCHEMA;

use crate::failure::Failure;
use crate::request::Acks;

/// What is known of a client before it says anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    /// Its address, unless it came through a Unix socket.
    pub(crate) address: Option<SocketAddr>,
    /// The names in the certificate that it has shown and that was believed.
    pub(crate) names: Option<Arc<[String]>>,
}

impl Peer {
    /// A client with this address, of whom nothing else is known.
    #[must_use]
    pub(crate) const fn at(address: Option<SocketAddr>) -> Self {
        Self { address, names: None }
    }
}

/// Whom requests have to pass.
pub(crate) struct Gate {
    /// For everybody.
    pub(crate) rules: TopicRules,
    /// `None` lets everybody in.
    pub(crate) credentials: Option<Arc<Credentials>>,
}

/// Who sent a request.
pub(crate) struct Caller<'g> {
    rules: &'g TopicRules,
    principal: Option<Arc<Principal>>,
}

impl Gate {
    /// Who sent a request with these headers. It is counted, where requests are.
    ///
    /// # Errors
    /// Nobody who may ask anything now.
    pub(crate) async fn caller(&self, headers: &HeaderMap, peer: &Peer) -> Result<Caller<'_>, Failure> {
        let principal = match &self.credentials {
            None => None,
            Some(credentials) => Some(credentials.principal(headers, peer).await?),
        };
        Ok(Caller {
            rules: &self.rules,
            principal,
        })
    }
}

impl Caller<'_> {
    /// Nothing when this topic may be named, and these acknowledgements asked for.
    ///
    /// # Errors
    /// Nobody may, or this caller may not.
    pub(crate) fn check(&self, topic: &str, acks: Option<Acks>) -> Result<(), Failure> {
        if !self.rules.allow(topic) {
            return Err(Failure::TopicNotAllowed);
        }
        match &self.principal {
            None => Ok(()),
            Some(principal) => principal.check(topic, acks),
        }
    }

    /// Whether this topic may be named.
    pub(crate) fn may_name(&self, topic: &str) -> bool {
        self.rules.allow(topic)
            && self
                .principal
                .as_ref()
                .is_none_or(|principal| principal.may_name(topic))
    }

    /// Counts a record beside the request itself.
    pub(crate) fn spend_record(&self) {
        self.spend(1, 0);
    }

    /// Counts bytes that have arrived.
    pub(crate) fn spend_bytes(&self, bytes: usize) {
        self.spend(0, bytes as u64);
    }

    fn spend(&self, records: u64, bytes: u64) {
        if let Some(principal) = &self.principal {
            principal.spend(records, bytes, Instant::now());
        }
    }
}

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

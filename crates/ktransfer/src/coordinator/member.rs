//! Who we are in a group, and who the others are: the id of a process and the JSON of an `ids` znode.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use kcommon::kafka::TopicName;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// How this member shares partitions. A member whose znode says nothing of it follows the classic plan.
const SHARING: &str = "quota";

/// An id of this process for its whole life: `<host>:<uuid>`, as the classic clients form it.
#[must_use]
pub fn new_id() -> String {
    let name = rustix::system::uname();
    // A slash would make two znodes of one name.
    let host = name.nodename().to_string_lossy().replace('/', "-");
    format!("{host}:{}", uuid::Uuid::new_v4())
}

/// The content of our own `ids` znode. The first four fields are the classic ones, in their order.
#[derive(Debug, Serialize)]
struct Registration<'a> {
    pattern: &'static str,
    subscription: BTreeMap<&'a str, u32>,
    /// Seconds since 1970.
    timestamp: u64,
    version: u32,
    sharing: &'static str,
}

/// What is read of another member's znode.
#[derive(Debug, Deserialize)]
struct Other {
    subscription: BTreeMap<String, IgnoredAny>,
    sharing: Option<IgnoredAny>,
}

/// What an `ids` znode says of its member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Whether it takes part in sharing our topic.
    pub(super) subscribes: bool,
    /// Whether it follows the classic plan: it says nothing of how it shares.
    pub(super) classic: bool,
}

impl Member {
    /// Ourselves.
    pub(super) const US: Self = Self {
        subscribes: true,
        classic: false,
    };
    /// One whose znode is no registration: not counted. What it claims all the same is its.
    pub(super) const UNKNOWN: Self = Self {
        subscribes: false,
        classic: false,
    };
}

/// What our `ids` znode holds for a subscription to `topic`, registered at `now`.
pub(super) fn registration(topic: &TopicName, now: SystemTime) -> Vec<u8> {
    let registration = Registration {
        pattern: "static",
        subscription: BTreeMap::from([(topic.as_str(), 1)]),
        timestamp: now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        version: 1,
        sharing: SHARING,
    };
    serde_json::to_vec(&registration).expect("a struct of texts and numbers is always JSON")
}

/// What this `ids` znode says of its member, as far as `topic` is concerned.
///
/// # Errors
/// The znode is no registration.
pub(super) fn read(znode: &[u8], topic: &TopicName) -> Result<Member, serde_json::Error> {
    let other: Other = serde_json::from_slice(znode)?;
    Ok(Member {
        subscribes: other.subscription.contains_key(topic.as_str()),
        classic: other.sharing.is_none(),
    })
}

/// Whether this `ids` znode is that of a classic member.
pub(crate) fn is_classic(znode: &[u8], topic: &TopicName) -> bool {
    read(znode, topic).is_ok_and(|member| member.classic)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::try_from(name.to_owned()).unwrap()
    }

    #[test]
    fn our_registration_begins_as_a_classic_one() {
        let at = UNIX_EPOCH + Duration::from_secs(1_450_000_000);
        assert_eq!(
            String::from_utf8(registration(&topic("mail"), at)).unwrap(),
            r#"{"pattern":"static","subscription":{"mail":1},"timestamp":1450000000,"version":1,"sharing":"quota"}"#
        );
    }

    #[test]
    fn a_classic_registration_is_understood() {
        let classic =
            br#"{"pattern":"static","subscription":{"mail":1,"sms":2},"timestamp":1450000000,"version":1}"#;
        let member = |subscribes| Member {
            subscribes,
            classic: true,
        };
        assert_eq!(read(classic, &topic("sms")).unwrap(), member(true));
        assert_eq!(read(classic, &topic("fax")).unwrap(), member(false));
        let ours = registration(&topic("fax"), UNIX_EPOCH);
        assert_eq!(read(&ours, &topic("fax")).unwrap(), Member::US);
        assert!(read(b"garbage", &topic("fax")).is_err());
    }

    #[test]
    fn an_id_is_a_legal_znode_name_and_never_the_same() {
        let (one, two) = (new_id(), new_id());
        assert!(one.contains(':') && !one.contains('/'));
        assert_ne!(one, two);
    }
}

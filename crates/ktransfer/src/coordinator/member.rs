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

/// What is read of another member's znode. Classic clients write no `sharing`.
#[derive(Debug, Deserialize)]
struct Other {
    subscription: BTreeMap<String, IgnoredAny>,
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

/// Whether the member with this `ids` znode takes part in sharing `topic`.
///
/// # Errors
/// The znode is no registration. Such a member is not counted: what it claims all the same is its.
pub(super) fn subscribes(znode: &[u8], topic: &TopicName) -> Result<bool, serde_json::Error> {
    let other: Other = serde_json::from_slice(znode)?;
    Ok(other.subscription.contains_key(topic.as_str()))
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
        assert!(subscribes(classic, &topic("sms")).unwrap());
        assert!(!subscribes(classic, &topic("fax")).unwrap());
        assert!(subscribes(&registration(&topic("fax"), UNIX_EPOCH), &topic("fax")).unwrap());
        assert!(subscribes(b"garbage", &topic("fax")).is_err());
    }

    #[test]
    fn an_id_is_a_legal_znode_name_and_never_the_same() {
        let (one, two) = (new_id(), new_id());
        assert!(one.contains(':') && !one.contains('/'));
        assert_ne!(one, two);
    }
}

//! What Kafka itself keeps in ZooKeeper: the addresses of live brokers.
//!
//! The JSON is that of versions 1 to 5 of Kafka's broker znodes. A broker whose
//! znode is garbage, or that has no PLAINTEXT listener, is left out; that is no error as long as others remain.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::error::Error;
use super::layout;
use super::session::Session;

/// `host:port` of the PLAINTEXT listener of every live broker, in the order of their ids. Empty when none is
/// registered.
///
/// # Errors
/// Those of reading.
pub async fn brokers(session: &Session) -> Result<Vec<String>, Error> {
    let mut ids = session.children(layout::brokers_ids()).await?.unwrap_or_default();
    ids.sort_by_key(|id| id.parse::<i64>().unwrap_or(i64::MAX));
    let paths: Vec<String> = ids
        .iter()
        .map(|id| format!("{}/{id}", layout::brokers_ids()))
        .collect();
    let nodes = session.get_many(&paths).await?;
    let mut addresses = Vec::with_capacity(nodes.len());
    for (path, node) in paths.iter().zip(nodes) {
        // A broker that went away between the two reads is no news.
        let Some(node) = node else { continue };
        match serde_json::from_slice::<BrokerNode>(&node.data) {
            Ok(broker) => match broker.address() {
                Some(address) => addresses.push(address),
                None => tracing::warn!(
                    znode = path,
                    "broker has no PLAINTEXT listener; set broker_hosts to use it"
                ),
            },
            Err(error) => tracing::warn!(znode = path, %error, "broker znode is malformed; left out"),
        }
    }
    Ok(addresses)
}

#[derive(Deserialize)]
struct BrokerNode {
    host: Option<String>,
    #[serde(default)]
    port: i32,
    #[serde(default)]
    endpoints: Vec<String>,
    #[serde(default)]
    listener_security_protocol_map: BTreeMap<String, String>,
}

impl BrokerNode {
    /// The old fields where they are filled (Kafka fills them from the first PLAINTEXT listener), else the first
    /// endpoint whose listener speaks PLAINTEXT.
    fn address(&self) -> Option<String> {
        if let Some(host) = self.host.as_deref()
            && !host.is_empty()
            && self.port > 0
        {
            let bare_ipv6 = host.contains(':') && !host.starts_with('[');
            return Some(if bare_ipv6 {
                format!("[{host}]:{}", self.port)
            } else {
                format!("{host}:{}", self.port)
            });
        }
        self.endpoints.iter().find_map(|endpoint| {
            let (listener, address) = endpoint.split_once("://")?;
            let protocol = self
                .listener_security_protocol_map
                .get(listener)
                .map_or(listener, String::as_str);
            (protocol == "PLAINTEXT" && !address.is_empty()).then(|| address.to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(json: &str) -> Option<String> {
        serde_json::from_str::<BrokerNode>(json).unwrap().address()
    }

    #[test]
    fn every_version_of_a_broker_znode_gives_its_plaintext_address() {
        let v1 = r#"{"jmx_port":-1,"timestamp":"1","host":"k1","version":1,"port":9092}"#;
        assert_eq!(address(v1).as_deref(), Some("k1:9092"));
        let v2 = r#"{"endpoints":["PLAINTEXT://k2:9092"],"host":"k2","version":2,"port":9092}"#;
        assert_eq!(address(v2).as_deref(), Some("k2:9092"));
        let v5 = r#"{"features":{},"listener_security_protocol_map":{"TLS":"SSL","IN":"PLAINTEXT"},
            "endpoints":["TLS://k5:9093","IN://k5:9094"],"host":null,"port":-1,"version":5}"#;
        assert_eq!(address(v5).as_deref(), Some("k5:9094"));
        let ipv6 = r#"{"host":"::1","port":9092,"version":1}"#;
        assert_eq!(address(ipv6).as_deref(), Some("[::1]:9092"));
    }

    #[test]
    fn a_broker_without_plaintext_has_no_address() {
        let tls = r#"{"listener_security_protocol_map":{"SSL":"SSL"},"endpoints":["SSL://k:1"],"host":null,
            "port":-1,"version":5}"#;
        assert_eq!(address(tls), None);
        assert_eq!(address("{}"), None);
    }
}

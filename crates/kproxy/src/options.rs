//! librdkafka's own options, passed through from the configuration: TLS and SASL to the brokers, compression, and whatever else
//! kproxy has no opinion about.
//!
//! Names and values are judged by librdkafka itself before anything starts. What kproxy's promises rest on is refused by name.
//! A value may be a secret: none is ever shown, neither in a message nor by `Debug`.

use std::fmt;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;

/// Options that kproxy sets itself, with what to do instead.
const OWNED: &[(&[&str], &str)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], "set broker_hosts"),
    (
        &["acks", "request.required.acks"],
        "the request says it (acks=...)",
    ),
    (
        &["enable.idempotence", "enable.gapless.guarantee"],
        "set idempotence",
    ),
    (
        &["max.in.flight", "max.in.flight.requests.per.connection"],
        "set kafka_requests_in_flight",
    ),
    (&["linger.ms", "queue.buffering.max.ms"], "set linger_ms"),
    (
        &[
            "message.timeout.ms",
            "delivery.timeout.ms",
            "request.timeout.ms",
            "socket.timeout.ms",
        ],
        "set produce_timeout_ms, from which the answers' honesty about time-outs follows",
    ),
    (
        &["message.max.bytes", "message.copy.max.bytes"],
        "set max_request_size_bytes",
    ),
    (
        &["queue.buffering.max.messages", "queue.buffering.max.kbytes"],
        "set req_pool_size and max_inflight_bytes, which bound the queue too",
    ),
    (
        &[
            "allow.auto.create.topics",
            "topic.metadata.propagation.max.ms",
            "topic.blacklist",
        ],
        "which topics exist is asked and answered by kproxy; see topics_allowed and topics_denied",
    ),
    (
        &[
            "partitioner",
            "partitioner_cb",
            "queuing.strategy",
            "msg_order_cmp",
        ],
        "a key keeps the partition that it has always had, and records their order",
    ),
    (
        &[
            "delivery.report.only.error",
            "produce.offset.report",
            "dr_cb",
            "dr_msg_cb",
            "enabled_events",
            "background_event_cb",
        ],
        "every answer rests on the delivery report of its record",
    ),
    (
        &["transactional.id", "transaction.timeout.ms"],
        "records are not sent in transactions",
    ),
    (
        &["log_level", "log.queue", "log_cb"],
        "set log_level of kproxy.yaml itself",
    ),
    (
        &[
            "plugin.library.paths",
            "interceptors",
            "opaque",
            "default_topic_conf",
        ],
        "no foreign code runs between a record and its report",
    ),
    (
        &["enable.metrics.push"],
        "metrics are read at kproxy's admin server and are sent to nobody",
    ),
];

/// Words in the names of options whose values are secrets or lead to them.
const SECRET: [&str; 7] = [
    "password",
    "passphrase",
    "secret",
    "pem",
    "key",
    "username",
    "config",
];

/// Options in the order of the configuration; none by default.
#[derive(Clone, Default)]
pub struct Options(Vec<(String, String)>);

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.0.iter().map(|(name, _value)| name))
            .finish()
    }
}

impl Options {
    /// Takes an option after librdkafka has.
    ///
    /// # Errors
    /// Why it is refused, for people; without its value where that may be a secret.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        let owned = OWNED.iter().find(|(names, _)| names.contains(&name));
        if let Some((_, instead)) = owned {
            return Err(format!("is not taken here: {instead}"));
        }
        if self.0.iter().any(|(known, _)| known == name) {
            return Err("is given twice; remove one".to_owned());
        }
        let mut alone = ClientConfig::new();
        alone.set(name, value);
        match alone.create_native_config() {
            Ok(_) => {
                self.0.push((name.to_owned(), value.to_owned()));
                Ok(())
            }
            Err(KafkaError::ClientConfig(_, reason, ..)) if !is_secret(name) => {
                Err(format!("is refused by librdkafka: {reason}"))
            }
            Err(_) => Err("is refused by librdkafka".to_owned()),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets the options on a client's configuration; they win over what is there.
    pub(crate) fn apply(&self, client: &mut ClientConfig) {
        for (name, value) in &self.0 {
            client.set(name, value);
        }
    }
}

/// Makes a client of this configuration and ends it, without a broker: what only shows when options meet (a certificate that
/// cannot be read, a mechanism that is not built in) shows here.
///
/// # Errors
/// What librdkafka says.
pub(crate) fn try_out(mut client: ClientConfig) -> Result<(), String> {
    client.remove("bootstrap.servers");
    match client.create::<BaseProducer>() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientCreation(reason)) => Err(reason),
        // Shows no value of an option, as its Display does.
        Err(_other) => Err("the settings contradict each other".to_owned()),
    }
}

fn is_secret(name: &str) -> bool {
    SECRET.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, value: &str) -> String {
        Options::default().add(name, value).unwrap_err()
    }

    #[test]
    fn what_the_promises_rest_on_is_refused_and_known_to_librdkafka() {
        for name in OWNED.iter().flat_map(|(names, _)| *names) {
            let message = refused(name, "1");
            assert!(message.starts_with("is not taken here: "), "{name}: {message}");
            // A name that librdkafka does not know, or not any more, would refuse nothing.
            let mut alone = ClientConfig::new();
            alone.set(*name, "no such value");
            let answer = alone.create_native_config();
            let unknown = answer.is_err_and(|error| error.to_string().contains("No such configuration"));
            assert!(!unknown, "{name} is not known to librdkafka");
        }
    }

    #[test]
    fn names_and_values_are_judged_by_librdkafka() {
        assert!(refused("sasl.pasword", "x").contains("No such configuration property"));
        assert!(refused("compression.type", "zip").contains("compression"));
        assert!(refused("compression.level", "many").contains("librdkafka"));
        let mut options = Options::default();
        options.add("compression.type", "zstd").unwrap();
        options.add("sasl.password", "s3cret").unwrap();
        assert!(
            options
                .add("compression.type", "lz4")
                .unwrap_err()
                .contains("twice")
        );
        let mut client = ClientConfig::new();
        options.apply(&mut client);
        assert_eq!(client.get("compression.type"), Some("zstd"));
    }

    #[test]
    fn no_value_is_shown() {
        let mut options = Options::default();
        options.add("sasl.password", "s3cret").unwrap();
        assert_eq!(format!("{options:?}"), r#"{"sasl.password"}"#);
        // The longest that librdkafka would quote: a wrong value of an option that leads to a secret.
        assert!(!refused("no.such.password", "s3cret").contains("s3cret"));
        assert!(!refused("sasl.oauthbearer.assertion.claim.exp.seconds", "x").contains("s3cret"));
    }

    #[test]
    fn options_that_do_not_go_together_are_found_without_a_broker() {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", "127.0.0.1:1");
        assert_eq!(try_out(client.clone()), Ok(()));
        client.set("security.protocol", "ssl");
        client.set("ssl.ca.location", "/no/such/file.pem");
        assert!(try_out(client.clone()).unwrap_err().contains("ssl.ca.location"));
        client.remove("ssl.ca.location");
        client.set("security.protocol", "sasl_plaintext");
        client.set("sasl.mechanisms", "GSSAPI");
        assert!(try_out(client).unwrap_err().contains("GSSAPI"));
    }
}

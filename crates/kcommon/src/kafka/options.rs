//! librdkafka's own options, passed through from the configuration: TLS and SASL to the brokers, and whatever else a daemon has no
//! opinion about.
//!
//! Names and values are judged by librdkafka itself before anything starts. What a daemon's promises rest on is refused by name.
//! A value may be a secret: none is ever shown, neither in a message nor by `Debug`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;

/// The largest value that is read from a file, in bytes.
const MAX_VALUE_BYTES: u64 = 1024 * 1024;

/// Options that a daemon sets itself, with what to do instead.
pub type Owned = &'static [(&'static [&'static str], &'static str)];

/// Options that no daemon leaves to its file: what its log, its code and its peace rest on.
const OWNED_BY_ALL: Owned = &[
    (&["bootstrap.servers", "metadata.broker.list"], "set broker_hosts"),
    (
        &["log_level", "log.queue", "log_cb"],
        "set log_level of the daemon's own file",
    ),
    (
        &[
            "plugin.library.paths",
            "interceptors",
            "opaque",
            "default_topic_conf",
        ],
        "no foreign code runs inside the client",
    ),
    (
        &["enable.metrics.push"],
        "metrics are read at the daemon's admin server and are sent to nobody",
    ),
    (
        &["enabled_events", "background_event_cb"],
        "the daemon takes the events that it needs",
    ),
    (&["allow.auto.create.topics"], "no topic is made by asking for it"),
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
#[derive(Clone, Default, PartialEq, Eq)]
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
    pub fn add(&mut self, owned: Owned, name: &str, value: &str) -> Result<(), String> {
        let mut owned = owned.iter().chain(OWNED_BY_ALL);
        let owned = owned.find(|(names, _)| names.contains(&name));
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

    /// Takes all that a file says: options with their values, and with the files that have them; what is wrong with them goes to
    /// `refused`, with the key and the place of each in its list.
    #[must_use]
    pub fn read(
        owned: Owned,
        texts: Option<&[(String, String)]>,
        files: Option<&[(String, PathBuf)]>,
        refused: &mut dyn FnMut(&str, usize, &str, String),
    ) -> Self {
        let mut options = Self::default();
        for (nth, (name, value)) in texts.into_iter().flatten().enumerate() {
            if let Err(message) = options.add(owned, name, value) {
                refused("librdkafka", nth, name, message);
            }
        }
        for (nth, (name, path)) in files.into_iter().flatten().enumerate() {
            let taken = value_of(path).and_then(|value| options.add(owned, name, &value));
            if let Err(message) = taken {
                refused("librdkafka_files", nth, name, message);
            }
        }
        options
    }

    /// These, and beyond them those of `more`, which win.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        let kept = self
            .0
            .iter()
            .filter(|(name, _)| !more.0.iter().any(|(other, _)| other == name));
        Self(kept.chain(&more.0).cloned().collect())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets the options on a client's configuration; they win over what is there.
    pub fn apply(&self, client: &mut ClientConfig) {
        for (name, value) in &self.0 {
            client.set(name, value);
        }
    }
}

/// Makes a producer of this configuration and ends it, without a broker: what only shows when options meet (a certificate that
/// cannot be read, a mechanism that is not built in) shows here.
///
/// # Errors
/// What librdkafka says.
pub fn try_producer(mut client: ClientConfig) -> Result<(), String> {
    client.remove("bootstrap.servers");
    told(client.create::<BaseProducer>())
}

/// As [`try_producer`], for a consumer.
///
/// # Errors
/// What librdkafka says.
pub fn try_consumer(mut client: ClientConfig) -> Result<(), String> {
    client.remove("bootstrap.servers");
    told(client.create::<BaseConsumer>())
}

fn told<C>(made: Result<C, KafkaError>) -> Result<(), String> {
    match made {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientCreation(reason)) => Err(reason),
        // Shows no value of an option, as its Display does.
        Err(_other) => Err("the settings contradict each other".to_owned()),
    }
}

/// The value in a file, without a line break at its end.
fn value_of(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    if fs::metadata(path).map_err(unreadable)?.len() > MAX_VALUE_BYTES {
        return Err(format!(
            "{} has more than {MAX_VALUE_BYTES} bytes",
            path.display()
        ));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let value = text.strip_suffix('\n').unwrap_or(&text);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    Ok(value.to_owned())
}

fn is_secret(name: &str) -> bool {
    SECRET.iter().any(|word| name.contains(word))
}

/// The names of `owned` that librdkafka does not know, or not any more: such a name would refuse nothing. For tests.
#[must_use]
pub fn unknown_names(owned: Owned) -> Vec<&'static str> {
    let names = owned.iter().flat_map(|(names, _)| *names).copied();
    let unknown = |name: &&str| {
        let mut alone = ClientConfig::new();
        alone.set(*name, "no such value");
        let answer = alone.create_native_config();
        answer.is_err_and(|error| error.to_string().contains("No such configuration"))
    };
    names.filter(unknown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNED: Owned = &[(&["acks"], "the request says it")];

    fn refused(name: &str, value: &str) -> String {
        Options::default().add(OWNED, name, value).unwrap_err()
    }

    #[test]
    fn what_the_promises_rest_on_is_refused_and_known_to_librdkafka() {
        assert_eq!(unknown_names(OWNED_BY_ALL), Vec::<&str>::new());
        assert_eq!(unknown_names(&[(&["no.such"], "")]), ["no.such"]);
        assert_eq!(refused("acks", "1"), "is not taken here: the request says it");
        assert_eq!(
            refused("bootstrap.servers", "a:1"),
            "is not taken here: set broker_hosts"
        );
    }

    #[test]
    fn names_and_values_are_judged_by_librdkafka() {
        assert!(refused("sasl.pasword", "x").contains("No such configuration property"));
        assert!(refused("compression.type", "zip").contains("compression"));
        assert!(refused("compression.level", "many").contains("librdkafka"));
        let mut options = Options::default();
        options.add(OWNED, "compression.type", "zstd").unwrap();
        options.add(OWNED, "sasl.password", "s3cret").unwrap();
        let twice = options.add(OWNED, "compression.type", "lz4").unwrap_err();
        assert!(twice.contains("twice"));
        let mut client = ClientConfig::new();
        options.apply(&mut client);
        assert_eq!(client.get("compression.type"), Some("zstd"));
    }

    #[test]
    fn options_of_a_part_win_over_those_of_the_whole() {
        let options = |value| {
            let mut options = Options::default();
            options.add(OWNED, "client.rack", value).unwrap();
            options
        };
        let both = options("a").with(&options("b"));
        assert_eq!(both, options("b"));
        assert_eq!(options("a").with(&Options::default()), options("a"));
    }

    #[test]
    fn no_value_is_shown() {
        let mut options = Options::default();
        options.add(OWNED, "sasl.password", "s3cret").unwrap();
        assert_eq!(format!("{options:?}"), r#"{"sasl.password"}"#);
        // The longest that librdkafka would quote: a wrong value of an option that leads to a secret.
        assert!(!refused("no.such.password", "s3cret").contains("s3cret"));
        assert!(!refused("sasl.oauthbearer.assertion.claim.exp.seconds", "x").contains("s3cret"));
    }

    #[test]
    fn values_in_files_are_taken_without_their_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        fs::write(&path, "s3cret\r\n").unwrap();
        let mut problems = Vec::new();
        let files = [
            ("sasl.password".to_owned(), path),
            ("ssl.key.pem".to_owned(), "/no/such".into()),
        ];
        let options = Options::read(OWNED, None, Some(&files), &mut |section, nth, name, message| {
            problems.push(format!("{section}.{nth} {name} {message}"));
        });
        let mut client = ClientConfig::new();
        options.apply(&mut client);
        assert_eq!(client.get("sasl.password"), Some("s3cret"));
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].starts_with("librdkafka_files.1 ssl.key.pem /no/such cannot be read"),
            "{problems:?}"
        );
    }

    #[test]
    fn options_that_do_not_go_together_are_found_without_a_broker() {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", "127.0.0.1:1");
        assert_eq!(try_producer(client.clone()), Ok(()));
        assert_eq!(try_consumer(client.clone()), Ok(()));
        client.set("security.protocol", "ssl");
        client.set("ssl.ca.location", "/no/such/file.pem");
        assert!(
            try_producer(client.clone())
                .unwrap_err()
                .contains("ssl.ca.location")
        );
        client.remove("ssl.ca.location");
        client.set("security.protocol", "sasl_plaintext");
        client.set("sasl.mechanisms", "GSSAPI");
        assert!(try_producer(client.clone()).unwrap_err().contains("GSSAPI"));
        assert!(try_consumer(client).unwrap_err().contains("GSSAPI"));
    }
}

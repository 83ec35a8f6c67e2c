//! The keys about who may do what, and about how kproxy shows itself to the brokers.

use std::fs;
use std::path::PathBuf;

use kcommon::config::{Document, Key, Kind, Need, Problem};
use serde::Deserialize;

use crate::access::{CredentialsFile, Globs, TopicRules};
use crate::options::Options;

/// The longest file with the value of an option, in bytes.
const MAX_VALUE_BYTES: u64 = 1024 * 1024;

pub(super) const KEYS: &[Key] = &[
    Key {
        path: "topics_allowed",
        kind: Kind::TextList { min: 1 },
        need: Need::Optional,
        meaning: "The only topics that records are taken for: names, with `*` for any characters and `?` for one. Without it: every \
                  topic.",
        changed: "New.",
    },
    Key {
        path: "topics_denied",
        kind: Kind::TextList { min: 1 },
        need: Need::Optional,
        meaning: "Topics that no records are taken for, also where `topics_allowed` names them.",
        changed: "New.",
    },
    Key {
        path: "credentials_file",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "File of those who may send requests, and what each may do: [credentials.yaml](#credentialsyaml). A change of it holds \
                  within seconds; a wrong one is logged, and the one before goes on. Without it: everybody.",
        changed: "New.",
    },
    Key {
        path: "librdkafka",
        kind: Kind::Headers,
        need: Need::Optional,
        meaning: "Options of librdkafka that are passed through, such as `security.protocol: sasl_ssl`. Checked at the start; what \
                  kproxy sets itself is refused.",
        changed: "New.",
    },
    Key {
        path: "librdkafka_files",
        kind: Kind::Headers,
        need: Need::Optional,
        meaning: "The same for secrets, each as the path of the file that has the value: `sasl.password: /run/secrets/kafka`. A line \
                  break at its end is not part of it.",
        changed: "New.",
    },
];

/// The keys as they are written.
#[derive(Debug, Deserialize)]
pub(super) struct File {
    topics_allowed: Option<Vec<String>>,
    topics_denied: Option<Vec<String>>,
    credentials_file: Option<PathBuf>,
    librdkafka: Option<Vec<(String, String)>>,
    librdkafka_files: Option<Vec<(String, PathBuf)>>,
}

/// The rules of topics; what is wrong with them goes to `problems`.
pub(super) fn topics<F>(file: &File, document: &Document<F>, problems: &mut Vec<Problem>) -> TopicRules {
    let mut read = |key, patterns: &Option<Vec<String>>| {
        let globs = patterns.clone().map(Globs::new).transpose();
        globs.unwrap_or_else(|bad| {
            problems.push(document.problem(key, bad.to_string()));
            None
        })
    };
    TopicRules {
        allowed: read("topics_allowed", &file.topics_allowed),
        denied: read("topics_denied", &file.topics_denied).unwrap_or_default(),
    }
}

/// Those who may ask; what is wrong with their file goes to `problems`.
pub(super) fn credentials(file: &File, problems: &mut Vec<Problem>) -> Option<CredentialsFile> {
    let loaded = CredentialsFile::load(file.credentials_file.as_deref()?);
    loaded.map_err(|invalid| problems.extend(invalid)).ok()
}

/// librdkafka's options; what is wrong with them goes to `problems`.
pub(super) fn options<F>(file: &File, document: &Document<F>, problems: &mut Vec<Problem>) -> Options {
    let mut options = Options::default();
    let mut refused = |section: &str, nth: usize, name: &str, message: String| {
        let problem = document.problem(&format!("{section}.{nth}"), message);
        problems.push(Problem {
            key: format!("{section}.{name}"),
            ..problem
        });
    };
    for (nth, (name, value)) in file.librdkafka.iter().flatten().enumerate() {
        if let Err(message) = options.add(name, value) {
            refused("librdkafka", nth, name, message);
        }
    }
    for (nth, (name, path)) in file.librdkafka_files.iter().flatten().enumerate() {
        let taken = value_of(path).and_then(|value| options.add(name, &value));
        if let Err(message) = taken {
            refused("librdkafka_files", nth, name, message);
        }
    }
    options
}

fn value_of(path: &PathBuf) -> Result<String, String> {
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

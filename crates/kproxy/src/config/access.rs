//! The keys about who may do what, and about how kproxy shows itself to the brokers.

use std::path::PathBuf;
use std::time::Duration;

use kcommon::config::{Document, Key, Kind, Need, Problem};
use kcommon::kafka::options::Options;
use serde::Deserialize;

use crate::access::{CredentialsFile, Globs, TopicRules};
use crate::options::OWNED;
use crate::tls;

/// The word for certificates that need not be shown.
const OPTIONAL: &str = "optional";

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
        path: "tls",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "TLS 1.2 and 1.3 on every TCP socket, `port` and inherited ones, in place of plain HTTP; a Unix socket stays plain. The \
                  files are looked at once a second: changed ones hold for new connections, wrong ones are logged and not used.",
        changed: "New.",
    },
    Key {
        path: "tls.certificate",
        kind: Kind::Text,
        need: Need::Required,
        meaning: "File (PEM) of the certificate and the authorities between it and the root.",
        changed: "New.",
    },
    Key {
        path: "tls.key",
        kind: Kind::Text,
        need: Need::Required,
        meaning: "File (PEM) of the certificate's private key: RSA, ECDSA or Ed25519, without a passphrase.",
        changed: "New.",
    },
    Key {
        path: "tls.client_ca",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "File (PEM) of the authorities for certificates of clients. Without it clients are asked for none. What their names \
                  may do is said in `credentials_file`; without that file every believed certificate is let in.",
        changed: "New.",
    },
    Key {
        path: "tls.client_certificates",
        kind: Kind::OneOf(&["required", OPTIONAL]),
        need: Need::Default("required"),
        meaning: "With `client_ca`: whether a client without a certificate is let in, to show a token or a password.",
        changed: "New.",
    },
    Key {
        path: "tls.handshake_timeout_ms",
        kind: Kind::Int {
            min: 100,
            max: 600_000,
        },
        need: Need::Default("5000"),
        meaning: "From the accepted connection to the end of its handshake; then it is cut.",
        changed: "New.",
    },
    Key {
        path: "tls.max_handshakes",
        kind: Kind::Int { min: 1, max: 100_000 },
        need: Need::Default("256"),
        meaning: "Handshakes at once. More wait, within their time.",
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
    tls: Option<TlsFile>,
    librdkafka: Option<Vec<(String, String)>>,
    librdkafka_files: Option<Vec<(String, PathBuf)>>,
}

#[derive(Debug, Deserialize)]
struct TlsFile {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    client_certificates: String,
    handshake_timeout_ms: u64,
    max_handshakes: usize,
}

/// TLS, tried out; what is wrong with it goes to `problems`.
pub(super) fn tls<F>(
    file: &File,
    document: &Document<F>,
    problems: &mut Vec<Problem>,
) -> Option<tls::Settings> {
    let file = file.tls.as_ref()?;
    let settings = tls::Settings {
        certificate: file.certificate.clone(),
        key: file.key.clone(),
        client_ca: file.client_ca.clone(),
        client_optional: file.client_certificates == OPTIONAL,
        timeout: Duration::from_millis(file.handshake_timeout_ms),
        max_handshakes: file.max_handshakes,
    };
    if let Err(error) = tls::load(&settings) {
        problems.push(document.problem(&format!("tls.{}", error.key), error.message));
    }
    Some(settings)
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
    let mut refused = |section: &str, nth: usize, name: &str, message: String| {
        let problem = document.problem(&format!("{section}.{nth}"), message);
        problems.push(Problem {
            key: format!("{section}.{name}"),
            ..problem
        });
    };
    let (texts, files) = (file.librdkafka.as_deref(), file.librdkafka_files.as_deref());
    Options::read(OWNED, texts, files, &mut refused)
}

//! The keys below `protocol.tls`.

use std::path::PathBuf;

use kcommon::config::{Document, Key, Kind, Need, Problem};
use rustls::pki_types::ServerName;
use serde::Deserialize;

use super::{ModuleFile, Scheme};
use crate::tls::{Identity, Settings};

/// Whom an https module believes, and who it says it is.
pub(super) const KEYS: &[Key] = &[
    Key {
        path: "tls",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "With `name: https`: whom to believe, and which certificate to show. The files are read again when they change, and \
                  hold for new connections.",
        changed: "New.",
    },
    Key {
        path: "tls.ca_file",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "File of the authorities (PEM) that may sign the servers' certificates. Without it: those of the system.",
        changed: "New.",
    },
    Key {
        path: "tls.certificate",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "File of the certificate (PEM) that is shown to servers that ask for one, with what leads from it to its authority.",
        changed: "New.",
    },
    Key {
        path: "tls.key",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "File of the key (PEM) of `tls.certificate`; the two go together.",
        changed: "New.",
    },
    Key {
        path: "tls.server_name",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "The name that the certificate of every server has to have. Without it: the server's own name or address in \
                  `backend_servers`.",
        changed: "New.",
    },
];

/// The section as written.
#[derive(Clone, Debug, Default, Deserialize)]
pub(in crate::config) struct TlsFile {
    ca_file: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    server_name: Option<String>,
}

impl TlsFile {
    /// What the module's connections are to be; `None` = without TLS. Its files are read, to see whether they can be.
    pub(in crate::config) fn settings(
        document: &Document<ModuleFile>,
        problems: &mut Vec<Problem>,
    ) -> Option<Settings> {
        let protocol = &document.file.protocol;
        let mut others = Vec::new();
        let mut problem = |key: &str, message: String| {
            problems.push(document.problem(&format!("protocol.tls{key}"), message));
        };
        if protocol.name == Scheme::Http {
            if protocol.tls.is_some() {
                problem(
                    "",
                    "says nothing with protocol.name: http; make that https, or remove this".to_owned(),
                );
            }
            return None;
        }
        let file = protocol.tls.clone().unwrap_or_default();
        let identity = match (file.certificate, file.key) {
            (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                problem(".certificate", "needs its key: set protocol.tls.key".to_owned());
                None
            }
            (None, Some(_)) => {
                problem(
                    ".key",
                    "needs its certificate: set protocol.tls.certificate".to_owned(),
                );
                None
            }
        };
        let server_name = file.server_name.map(ServerName::try_from).transpose();
        let settings = Settings {
            authorities: file.ca_file,
            identity,
            server_name: server_name.unwrap_or_else(|_no_name| {
                problem(".server_name", "is no host name and no IP address".to_owned());
                None
            }),
        };
        if settings.server_name.is_none() {
            for (nth, server) in document.file.backend_servers.iter().enumerate() {
                if ServerName::try_from(server.host()).is_err() {
                    let message = "cannot be the name in a certificate; set protocol.tls.server_name";
                    others.push(document.problem(&format!("backend_servers.{nth}"), message));
                }
            }
        }
        if let Err(bad) = settings.load() {
            problem(&format!(".{}", bad.key), bad.message);
        }
        problems.append(&mut others);
        Some(settings)
    }
}

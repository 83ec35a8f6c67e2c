//! The keys below `protocol.auth`, and what they are read into.

use std::path::PathBuf;

use hyper::header::AUTHORIZATION;
use kcommon::config::{Document, Key, Kind, Need, Problem};
use serde::Deserialize;

use super::ModuleFile;
use crate::auth::{Login, Place, Settings};

/// Who a module says it is.
pub(super) const KEYS: &[Key] = &[
    Key {
        path: "auth",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "How pushes say who sends them. Secrets never stand in this file, but alone in a file (white space around them does \
                  not count) or in a variable of the environment. Files are read again when they change.",
        changed: "New.",
    },
    Key {
        path: "auth.basic",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "A name and a password in `Authorization`.",
        changed: "New.",
    },
    Key {
        path: "auth.basic.user",
        kind: Kind::Text,
        need: Need::Required,
        meaning: "The name, without a colon.",
        changed: "New.",
    },
    Key {
        path: "auth.basic.password",
        kind: Kind::Secret,
        need: Need::Required,
        meaning: "The password.",
        changed: "New.",
    },
    Key {
        path: "auth.bearer",
        kind: Kind::Secret,
        need: Need::Optional,
        meaning: "A token in `Authorization`; not together with `auth.basic`.",
        changed: "New.",
    },
    Key {
        path: "auth.signature",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "Sign each push as in Standard Webhooks, with the headers `webhook-id` (the same for each attempt; full stops in the \
                  topic's name are written `%2E`), `webhook-timestamp` (of the attempt) and `webhook-signature`.",
        changed: "New.",
    },
    Key {
        path: "auth.signature.key",
        kind: Kind::Secret,
        need: Need::Required,
        meaning: "The key: `whsec_` and 24 to 64 bytes in base64.",
        changed: "New.",
    },
    Key {
        path: "auth.signature.other_key",
        kind: Kind::Secret,
        need: Need::Optional,
        meaning: "A second key that signs too, while receivers change from one to the other.",
        changed: "New.",
    },
];

/// The section as written.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::config) struct AuthFile {
    basic: Option<BasicFile>,
    bearer: Option<PlaceFile>,
    signature: Option<SignatureFile>,
}

#[derive(Clone, Debug, Deserialize)]
struct BasicFile {
    user: String,
    password: PlaceFile,
}

#[derive(Clone, Debug, Deserialize)]
struct SignatureFile {
    key: PlaceFile,
    other_key: Option<PlaceFile>,
}

/// One of the two: the check of the file sees to that.
#[derive(Clone, Debug, Deserialize)]
struct PlaceFile {
    file: Option<PathBuf>,
    env: Option<String>,
}

impl From<PlaceFile> for Place {
    fn from(written: PlaceFile) -> Self {
        match written.file {
            Some(path) => Self::File(path),
            None => Self::Variable(written.env.unwrap_or_default()),
        }
    }
}

impl AuthFile {
    /// Which secrets the module has. They are read, to see whether they can be.
    pub(in crate::config) fn settings(
        document: &Document<ModuleFile>,
        problems: &mut Vec<Problem>,
    ) -> Option<Settings> {
        let protocol = &document.file.protocol;
        let file = protocol.auth.clone()?;
        let mut problem = |key: &str, message: &str| {
            problems.push(document.problem(&format!("protocol.auth{key}"), message));
        };
        if file.basic.is_some() && file.bearer.is_some() {
            problem(
                ".bearer",
                "says another Authorization than auth.basic; remove one",
            );
        }
        let mut names = protocol.headers.iter().map(|(name, _)| name);
        let says_itself = names.any(|name| name.eq_ignore_ascii_case(AUTHORIZATION.as_str()));
        if says_itself && (file.basic.is_some() || file.bearer.is_some()) {
            problem(
                "",
                "says another Authorization than protocol.headers; remove that one",
            );
        }
        if let Some(basic) = &file.basic
            && basic.user.contains(|c: char| c == ':' || c.is_control())
        {
            problem(".basic.user", "has a colon or a control character");
        }
        let (key, other_key) = match file.signature {
            Some(signature) => (Some(signature.key.into()), signature.other_key.map(Place::from)),
            None => (None, None),
        };
        let basic = file.basic.map(|basic| Login::Basic {
            user: basic.user,
            password: basic.password.into(),
        });
        let settings = Settings {
            login: basic.or_else(|| file.bearer.map(|token| Login::Bearer(token.into()))),
            key,
            other_key,
        };
        if let Err(bad) = settings.load() {
            problem(&format!(".{}", bad.key), &bad.message);
        }
        Some(settings)
    }
}

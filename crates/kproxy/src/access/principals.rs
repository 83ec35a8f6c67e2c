//! The credentials file: its table of keys, and the principals it names.
//!
//! It has a principal for each caller that is told apart, and for each what it may do. It holds hashes and digests; even these are
//! never shown, neither in a message nor by `Debug`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use kcommon::config::{self, Document, Invalid, Key, Kind, Need, Problem, Schema};
use serde::Deserialize;

use super::certificate;
use super::globs::Globs;
use super::password::Hash;
use super::principal::{Grant, Principal};
use super::token::{self, Digest, Kept};
use crate::request::Acks;

/// The principal that is everybody who shows nothing.
const ANONYMOUS: &str = "anonymous";
/// The longest name of a principal, in bytes.
const LONGEST_NAME: usize = 100;

/// The keys of a credentials file.
pub const SCHEMA: Schema = Schema {
    name: "credentials.yaml",
    groups: &[("", KEYS)],
};

const KEYS: &[Key] = &[
    Key {
        path: "principals",
        kind: Kind::Section,
        need: Need::Required,
        meaning: "Everybody who may ask kproxy for anything, by name: 1 to 100 of `a-z A-Z 0-9 . _ @ -`. The one called `anonymous`, if \
                  there is one, is everybody who shows nothing.",
        changed: "New.",
    },
    Key {
        path: "principals.*",
        kind: Kind::Section,
        need: Need::Optional,
        meaning: "What this principal shows, at least one of `password`, `tokens` and `certificates`, and what it may do.",
        changed: "New.",
    },
    Key {
        path: "principals.*.password",
        kind: Kind::Text,
        need: Need::Optional,
        meaning: "The hash of the password that it sends with its name (HTTP Basic), as `kproxy password hash` prints it (argon2id).",
        changed: "New.",
    },
    Key {
        path: "principals.*.tokens",
        kind: Kind::TextList { min: 1 },
        need: Need::Optional,
        meaning: "What is kept of the tokens that it sends (HTTP Bearer), as `kproxy token new` prints it. Two, to change from one to \
                  the other.",
        changed: "New.",
    },
    Key {
        path: "principals.*.certificates",
        kind: Kind::TextList { min: 1 },
        need: Need::Optional,
        meaning: "Names in the certificate that it shows in TLS (`tls.client_ca`): `dns:`, `uri:` or `email:` and an alternative name, or \
                  `cn:` and the subject's common name. A request with an `Authorization` header counts by that.",
        changed: "New.",
    },
    Key {
        path: "principals.*.topics",
        kind: Kind::TextList { min: 1 },
        need: Need::Required,
        meaning: "The topics that it may name, with `*` for any characters and `?` for one. `topics_allowed` and `topics_denied` of \
                  `kproxy.yaml` hold besides.",
        changed: "New.",
    },
    Key {
        path: "principals.*.acks",
        kind: Kind::TextList { min: 1 },
        need: Need::Default("[0, 1, -1]"),
        meaning: "The values of `acks` that it may ask for, out of 0, 1 and -1. `POST /topics/...` needs -1.",
        changed: "New.",
    },
    Key {
        path: "principals.*.requests_per_second",
        kind: Kind::Int {
            min: 1,
            max: 1_000_000_000,
        },
        need: Need::Optional,
        meaning: "Requests that it may send on average; one second's may come at once. Each record of a batch counts as one more. Beyond \
                  it: 429. Without it: no bound.",
        changed: "New.",
    },
    Key {
        path: "principals.*.bytes_per_second",
        kind: Kind::Int {
            min: 1024,
            max: 1_000_000_000_000,
        },
        need: Need::Optional,
        meaning: "Bytes of bodies that it may send on average, as they arrive. A body that takes more is received, and the next \
                  request waits: 429 until all is paid. Without it: no bound.",
        changed: "New.",
    },
];

#[derive(Deserialize)]
struct File {
    principals: BTreeMap<String, Written>,
}

#[derive(Deserialize)]
struct Written {
    password: Option<String>,
    tokens: Option<Vec<String>>,
    certificates: Option<Vec<String>>,
    topics: Vec<String>,
    acks: Vec<String>,
    requests_per_second: Option<u64>,
    bytes_per_second: Option<u64>,
}

/// Everybody whom a file names.
#[derive(Default)]
pub(super) struct Principals {
    by_name: HashMap<Box<str>, Arc<Principal>>,
    by_token: HashMap<Box<str>, (Digest, Arc<Principal>)>,
    by_certificate: HashMap<Box<str>, Arc<Principal>>,
}

impl fmt::Debug for Principals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

/// Reads and checks a credentials file.
///
/// # Errors
/// Every problem of the file; none shows a value.
pub(super) fn load(path: &Path) -> Result<Principals, Invalid> {
    let document = config::load::<File>(path, &SCHEMA)?;
    let mut problems = Vec::new();
    let mut principals = Principals::default();
    for (name, written) in &document.file.principals {
        let mut reader = Reader {
            document: &document,
            name,
            problems: &mut problems,
        };
        let (principal, tokens) = reader.principal(written);
        let principal = Arc::new(principal);
        for (nth, token) in tokens {
            let taken = (token.digest, Arc::clone(&principal));
            if principals.by_token.insert(token.id, taken).is_some() {
                reader.problem(
                    &format!("tokens.{nth}"),
                    "has an id that another token has; make a new one",
                );
            }
        }
        for (nth, text) in written.certificates.iter().flatten().enumerate() {
            let taken = (text.as_str().into(), Arc::clone(&principal));
            let key = format!("certificates.{nth}");
            if !certificate::is_name(text) {
                reader.problem(
                    &key,
                    "is no name of a certificate; allowed: dns:, uri:, email: or cn: and the name",
                );
            } else if principals.by_certificate.insert(taken.0, taken.1).is_some() {
                reader.problem(&key, "is a name that another principal has; remove one");
            }
        }
        principals.by_name.insert(name.as_str().into(), principal);
    }
    Invalid::check(problems)?;
    Ok(principals)
}

impl Principals {
    /// The principal of this name.
    pub(super) fn named(&self, name: &str) -> Option<&Arc<Principal>> {
        self.by_name.get(name)
    }

    /// The principal whose token this is.
    pub(super) fn with_token(&self, token: &str) -> Option<&Arc<Principal>> {
        let (id, secret) = token::split(token)?;
        let (digest, principal) = self.by_token.get(id)?;
        digest.is_of(secret).then_some(principal)
    }

    /// The principal whose certificate has this name.
    pub(super) fn with_certificate(&self, name: &str) -> Option<&Arc<Principal>> {
        self.by_certificate.get(name)
    }

    /// The principal of everybody who shows nothing.
    pub(super) fn anonymous(&self) -> Option<&Arc<Principal>> {
        self.by_name.get(ANONYMOUS)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }
}

/// Reads one principal.
struct Reader<'r> {
    document: &'r Document<File>,
    name: &'r str,
    problems: &'r mut Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, key: &str, message: &str) {
        let mut path = format!("principals.{}", self.name);
        if !key.is_empty() {
            path = format!("{path}.{key}");
        }
        self.problems.push(self.document.problem(&path, message));
    }

    fn principal(&mut self, written: &Written) -> (Principal, Vec<(usize, Kept)>) {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-');
        if self.name.is_empty() || self.name.len() > LONGEST_NAME || !self.name.bytes().all(legal) {
            self.problem(
                "",
                "is no name for a principal; allowed: 1 to 100 of a-z A-Z 0-9 . _ @ -",
            );
        }
        let shows = written.password.is_some() || written.tokens.is_some() || written.certificates.is_some();
        if shows && self.name == ANONYMOUS {
            self.problem(
                "",
                "shows nothing, so it has no password, tokens or certificates; choose another name",
            );
        }
        if !shows && self.name != ANONYMOUS {
            self.problem(
                "",
                "has no password, tokens or certificates, so nobody could be it; give one",
            );
        }
        let grant = Grant {
            topics: self.topics(&written.topics),
            acks: self.acks(&written.acks),
            requests: written.requests_per_second,
            bytes: written.bytes_per_second,
        };
        let principal = Principal::new(self.name, grant, self.password(written.password.as_deref()));
        (
            principal,
            self.tokens(written.tokens.as_deref().unwrap_or_default()),
        )
    }

    fn topics(&mut self, patterns: &[String]) -> Globs {
        Globs::new(patterns.iter().cloned()).unwrap_or_else(|bad| {
            self.problem("topics", &bad.to_string());
            Globs::default()
        })
    }

    fn acks(&mut self, words: &[String]) -> [bool; 3] {
        let mut allowed = [false; 3];
        for word in words {
            match Acks::EVERY.into_iter().find(|acks| acks.as_str() == word) {
                Some(acks) => allowed[acks.index()] = true,
                None => self.problem("acks", "has an entry that is none of 0, 1 and -1"),
            }
        }
        allowed
    }

    fn password(&mut self, written: Option<&str>) -> Option<Hash> {
        match written.map(Hash::parse)? {
            Ok(hash) => Some(hash),
            Err(bad) => {
                self.problem("password", &bad.to_string());
                None
            }
        }
    }

    fn tokens(&mut self, written: &[String]) -> Vec<(usize, Kept)> {
        let mut tokens = Vec::new();
        for (nth, text) in written.iter().enumerate() {
            match Kept::parse(text) {
                Some(kept) => tokens.push((nth, kept)),
                None => self.problem(
                    &format!("tokens.{nth}"),
                    "is not what is kept of a token; `kproxy token new` prints it",
                ),
            }
        }
        tokens
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::password::tests::cheap;
    use super::*;

    /// A file with this text, read.
    pub(in super::super) fn read(text: &str) -> Result<Principals, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials.yaml");
        std::fs::write(&path, text).unwrap();
        load(&path).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn a_principal_is_found_by_its_name_and_its_tokens() {
        let (one, two) = (token::fresh().unwrap(), token::fresh().unwrap());
        let text = format!(
            "principals:\n  shop@eu:\n    password: '{}'\n    tokens: [\"{}\", \"{}\"]\n    topics: [\"orders.*\"]\n    acks: [-1]\n  \
             anonymous:\n    topics: [open]\n",
            cheap("pass"),
            one.kept,
            two.kept
        );
        let principals = read(&text).unwrap();
        assert_eq!(principals.len(), 2);
        for token in [&one.token, &two.token] {
            assert_eq!(principals.with_token(token).unwrap().name(), "shop@eu");
        }
        let (id, _) = one.token.split_once('.').unwrap();
        let (_, secret) = two.token.split_once('.').unwrap();
        for token in [
            &format!("{id}.{secret}"),
            id,
            &format!("{id}."),
            &format!(".{secret}"),
            "",
            ".",
        ] {
            assert!(principals.with_token(token).is_none(), "{token}");
        }
        assert!(principals.named("shop@eu").is_some() && principals.named("shop").is_none());
        assert!(principals.anonymous().is_some());
        let shown = format!("{principals:?}");
        assert!(
            shown.contains("shop@eu") && !shown.contains("argon2") && !shown.contains(id),
            "{shown}"
        );
    }

    #[test]
    fn every_problem_is_told_with_its_place_and_no_value() {
        let kept = token::fresh().unwrap().kept;
        let text = format!(
            "principals:\n  a b:\n    password: s3cret\n    topics: [x]\n  nobody:\n    topics: [\"a/b\"]\n  anonymous:\n    \
             tokens: [\"{kept}\"]\n    topics: [x]\n  again:\n    tokens: [s3cret, \"{kept}\"]\n    topics: [x]\n    acks: [2]\n    \
             request_per_second: 5\n"
        );
        let refused = read(&text).unwrap_err();
        assert!(
            refused.contains("request_per_second") && refused.contains("requests_per_second"),
            "{refused}"
        );
        let refused = read(&text.replace("    request_per_second: 5\n", "")).unwrap_err();
        for (line, word) in [
            (2, "principals.a b: is no name"),
            (3, "principals.a b.password: is no argon2id hash"),
            (5, "principals.nobody: has no password"),
            (6, "principals.nobody.topics: is \"a/b\""),
            (7, "principals.anonymous: shows nothing"),
            (11, "principals.again.tokens.0: is not what is kept"),
            (8, "has an id that another token has"),
            (13, "principals.again.acks: has an entry"),
        ] {
            let found = refused.lines().find(|found| found.contains(word));
            let found = found.unwrap_or_else(|| panic!("{word}: {refused}"));
            assert!(found.contains(&format!("credentials.yaml:{line}:")), "{found}");
        }
        assert!(
            !refused.contains("s3cret") && !refused.contains(&kept),
            "{refused}"
        );
    }
}

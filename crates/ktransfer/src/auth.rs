//! Who we are to the back ends: a password, a token, keys that sign. All of them are secrets that stand in files or in the
//! environment, never in a module's file, and are shown nowhere.
//!
//! It reads files, so it is called where blocking is allowed.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use kcommon::secret::Secret;

use crate::signature::Signer;

/// Which secrets there are, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What `Authorization` says; `None` = there is no such header.
    pub login: Option<Login>,
    /// The key that signs pushes; `None` = they are not signed.
    pub key: Option<Place>,
    /// A second key, while receivers change from one to the other.
    pub other_key: Option<Place>,
}

/// What `Authorization` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A name and a password.
    Basic {
        /// The name, without a colon.
        user: String,
        /// The password.
        password: Place,
    },
    /// A token.
    Bearer(Place),
}

/// Where a secret stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file, alone.
    File(PathBuf),
    /// In a variable of the environment.
    Variable(String),
}

/// The secrets as they are now.
#[derive(Debug)]
pub struct Credentials {
    /// `Authorization`. Sensitive: its `Debug` does not show it.
    pub authorization: Option<HeaderValue>,
    /// Signs pushes.
    pub signer: Option<Signer>,
}

/// Why a secret cannot be used; the key below `protocol.auth`, and what is wrong with it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("protocol.auth.{key} {message}")]
pub struct BadSecret {
    /// `basic.password`, `bearer`, `signature.key` or `signature.other_key`.
    pub key: &'static str,
    /// For people. Never the secret.
    pub message: String,
}

impl Settings {
    /// The files, to be watched.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let login = self.login.as_ref().map(|login| match login {
            Login::Basic { password, .. } => password,
            Login::Bearer(token) => token,
        });
        let places = [login, self.key.as_ref(), self.other_key.as_ref()];
        places.into_iter().flatten().filter_map(|place| match place {
            Place::File(path) => Some(&**path),
            Place::Variable(_) => None,
        })
    }

    /// Reads the secrets.
    ///
    /// # Errors
    /// One of them is not there or cannot be used.
    pub fn load(&self) -> Result<Credentials, BadSecret> {
        let authorization = self.login.as_ref().map(|login| match login {
            Login::Basic { user, password } => {
                let password = read("basic.password", password)?;
                let login = STANDARD.encode(format!("{user}:{}", password.reveal()));
                header("basic.password", &format!("Basic {login}"))
            }
            Login::Bearer(token) => {
                let token = read("bearer", token)?;
                header("bearer", &format!("Bearer {}", token.reveal()))
            }
        });
        let keys = [
            ("signature.key", &self.key),
            ("signature.other_key", &self.other_key),
        ];
        let keys = keys
            .into_iter()
            .filter_map(|(key, place)| Some((key, place.as_ref()?)));
        let keys = keys.map(|(key, place)| {
            let secret = read(key, place)?;
            // Each by itself first, so that the message names the right one.
            let checked = Signer::new([secret.reveal()]);
            checked.map(|_signer| secret).map_err(|error| bad(key, &error))
        });
        let keys: Vec<Secret> = keys.collect::<Result<_, _>>()?;
        let signer = (!keys.is_empty()).then(|| Signer::new(keys.iter().map(Secret::reveal)));
        Ok(Credentials {
            authorization: authorization.transpose()?,
            signer: signer.transpose().map_err(|error| bad("signature.key", &error))?,
        })
    }
}

fn bad(key: &'static str, message: &dyn ToString) -> BadSecret {
    BadSecret {
        key,
        message: message.to_string(),
    }
}

fn read(key: &'static str, place: &Place) -> Result<Secret, BadSecret> {
    let secret = match place {
        Place::File(path) => Secret::in_file(&path.to_string_lossy()),
        Place::Variable(name) => Secret::in_variable(name),
    };
    secret.map_err(|message| bad(key, &message))
}

fn header(key: &'static str, text: &str) -> Result<HeaderValue, BadSecret> {
    let value = HeaderValue::from_str(text);
    let mut value = value.map_err(|_illegal| bad(key, &"holds what cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn settings() -> Settings {
        Settings {
            login: None,
            key: None,
            other_key: None,
        }
    }

    #[test]
    fn secrets_are_read_anew_each_time_and_shown_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let bearer = Settings {
            login: Some(Login::Bearer(Place::File(path.clone()))),
            ..settings()
        };
        for token in ["sesame-1", "sesame-2"] {
            std::fs::write(&path, format!("{token}\n")).unwrap();
            let credentials = bearer.load().unwrap();
            assert_eq!(
                credentials.authorization.as_ref().unwrap(),
                &format!("Bearer {token}")
            );
            assert!(!format!("{credentials:?}").contains(token));
        }
        let basic = Settings {
            login: Some(Login::Basic {
                user: "Aladdin".to_owned(),
                password: Place::File(path.clone()),
            }),
            ..settings()
        };
        std::fs::write(&path, "open sesame").unwrap();
        let credentials = basic.load().unwrap();
        assert_eq!(
            credentials.authorization.unwrap(),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        std::fs::write(&path, KEY).unwrap();
        let signing = Settings {
            key: Some(Place::File(path.clone())),
            ..settings()
        };
        let credentials = signing.load().unwrap();
        assert!(credentials.authorization.is_none() && credentials.signer.is_some());
        assert!(!format!("{credentials:?}{signing:?}").contains("MfKQ"));
        assert_eq!(signing.files().collect::<Vec<_>>(), [&*path]);
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_told_by_its_key_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(Place::File(path))
        };
        let absent = || Some(Place::Variable("KTRANSFER_NO_SUCH_SECRET".to_owned()));
        let bearer = |place: Option<Place>| Settings {
            login: place.map(Login::Bearer),
            ..settings()
        };
        for (settings, message) in [
            (bearer(absent()), "protocol.auth.bearer names the variable"),
            (bearer(file("two", "hush\nhush")), "protocol.auth.bearer names"),
            (
                bearer(Some(Place::File("/no/such/file".into()))),
                "which cannot be read",
            ),
            (
                Settings {
                    key: file("good", KEY),
                    other_key: file("bad", "hush"),
                    ..settings()
                },
                "protocol.auth.signature.other_key holds no key",
            ),
        ] {
            let error = settings.load().unwrap_err().to_string();
            assert!(error.contains(message) && !error.contains("hush"), "{error}");
        }
    }
}

//! The principals that hold now, and who of them asks.
//!
//! The credentials file is looked at once a second. A changed one that is valid takes the place of the old, with nothing
//! remembered of it; a wrong one is told of, and the old goes on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use kcommon::config::Invalid;

use super::Peer;
use super::logins::{Logins, NoRandom};
use super::principal::Principal;
use super::principals::{self, Principals};
use super::shown::Shown;
use crate::failure::Failure;
use crate::meters::{self, ReloadedFile};
use crate::watched;

/// A credentials file that was read, for the configuration.
#[derive(Debug)]
pub struct CredentialsFile {
    path: PathBuf,
    principals: Principals,
}

impl CredentialsFile {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// Every problem of it.
    pub fn load(path: &Path) -> Result<Self, Invalid> {
        Ok(Self {
            path: path.to_owned(),
            principals: principals::load(path)?,
        })
    }
}

/// Everybody who may ask for anything.
pub(crate) struct Credentials {
    path: PathBuf,
    current: RwLock<Arc<Principals>>,
    logins: Logins,
}

impl Credentials {
    /// Those of a file.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(crate) fn new(file: CredentialsFile) -> Result<Self, NoRandom> {
        tracing::info!(
            principals = file.principals.len(),
            "callers have to show who they are"
        );
        Ok(Self {
            path: file.path,
            current: RwLock::new(Arc::new(file.principals)),
            logins: Logins::new()?,
        })
    }

    /// Who asks, with the request counted.
    ///
    /// # Errors
    /// It is nobody who is known, or has spent what it may.
    pub(super) async fn principal(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Arc<Principal>, Failure> {
        let found = self.find(headers, peer).await;
        let principal = found.inspect_err(|failure| meters::login_refused(failure.told().code))?;
        principal.admit(Instant::now())?;
        Ok(principal)
    }

    async fn find(&self, headers: &HeaderMap, peer: &Peer) -> Result<Arc<Principal>, Failure> {
        let principals = self.current();
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let value = match (given.next(), given.next()) {
            (None, _) => return known(&principals, peer),
            (Some(value), None) => value,
            (Some(_), Some(_)) => return Err(Failure::BadCredentials),
        };
        match Shown::of(value.as_bytes()).ok_or(Failure::BadCredentials)? {
            Shown::Token(token) => principals
                .with_token(&token)
                .cloned()
                .ok_or(Failure::BadCredentials),
            Shown::Password { user, password } => match self.logins.remembered(&principals, &user, &password)
            {
                Some(principal) => Ok(principal),
                // Rare and large: apart, so that every other request is smaller.
                None => {
                    Box::pin(self.logins.verify(
                        &principals,
                        &user,
                        password,
                        peer.address.map(|address| address.ip()),
                    ))
                    .await
                }
            },
        }
    }

    fn current(&self) -> Arc<Principals> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Follows the file until the future is dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        let path = self.path.clone();
        watched::follow(ReloadedFile::Credentials, [path], move || self.reload()).await;
    }

    /// Reads the file; false when it is wrong and the one before goes on.
    fn reload(&self) -> bool {
        match principals::load(&self.path) {
            Ok(principals) => {
                tracing::info!(
                    principals = principals.len(),
                    "the credentials file has changed and holds"
                );
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(principals);
                true
            }
            Err(invalid) => {
                for problem in invalid.problems() {
                    tracing::error!(%problem, "the credentials file is wrong; the one before goes on");
                }
                false
            }
        }
    }
}

/// Who shows no more than a certificate, or nothing.
fn known(principals: &Principals, peer: &Peer) -> Result<Arc<Principal>, Failure> {
    let by_name = peer.names.iter().flat_map(|names| names.iter());
    let mut by_name = by_name.filter_map(|name| principals.with_certificate(name));
    let found = by_name.next().or_else(|| principals.anonymous());
    found.cloned().ok_or(if peer.names.is_some() {
        Failure::BadCredentials
    } else {
        Failure::NoCredentials
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::super::password::tests::cheap;
    use super::super::token;
    use super::*;

    struct Scene {
        _directory: tempfile::TempDir,
        path: PathBuf,
        credentials: Arc<Credentials>,
    }

    fn scene(text: &str) -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials.yaml");
        std::fs::write(&path, text).unwrap();
        let file = CredentialsFile::load(&path).unwrap();
        Scene {
            _directory: directory,
            path,
            credentials: Arc::new(Credentials::new(file).unwrap()),
        }
    }

    async fn who(credentials: &Credentials, shown: &[&str]) -> Result<String, Failure> {
        let mut headers = HeaderMap::new();
        for value in shown {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let principal = credentials.principal(&headers, &Peer::default()).await?;
        Ok(principal.name().to_owned())
    }

    #[tokio::test]
    async fn who_asks_is_told_by_what_is_shown() {
        let token = token::fresh().unwrap();
        let named = format!(
            "principals:\n  shop: {{password: '{}', topics: ['*']}}\n  bank: {{tokens: ['{}'], topics: ['*']}}\n",
            cheap("pass"),
            token.kept
        );
        let scene = scene(&named);
        let credentials = &scene.credentials;
        let bearer = format!("Bearer {}", token.token);
        let basic = "Basic c2hvcDpwYXNz";
        for _ in 0..2 {
            assert_eq!(who(credentials, &[basic]).await.unwrap(), "shop");
        }
        assert_eq!(who(credentials, &[&bearer]).await.unwrap(), "bank");
        assert_eq!(who(credentials, &[]).await, Err(Failure::NoCredentials));
        for wrong in [
            &[basic, basic][..],
            &["Bearer a.b"],
            &["Basic x"],
            &["Negotiate x"],
            &["Basic c2hvcDp4"],
        ] {
            assert_eq!(
                who(credentials, wrong).await,
                Err(Failure::BadCredentials),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn a_changed_file_holds_and_a_wrong_one_does_not() {
        let text = |name: &str| format!("principals: {{anonymous: {{topics: ['{name}']}}}}\n");
        let scene = scene(&text("a"));
        let may = |name: &str| scene.credentials.current().anonymous().unwrap().may_name(name);
        std::fs::write(&scene.path, text("b")).unwrap();
        assert!(may("a") && scene.credentials.reload());
        assert!(may("b") && !may("a"));
        for wrong in ["", "principals: {anonymous: {topics: ['c'], wrong: 1}}\n"] {
            std::fs::write(&scene.path, wrong).unwrap();
            assert!(!scene.credentials.reload() && may("b") && !may("c"), "{wrong}");
        }
        std::fs::remove_file(&scene.path).unwrap();
        assert!(!scene.credentials.reload() && may("b"));
    }
}

//! TLS towards the back ends: whom we believe, and the certificate that we show.
//!
//! It reads files, so it is called where blocking is allowed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// TLS as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The authorities of the servers' certificates (PEM); `None` = those of the system.
    pub authorities: Option<PathBuf>,
    /// Who we are; `None` = nobody in particular.
    pub identity: Option<Identity>,
    /// The name in the servers' certificates; `None` = the host of each in `backend_servers`.
    pub server_name: Option<ServerName<'static>>,
}

/// What we show to servers that ask for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate and what leads from it to its authority (PEM).
    pub certificate: PathBuf,
    /// The certificate's key (PEM).
    pub key: PathBuf,
}

/// Why TLS cannot be had; the key below `protocol.tls`, and what is wrong with it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("protocol.tls.{key} {message}")]
pub struct BadTls {
    /// `ca_file`, `certificate` or `key`.
    pub key: &'static str,
    /// For people.
    pub message: String,
}

impl Settings {
    /// The files, to be watched.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let identity = self.identity.iter();
        let shown = identity.flat_map(|identity| [&*identity.certificate, &*identity.key]);
        self.authorities.as_deref().into_iter().chain(shown)
    }

    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn load(&self) -> Result<Arc<ClientConfig>, BadTls> {
        let bad = |key, message| BadTls { key, message };
        let authorities = self.authorities.as_ref().map(std::fs::read).transpose();
        let authorities = authorities.map_err(|error| bad("ca_file", format!("cannot be read: {error}")))?;
        let client = kcommon::tls::client(authorities.as_deref());
        let client = client.map_err(|message| bad("ca_file", message))?;
        let mut config = match &self.identity {
            None => client.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_file(&identity.key)
                    .map_err(|error| bad("key", format!("has no private key in PEM: {error}")))?;
                let chain = certificates(&identity.certificate).map_err(|why| bad("certificate", why))?;
                let shown = client.with_client_auth_cert(chain, key);
                let mismatch = |error| format!("does not go with protocol.tls.certificate: {error}");
                shown.map_err(|error| bad("key", mismatch(error)))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| format!("cannot be read as PEM: {error}"))?;
    if found.is_empty() {
        return Err("has no certificate in PEM".to_owned());
    }
    Ok(found)
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::crypto::aws_lc_rs;
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig};

    use super::*;

    /// An authority, whose certificates are written into a directory.
    pub(crate) struct Authority {
        issuer: Issuer<'static, KeyPair>,
        root: CertificateDer<'static>,
        directory: tempfile::TempDir,
    }

    impl Authority {
        pub(crate) fn new() -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let root = params.self_signed(&key).unwrap();
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("ca.pem"), root.pem()).unwrap();
            Self {
                root: root.der().clone(),
                issuer: Issuer::new(params, key),
                directory,
            }
        }

        pub(crate) fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        /// Writes `<name>.pem` and `<name>.key`, for this host.
        pub(crate) fn issue(&self, name: &str, host: &str) {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        }

        /// Who believes this authority and shows nothing.
        pub(crate) fn settings(&self) -> Settings {
            Settings {
                authorities: Some(self.path("ca.pem")),
                identity: None,
                server_name: None,
            }
        }

        pub(crate) fn identity(&self, name: &str) -> Identity {
            Identity {
                certificate: self.path(&format!("{name}.pem")),
                key: self.path(&format!("{name}.key")),
            }
        }

        /// A server with the certificate of this name; it wants one of this authority from its clients, or none.
        pub(crate) fn server(&self, name: &str, wants_clients: bool) -> Arc<ServerConfig> {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .unwrap();
            let builder = if wants_clients {
                let mut roots = RootCertStore::empty();
                roots.add(self.root.clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            } else {
                builder.with_no_client_auth()
            };
            let identity = self.identity(name);
            let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
            let chain = certificates(&identity.certificate).unwrap();
            Arc::new(builder.with_single_cert(chain, key).unwrap())
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_told_by_its_key() {
        let authority = Authority::new();
        for name in ["one", "two"] {
            authority.issue(name, "localhost");
        }
        std::fs::write(authority.path("empty"), "").unwrap();
        std::fs::write(authority.path("half"), "-----BEGIN CERTIFICATE-----\nAAAA").unwrap();
        let good = Settings {
            identity: Some(authority.identity("one")),
            ..authority.settings()
        };
        assert!(good.load().is_ok() && good.files().count() == 3);
        let with = |certificate: &str, key: &str| Settings {
            identity: Some(Identity {
                certificate: authority.path(certificate),
                key: authority.path(key),
            }),
            ..authority.settings()
        };
        let believing = |name: &str| Settings {
            authorities: Some(authority.path(name)),
            ..authority.settings()
        };
        for (settings, key, message) in [
            (believing("nowhere"), "ca_file", "cannot be read"),
            (believing("empty"), "ca_file", "no certificate authority"),
            (believing("half"), "ca_file", "no certificate"),
            (with("nowhere", "one.key"), "certificate", "cannot be read"),
            (with("empty", "one.key"), "certificate", "no certificate in PEM"),
            (with("one.pem", "nowhere"), "key", "no private key"),
            (with("one.pem", "one.pem"), "key", "no private key"),
            (with("one.pem", "two.key"), "key", "does not go with"),
        ] {
            let bad = settings.load().unwrap_err();
            assert!(bad.key == key && bad.message.contains(message), "{bad}");
        }
    }
}

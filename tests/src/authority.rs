//! A certificate authority for tests of TLS.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// Signs certificates of `localhost` and 127.0.0.1.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    /// Its own certificate (PEM), for those who are to believe it.
    pub pem: String,
}

impl Authority {
    /// An authority that nobody knows yet.
    ///
    /// # Panics
    /// When no certificate can be made.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("a root can be signed");
        Self {
            pem: root.pem(),
            root: root.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate and its key, both PEM.
    ///
    /// # Panics
    /// When no certificate can be made.
    #[must_use]
    pub fn issue(&self) -> (String, String) {
        let (certificate, key) = self.signed();
        (certificate.pem(), key.serialize_pem())
    }

    /// What a server needs that takes only clients with a certificate of this authority.
    ///
    /// # Panics
    /// When no certificate can be made.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("its own certificate is one");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let (certificate, key) = self.signed();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("its own key is one");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows the default versions")
            .with_client_cert_verifier(verifier.build().expect("there is one root"))
            .with_single_cert(vec![certificate.der().clone()], key);
        Arc::new(config.expect("the two go together"))
    }

    fn signed(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key can be made");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect("both are names");
        let certificate = params.signed_by(&key, &self.issuer);
        (certificate.expect("a certificate can be signed"), key)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

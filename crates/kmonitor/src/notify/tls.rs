//! The TLS of clients: whom they believe.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// What believes the authorities in `pem`, or without it those of the system.
///
/// # Errors
/// There is no authority, or one is no certificate.
pub(crate) fn client(pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate =
                    certificate.map_err(|error| format!("holds no certificates in PEM: {error}"))?;
                roots
                    .add(certificate)
                    .map_err(|error| format!("holds a certificate that cannot be used: {error}"))?;
            }
        }
        // Some of a system's authorities may be unusable; those that are left do.
        None => {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
        }
    }
    if roots.is_empty() {
        return Err("no certificate authority is known: install ca-certificates, or set ca_file".to_owned());
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?;
    Ok(Arc::new(
        config.with_root_certificates(roots).with_no_client_auth(),
    ))
}

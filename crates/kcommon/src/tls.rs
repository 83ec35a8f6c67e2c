//! TLS: the one provider of the process, and whom its clients believe.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

/// Installs the provider; the first call wins, later ones change nothing. Two crates that each bring their own make rustls refuse to
/// choose.
pub fn install_provider() {
    if aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
}

/// A client that believes the authorities in `pem`, or without it those of the system; it has yet to say whether it shows a
/// certificate of its own.
///
/// # Errors
/// There is no authority, or one is no certificate.
pub fn client(pem: Option<&[u8]>) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?;
    Ok(builder.with_root_certificates(authorities(pem)?))
}

fn authorities(pem: Option<&[u8]>) -> Result<RootCertStore, String> {
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
    Ok(roots)
}

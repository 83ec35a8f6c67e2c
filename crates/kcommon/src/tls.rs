//! The one TLS provider of the process. Two crates that each bring their own make rustls refuse to choose.

use rustls::crypto::aws_lc_rs;

/// Installs the provider; the first call wins, later ones change nothing.
pub fn install_provider() {
    if aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
}

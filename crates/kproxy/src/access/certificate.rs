//! The names in a client's certificate, as the credentials file writes them. Pure.
//!
//! Whether the certificate is to be believed was decided in the handshake; here it is only read.

use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// What a name may begin with.
const KINDS: [&str; 4] = ["dns:", "uri:", "email:", "cn:"];

/// The names of a certificate in their order: the alternative ones (`dns:`, `uri:`, `email:`), then the subject's common name
/// (`cn:`). None when it cannot be read.
#[must_use]
pub(crate) fn names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative.iter().flat_map(|names| &names.value.general_names);
    let mut names: Vec<String> = alternative
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(format!("dns:{}", name.to_ascii_lowercase())),
            GeneralName::URI(name) => Some(format!("uri:{name}")),
            GeneralName::RFC822Name(name) => Some(format!("email:{name}")),
            _ => None,
        })
        .collect();
    let common = certificate.subject().iter_common_name();
    names.extend(common.filter_map(|name| Some(format!("cn:{}", name.as_str().ok()?))));
    names
}

/// Seconds since 1970 after which a certificate is not believed any more; `None` when it cannot be read.
#[must_use]
pub(crate) fn expires(certificate: &[u8]) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Whether a text can be the name of a certificate.
#[must_use]
pub(super) fn is_name(text: &str) -> bool {
    KINDS
        .iter()
        .any(|kind| text.strip_prefix(kind).is_some_and(|name| !name.is_empty()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn every_kind_of_name_is_read_in_its_order() {
        let mut params =
            CertificateParams::new(vec!["Shop.Example.com".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        params.subject_alt_names.extend([
            SanType::URI("spiffe://example/shop".try_into().unwrap()),
            SanType::Rfc822Name("shop@example.com".try_into().unwrap()),
        ]);
        params.distinguished_name.push(DnType::CommonName, "The Shop");
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let read = names(certificate.der());
        assert_eq!(
            read,
            [
                "dns:shop.example.com",
                "uri:spiffe://example/shop",
                "email:shop@example.com",
                "cn:The Shop"
            ]
        );
        assert!(read.iter().all(|name| is_name(name)));
        assert_eq!(expires(certificate.der()), Some(1_893_456_000));
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        assert!(names(b"").is_empty() && names(&[0x30, 0x82, 0xff]).is_empty());
        assert_eq!(expires(b"x"), None);
        for text in ["", "shop", "cn:", "CN=shop", "ip:10.0.0.1"] {
            assert!(!is_name(text), "{text}");
        }
    }
}

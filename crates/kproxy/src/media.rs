//! How a request says what its body is. Pure.

use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;

/// The media type of a request's `Content-Type`, in small letters and without parameters; empty when there is none.
#[must_use]
pub(crate) fn media_type(headers: &HeaderMap) -> Vec<u8> {
    let named = headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    let essence = named.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn parameters_case_and_blanks_do_not_matter() {
        let of = |text| {
            let named = [(CONTENT_TYPE, HeaderValue::from_static(text))];
            media_type(&named.into_iter().collect())
        };
        assert_eq!(
            of(" Application/X-NDJSON ; charset=utf-8"),
            b"application/x-ndjson"
        );
        assert_eq!(of(""), b"");
        assert_eq!(media_type(&HeaderMap::new()), b"");
    }
}

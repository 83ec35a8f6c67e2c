//! Signatures of pushes as in Standard Webhooks: HMAC-SHA256 over id, time and body. Pure: the time is an argument.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::HeaderValue;

/// Lengths of a key that the standard allows, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The keys that sign: one, or two while receivers change from one to the other.
#[derive(Debug)]
pub struct Signer {
    keys: Vec<hmac::Key>,
}

/// A text that is no key of Standard Webhooks. It says nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "holds no key of Standard Webhooks: whsec_ and 24 to 64 random bytes in base64, such as `whsec_$(openssl rand -base64 32)`"
)]
pub struct BadKey;

impl Signer {
    /// Signs with each of these keys, written as `whsec_…`.
    ///
    /// # Errors
    /// One of them is none.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, BadKey> {
        let keys = keys.into_iter().map(|text| {
            let bytes = text
                .strip_prefix("whsec_")
                .and_then(|text| STANDARD.decode(text).ok());
            let bytes = bytes
                .filter(|bytes| LENGTHS.contains(&bytes.len()))
                .ok_or(BadKey)?;
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        });
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
        })
    }

    /// Adds the headers that vouch for `body`. `id` is the same for each attempt; full stops in it are replaced, because they separate
    /// what is signed. `seconds` is the time of this attempt, since 1970.
    pub fn sign(&self, id: &str, seconds: u64, body: &[u8], headers: &mut HeaderMap) {
        let id = id.replace('.', "%2E");
        let mut signatures = String::new();
        for key in &self.keys {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{seconds}.").as_bytes());
            context.update(body);
            if !signatures.is_empty() {
                signatures.push(' ');
            }
            signatures.push_str("v1,");
            STANDARD.encode_string(context.sign(), &mut signatures);
        }
        headers.insert("webhook-timestamp", HeaderValue::from(seconds));
        for (name, text) in [("webhook-id", id), ("webhook-signature", signatures)] {
            // A topic's name, numbers and base64 always can stand there.
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the standard's own libraries.
    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn signed(keys: &[&str], id: &str, seconds: u64, body: &[u8]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        Signer::new(keys.iter().copied())
            .unwrap()
            .sign(id, seconds, body, &mut headers);
        let text = |name: &str| headers[name].to_str().unwrap().to_owned();
        vec![
            text("webhook-id"),
            text("webhook-timestamp"),
            text("webhook-signature"),
        ]
    }

    #[test]
    fn a_push_is_signed_as_receivers_expect() {
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signed(&[KEY], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            [
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "1614265330",
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
            ]
        );
    }

    #[test]
    fn two_keys_make_two_signatures_and_stops_in_the_id_are_replaced() {
        let other = format!("whsec_{}", STANDARD.encode([7; 64]));
        let both = signed(&[KEY, &other], "a.b/0/1", 1, b"body");
        let one = signed(&[KEY], "a.b/0/1", 1, b"body");
        let (first, second) = both[2].split_once(' ').unwrap();
        assert_eq!((first, both[0].as_str()), (one[2].as_str(), "a%2Eb/0/1"));
        assert!(second.starts_with("v1,") && second != first);
        assert_ne!(signed(&[KEY], "a.b/0/1", 2, b"body")[2], one[2]);
        assert_ne!(signed(&[KEY], "a.b/0/1", 1, b"bodY")[2], one[2]);
    }

    #[test]
    fn what_is_no_key_is_refused_without_a_word_of_it() {
        for wrong in [
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_",
            "whsec_MfKQ9r8G",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa*w",
            &format!("whsec_{}", STANDARD.encode([7; 65])),
        ] {
            let error = Signer::new([wrong]).unwrap_err();
            assert!(!error.to_string().contains("MfKQ"), "{error}");
        }
    }
}

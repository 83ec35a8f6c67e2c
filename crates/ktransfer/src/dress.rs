//! What is put on a push beyond the value as it is: its form, what says who we are, and its signature.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use metrics::Counter;

use crate::auth::Credentials;
use crate::config::Module;
use crate::form::{Form, Push};
use crate::meters;
use crate::record::Value;
use crate::target::Shot;

/// See the module. On the module's thread only.
#[derive(Debug)]
pub struct Dress {
    topic: String,
    form: Option<Form>,
    credentials: RefCell<Option<Credentials>>,
    left_out: Counter,
}

impl Dress {
    /// What the pushes of a module wear; `None` = nothing.
    #[must_use]
    pub fn new(module: &Module, credentials: Option<Credentials>) -> Option<Self> {
        (module.form.is_some() || module.auth.is_some()).then(|| Self {
            topic: module.topic.to_string(),
            form: module.form.clone(),
            credentials: RefCell::new(credentials),
            left_out: meters::headers_left_out(&module.name),
        })
    }

    /// The secrets have changed.
    pub fn replace(&self, credentials: Option<Credentials>) {
        self.credentials.replace(credentials);
    }

    /// The body of a push; its headers are added to `headers`.
    #[must_use]
    pub fn put_on(&self, shot: &Shot<'_>, headers: &mut HeaderMap) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let push = Push {
            topic: &self.topic,
            partition: shot.partition,
            offset: shot.record.offset,
            timestamp: shot.record.timestamp,
            key: shot.record.key_bytes(),
            headers: shot.record.headers(),
            value: &shot.value,
            attempt: shot.record.failures.saturating_add(1),
            now: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
        };
        let mut body = None;
        if let Some(form) = &self.form {
            let left_out = form.headers(&push, headers);
            if left_out > 0 {
                self.left_out.increment(left_out);
            }
            body = form.body(&push);
        }
        let body = body.map_or_else(|| shot.value.clone(), |body| Value::from(&*body));
        if let Some(credentials) = &*self.credentials.borrow() {
            if let Some(authorization) = &credentials.authorization {
                headers.insert(AUTHORIZATION, authorization.clone());
            }
            if let Some(signer) = &credentials.signer {
                signer.sign(&push.id(), now.as_secs(), &body, headers);
            }
        }
        body
    }
}

//! Where a module's records go: its servers by turns, with the request of each made ready as far as it is the same for
//! all records.

use std::cell::RefCell;
use std::time::Duration;

use bytes::BytesMut;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use hyper::http::uri::InvalidUri;
use hyper::{Request, Uri};
use kcommon::kafka::PartitionId;

use crate::config;
use crate::dress::Dress;
use crate::files::{BadFile, Files};
use crate::link::Limits;
use crate::methods::MethodCheck;
use crate::outage::Outage;
use crate::record::{Record, Value};
use crate::servers::{Server, ServerError, Servers};
use crate::throttle::Throttle;
use crate::uri::{Placeholders, UriTooLong};

/// Up to this length of a body the text of its length is kept.
const SHORT: usize = 1024;
/// One line of a kind in so long for the module, however many records fail.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// What all workers of a module push to. On the module's thread only.
#[derive(Debug)]
pub struct Target {
    module: config::Module,
    servers: Servers,
    limits: Limits,
    /// `None` = the value as it is.
    dress: Option<Dress>,
    /// `Content-Length` by the length of the body, of short ones that have come: writing it anew takes two allocations.
    lengths: RefCell<Vec<Option<HeaderValue>>>,
    /// Whether the servers take anything.
    pub outage: RefCell<Outage>,
    /// Of the lines about attempts that will be repeated.
    pub failures: RefCell<Throttle>,
    /// Of the lines about records that end undelivered: the others must not hold them back.
    pub losses: RefCell<Throttle>,
    /// Of the lines about slow pushes.
    pub slow: RefCell<Throttle>,
}

/// Why a module's servers cannot be pushed to.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// A server cannot be.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A certificate or a secret has become unusable.
    #[error("a file that the module names cannot be used")]
    File(#[source] BadFile),
}

/// What an attempt sends.
#[derive(Debug)]
pub struct Shot<'a> {
    /// The record.
    pub record: &'a Record,
    /// Its partition.
    pub partition: PartitionId,
    /// Path and query.
    pub uri: Uri,
    /// What is pushed of its value.
    pub value: Value,
}

/// Where URIs are written; its memory serves again when the last one has gone.
#[derive(Debug, Default)]
pub struct UriBuffer {
    text: String,
    shared: BytesMut,
}

/// Why no request can be made of a record, ever.
#[derive(Debug, thiserror::Error)]
pub enum UnpushableError {
    /// The URI is longer than HTTP clients can send.
    #[error("the URI would be too long")]
    TooLong(#[source] UriTooLong),
    /// The URI is none.
    #[error("the URI is not valid")]
    Invalid(#[source] InvalidUri),
}

impl Target {
    /// The target of a module. Reads certificates and secrets.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn new(module: config::Module) -> Result<Self, TargetError> {
        let files = Files::load(&module).map_err(TargetError::File)?;
        Ok(Self {
            servers: Servers::new(&module, files.tls)?,
            limits: Limits {
                connect: module.connect_timeout,
                write: module.write_timeout,
                read: module.read_timeout,
                answer_bytes: module.max_response_bytes,
                kept_bytes: module.rules.body.as_ref().map(|rule| rule.max_bytes),
            },
            dress: Dress::new(&module, files.credentials),
            module,
            lengths: RefCell::default(),
            outage: RefCell::default(),
            failures: RefCell::new(Throttle::new(LOG_INTERVAL)),
            losses: RefCell::new(Throttle::new(LOG_INTERVAL)),
            slow: RefCell::new(Throttle::new(LOG_INTERVAL)),
        })
    }

    /// Certificates and secrets have changed: they hold for new connections and new pushes.
    pub fn replace_files(&self, files: Files) {
        self.servers.replace_tls(files.tls);
        if let Some(dress) = &self.dress {
            dress.replace(files.credentials);
        }
    }

    /// The module as configured.
    #[must_use]
    pub fn module(&self) -> &config::Module {
        &self.module
    }

    /// The limits of an attempt.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The servers.
    #[must_use]
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Writes the record's URI into `buffer`.
    ///
    /// # Errors
    /// The record can never be pushed.
    pub fn uri(
        &self,
        record: &Record,
        partition: PartitionId,
        buffer: &mut UriBuffer,
    ) -> Result<Uri, UnpushableError> {
        let value = record.value();
        let methods = self
            .module
            .methods
            .as_ref()
            .filter(|_needed| self.module.uri.has_method());
        let method = match methods.map(|methods| methods.check(&value)) {
            Some(MethodCheck::Matched(method)) => Some(method),
            _ => None,
        };
        let placeholders = Placeholders {
            topic: self.module.topic.as_str(),
            key: record.key_bytes(),
            offset: record.offset,
            method,
            partition,
        };
        self.module
            .uri
            .render(&mut buffer.text, &placeholders)
            .map_err(UnpushableError::TooLong)?;
        buffer.shared.extend_from_slice(buffer.text.as_bytes());
        Uri::from_maybe_shared(buffer.shared.split().freeze()).map_err(UnpushableError::Invalid)
    }

    /// The push of one record to a server of this target. `headers` is empty: its memory is used.
    #[must_use]
    pub fn request(&self, server: &Server, shot: &Shot<'_>, mut headers: HeaderMap) -> Request<Value> {
        for (name, value) in &server.headers {
            headers.append(name, value.clone());
        }
        let body = match &self.dress {
            Some(dress) => dress.put_on(shot, &mut headers),
            None => shot.value.clone(),
        };
        let length = self.content_length(body.len());
        let mut request = Request::new(body);
        *request.method_mut() = self.module.method.clone();
        *request.uri_mut() = shot.uri.clone();
        *request.headers_mut() = headers;
        let headers = request.headers_mut();
        // hyper would write it anew each time, and leave it out for an empty body: some servers answer a POST without a
        // length with 411.
        headers.insert(CONTENT_LENGTH, length);
        request
    }

    fn content_length(&self, length: usize) -> HeaderValue {
        if length > SHORT {
            return HeaderValue::from(length);
        }
        let mut lengths = self.lengths.borrow_mut();
        if lengths.len() <= length {
            lengths.resize(length + 1, None);
        }
        let known = lengths.get_mut(length);
        known.map_or_else(
            || HeaderValue::from(length),
            |known| known.get_or_insert_with(|| HeaderValue::from(length)).clone(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const MODULE: &str = "
topic: t
protocol:
 name: http
 uri: /
 headers:
  - X-A: a
  - X-A: b
 read_timeout_ms: 0
 write_timeout_ms: 100
 conn_timeout_ms: 100
worker_num: 1
window_size: 1
max_retry_times: -1
fail_retry_interval_ms: 200
backend_servers:
 - 10.1.2.1:80
 - 10.1.2.2:80
";

    fn record(value: &[u8]) -> Record {
        let offset = kcommon::kafka::RecordOffset::try_from(7).unwrap();
        let mut ledger = crate::ledger::Ledger::new(kcommon::kafka::CommitOffset::ZERO, 1);
        let entered = ledger.admit(offset, crate::ledger::Entry::Pending);
        let crate::ledger::Admission::Entered(seq) = entered else {
            panic!("not entered")
        };
        Record::new(offset, seq, 1000, &crate::record::Parts::of(b"k", value))
    }

    fn shot(record: &Record) -> Shot<'_> {
        Shot {
            record,
            partition: PartitionId(3),
            uri: Uri::from_static("/"),
            value: record.value(),
        }
    }

    #[test]
    fn a_request_wears_what_its_module_says_and_is_signed_as_it_is_sent() {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let more = format!(
            " method: PUT\n form: form\n id_header: X-Id\n attempt_header: X-Attempt\n auth:\n  bearer: {{file: {0}}}\n  \
             signature: {{key: {{file: {0}}}}}\n read_timeout_ms: 0",
            secret.display()
        );
        let text = MODULE.replace(" read_timeout_ms: 0", &more);
        let module = config::parse_module(Path::new("m.yaml"), "m", &text).unwrap();
        let target = Target::new(module).unwrap();
        let mut record = record(b"a b");
        record.failures = 4;
        let request = target.request(target.servers().get(0).unwrap(), &shot(&record), HeaderMap::new());
        assert_eq!(request.method(), hyper::Method::PUT);
        assert_eq!(request.body()[..], b"m=a+b&p=3&o=7"[..]);
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        for (name, value) in [
            ("content-length", "13"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-id", "t/3/7"),
            ("x-attempt", "5"),
            ("authorization", "Bearer whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            ("webhook-id", "t/3/7"),
        ] {
            assert_eq!(header(name), value, "{name}");
        }
        let signer = crate::signature::Signer::new(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]).unwrap();
        let mut signed = HeaderMap::new();
        let seconds = header("webhook-timestamp").parse().unwrap();
        signer.sign("t/3/7", seconds, b"m=a+b&p=3&o=7", &mut signed);
        assert_eq!(signed["webhook-signature"], header("webhook-signature"));
        assert!(!format!("{target:?}").contains("MfKQ"));
        // The file has changed.
        std::fs::write(&secret, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
        target.replace_files(Files::load(target.module()).unwrap());
        let request = target.request(target.servers().get(0).unwrap(), &shot(&record), HeaderMap::new());
        assert_eq!(
            request.headers()["authorization"],
            "Bearer whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        );
        assert_ne!(
            request.headers()["webhook-signature"],
            signed["webhook-signature"]
        );
    }

    #[test]
    fn a_request_says_its_server_and_the_length_of_its_body_whatever_was_sent_before() {
        let module = config::parse_module(Path::new("m.yaml"), "m", MODULE).unwrap();
        let target = Target::new(module).unwrap();
        let mut headers = HeaderMap::new();
        for (nth, length) in [5, 0, SHORT, 5, SHORT + 1, 0].into_iter().enumerate() {
            let server = target.servers().get(nth % 2).unwrap();
            let value = vec![b'x'; length];
            let record = record(&value);
            let request = target.request(server, &shot(&record), headers);
            let texts = |name: &str| {
                let all = request.headers().get_all(name).iter();
                all.map(|value| value.to_str().unwrap().to_owned())
                    .collect::<Vec<_>>()
            };
            assert_eq!(texts("content-length"), [length.to_string()]);
            assert_eq!(texts("host"), [server.address.as_str()]);
            assert_eq!(texts("x-a"), ["a", "b"]);
            assert_eq!(request.method(), hyper::Method::POST);
            assert_eq!(request.body()[..], value[..]);
            headers = request.into_parts().0.headers;
            headers.clear();
        }
    }
}

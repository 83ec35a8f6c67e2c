//! Where a module's records go: its servers by turns, with the request of each made ready as far as it is the same for
//! all records.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use hyper::http::uri::InvalidUri;
use hyper::{Method, Request, StatusCode, Uri};
use kcommon::kafka::PartitionId;

use crate::config;
use crate::link::Limits;
use crate::methods::MethodCheck;
use crate::outage::Outage;
use crate::record::Record;
use crate::throttle::Throttle;
use crate::uri::{Placeholders, UriTooLong};
use crate::verdict::{Verdict, verdict};

/// One line of a kind in so long for the module, however many records fail.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// What all workers of a module push to. On the module's thread only.
#[derive(Debug)]
pub struct Target {
    module: config::Module,
    servers: Vec<Server>,
    limits: Limits,
    /// The server of the next attempt.
    turn: Cell<usize>,
    /// Whether the servers take anything.
    pub outage: RefCell<Outage>,
    /// Of the lines about attempts that will be repeated.
    pub failures: RefCell<Throttle>,
    /// Of the lines about records that end undelivered: the others must not hold them back.
    pub losses: RefCell<Throttle>,
}

/// One backend server.
#[derive(Debug)]
pub struct Server {
    /// `host:port`.
    pub address: String,
    headers: HeaderMap,
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
    /// The target of a module. A server's own address is its `Host` unless the module names another.
    ///
    /// # Errors
    /// A server whose address cannot stand in a `Host` header.
    pub fn new(module: config::Module) -> Result<Self, hyper::header::InvalidHeaderValue> {
        let servers = module.backend_servers.iter().map(|server| {
            let address = server.to_string();
            let mut headers = module.headers.clone();
            let host = match &module.host {
                Some(host) => host.clone(),
                None => HeaderValue::from_str(&address)?,
            };
            headers.insert(HOST, host);
            Ok(Server { address, headers })
        });
        Ok(Self {
            servers: servers.collect::<Result<_, _>>()?,
            limits: Limits {
                connect: module.connect_timeout,
                write: module.write_timeout,
                read: module.read_timeout,
                answer_bytes: module.max_response_bytes,
            },
            module,
            turn: Cell::new(0),
            outage: RefCell::default(),
            failures: RefCell::new(Throttle::new(LOG_INTERVAL)),
            losses: RefCell::new(Throttle::new(LOG_INTERVAL)),
        })
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

    /// The number of servers, at least one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Never true: a module without servers is refused when it is read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// The server of this attempt: every attempt of any worker takes the next one.
    #[must_use]
    pub fn next_server(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set((turn + 1) % self.servers.len().max(1));
        turn
    }

    /// A server by the number that [`Target::next_server`] gave.
    #[must_use]
    pub fn server(&self, number: usize) -> Option<&Server> {
        self.servers.get(number)
    }

    /// Writes the record's URI, using `buffer`.
    ///
    /// # Errors
    /// The record can never be pushed.
    pub fn uri(
        &self,
        record: &Record,
        partition: PartitionId,
        buffer: &mut String,
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
            .render(buffer, &placeholders)
            .map_err(UnpushableError::TooLong)?;
        Uri::from_maybe_shared(Bytes::copy_from_slice(buffer.as_bytes())).map_err(UnpushableError::Invalid)
    }

    /// What an answer means.
    pub fn verdict(&self, status: StatusCode) -> Verdict {
        verdict(&self.module.success_status, status)
    }
}

impl Server {
    /// The push of one record to this server.
    #[must_use]
    pub fn request(&self, uri: Uri, value: Bytes) -> Request<Bytes> {
        let is_empty = value.is_empty();
        let mut request = Request::new(value);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        request.headers_mut().clone_from(&self.headers);
        if is_empty {
            // hyper leaves it out for an empty body, and some servers answer a POST without a length with 411.
            request
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        request
    }
}

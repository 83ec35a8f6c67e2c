//! One valid module: what the rest of the program may rely on.

mod content;
mod order;
mod outcome;

use std::num::NonZeroUsize;
use std::time::Duration;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};
use kcommon::config::{Document, HostPort, Invalid, Problem};
use kcommon::kafka::TopicName;
use kcommon::kafka::options::Options;

use super::module_file::{
    AuthFile, BalanceFile, FormFile, InitialOffset, ModuleFile, OnUndecodable, TlsFile,
};
use crate::auth;
use crate::balance;
use crate::content::Content;
use crate::dispatcher::StalledKey;
use crate::form::Form;
use crate::key::OrderBy;
use crate::letter::Exhausted;
use crate::letters::LastResort;
use crate::methods::MethodFilter;
use crate::pace::Limits;
use crate::range::OutOfRange;
use crate::retry::RetryPolicy;
use crate::tls;
use crate::uri::UriTemplate;
use crate::verdict::Rules;

/// One valid module. Two that are equal behave alike, so an unchanged file needs no restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name: the consumer group in ZooKeeper and the label of its metrics.
    pub name: String,
    /// The cluster of its topic; none = that of the main file's top-level keys.
    pub cluster: Option<String>,
    /// librdkafka's options, beyond those of its cluster.
    pub options: Options,
    /// The topic it pushes.
    pub topic: TopicName,
    /// Which records it pushes; none = all.
    pub methods: Option<MethodFilter>,
    /// What happens to a record that [`Module::methods`] cannot read.
    pub on_undecodable: OnUndecodable,
    /// What it does with bodies; none = it pushes them as they come.
    pub content: Option<Content>,
    /// Where it begins when no offset is stored.
    pub initial_offset: InitialOffset,
    /// Path and query of a push.
    pub uri: UriTemplate,
    /// The method of a push.
    pub method: Method,
    /// What a push looks like; none = the value as it is.
    pub form: Option<Form>,
    /// How a push says who we are; none = it does not.
    pub auth: Option<auth::Settings>,
    /// Headers of every push, without `Host`.
    pub headers: HeaderMap,
    /// The `Host` of every push; none = the server's own address.
    pub host: Option<HeaderValue>,
    /// How connections are secured; none = http.
    pub tls: Option<tls::Settings>,
    /// Longest time to open a connection; none = no limit.
    pub connect_timeout: Option<Duration>,
    /// Longest time to send a request; none = no limit.
    pub write_timeout: Option<Duration>,
    /// Longest time from the last byte sent to the last byte of the answer; none = no limit.
    pub read_timeout: Option<Duration>,
    /// Which answers deliver a record, and which refuse it.
    pub rules: Rules,
    /// Bytes of an answer's body that are read; a longer one ends its connection.
    pub max_response_bytes: usize,
    /// The servers; at least one.
    pub backend_servers: Vec<HostPort>,
    /// Time between two lookups of their names; none = for each connection.
    pub dns_refresh: Option<Duration>,
    /// How one of them is chosen; none = by turns.
    pub balance: Option<balance::Settings>,
    /// Connections.
    pub worker_num: NonZeroUsize,
    /// Pushes in flight at most; the smaller of this and [`Module::worker_num`] counts.
    pub window_size: NonZeroUsize,
    /// Records of one partition between the commit position and the newest admitted.
    pub max_uncommitted: NonZeroUsize,
    /// What happens to a record whose last attempt has failed, or that was rejected.
    pub last: LastResort,
    /// Pushes that take longer are told; none = no push is.
    pub slow: Option<Duration>,
    /// When a failing record makes an alarm; none = never.
    pub stalled: Option<StalledKey>,
    /// When a failed push is repeated.
    pub retry: RetryPolicy,
    /// What is pushed one record after another.
    pub order: OrderBy,
    /// How fast it may push, on all instances together.
    pub pace: Limits,
    /// What a partition does whose next record Kafka does not have.
    pub out_of_range: OutOfRange,
    /// Time between two commits of a partition.
    pub commit_interval: Duration,
    /// Time that running pushes get when their partition is handed over.
    pub drain_timeout: Duration,
}

impl Module {
    /// The module of a checked file.
    ///
    /// # Errors
    /// What the table of keys cannot say: an illegal topic, URI, header or status.
    pub(super) fn from_document(name: &str, document: &Document<ModuleFile>) -> Result<Self, Invalid> {
        let file = &document.file;
        let protocol = &file.protocol;
        let mut problems = Vec::new();
        let at =
            |key: &'static str| move |error: &dyn std::fmt::Display| document.problem(key, error.to_string());
        let topic = TopicName::try_from(file.topic.clone()).map_err(|error| at("topic")(&error));
        let topic = keep(&mut problems, topic);
        let uri = UriTemplate::parse(&protocol.uri).map_err(|error| at("protocol.uri")(&error));
        let uri = keep(&mut problems, uri);
        let outcome = outcome::read(document, &mut problems);
        let (headers, host) = headers(document, &mut problems);
        let content = content::content(document, &mut problems);
        let tls = TlsFile::settings(document, &mut problems);
        let order = order::order(document, &mut problems);
        let auth = AuthFile::settings(document, &mut problems);
        let balance = BalanceFile::settings(document, &mut problems);
        let form = FormFile::form(document, &mut problems);
        let options = file.librdkafka.read("", document, &mut problems);
        Invalid::check(problems)?;
        let (Some(topic), Some(uri), Some(outcome)) = (topic, uri, outcome) else {
            return Err(document.problem("", "cannot be used").into());
        };
        Ok(Self {
            name: name.to_owned(),
            cluster: file.cluster.clone(),
            options,
            topic,
            methods: file.methods.clone().map(MethodFilter::new),
            on_undecodable: file.on_undecodable,
            content,
            initial_offset: file.initial_offset,
            uri,
            method: protocol.form.method(),
            form,
            auth,
            headers,
            host,
            tls,
            connect_timeout: limit(protocol.conn_timeout_ms),
            write_timeout: limit(protocol.write_timeout_ms),
            read_timeout: limit(protocol.read_timeout_ms),
            rules: outcome.rules,
            max_response_bytes: protocol.max_response_bytes,
            backend_servers: file.backend_servers.clone(),
            dns_refresh: limit(file.dns_refresh_ms),
            balance,
            worker_num: at_least_one(file.worker_num),
            window_size: at_least_one(file.window_size),
            max_uncommitted: at_least_one(file.max_uncommitted),
            last: outcome.last,
            slow: limit(file.last.slow_time_ms),
            stalled: outcome.stalled,
            retry: outcome.retry,
            order,
            pace: file.pace.limits(),
            out_of_range: order::out_of_range(document),
            commit_interval: Duration::from_secs(file.zk_offset_update_interval_sec),
            drain_timeout: Duration::from_millis(file.drain_timeout_ms),
        })
    }
}

impl Module {
    /// Whether the headers of its records are kept.
    #[must_use]
    pub fn keeps_headers(&self) -> bool {
        let stored = matches!(self.last, LastResort::DeadLetter(_) | LastResort::Log(_));
        stored || self.form.as_ref().is_some_and(Form::needs_headers)
    }

    /// What is allowed and probably not meant.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let policy = self.last.policy();
        if policy == Exhausted::Drop || self.retry.ends() || !self.rules.rejected.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "exhausted: {} is never reached, because max_retry_times is -1, and there is neither retry.max_elapsed_ms nor \
             protocol.rejected_status: a record that fails is tried for ever",
            policy.word()
        )]
    }
}

/// The value, or its problem put with the others.
fn keep<T>(problems: &mut Vec<Problem>, result: Result<T, Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

/// 0 means no limit.
fn limit(milliseconds: u64) -> Option<Duration> {
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

/// The table of keys refuses 0 already.
fn at_least_one(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}

fn headers(document: &Document<ModuleFile>, problems: &mut Vec<Problem>) -> (HeaderMap, Option<HeaderValue>) {
    let mut headers = HeaderMap::new();
    let mut host = None;
    for (nth, (name, value)) in document.file.protocol.headers.iter().enumerate() {
        let mut problem =
            |message: String| problems.push(document.problem(&format!("protocol.headers.{nth}"), message));
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            problem(format!(
                "{name:?} with its value is no HTTP header: a name has no spaces, a value is visible text"
            ));
            continue;
        };
        if name == header::CONTENT_LENGTH || name == header::TRANSFER_ENCODING {
            problem(format!(
                "{name} follows from the record and cannot be set; remove it"
            ));
        } else if name != header::HOST {
            headers.append(name, value);
        } else if host.is_some() {
            problem("host is given twice; remove one".to_owned());
        } else if value.is_empty() {
            problem("host is empty".to_owned());
        } else {
            host = Some(value);
        }
    }
    (headers, host)
}

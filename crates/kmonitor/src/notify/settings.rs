//! The section `notifiers` of `kmonitor.yaml`: as written, and what the program may rely on.
//!
//! Files that it names are read here, so that a missing one is told by `--check` and at the start, with its place.

mod file;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use kcommon::config::{HostPort, Problem};
use kcommon::secret::Secret;
use kcommon::tls;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, TlsParameters};

use self::file::{MailFile, RuleFile, WebhookFile};
use super::looks;
use super::mail::{Mail, Protection};
use super::message::{Form, Place, Subject};
use super::receiver::{Receiver, Way};
use super::rules::{ClusterRules, Hold, Rule, Rules};
use super::template::Escape;
use super::webhook::{self, Webhook};

pub(crate) use self::file::File;

/// Everything the notifiers were told, checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Whether messages are sent.
    pub(crate) is_primary: bool,
    /// How often a message is tried.
    pub(crate) attempts: u32,
    /// Messages that may wait for one receiver.
    pub(crate) queue: usize,
    /// What is told.
    pub(crate) rules: Rules,
    /// Who is told, in the order that rules count in.
    pub(crate) receivers: Vec<Receiver>,
}

/// Makes a problem of a key and a sentence.
pub(crate) type Complain<'a> = &'a dyn Fn(&str, String) -> Problem;

/// Checks the section; `clusters` are the names in `base.clusters`.
///
/// # Errors
/// Every problem in it.
pub(crate) fn read(
    file: &File,
    clusters: &[String],
    complain: Complain<'_>,
) -> Result<Settings, Vec<Problem>> {
    let mut reader = Reader {
        complain,
        page_url: &file.page_url,
        problems: Vec::new(),
    };
    let receivers = reader.receivers(file);
    let names: Vec<String> = file.webhooks.keys().chain(file.mails.keys()).cloned().collect();
    let rules = reader.rules(file, clusters, &names);
    if names.is_empty() {
        let message = "names nobody: add a receiver below webhooks or mails, or remove the section";
        reader.complain("notifiers", message);
    }
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    Ok(Settings {
        is_primary: file.primary,
        attempts: file.attempts,
        queue: file.queue_messages,
        rules,
        receivers,
    })
}

struct Reader<'a> {
    complain: Complain<'a>,
    page_url: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn complain(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push((self.complain)(key, message.into()));
    }

    /// The value, or nothing and a problem at `key`.
    fn accept<T>(&mut self, key: &str, value: Result<T, String>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(message) => {
                self.complain(key, message);
                None
            }
        }
    }

    fn rules(&mut self, file: &File, clusters: &[String], names: &[String]) -> Rules {
        let general = self.rule("notifiers", &file.rule, names);
        let mut of_clusters = BTreeMap::new();
        for (name, cluster) in &file.clusters {
            let key = format!("notifiers.clusters.{name}");
            if !clusters.contains(name) {
                self.complain(&key, "is no cluster of base.clusters");
            }
            let written = cluster.rule.over(&file.rule);
            let rule = self.rule(&key, &written, names);
            let modules = cluster.modules.iter().map(|(module, own)| {
                let key = format!("{key}.modules.{module}");
                (module.clone(), self.rule(&key, &own.over(&written), names))
            });
            let modules = modules.collect();
            of_clusters.insert(name.clone(), ClusterRules { rule, modules });
        }
        Rules {
            general,
            clusters: of_clusters,
        }
    }

    fn rule(&mut self, key: &str, written: &RuleFile, names: &[String]) -> Rule {
        let mut states = Vec::new();
        for word in written.states.iter().flatten() {
            match looks::trouble(word) {
                Some(state) if !states.contains(&state) => states.push(state),
                Some(_) => {}
                None => {
                    let known = looks::troubles();
                    self.complain(
                        &format!("{key}.states"),
                        format!("names {word:?}; allowed: {known}"),
                    );
                }
            }
        }
        let mut receivers = Vec::new();
        match &written.receivers {
            None => receivers.extend(0..names.len()),
            Some(list) => {
                for name in list {
                    match names.iter().position(|one| one == name) {
                        Some(place) if !receivers.contains(&place) => receivers.push(place),
                        Some(_) => {}
                        None => {
                            let message =
                                format!("names {name:?}, which is neither below webhooks nor below mails");
                            self.complain(&format!("{key}.receivers"), message);
                        }
                    }
                }
            }
        }
        let limit = |limit: Option<u64>| limit.filter(|limit| *limit > 0);
        Rule {
            states,
            lag_records: limit(written.lag_records),
            lag_seconds: limit(written.lag_seconds),
            open: hold(written.open_after_rounds, written.open_after_ms),
            close: hold(written.close_after_rounds, written.close_after_ms),
            repeat_ms: written.repeat_after_ms.filter(|repeat_ms| *repeat_ms > 0),
            receivers,
        }
    }

    fn receivers(&mut self, file: &File) -> Vec<Receiver> {
        let mut receivers = Vec::new();
        for (name, written) in &file.webhooks {
            let key = format!("notifiers.webhooks.{name}");
            let way = self.webhook(&key, written);
            receivers.extend(way.map(|way| receiver(name, Way::Webhook(Box::new(way)), written.timeout_ms)));
        }
        for (name, written) in &file.mails {
            let key = format!("notifiers.mails.{name}");
            if file.webhooks.contains_key(name) {
                self.complain(&key, "has the name of a webhook");
            }
            let way = self.mail(&key, written);
            receivers.extend(way.map(|way| receiver(name, Way::Mail(Box::new(way)), written.timeout_ms)));
        }
        receivers
    }

    fn webhook(&mut self, key: &str, written: &WebhookFile) -> Option<Webhook> {
        let url = match (&written.url, &written.url_file) {
            (Some(url), None) => Some(Secret::of(url)),
            (None, Some(path)) => self.accept(&format!("{key}.url_file"), Secret::in_file(path)),
            _ => {
                self.complain(key, "needs either url or url_file");
                None
            }
        };
        let place = match written.url {
            Some(_) => format!("{key}.url"),
            None => format!("{key}.url_file"),
        };
        let address = url.and_then(|url| self.accept(&place, webhook::address(url.reveal())));
        let token = self.secret(key, ("token", &written.token_file, &written.token_env));
        let headers = self.headers(key, written, token.as_ref());
        let is_json = written.content_type.to_ascii_lowercase().contains("json");
        let escape = if is_json { Escape::Json } else { Escape::Plain };
        let form = self.form(key, escape, (&written.body, &written.event));
        let authorities = match &written.ca_file {
            Some(path) => Some(self.file(&format!("{key}.ca_file"), path)?),
            None => None,
        };
        let (uri, is_tls) = address?;
        let tls = if is_tls {
            let client =
                tls::client(authorities.as_deref()).map(|client| Arc::new(client.with_no_client_auth()));
            Some(self.accept(&format!("{key}.ca_file"), client)?)
        } else {
            None
        };
        Some(Webhook::new(uri, tls, headers?, form?))
    }

    fn headers(
        &mut self,
        key: &str,
        written: &WebhookFile,
        token: Option<&Secret>,
    ) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let content_type = HeaderValue::from_str(&written.content_type);
        let content_type = content_type.map_err(|_illegal| "is no header's value".to_owned());
        let content_type = self.accept(&format!("{key}.content_type"), content_type)?;
        let mut headers = vec![(CONTENT_TYPE, content_type)];
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()));
            let value = value.map_err(|_illegal| "has a token that no header can hold".to_owned());
            let mut value = self.accept(key, value)?;
            value.set_sensitive(true);
            headers.push((AUTHORIZATION, value));
        }
        for (nth, (name, value)) in written.headers.iter().enumerate() {
            let header = HeaderName::try_from(name)
                .ok()
                .zip(HeaderValue::from_str(value).ok())
                .ok_or_else(|| format!("has an illegal header {name:?}"));
            headers.push(self.accept(&format!("{key}.headers.{nth}"), header)?);
        }
        Some(headers)
    }

    fn mail(&mut self, key: &str, written: &MailFile) -> Option<Mail> {
        let server: Result<HostPort, _> = written.server.parse();
        let server = self.accept(
            &format!("{key}.server"),
            server.map_err(|error| format!("is {:?}, which {error}", written.server)),
        );
        let password = self.secret(key, ("password", &written.password_file, &written.password_env));
        let credentials = match (&written.username, password) {
            (Some(username), Some(password)) => {
                Some(Credentials::new(username.clone(), password.reveal().to_owned()))
            }
            (None, None) => None,
            _ => {
                self.complain(
                    key,
                    "needs username with password_file or password_env, or none of them",
                );
                None
            }
        };
        if credentials.is_some() && written.tls == "none" {
            self.complain(
                &format!("{key}.tls"),
                "is none, so that the password would be sent in the clear",
            );
        }
        let from = self.mailbox(&format!("{key}.from"), &written.from);
        let to: Vec<Option<Mailbox>> = (0..)
            .zip(&written.to)
            .map(|(nth, one): (usize, _)| self.mailbox(&format!("{key}.to.{nth}"), one))
            .collect();
        let subject = Subject::parse(&written.subject, self.page_url);
        let subject = self.accept(&format!("{key}.subject"), subject);
        let form = self.form(key, Escape::Plain, (&written.body, &written.event));
        let server = server?;
        let protection = self.protection(key, written, server.host())?;
        Some(Mail {
            host: server.host().to_owned(),
            port: server.port(),
            protection,
            credentials,
            from: from?,
            to: to.into_iter().collect::<Option<_>>()?,
            subject: subject?,
            form: form?,
        })
    }

    fn protection(&mut self, key: &str, written: &MailFile, host: &str) -> Option<Protection> {
        if written.tls == "none" {
            return Some(Protection::None);
        }
        let place = format!("{key}.ca_file");
        let mut builder = TlsParameters::builder(host.to_owned());
        if let Some(path) = &written.ca_file {
            let pem = self.file(&place, path)?;
            let authorities = Certificate::from_pem(&pem);
            let authorities = authorities.map_err(|_illegal| "holds no certificates in PEM".to_owned());
            builder = builder.add_root_certificate(self.accept(&place, authorities)?);
        }
        let built = builder.build_rustls();
        let built = built.map_err(|error| format!("cannot be used: {error}"));
        let parameters = self.accept(&place, built)?;
        Some(match written.tls.as_str() {
            "tls" => Protection::Tls(parameters),
            _ => Protection::StartTls(parameters),
        })
    }

    fn mailbox(&mut self, key: &str, written: &str) -> Option<Mailbox> {
        let parsed: Result<Mailbox, _> = written.parse();
        self.accept(
            key,
            parsed.map_err(|error| format!("is {written:?}, which is no mail address: {error}")),
        )
    }

    fn form(&mut self, key: &str, escape: Escape, templates: (&str, &str)) -> Option<Form> {
        let form = Form::parse(escape, templates, self.page_url);
        form.map_err(|(place, message)| {
            let name = match place {
                Place::Body => "body",
                Place::Event => "event",
            };
            self.complain(&format!("{key}.{name}"), message);
        })
        .ok()
    }

    /// A secret that a file or a variable holds, if one is named.
    fn secret(&mut self, key: &str, from: (&str, &Option<String>, &Option<String>)) -> Option<Secret> {
        let (name, file, variable) = from;
        match (file, variable) {
            (None, None) => None,
            (Some(path), None) => self.accept(&format!("{key}.{name}_file"), Secret::in_file(path)),
            (None, Some(variable)) => {
                self.accept(&format!("{key}.{name}_env"), Secret::in_variable(variable))
            }
            (Some(_), Some(_)) => {
                self.complain(key, format!("has both {name}_file and {name}_env: remove one"));
                None
            }
        }
    }

    fn file(&mut self, key: &str, path: &str) -> Option<Vec<u8>> {
        let read = std::fs::read(path);
        self.accept(
            key,
            read.map_err(|error| format!("names {path}, which cannot be read: {error}")),
        )
    }
}

fn hold(rounds: Option<u32>, ms: Option<i64>) -> Hold {
    Hold {
        rounds: rounds.unwrap_or(1),
        ms: ms.unwrap_or(0),
    }
}

fn receiver(name: &str, way: Way, timeout_ms: u64) -> Receiver {
    Receiver {
        name: name.to_owned(),
        way,
        timeout: Duration::from_millis(timeout_ms),
    }
}

#[cfg(test)]
mod tests;

//! The section `notifiers` as it is written. The table of keys says what each means.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The section as it is written, with its defaults.
#[derive(Debug, Deserialize)]
pub(crate) struct File {
    pub(super) primary: bool,
    pub(super) page_url: String,
    pub(super) attempts: u32,
    pub(super) queue_messages: usize,
    pub(super) clusters: BTreeMap<String, ClusterFile>,
    pub(super) webhooks: BTreeMap<String, WebhookFile>,
    pub(super) mails: BTreeMap<String, MailFile>,
    #[serde(flatten)]
    pub(super) rule: RuleFile,
}

#[derive(Debug, Deserialize)]
pub(super) struct ClusterFile {
    pub(super) modules: BTreeMap<String, RuleFile>,
    #[serde(flatten)]
    pub(super) rule: RuleFile,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct RuleFile {
    pub(super) states: Option<Vec<String>>,
    pub(super) lag_records: Option<u64>,
    pub(super) lag_seconds: Option<u64>,
    pub(super) open_after_rounds: Option<u32>,
    pub(super) open_after_ms: Option<i64>,
    pub(super) close_after_rounds: Option<u32>,
    pub(super) close_after_ms: Option<i64>,
    pub(super) repeat_after_ms: Option<i64>,
    pub(super) receivers: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WebhookFile {
    pub(super) url: Option<String>,
    pub(super) url_file: Option<String>,
    pub(super) token_file: Option<String>,
    pub(super) token_env: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) ca_file: Option<String>,
    pub(super) content_type: String,
    pub(super) body: String,
    pub(super) event: String,
    pub(super) timeout_ms: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct MailFile {
    pub(super) server: String,
    pub(super) tls: String,
    pub(super) ca_file: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) password_env: Option<String>,
    pub(super) from: String,
    pub(super) to: Vec<String>,
    pub(super) subject: String,
    pub(super) body: String,
    pub(super) event: String,
    pub(super) timeout_ms: u64,
}

impl RuleFile {
    /// What is said here, and otherwise what `general` says.
    #[must_use]
    pub(super) fn over(&self, general: &Self) -> Self {
        let own = self.clone();
        let general = general.clone();
        Self {
            states: own.states.or(general.states),
            lag_records: own.lag_records.or(general.lag_records),
            lag_seconds: own.lag_seconds.or(general.lag_seconds),
            open_after_rounds: own.open_after_rounds.or(general.open_after_rounds),
            open_after_ms: own.open_after_ms.or(general.open_after_ms),
            close_after_rounds: own.close_after_rounds.or(general.close_after_rounds),
            close_after_ms: own.close_after_ms.or(general.close_after_ms),
            repeat_after_ms: own.repeat_after_ms.or(general.repeat_after_ms),
            receivers: own.receivers.or(general.receivers),
        }
    }
}

//! The keys of the section `notifiers` of `kmonitor.yaml`.

use kcommon::config::{Key, Kind, Need};

/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// A year of seconds: the largest limit of an age.
const YEAR_SECONDS: i64 = 31_622_400;

const fn optional(path: &'static str, kind: Kind, meaning: &'static str) -> Key {
    key(path, kind, Need::Optional, meaning)
}

const fn with_default(path: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    key(path, kind, Need::Default(default), meaning)
}

const fn key(path: &'static str, kind: Kind, need: Need, meaning: &'static str) -> Key {
    Key {
        path,
        kind,
        need,
        meaning,
        changed: "New.",
    }
}

const ROUNDS: Kind = Kind::Int { min: 1, max: 1000 };
const DAYS: Kind = Kind::Int {
    min: 0,
    max: 31 * DAY_MS,
};
const RECORDS: Kind = Kind::Int {
    min: 0,
    max: i64::MAX,
};
const SECONDS: Kind = Kind::Int {
    min: 0,
    max: YEAR_SECONDS,
};
const TIMEOUT: Kind = Kind::Int {
    min: 100,
    max: 600_000,
};
const LIST: Kind = Kind::TextList { min: 0 };

/// The section itself, the rules that hold where no other does, and the places of others.
pub(crate) const KEYS: &[Key] = &[
    optional(
        "notifiers",
        Kind::Section,
        "Who is told when something goes wrong, and when it is over. Without it nobody is.",
    ),
    with_default(
        "notifiers.primary",
        Kind::Bool,
        "true",
        "Whether this kmonitor sends. Of several that watch the same clusters one has `true`; the others judge all the \
         same, log what opens and closes, and send nothing.",
    ),
    with_default(
        "notifiers.page_url",
        Kind::TextOrEmpty,
        "''",
        "Where readers of a message reach kmonitor's page, such as `http://monitor.example.com:55325`; it becomes \
         `{{page}}` in templates.",
    ),
    with_default(
        "notifiers.attempts",
        Kind::Int { min: 1, max: 100 },
        "8",
        "How often a message is tried. The pauses between are 1 s, 2 s, 4 s and so on up to 60 s.",
    ),
    with_default(
        "notifiers.queue_messages",
        Kind::Int { min: 1, max: 10_000 },
        "100",
        "Messages that may wait for one receiver. Beyond it the oldest is dropped, counted and logged.",
    ),
    with_default(
        "notifiers.states",
        LIST,
        "[stalled, stopped, rewound, ahead, lost, unknown]",
        "States of a partition that open an event of its module: `lagging`, `no_offset`, `stalled`, `stopped`, `rewound`, \
         `ahead`, `lost`, `unknown`. With `unknown` a ZooKeeper or Kafka that is away opens one event of its cluster.",
    ),
    with_default(
        "notifiers.lag_records",
        RECORDS,
        "0",
        "So many waiting records of a module open an event; 0 = no limit.",
    ),
    with_default(
        "notifiers.lag_seconds",
        SECONDS,
        "0",
        "A module whose oldest waiting record is so old opens an event (s); 0 = no limit.",
    ),
    with_default(
        "notifiers.open_after_rounds",
        ROUNDS,
        "2",
        "Rounds in a row that must show it before an event opens. Rounds that cannot tell do not count.",
    ),
    with_default(
        "notifiers.open_after_ms",
        DAYS,
        "0",
        "How long it must have been seen as well before an event opens (ms).",
    ),
    with_default(
        "notifiers.close_after_rounds",
        ROUNDS,
        "2",
        "Rounds in a row that must show that it is over before an event closes. Rounds that cannot tell do not count.",
    ),
    with_default(
        "notifiers.close_after_ms",
        DAYS,
        "0",
        "How long it must have been over as well before an event closes (ms).",
    ),
    with_default(
        "notifiers.repeat_after_ms",
        DAYS,
        "14400000",
        "An event that stays open is told again after so long (ms); 0 = never.",
    ),
    optional(
        "notifiers.receivers",
        LIST,
        "Names below `webhooks` and `mails` that are told. Without it: all of them.",
    ),
    with_default(
        "notifiers.clusters",
        Kind::Section,
        "{}",
        "Other rules for some clusters and modules: what is not said there is as above.",
    ),
    optional(
        "notifiers.clusters.*",
        Kind::Section,
        "One section per cluster with other rules.",
    ),
    with_default(
        "notifiers.clusters.*.modules",
        Kind::Section,
        "{}",
        "Other rules for some modules of the cluster: what is not said there is as in the cluster's section.",
    ),
    optional(
        "notifiers.clusters.*.modules.*",
        Kind::Section,
        "One section per module with other rules.",
    ),
];

/// What the section of a cluster or a module may say otherwise.
pub(crate) const RULE_KEYS: &[Key] = &[
    optional("states", LIST, "As `notifiers.states`, here."),
    optional("lag_records", RECORDS, "As `notifiers.lag_records`, here."),
    optional("lag_seconds", SECONDS, "As `notifiers.lag_seconds`, here."),
    optional(
        "open_after_rounds",
        ROUNDS,
        "As `notifiers.open_after_rounds`, here.",
    ),
    optional("open_after_ms", DAYS, "As `notifiers.open_after_ms`, here."),
    optional(
        "close_after_rounds",
        ROUNDS,
        "As `notifiers.close_after_rounds`, here.",
    ),
    optional("close_after_ms", DAYS, "As `notifiers.close_after_ms`, here."),
    optional("repeat_after_ms", DAYS, "As `notifiers.repeat_after_ms`, here."),
    optional(
        "receivers",
        LIST,
        "As `notifiers.receivers`, here; an empty list tells nobody.",
    ),
];

/// The receivers.
pub(crate) const RECEIVER_KEYS: &[Key] = &[
    with_default(
        "webhooks",
        Kind::Section,
        "{}",
        "Receivers that are told by HTTP POST.",
    ),
    optional(
        "webhooks.*",
        Kind::Section,
        "One section per receiver; its name is free.",
    ),
    optional(
        "webhooks.*.url",
        Kind::Text,
        "Where to: `http://` or `https://`. It is never logged.",
    ),
    optional(
        "webhooks.*.url_file",
        Kind::Text,
        "In place of `url`: a file that holds it, for addresses that are secrets. Files are read at the start.",
    ),
    optional(
        "webhooks.*.token_file",
        Kind::Text,
        "A file that holds a token, sent as `Authorization: Bearer`.",
    ),
    optional(
        "webhooks.*.token_env",
        Kind::Text,
        "In place of `token_file`: the variable of the environment that holds it.",
    ),
    with_default(
        "webhooks.*.headers",
        Kind::Headers,
        "[]",
        "Headers of the request.",
    ),
    optional(
        "webhooks.*.ca_file",
        Kind::Text,
        "Certificate authorities in PEM to believe in place of the system's.",
    ),
    with_default(
        "webhooks.*.content_type",
        Kind::Text,
        "application/json",
        "The type of the body. When it contains `json`, values are escaped for strings of JSON and the templates must \
         give JSON.",
    ),
    with_default(
        "webhooks.*.body",
        Kind::Text,
        r#"'{"id":"{{id}}","cluster":"{{cluster}}","at":"{{at}}","title":"{{title}}","page":"{{page}}","events":[{{events}}]}'"#,
        "The body of a message. `{{id}}`, `{{cluster}}`, `{{at}}`, `{{title}}` (one line about all), `{{text}}` (a line for \
         each event), `{{events}}` (each by the template `event`, with commas between in JSON), `{{count}}`, `{{opened}}`, \
         `{{reminded}}`, `{{closed}}`, `{{page}}` are filled in.",
    ),
    with_default(
        "webhooks.*.event",
        Kind::TextOrEmpty,
        r#"'{"event":"{{event}}","id":"{{id}}","cluster":"{{cluster}}","module":"{{module}}","condition":"{{condition}}","topic":"{{topic}}","partition":{{partition}},"state":"{{state}}","reason":"{{reason}}","lag":{{lag}},"lag_seconds":{{lag_seconds}},"since":"{{since}}","page":"{{page}}"}'"#,
        "One event: `{{event}}` (`open`, `reminder`, `close`), `{{id}}` (the same from open to close), `{{cluster}}`, \
         `{{module}}` (empty for a source), `{{condition}}` (a state, `lag_records`, `lag_seconds`, `zookeeper_away`, \
         `kafka_away`), `{{topic}}`, `{{partition}}`, `{{state}}`, `{{reason}}`, `{{lag}}`, `{{lag_seconds}}`, `{{since}}`, \
         `{{page}}`, `{{line}}` (all of it in one line).",
    ),
    with_default(
        "webhooks.*.timeout_ms",
        TIMEOUT,
        "10000",
        "The longest time of one attempt, from looking up the name to the answer (ms).",
    ),
    with_default("mails", Kind::Section, "{}", "Receivers that are told by e-mail."),
    optional(
        "mails.*",
        Kind::Section,
        "One section per receiver; its name is free.",
    ),
    key(
        "mails.*.server",
        Kind::Text,
        Need::Required,
        "`host:port` of the mail server (SMTP); the port is usually 587 with `starttls`, 465 with `tls`, 25 with `none`.",
    ),
    with_default(
        "mails.*.tls",
        Kind::OneOf(&["starttls", "tls", "none"]),
        "starttls",
        "How the connection is encrypted. A server that does not offer what is asked for gets no mail.",
    ),
    optional(
        "mails.*.ca_file",
        Kind::Text,
        "Certificate authorities in PEM to believe beside the system's.",
    ),
    optional(
        "mails.*.username",
        Kind::Text,
        "The account at the server; needs a password, and `tls` other than `none`.",
    ),
    optional(
        "mails.*.password_file",
        Kind::Text,
        "A file that holds its password.",
    ),
    optional(
        "mails.*.password_env",
        Kind::Text,
        "In place of `password_file`: the variable of the environment that holds it.",
    ),
    key(
        "mails.*.from",
        Kind::Text,
        Need::Required,
        "Who writes: an address, or `Name <address>`.",
    ),
    key(
        "mails.*.to",
        Kind::TextList { min: 1 },
        Need::Required,
        "Who reads.",
    ),
    with_default(
        "mails.*.subject",
        Kind::Text,
        "'[kmonitor] {{title}}'",
        "The subject; the names of a webhook's `body` are filled in.",
    ),
    with_default(
        "mails.*.body",
        Kind::Text,
        r#""{{text}}\n\n{{page}}\n""#,
        "The text; the same names are filled in.",
    ),
    with_default(
        "mails.*.event",
        Kind::TextOrEmpty,
        "'{{line}}'",
        "One event in `{{events}}`; the names of a webhook's `event` are filled in.",
    ),
    with_default(
        "mails.*.timeout_ms",
        TIMEOUT,
        "30000",
        "The longest time of one attempt (ms).",
    ),
];

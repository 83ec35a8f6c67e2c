//! The table of keys of a configuration file: the one source for the check, the defaults and the documentation.

/// The keys of one kind of file.
#[derive(Debug)]
pub struct Schema {
    /// What the file is called in documents and messages: `kproxy.yaml`.
    pub name: &'static str,
    /// Groups of keys, each with the section it stands in (`""` = top level, `"base"`), so that tables shared by several
    /// files are written once.
    pub groups: &'static [(&'static str, &'static [Key])],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Dotted path below its group: `protocol.uri`. A segment `*` stands for any name (`*.zk_hosts`); a name that is written
    /// out wins over it. A section has a key of its own, before its children.
    pub path: &'static str,
    /// What the value may be.
    pub kind: Kind,
    /// Whether it may be left out.
    pub need: Need,
    /// Meaning and unit, one or two sentences of Markdown.
    pub meaning: &'static str,
    /// What differs from the original; `""` = nothing.
    pub changed: &'static str,
}

/// What a value may be. In parentheses: the Rust type that the `File` struct uses for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true`, `false`, and YAML 1.1's `yes`, `no`, `on`, `off`, `y`, `n` (`bool`).
    Bool,
    /// A whole number of this range, both ends included (any integer type that holds the range).
    Int {
        /// The smallest value.
        min: i64,
        /// The largest value.
        max: i64,
    },
    /// A whole number out of these (any integer type).
    IntOneOf(&'static [i64]),
    /// Any text that is not empty; numbers and booleans are taken as written (`String`).
    Text,
    /// Any text, empty too (`String`).
    TextOrEmpty,
    /// One of these words (`String`, or an enum of serde).
    OneOf(&'static [&'static str]),
    /// A list of texts with at least this many (`Vec<String>`).
    TextList {
        /// The smallest number of texts.
        min: usize,
    },
    /// As [`Kind::TextList`], or this word alone (an untagged enum of `Vec<String>` and `String`).
    TextListOr {
        /// The smallest number of texts.
        min: usize,
        /// The word.
        word: &'static str,
    },
    /// A list of `host:port` with at least this many (`Vec<HostPort>`).
    HostPorts {
        /// The smallest number of addresses.
        min: usize,
    },
    /// As [`Kind::HostPorts`], but an entry without a port gets this one.
    Hosts {
        /// The smallest number of addresses.
        min: usize,
        /// The port of an entry that has none.
        port: u16,
    },
    /// A ZooKeeper path or nothing; a slash at its end is removed, `/` is nothing (`String`).
    Chroot,
    /// `IP:port`, or `off` (`String`).
    Listen,
    /// HTTP headers: a list of one-entry maps, or one map (`Vec<(String, String)>`).
    Headers,
    /// A map whose keys are in the table (a struct).
    Section,
    /// Where a secret stands: `{file: path}` or `{env: NAME}` (a struct of the two as `Option<String>`). What is written in its place is
    /// never shown.
    Secret,
    /// As [`Kind::Section`], but the word `off` alone stands for the section with this one child set to `off`.
    SectionOrOff(&'static str),
}

/// Whether a key may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Its absence is a problem.
    Required,
    /// Absent means this value, in YAML; the check fills it in, so the `File` struct needs no default of its own.
    /// For a section: `"{}"`, and its children's own defaults are filled in.
    Default(&'static str),
    /// May be absent (`Option<T>`); a section's required children count only when it is there.
    Optional,
}

/// The logging keys of every daemon; read into [`crate::logging::File`].
pub const LOG_KEYS: &[Key] = &[
    Key {
        path: "log_dir",
        kind: Kind::Text,
        need: Need::Required,
        meaning: "Directory of the log files `<daemon>.log` (info and below) and `<daemon>.log.wf` (warnings and worse). \
                  Made when missing. Relative to the working directory.",
        changed: "",
    },
    Key {
        path: "log_level",
        kind: Kind::Int { min: 0, max: 255 },
        need: Need::Required,
        meaning: "What is written: 0 nothing, 1 errors, 2 and warnings, 4 and notices, 8 and traces (one line per request or \
                  push), 16 everything. A value between two acts as the lower.",
        changed: "",
    },
    Key {
        path: "log_format",
        kind: Kind::OneOf(&["text", "json"]),
        need: Need::Default("text"),
        meaning: "One line of text per event, or one JSON object per line.",
        changed: "New.",
    },
    Key {
        path: "log_rotate",
        kind: Kind::OneOf(&["none", "daily", "hourly", "size"]),
        need: Need::Default("none"),
        meaning: "When the daemon itself starts a new file: at midnight UTC, at each full hour, at `log_rotate_bytes`, or never. \
                  With `none` a tool such as logrotate may move the files: they are opened again within a second, or on SIGUSR1.",
        changed: "New; `none` is what the original did.",
    },
    Key {
        path: "log_rotate_bytes",
        kind: Kind::Int {
            min: 65_536,
            max: 1_099_511_627_776,
        },
        need: Need::Default("1073741824"),
        meaning: "With `log_rotate: size`: bytes after which a new file starts.",
        changed: "New.",
    },
    Key {
        path: "log_keep",
        kind: Kind::Int { min: 1, max: 10_000 },
        need: Need::Default("7"),
        meaning: "Rotated files kept beside each current file; older ones are deleted. Without meaning for `log_rotate: none`.",
        changed: "New.",
    },
];

/// The keys of the admin server; read into `Option<`[`crate::admin::File`]`>`.
pub const ADMIN_KEYS: &[Key] = &[
    Key {
        path: "admin",
        kind: Kind::SectionOrOff("listen"),
        need: Need::Optional,
        meaning: "The admin server: `/healthz`, `/readyz`, `/metrics`. `off` disables it.",
        changed: "New.",
    },
    Key {
        path: "admin.listen",
        kind: Kind::Listen,
        need: Need::Required,
        meaning: "Address of the admin server, or `off`. Without it: 127.0.0.1 and port 5031 (kproxy), 5032 (ktransfer) or 5033 \
                  (kmonitor), and a free port when that one is taken. A configured address that is taken ends the daemon \
                  with status 1.",
        changed: "New.",
    },
];

/// One key with its whole path, as the walk uses it.
#[derive(Clone, Debug)]
pub(super) struct Flat {
    pub(super) path: String,
    pub(super) key: &'static Key,
}

impl Flat {
    /// The path of the section it stands in.
    pub(super) fn parent(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }

    /// The key as it is written in its section.
    pub(super) fn name(&self) -> &str {
        self.path
            .rsplit_once('.')
            .map_or(self.path.as_str(), |(_, name)| name)
    }
}

impl Schema {
    /// Every key with its whole path, in the order of the table.
    pub(super) fn flat(&self) -> Vec<Flat> {
        let groups = self.groups.iter();
        groups
            .flat_map(|(section, keys)| {
                keys.iter().map(|key| Flat {
                    path: join(section, key.path),
                    key,
                })
            })
            .collect()
    }
}

/// `a` + `b` = `a.b`; nothing + `b` = `b`.
pub(super) fn join(section: &str, name: &str) -> String {
    if section.is_empty() {
        name.to_owned()
    } else {
        format!("{section}.{name}")
    }
}

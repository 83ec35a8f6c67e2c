//! The walk of a tree against a [`Schema`]: every problem of a file, the values for serde with defaults filled in, and the
//! place of every key. Pure.

use std::collections::BTreeMap;

use serde_yaml::{Mapping, Value};

use super::host_port::HostPort;
use super::scalar::{allowed, convert, is_off, shown, text};
use super::schema::{Flat, Kind, Need, Schema, join};
use super::tree::{self, Data, Entry, Node, Place};

/// A problem before it knows its file.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) message: String,
}

/// What a walk found.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) value: Value,
    pub(super) places: BTreeMap<String, Place>,
    pub(super) findings: Vec<Finding>,
}

/// Checks a whole document.
pub(super) fn check(root: &Node, schema: &Schema) -> Checked {
    let mut walk = Walk {
        keys: schema.flat(),
        places: BTreeMap::new(),
        findings: Vec::new(),
    };
    let value = match &root.data {
        Data::Map(entries) => walk.section(&At::root(root.place), entries),
        Data::Null => walk.section(&At::root(root.place), &[]),
        _ => {
            walk.finding(
                root.place,
                "",
                format!(
                    "is not a map of keys; see docs/configuration.md for {}",
                    schema.name
                ),
            );
            Value::Null
        }
    };
    Checked {
        value,
        places: walk.places,
        findings: walk.findings,
    }
}

/// Where the walk is: the path as written and the path as it stands in the table (with `*`).
struct At {
    path: String,
    pattern: String,
    place: Place,
}

impl At {
    fn root(place: Place) -> Self {
        Self {
            path: String::new(),
            pattern: String::new(),
            place,
        }
    }
}

struct Walk {
    keys: Vec<Flat>,
    places: BTreeMap<String, Place>,
    findings: Vec<Finding>,
}

impl Walk {
    fn finding(&mut self, place: Place, key: &str, message: String) {
        self.findings.push(Finding {
            place,
            key: key.to_owned(),
            message,
        });
    }

    fn wrong(&mut self, place: Place, key: &str, kind: Kind, what: &str) {
        self.finding(place, key, format!("{what}; allowed: {}", allowed(kind)));
    }

    fn children(&self, pattern: &str) -> Vec<Flat> {
        self.keys
            .iter()
            .filter(|flat| flat.parent() == pattern)
            .cloned()
            .collect()
    }

    fn section(&mut self, at: &At, entries: &[Entry]) -> Value {
        let children = self.children(&at.pattern);
        let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
        let mut value = Mapping::new();
        for entry in entries {
            let path = join(&at.path, &entry.key);
            if let Some(first) = seen.get(entry.key.as_str()) {
                let message = format!("is given twice, first in line {}; remove one", first.line);
                self.finding(entry.place, &path, message);
                continue;
            }
            seen.insert(&entry.key, entry.place);
            let Some(child) = matching(&children, entry) else {
                self.unknown(&path, entry, &children);
                continue;
            };
            self.places.insert(path.clone(), entry.place);
            let at = At {
                path,
                pattern: child.path.clone(),
                place: entry.place,
            };
            if let Some(read) = self.value(&at, child.key.kind, &entry.value) {
                value.insert(Value::from(entry.key.as_str()), read);
            }
        }
        for child in children.iter().filter(|child| child.name() != "*") {
            if seen.contains_key(child.name()) {
                continue;
            }
            if let Some(default) = self.absent(at, child) {
                value.insert(Value::from(child.name()), default);
            }
        }
        Value::Mapping(value)
    }

    /// A key that the table has and the file has not.
    fn absent(&mut self, at: &At, child: &Flat) -> Option<Value> {
        let path = join(&at.path, child.name());
        match child.key.need {
            Need::Optional => None,
            Need::Required => {
                let message = format!("is missing; allowed: {}", allowed(child.key.kind));
                self.finding(at.place, &path, message);
                None
            }
            Need::Default(default) => {
                let node =
                    tree::parse(default).expect("the defaults of a table are YAML: its test reads them");
                let at = At {
                    path,
                    pattern: child.path.clone(),
                    place: at.place,
                };
                self.value(&at, child.key.kind, &node)
            }
        }
    }

    fn unknown(&mut self, path: &str, entry: &Entry, siblings: &[Flat]) {
        let nearest = nearest_key(&entry.key, siblings, &self.keys);
        let hint = nearest.map_or_else(String::new, |key| format!("did you mean {key}? "));
        let known: Vec<&str> = siblings
            .iter()
            .map(Flat::name)
            .filter(|name| *name != "*")
            .collect();
        let message = format!(
            "is not a key that is known here; {hint}allowed: {}",
            known.join(", ")
        );
        self.finding(entry.place, path, message);
    }

    fn value(&mut self, at: &At, kind: Kind, node: &Node) -> Option<Value> {
        match (kind, &node.data) {
            (Kind::Section | Kind::SectionOrOff(_), Data::Map(entries)) => Some(self.section(at, entries)),
            (Kind::SectionOrOff(child), _) if is_off(node) => Some(Value::Mapping(Mapping::from_iter([(
                Value::from(child),
                Value::from("off"),
            )]))),
            (Kind::TextList { .. } | Kind::TextListOr { .. }, Data::List(items)) => {
                self.list(at, items, kind, &text_item)
            }
            (Kind::HostPorts { .. }, Data::List(items)) => {
                self.list(at, items, kind, &|item| host_item(item, None))
            }
            (Kind::Hosts { port, .. }, Data::List(items)) => {
                self.list(at, items, kind, &|item| host_item(item, Some(port)))
            }
            (Kind::Headers, _) => self.headers(at, node),
            (Kind::Secret, Data::Map(entries)) if is_place(entries) => Some(self.place(at, entries)),
            _ => match convert(kind, node) {
                Ok(value) => Some(value),
                Err(what) => {
                    self.wrong(node.place, &at.path, kind, &what);
                    None
                }
            },
        }
    }

    /// Where a secret stands.
    fn place(&mut self, at: &At, entries: &[Entry]) -> Value {
        let read = entries.iter().filter_map(|entry| {
            self.places.insert(join(&at.path, &entry.key), entry.place);
            let place = text(&entry.value).ok()?;
            Some((Value::from(entry.key.as_str()), Value::from(place)))
        });
        Value::Mapping(Mapping::from_iter(read))
    }

    fn list(&mut self, at: &At, items: &[Node], kind: Kind, read: ReadItem<'_>) -> Option<Value> {
        let (Kind::TextList { min }
        | Kind::TextListOr { min, .. }
        | Kind::HostPorts { min }
        | Kind::Hosts { min, .. }) = kind
        else {
            return None;
        };
        if items.len() < min {
            self.wrong(at.place, &at.path, kind, &format!("has {} entries", items.len()));
            return None;
        }
        let mut values = Vec::with_capacity(items.len());
        for (nth, item) in items.iter().enumerate() {
            let path = format!("{}.{nth}", at.path);
            self.places.insert(path, item.place);
            match read(item) {
                Ok(value) => values.push(value),
                Err(what) => self.wrong(item.place, &at.path, kind, &format!("entry {} {what}", nth + 1)),
            }
        }
        (values.len() == items.len()).then_some(Value::Sequence(values))
    }

    /// A list of one-entry maps, or one map: a list of pairs either way.
    fn headers(&mut self, at: &At, node: &Node) -> Option<Value> {
        let entries: Vec<&Entry> = match &node.data {
            Data::Map(entries) => entries.iter().collect(),
            Data::List(items) => {
                let maps = items.iter().map(|item| match &item.data {
                    Data::Map(entries) => Some(entries),
                    _ => None,
                });
                match maps.collect::<Option<Vec<_>>>() {
                    Some(maps) => maps.into_iter().flatten().collect(),
                    None => {
                        self.wrong(
                            node.place,
                            &at.path,
                            Kind::Headers,
                            "has an entry that is no `name: value`",
                        );
                        return None;
                    }
                }
            }
            _ => {
                let what = convert(Kind::Headers, node).err().unwrap_or_default();
                self.wrong(node.place, &at.path, Kind::Headers, &what);
                return None;
            }
        };
        let mut pairs = Vec::with_capacity(entries.len());
        for (nth, entry) in entries.iter().enumerate() {
            self.places.insert(format!("{}.{nth}", at.path), entry.place);
            match convert(Kind::TextOrEmpty, &entry.value) {
                Ok(value) => pairs.push(Value::Sequence(vec![Value::from(entry.key.as_str()), value])),
                Err(what) => {
                    let path = join(&at.path, &entry.key);
                    self.wrong(entry.place, &path, Kind::TextOrEmpty, &what);
                }
            }
        }
        (pairs.len() == entries.len()).then_some(Value::Sequence(pairs))
    }
}

/// Whether this is one of `file` and `env`, with a text.
fn is_place(entries: &[Entry]) -> bool {
    let [entry] = entries else { return false };
    matches!(entry.key.as_str(), "file" | "env") && text(&entry.value).is_ok_and(|place| !place.is_empty())
}

/// Reads one entry of a list.
type ReadItem<'a> = &'a dyn Fn(&Node) -> Result<Value, String>;

fn text_item(item: &Node) -> Result<Value, String> {
    match text(item)? {
        "" => Err("is empty".to_owned()),
        text => Ok(Value::from(text)),
    }
}

fn host_item(item: &Node, port: Option<u16>) -> Result<Value, String> {
    let written = text(item)?;
    let host = match port {
        Some(port) if !written.contains(':') => format!("{written}:{port}").parse::<HostPort>(),
        _ => written.parse(),
    };
    match host {
        Ok(host) => Ok(Value::from(host.to_string())),
        Err(error) => Err(format!("is {}, which {error}", shown(written))),
    }
}

/// The key of the table for an entry: the written-out name first, then `*`. A wildcard section takes only sections, so that a
/// misspelt scalar key beside wildcard sections is called unknown.
fn matching<'a>(children: &'a [Flat], entry: &Entry) -> Option<&'a Flat> {
    children
        .iter()
        .find(|child| child.name() == entry.key && child.name() != "*")
        .or_else(|| {
            children
                .iter()
                .find(|child| child.name() == "*")
                .filter(|child| child.key.kind != Kind::Section || matches!(entry.value.data, Data::Map(_)))
        })
}

/// The key that was probably meant: the nearest sibling, or the same word in another section.
fn nearest_key(written: &str, siblings: &[Flat], all: &[Flat]) -> Option<String> {
    let names = siblings.iter().map(Flat::name).filter(|name| *name != "*");
    if let Some(name) = nearest(written, names) {
        return Some(name.to_owned());
    }
    all.iter()
        .find(|flat| flat.name() == written)
        .map(|flat| flat.path.clone())
}

/// The most similar of `names`, when one is similar enough to be meant.
pub(super) fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const SIMILAR: f64 = 0.75;
    names
        .map(|name| (strsim::normalized_damerau_levenshtein(written, name), name))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

//! The bytes of `/delay`, as the original wrote them: JSON by the rules of Go's `encoding/json`, and lines for
//! `zabbix_sender`.
//!
//! Keys are sorted as text (partition "10" before "2"), `< > &` are escaped in JSON, and no line break ends it. Scripts
//! compare these bytes; change nothing here without a test that shows the original's.
//!
//! A cluster is rendered once a round as a fragment; the answer about all clusters is put together from the fragments.
//! Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::snapshot::{ModuleFacts, Snapshot};

/// One cluster in both forms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// The member of the JSON object: `"name":{...}`.
    pub(crate) json: String,
    /// The lines of the cluster, each ended by a line feed.
    pub(crate) zabbix: String,
    /// Partitions (and whole modules) that exist and have no number in the forms.
    pub(crate) unknown: u64,
    /// Whether the cluster could not be read at all, so that its modules are missing.
    pub(crate) stale: bool,
}

impl Fragment {
    /// A cluster that could not be read in its last round: an empty object and no line.
    #[must_use]
    pub(crate) fn stale(cluster: &str) -> Self {
        let mut json = String::new();
        push_json_text(&mut json, cluster);
        json.push_str(":{}");
        Self {
            json,
            zabbix: String::new(),
            unknown: 0,
            stale: true,
        }
    }

    /// A cluster with what its last round found.
    #[must_use]
    pub(crate) fn new(cluster: &str, snapshot: &Snapshot) -> Self {
        let mut fragment = Self::default();
        push_json_text(&mut fragment.json, cluster);
        fragment.json.push_str(":{");
        let mut separator = "";
        for (module, lags) in &snapshot.modules {
            fragment.json.push_str(separator);
            separator = ",";
            push_json_text(&mut fragment.json, module);
            fragment.json.push(':');
            fragment.push_module(cluster, module, lags.as_ref());
        }
        fragment.json.push('}');
        fragment.unknown = snapshot.unknown().into_values().sum();
        fragment
    }

    fn push_module(&mut self, cluster: &str, module: &str, lags: Option<&ModuleFacts>) {
        self.json.push('{');
        let merged = lags.map(ModuleFacts::by_partition).unwrap_or_default();
        let known = merged
            .iter()
            .filter_map(|(partition, lag)| Some((partition.to_string(), lag.ok()?)));
        let by_text: BTreeMap<String, u64> = known.collect();
        let mut separator = "";
        for (partition, lag) in by_text {
            write_to(&mut self.json, format_args!("{separator}\"{partition}\":{lag}"));
            separator = ",";
            push_zabbix_key(&mut self.zabbix, &format!("{cluster}.{module}.{partition}.delay"));
            write_to(&mut self.zabbix, format_args!(" {lag}\n"));
        }
        self.json.push('}');
    }
}

/// The JSON object about several clusters, which must come sorted by name.
#[must_use]
pub(crate) fn json<'a>(fragments: impl Iterator<Item = &'a Fragment>) -> String {
    let members: Vec<&str> = fragments.map(|fragment| fragment.json.as_str()).collect();
    format!("{{{}}}", members.join(","))
}

/// The lines about several clusters.
#[must_use]
pub(crate) fn zabbix<'a>(fragments: impl Iterator<Item = &'a Fragment>) -> String {
    fragments.map(|fragment| fragment.zabbix.as_str()).collect()
}

fn write_to(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("writing to a String cannot fail");
}

/// Appends `text` as Go's `json.Marshal` writes a string.
fn push_json_text(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                write_to(json, format_args!("\\u{:04x}", u32::from(character)));
            }
            other => json.push(other),
        }
    }
    json.push('"');
}

/// Appends the host column and the key of a `zabbix_sender` line.
///
/// A key with a blank or a quotation mark is quoted: without, `zabbix_sender` silently cuts the key at the blank and
/// takes the rest as the value.
fn push_zabbix_key(line: &mut String, key: &str) {
    line.push_str("- ");
    if !key
        .chars()
        .any(|character| character == '"' || character.is_whitespace())
    {
        line.push_str(key);
        return;
    }
    line.push('"');
    for character in key.chars() {
        match character {
            '"' | '\\' => line.extend(['\\', character]),
            // Nothing may end the line inside the key.
            '\n' | '\r' => line.push(' '),
            other => line.push(other),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::Lag;
    use crate::lag::Unknown;
    use crate::snapshot::Facts;

    fn snapshot(modules: &[(&str, &[(i32, Lag)])]) -> Snapshot {
        let module = |lags: &[(i32, Lag)]| ModuleFacts {
            topics: BTreeMap::from([(
                "t".to_owned(),
                lags.iter()
                    .map(|(partition, lag)| (*partition, Facts::from(*lag)))
                    .collect(),
            )]),
            ..ModuleFacts::default()
        };
        Snapshot {
            modules: modules
                .iter()
                .map(|(name, lags)| ((*name).to_owned(), Some(module(lags))))
                .collect(),
        }
    }

    #[test]
    fn the_seeds_example_comes_out_byte_for_byte() {
        let snapshot = snapshot(&[
            ("test_module_2", &[(0, Ok(0))]),
            ("test_module_1", &[(0, Ok(12))]),
        ]);
        let fragment = Fragment::new("test_cluster", &snapshot);
        assert_eq!(
            json([fragment.clone()].iter()),
            r#"{"test_cluster":{"test_module_1":{"0":12},"test_module_2":{"0":0}}}"#
        );
        assert_eq!(
            zabbix([fragment].iter()),
            "- test_cluster.test_module_1.0.delay 12\n- test_cluster.test_module_2.0.delay 0\n"
        );
    }

    #[test]
    fn partitions_are_sorted_as_text() {
        let lags: Vec<(i32, Lag)> = (0..12).map(|partition| (partition, Ok(1))).collect();
        let fragment = Fragment::new("c", &snapshot(&[("m", &lags)]));
        let expected =
            r#""c":{"m":{"0":1,"1":1,"10":1,"11":1,"2":1,"3":1,"4":1,"5":1,"6":1,"7":1,"8":1,"9":1}}"#;
        assert_eq!(fragment.json, expected);
        assert!(
            fragment
                .zabbix
                .starts_with("- c.m.0.delay 1\n- c.m.1.delay 1\n- c.m.10.delay 1\n")
        );
    }

    #[test]
    fn an_unknown_partition_is_absent_and_counted() {
        let lags = [
            (0, Ok(3)),
            (1, Err(Unknown::LogUnreadable)),
            (2, Err(Unknown::NoOffset)),
        ];
        let fragment = Fragment::new("c", &snapshot(&[("m", &lags), ("n", &[])]));
        assert_eq!(fragment.json, r#""c":{"m":{"0":3},"n":{}}"#);
        assert_eq!(fragment.zabbix, "- c.m.0.delay 3\n");
        assert_eq!(fragment.unknown, 2);
        assert!(!fragment.stale);
    }

    #[test]
    fn a_cluster_without_modules_and_one_that_cannot_be_read_are_empty_objects() {
        let fragments = [Fragment::new("a", &Snapshot::default()), Fragment::stale("b")];
        assert_eq!(json(fragments.iter()), r#"{"a":{},"b":{}}"#);
        assert_eq!(zabbix(fragments.iter()), "");
        assert!(fragments[1].stale);
        assert_eq!(json([].iter()), "{}");
    }

    #[test]
    fn a_module_that_cannot_be_read_is_an_empty_object() {
        let unreadable = Snapshot {
            modules: BTreeMap::from([("m".to_owned(), None)]),
        };
        let fragment = Fragment::new("c", &unreadable);
        assert_eq!(fragment.json, r#""c":{"m":{}}"#);
        assert_eq!(fragment.unknown, 1);
    }

    #[test]
    fn names_are_escaped_as_go_does() {
        let mut json = String::new();
        push_json_text(&mut json, "a\"\\<>&\u{2028}\u{1}\u{7f}é\n");
        assert_eq!(json, "\"a\\\"\\\\\\u003c\\u003e\\u0026\\u2028\\u0001\u{7f}é\\n\"");
    }

    #[test]
    fn a_zabbix_key_is_one_key_whatever_the_module_is_called() {
        let fragment = Fragment::new("c", &snapshot(&[("a b\"\\", &[(0, Ok(1))])]));
        assert_eq!(fragment.zabbix, "- \"c.a b\\\"\\\\.0.delay\" 1\n");
        let fragment = Fragment::new("c", &snapshot(&[("a\\,b", &[(0, Ok(1))])]));
        assert_eq!(fragment.zabbix, "- c.a\\,b.0.delay 1\n");
    }
}

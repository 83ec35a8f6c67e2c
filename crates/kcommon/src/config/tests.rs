//! The check as a user meets it: texts in, messages out.

use super::*;
use crate::{admin, logging};
use proptest::prelude::*;
use serde::Deserialize;

const SCHEMA: Schema = Schema {
    name: "test.yaml",
    groups: &[("", KEYS), ("base", LOG_KEYS), ("", ADMIN_KEYS)],
};

const fn key(path: &'static str, kind: Kind, need: Need) -> Key {
    Key {
        path,
        kind,
        need,
        meaning: "A meaning with a | in it.",
        changed: "",
    }
}

const KEYS: &[Key] = &[
    key("base", Kind::Section, Need::Required),
    key("base.clusters", Kind::TextList { min: 1 }, Need::Required),
    key("port", Kind::Int { min: 1, max: 65_535 }, Need::Required),
    key("window_size", Kind::Int { min: 1, max: 100 }, Need::Default("50")),
    key("order", Kind::Bool, Need::Default("true")),
    key("acks", Kind::IntOneOf(&[0, 1, -1]), Need::Default("1")),
    key("topic", Kind::Text, Need::Optional),
    key("hosts", Kind::HostPorts { min: 1 }, Need::Optional),
    key("headers", Kind::Headers, Need::Default("[]")),
    key("limits", Kind::Section, Need::Default("{}")),
    key("limits.bytes", Kind::Int { min: 0, max: 10 }, Need::Default("7")),
    key("*", Kind::Section, Need::Optional),
    key("*.zk_hosts", Kind::Hosts { min: 1, port: 2181 }, Need::Required),
    key("*.chroot", Kind::Chroot, Need::Default("\"\"")),
];

#[derive(Debug, Deserialize)]
struct File {
    base: BaseFile,
    port: u16,
    window_size: usize,
    order: bool,
    acks: i8,
    topic: Option<String>,
    hosts: Option<Vec<HostPort>>,
    headers: Vec<(String, String)>,
    limits: Limits,
    admin: Option<admin::File>,
    #[serde(flatten)]
    clusters: BTreeMap<String, Cluster>,
}

#[derive(Debug, Deserialize)]
struct BaseFile {
    clusters: Vec<String>,
    #[serde(flatten)]
    log: logging::File,
}

#[derive(Debug, Deserialize)]
struct Limits {
    bytes: usize,
}

#[derive(Debug, Deserialize)]
struct Cluster {
    zk_hosts: Vec<HostPort>,
    chroot: String,
}

const LEAST: &str = "base: {log_dir: ./log, log_level: 4, clusters: [a]}\nport: 80\n";

fn read(text: &str) -> Result<Document<File>, Invalid> {
    parse(Path::new("t.yaml"), text, &SCHEMA)
}

fn file(more: &str) -> File {
    read(&format!("{LEAST}{more}")).unwrap().file
}

/// The messages of the least file with one more line, its third.
fn messages(more: &str) -> Vec<String> {
    let invalid = read(&format!("{LEAST}{more}")).unwrap_err();
    invalid.problems().iter().map(ToString::to_string).collect()
}

fn message(more: &str) -> String {
    let messages = messages(more);
    assert_eq!(messages.len(), 1, "{messages:#?}");
    messages[0].clone()
}

#[test]
fn what_is_absent_has_the_default_of_the_table() {
    let file = file("");
    assert_eq!(
        (file.port, file.window_size, file.order, file.acks),
        (80, 50, true, 1)
    );
    assert_eq!(
        (file.topic, file.hosts.is_none(), file.headers.len()),
        (None, true, 0)
    );
    assert_eq!(
        (file.limits.bytes, file.admin.is_none(), file.clusters.len()),
        (7, true, 0)
    );
    assert_eq!(file.base.clusters, ["a"]);
    assert_eq!(file.base.log.log_keep, 7);
    assert_eq!(file.base.log.log_rotate, logging::Rotate::None);
}

#[test]
fn what_is_written_is_read() {
    let file = file(
        "window_size: 1\norder: no\nacks: -1\ntopic: 0123\nhosts: [a:1, 'b:2']\nlimits: {}\n\
         headers:\n  - Host: h\n  - X-Number: 5\nadmin: {listen: 127.0.0.1:9}\n\
         c1: {zk_hosts: [z, 'y:1'], chroot: /mq/}\n",
    );
    assert_eq!((file.window_size, file.order, file.acks), (1, false, -1));
    assert_eq!(file.topic.unwrap(), "0123");
    assert_eq!(file.hosts.unwrap().len(), 2);
    let headers = [
        ("Host".to_owned(), "h".to_owned()),
        ("X-Number".to_owned(), "5".to_owned()),
    ];
    assert_eq!(file.headers, headers);
    assert_eq!(file.admin.unwrap().listen, "127.0.0.1:9");
    let cluster = &file.clusters["c1"];
    assert_eq!(cluster.zk_hosts[0].to_string(), "z:2181");
    assert_eq!((cluster.zk_hosts[1].port(), cluster.chroot.as_str()), (1, "/mq"));
}

#[test]
fn headers_may_be_one_map() {
    let headers = file("headers: {A: 1, B: x}\n").headers;
    assert_eq!(
        headers,
        [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x".to_owned())]
    );
}

#[test]
fn admin_may_be_off() {
    for off in [
        "admin: off",
        "admin: {listen: off}",
        "admin: no",
        "admin: {listen: no}",
    ] {
        let file = file(&format!("{off}\n"));
        assert_eq!(
            admin::Listen::from_file(file.admin.as_ref()),
            admin::Listen::Off,
            "{off}"
        );
    }
}

/// A third line, and what its message must hold.
const PROBLEMS: &[(&str, &str)] = &[
    (
        "window_sise: 5\n",
        "t.yaml:3:1: window_sise: is not a key that is known here; did you mean window_size?",
    ),
    (
        "bytes: 5\n",
        "t.yaml:3:1: bytes: is not a key that is known here; did you mean limits.bytes?",
    ),
    (
        "zzz: 5\n",
        "t.yaml:3:1: zzz: is not a key that is known here; allowed: base, port,",
    ),
    (
        "port: 81\n",
        "t.yaml:3:1: port: is given twice, first in line 2; remove one",
    ),
    (
        "window_size: 0\n",
        "t.yaml:3:14: window_size: is 0; allowed: a whole number from 1 to 100",
    ),
    (
        "window_size: many\n",
        "t.yaml:3:14: window_size: is the text \"many\"; allowed: a whole number",
    ),
    (
        "window_size: '5'\n",
        "t.yaml:3:14: window_size: is the text \"5\" in quotes; remove the quotes; allowed",
    ),
    (
        "window_size: [5]\n",
        "t.yaml:3:14: window_size: is a list; allowed: a whole number",
    ),
    (
        "window_size:\n",
        "window_size: is without a value; allowed: a whole number",
    ),
    (
        "order: maybe\n",
        "t.yaml:3:8: order: is the text \"maybe\"; allowed: true or false",
    ),
    ("acks: 2\n", "t.yaml:3:7: acks: is 2; allowed: 0, 1, -1"),
    (
        "topic: ''\n",
        "t.yaml:3:8: topic: is empty; allowed: a text that is not empty",
    ),
    (
        "topic: {a: 1}\n",
        "t.yaml:3:8: topic: is a section; allowed: a text",
    ),
    (
        "hosts: a:1\n",
        "t.yaml:3:8: hosts: is the text \"a:1\"; allowed: a list of host:port, at least 1",
    ),
    (
        "hosts: []\n",
        "t.yaml:3:1: hosts: has 0 entries; allowed: a list of host:port, at least 1",
    ),
    (
        "hosts: [a:1, b]\n",
        "t.yaml:3:14: hosts: entry 2 is \"b\", which has no port; allowed",
    ),
    (
        "headers: [a]\n",
        "t.yaml:3:10: headers: has an entry that is no `name: value`; allowed",
    ),
    (
        "headers: 5\n",
        "t.yaml:3:10: headers: is the text \"5\"; allowed: a list of",
    ),
    ("headers: [{A: [1]}]\n", "headers.A: is a list; allowed: a text"),
    (
        "limits: 5\n",
        "t.yaml:3:9: limits: is the text \"5\"; allowed: a section",
    ),
    (
        "limits: {bites: 5}\n",
        "limits.bites: is not a key that is known here; did you mean bytes? allowed: bytes",
    ),
    (
        "admin: {listen: 5031}\n",
        "admin.listen: is \"5031\"; allowed: IP:port, or off",
    ),
    (
        "admin: {}\n",
        "t.yaml:3:1: admin.listen: is missing; allowed: IP:port, or off",
    ),
    (
        "c1: {}\n",
        "t.yaml:3:1: c1.zk_hosts: is missing; allowed: a list of host or host:port",
    ),
    (
        "c1: {zk_hosts: [a], x: 1}\n",
        "c1.x: is not a key that is known here; allowed: zk_hosts, chroot",
    ),
];

#[test]
fn every_kind_of_problem_says_where_it_is_what_is_wrong_and_what_is_allowed() {
    for (more, expected) in PROBLEMS {
        let message = message(more);
        assert!(
            message.contains(expected),
            "{more:?} gives {message:?}, not {expected:?}"
        );
    }
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let invalid =
        read("order: 5\nbase: {log_dir: x, clusters: [], log_level: 999, log_kep: 1}\nzzz: 1\n").unwrap_err();
    let keys: Vec<&str> = invalid
        .problems()
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "port",
            "order",
            "base.clusters",
            "base.log_level",
            "base.log_kep",
            "zzz"
        ]
    );
    assert_eq!(invalid.to_string().lines().count(), 6);
}

#[test]
fn an_empty_file_misses_what_is_required_and_nothing_else() {
    for text in ["", "# nothing\n", "---\n"] {
        let invalid = read(text).unwrap_err();
        let keys: Vec<&str> = invalid
            .problems()
            .iter()
            .map(|problem| problem.key.as_str())
            .collect();
        assert_eq!(keys, ["base", "port"], "{text:?}");
    }
    assert!(
        read("- a\n- b\n")
            .unwrap_err()
            .to_string()
            .contains("is not a map of keys")
    );
}

#[test]
fn a_syntax_error_has_its_place() {
    let invalid = read("port: [1\nbase: 2\n").unwrap_err();
    assert!(invalid.to_string().starts_with("t.yaml:2:"), "{invalid}");
    assert!(invalid.to_string().contains("is not YAML"), "{invalid}");
}

#[test]
fn a_problem_found_later_has_the_place_of_its_key_or_of_its_section() {
    let document = read(&format!("{LEAST}hosts:\n  - a:1\n  - b:2\n")).unwrap();
    let place = |key| {
        let problem = document.problem(key, "wrong");
        (problem.line, problem.column)
    };
    assert_eq!(place("hosts.1"), (5, 5));
    assert_eq!(place("base.clusters.0"), (1, 49));
    assert_eq!(place("base.absent"), (1, 1));
    assert_eq!(place("absent"), (1, 1));
    assert_eq!(
        document.problem("port", "is taken").to_string(),
        "t.yaml:2:1: port: is taken"
    );
}

#[test]
fn a_file_that_cannot_be_read_says_why_and_names_the_nearest_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let error = |name: &str| load::<File>(&path(name), &SCHEMA).unwrap_err().to_string();
    std::fs::write(path("test_module_1.yaml"), "").unwrap();
    assert!(error("test_mdoule_1.yaml").contains("the nearest existing file is"));
    assert!(error("test_mdoule_1.yaml").contains("test_module_1.yaml"));
    assert!(!error("other.yaml").contains("nearest"));
    std::fs::write(path("large.yaml"), vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert!(error("large.yaml").contains("more than 1048576 bytes"));
    std::fs::write(path("limit.yaml"), vec![b'#'; 1024 * 1024]).unwrap();
    assert!(error("limit.yaml").contains("base: is missing"));
    std::fs::write(path("latin.yaml"), b"port: \xe9\n").unwrap();
    assert!(error("latin.yaml").contains("is not UTF-8 at byte 6"));
    assert!(
        load::<File>(directory.path(), &SCHEMA)
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
}

#[test]
fn the_table_in_markdown_has_a_row_per_key_and_its_cells_are_whole() {
    let table = markdown_table(&SCHEMA);
    assert_eq!(table.lines().count(), 2 + SCHEMA.flat().len());
    assert!(table.contains(
        "| `window_size` | A meaning with a \\| in it. | a whole number from 1 to 100 | `50` |  |\n"
    ));
    assert!(table.contains("| `base.log_dir` |"));
}

#[test]
fn a_secret_is_named_by_its_place_and_never_shown_when_it_is_written_itself() {
    const SECRETS: Schema = Schema {
        name: "s.yaml",
        groups: &[(
            "",
            &[Key {
                path: "secret",
                kind: Kind::Secret,
                need: Need::Required,
                meaning: "",
                changed: "",
            }],
        )],
    };
    let read = |text: &str| parse::<serde_yaml::Value>(Path::new("s.yaml"), text, &SECRETS);
    for place in ["{file: /a}", "{env: A}", "{file: 'a b'}"] {
        let file = read(&format!("secret: {place}")).unwrap().file;
        assert_eq!(file["secret"].as_mapping().unwrap().len(), 1, "{place}");
    }
    for wrong in [
        "sesame",
        "[sesame]",
        "{file: [sesame]}",
        "{sesame: a}",
        "{file: sesame, env: b}",
        "{file: ''}",
        "{}",
    ] {
        let message = read(&format!("secret: {wrong}")).unwrap_err().to_string();
        let expected =
            "s.yaml:1:1: secret: does not say where the secret stands; allowed: {file: path} or {env: NAME}";
        assert!(
            message.contains("does not say where") && !message.contains("sesame"),
            "{message} is not {expected}"
        );
    }
}

#[test]
fn every_default_of_the_shared_tables_is_legal() {
    let file = file("");
    assert_eq!(file.base.log.log_rotate_bytes, 1_073_741_824);
}

proptest! {
    #[test]
    fn any_text_is_a_file_or_has_problems(text: String) {
        let _outcome = read(&text);
    }

    #[test]
    fn any_text_made_of_yamls_own_signs_is_a_file_or_has_problems(text in "[ab:,{}\\[\\]&*<!'\"#|>?% \n-]{0,60}") {
        if let Err(invalid) = read(&text) {
            prop_assert!(!invalid.problems().is_empty());
            prop_assert_eq!(invalid.to_string().lines().count(), invalid.problems().len());
        }
    }

    #[test]
    fn any_value_of_any_key_is_read_or_has_one_problem_at_its_place(
        key in "window_size|order|acks|topic|hosts|headers|limits|admin",
        value in "[ -~]{0,12}",
    ) {
        if let Err(invalid) = read(&format!("{LEAST}{key}: {value}\n")) {
            prop_assert!(invalid.problems().iter().all(|problem| problem.line >= 3), "{}", invalid);
        }
    }
}

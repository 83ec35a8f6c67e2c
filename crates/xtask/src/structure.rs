//! The rules of the code's structure that no lint knows, held by reading the sources: modules that call themselves pure are pure,
//! the modules with the decisions do so, no arrow between crates turns back, and no file grows without end.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules that must be pure whatever their head says: the decisions.
const DECISIONS: [&str; 19] = [
    "kmonitor/src/follow.rs",
    "kmonitor/src/lag.rs",
    "kmonitor/src/render.rs",
    "kmonitor/src/ring.rs",
    "kmonitor/src/search.rs",
    "kmonitor/src/state.rs",
    "kproxy/src/failure.rs",
    "kproxy/src/request.rs",
    "ktransfer/src/adaptive.rs",
    "ktransfer/src/assignment.rs",
    "ktransfer/src/claims.rs",
    "ktransfer/src/committer.rs",
    "ktransfer/src/ledger.rs",
    "ktransfer/src/methods.rs",
    "ktransfer/src/quota.rs",
    "ktransfer/src/retry.rs",
    "ktransfer/src/scheduler.rs",
    "ktransfer/src/uri.rs",
    "ktransfer/src/verdict.rs",
];

/// What a pure module never says: I/O, clocks, randomness, waiting, process-wide state.
const IMPURE: [&str; 20] = [
    ".await",
    "Instant::now",
    "SystemTime::now",
    "Uuid::new_v4",
    "async fn",
    "clock_gettime",
    "eprintln!",
    "metrics::",
    "println!",
    "rand::",
    "spawn(",
    "std::env::",
    "std::fs",
    "std::net::Tcp",
    "std::process",
    "thread::",
    "tokio::fs",
    "tokio::net",
    "tracing::",
    "zookeeper_client::",
];

/// The longest file, in lines of code before its tests.
const MAX_LINES: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Rust file below a folder of the workspace, with its path from there.
fn sources(folder: &str) -> Vec<(String, String)> {
    let base = root().join(folder);
    let mut open = vec![base.clone()];
    let mut found = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&base).unwrap().display().to_string();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The part of a file before its tests.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

fn head(text: &str) -> String {
    text.lines().take_while(|line| line.starts_with("//!")).collect()
}

/// Whether a head says "Pure" of its own file; that of a `lib.rs` speaks of others.
fn calls_itself_pure(name: &str, text: &str) -> bool {
    !name.ends_with("lib.rs")
        && ["Pure.", "Pure:", "Pure;"]
            .iter()
            .any(|word| head(text).contains(word))
}

#[test]
fn modules_that_are_called_pure_do_no_io_and_read_no_clock() {
    let sources = sources("crates");
    for decision in DECISIONS {
        assert!(
            sources.iter().any(|(name, _)| name == decision),
            "{decision} is gone; correct the list"
        );
    }
    for (name, text) in &sources {
        if !DECISIONS.contains(&name.as_str()) && !calls_itself_pure(name, text) {
            continue;
        }
        let code = production(text)
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            let impure = IMPURE.iter().find(|word| line.contains(**word));
            assert!(impure.is_none(), "{name} is pure but says {impure:?}: {line}");
        }
    }
}

#[test]
fn no_arrow_between_crates_turns_back() {
    let daemons = ["kproxy", "ktransfer", "kmonitor"];
    for (package, forbidden) in [
        (
            "kcommon",
            &["kproxy", "ktransfer", "kmonitor", "ktests", "xtask"][..],
        ),
        ("kproxy", &["ktransfer", "kmonitor", "ktests", "xtask"]),
        ("ktransfer", &["kproxy", "kmonitor", "ktests", "xtask"]),
        ("kmonitor", &["kproxy", "ktransfer", "ktests", "xtask"]),
    ] {
        let manifest = fs::read_to_string(root().join("crates").join(package).join("Cargo.toml")).unwrap();
        for other in forbidden {
            assert!(
                !manifest.contains(&format!("\n{other}")),
                "{package} depends on {other}"
            );
        }
        assert!(
            !daemons.contains(&package) || manifest.contains("\nkcommon"),
            "{package} without kcommon"
        );
    }
}

/// Whether a file is a module of tests: declared as one by another file.
fn is_of_tests(name: &str, sources: &[(String, String)]) -> bool {
    let stem = Path::new(name).file_stem().unwrap().to_str().unwrap();
    let declared = format!("#[cfg(test)]\nmod {stem};");
    sources.iter().any(|(_, text)| text.contains(&declared))
}

#[test]
fn every_file_says_what_it_is_for_and_ends_within_sight() {
    let crates = sources("crates");
    for (name, text) in crates.iter().chain(&sources("tests")) {
        assert!(text.starts_with("//!"), "{name} does not begin with its job");
    }
    for (name, text) in crates.iter().chain(&sources("tests/src")) {
        let code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        let lines = production(text).lines().filter(code).count();
        let fits = lines <= MAX_LINES || is_of_tests(name, &crates);
        assert!(
            fits,
            "{name} has {lines} lines of code before its tests; split it by noun"
        );
    }
}

/// The names of tests in the last column of a document's tables: words in backquotes with three underscores or more.
fn tests_named_in(document: &str) -> Vec<String> {
    let cells = document
        .lines()
        .filter_map(|line| line.strip_suffix('|')?.rsplit('|').next());
    let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    words
        .filter(|word| word.matches('_').count() >= 3)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_test_that_a_promise_rests_on_exists() {
    let sources: Vec<_> = [sources("crates"), sources("tests")].concat();
    for document in ["architecture.md", "delivery-guarantees.md"] {
        let text = fs::read_to_string(root().join("docs").join(document)).unwrap();
        let named = tests_named_in(&text);
        assert!(named.len() > 5, "{document} names its tests in the last column");
        for test in named {
            let function = format!("fn {test}(");
            let exists = sources.iter().any(|(_, text)| text.contains(&function));
            assert!(
                exists,
                "docs/{document} rests on a test `{test}` that is not there"
            );
        }
    }
}

/// The names in the first column of the tables of metrics in docs/operations.md.
fn documented_metrics() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let cells = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split('|').next());
    let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let ours = words.filter(|word| {
        let daemon = ["kproxy_", "ktransfer_", "kmonitor_"];
        daemon.iter().any(|daemon| word.starts_with(daemon))
    });
    ours.map(str::to_owned).collect()
}

#[test]
fn every_metric_is_documented_and_tells_what_it_is() {
    let documented = documented_metrics();
    assert!(documented.len() > 50, "docs/operations.md has tables of metrics");
    let told = [kproxy::METRICS, ktransfer::METRICS, kmonitor::METRICS].concat();
    for (name, help) in &told {
        assert!(documented.contains(*name), "{name} is not in docs/operations.md");
        assert!(help.ends_with('.'), "{name}: {help}");
    }
    // Those of single partitions and modules are written with their help.
    let written = fs::read_to_string(root().join("crates/kmonitor/src/exposition.rs")).unwrap();
    for name in documented {
        assert!(
            told.iter().any(|(told, _)| *told == name) || written.contains(&name),
            "{name} has no help in its daemon's meters/help.rs"
        );
    }
}

//! `cargo xtask docs`: writes the tables of `docs/configuration.md` from the tables of keys that the daemons check with.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use kcommon::config::{Schema, markdown_table};

/// The files of the daemons, each with a pair of markers in the document.
const SCHEMAS: [&Schema; 5] = [
    &kproxy::config::SCHEMA,
    &kproxy::access::CREDENTIALS_SCHEMA,
    &ktransfer::config::MAIN_SCHEMA,
    &ktransfer::config::MODULE_SCHEMA,
    &kmonitor::config::SCHEMA,
];

const END: &str = "<!-- end of keys -->";

pub(crate) fn run() -> Result<ExitCode> {
    let path = document();
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let filled = filled(&text)?;
    if filled == text {
        println!("{} is up to date", path.display());
    } else {
        std::fs::write(&path, filled).with_context(|| format!("write {}", path.display()))?;
        println!("{} is written", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn document() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md")
}

/// The document with every table replaced by that of today's keys.
fn filled(text: &str) -> Result<String> {
    let mut text = text.to_owned();
    for schema in SCHEMAS {
        let start = format!("<!-- keys of {} -->\n", schema.name);
        let from = text
            .find(&start)
            .with_context(|| format!("docs/configuration.md has no {start}"))?
            + start.len();
        let length = text[from..]
            .find(END)
            .with_context(|| format!("{start} has no {END}"))?;
        text.replace_range(from..from + length, &format!("\n{}\n", markdown_table(schema)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_the_document_are_those_of_the_code() {
        let text = std::fs::read_to_string(document()).unwrap();
        assert!(
            text == filled(&text).unwrap(),
            "docs/configuration.md is out of date: run `cargo xtask docs`"
        );
    }
}

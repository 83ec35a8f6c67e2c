//! Reading a configuration file: text -> tree with places -> every problem at once, or a filled struct.
//!
//! The table of keys ([`Schema`]) is the only source of what is allowed and of the defaults: the check fills defaults in, so a
//! `File` struct holds what is written or the table's default, and the documentation is generated from the same table.
//! What the table cannot say (a name used twice, two keys that contradict) is checked by the daemon's `Config`, which reports
//! it with [`Document::problem`] at the place of the key.
//!
//! A file is refused when it is over [`MAX_FILE_BYTES`] or has more than 100,000 values after aliases.

mod check;
mod host_port;
mod problem;
mod scalar;
mod schema;
mod table;
mod tree;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

pub use host_port::{HostPort, HostPortError};
pub use problem::{Invalid, Problem};
pub use schema::{ADMIN_KEYS, Key, Kind, LOG_KEYS, Need, Schema};
pub use table::markdown_table;

use tree::Place;

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A checked file: its content as a struct, and where each key stands.
#[derive(Debug)]
pub struct Document<F> {
    /// The content.
    pub file: F,
    /// The file's path as it was given.
    pub path: PathBuf,
    places: BTreeMap<String, Place>,
}

impl<F> Document<F> {
    /// Whether the file itself has this key (dotted), and not only its default.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// A problem at the place of `key` (dotted; `backend_servers.0` is a list's first entry), or of its section when the file
    /// does not have the key.
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        let mut known = key;
        let place = loop {
            if let Some(place) = self.places.get(known) {
                break *place;
            }
            match known.rsplit_once('.') {
                Some((parent, _)) => known = parent,
                None => break Place::START,
            }
        };
        Problem {
            file: self.path.clone(),
            line: place.line,
            column: place.column,
            key: key.to_owned(),
            message: message.into(),
        }
    }
}

/// Reads and checks a file.
///
/// # Errors
/// Every problem of the file: it cannot be read, is too large, is no YAML, or has unknown, missing, duplicate, mistyped or
/// out-of-range keys.
pub fn load<F: DeserializeOwned>(path: &Path, schema: &Schema) -> Result<Document<F>, Invalid> {
    let text = read(path)?;
    parse(path, &text, schema)
}

/// As [`load`], for a text that is already read; `path` is for the messages.
///
/// # Errors
/// As [`load`].
pub fn parse<F: DeserializeOwned>(path: &Path, text: &str, schema: &Schema) -> Result<Document<F>, Invalid> {
    let problem = |place: Place, key: &str, message: String| Problem {
        file: path.to_owned(),
        line: place.line,
        column: place.column,
        key: key.to_owned(),
        message,
    };
    let root = tree::parse(text).map_err(|error| problem(error.place, "", error.message))?;
    let checked = check::check(&root, schema);
    let findings = checked.findings.into_iter();
    Invalid::check(
        findings
            .map(|found| problem(found.place, &found.key, found.message))
            .collect(),
    )?;
    let file = serde_yaml::from_value(checked.value)
        .map_err(|error| Problem::of_file(path, format!("cannot be used: {error}")))?;
    Ok(Document {
        file,
        path: path.to_owned(),
        places: checked.places,
    })
}

fn read(path: &Path) -> Result<String, Problem> {
    let unreadable = |error: std::io::Error| {
        let nearest = if error.kind() == std::io::ErrorKind::NotFound {
            nearest_file(path)
        } else {
            None
        };
        let hint = nearest.map_or_else(String::new, |near| {
            format!("; the nearest existing file is {}", near.display())
        });
        Problem::of_file(path, format!("cannot be read: {error}{hint}"))
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Problem::of_file(
            path,
            format!("has more than {MAX_FILE_BYTES} bytes"),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Problem::of_file(path, format!("is not UTF-8 at byte {at}; save it as UTF-8"))
    })
}

/// The file beside `path` with the same extension whose name is nearest, if one is near enough to be meant.
fn nearest_file(path: &Path) -> Option<PathBuf> {
    let directory = path.parent()?;
    let written = path.file_stem()?.to_str()?;
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let entries = directory.read_dir().ok()?.take(10_000);
    let others: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| PathBuf::from(entry.file_name()))
        .filter(|other| other.extension() == path.extension())
        .collect();
    let stems = others.iter().filter_map(|other| other.file_stem()?.to_str());
    let stem = check::nearest(written, stems)?;
    let nearest = others
        .iter()
        .find(|other| other.file_stem().is_some_and(|other| other == stem))?;
    Some(path.with_file_name(nearest))
}

#[cfg(test)]
mod tests;

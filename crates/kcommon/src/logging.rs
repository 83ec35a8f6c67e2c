//! The logs of a daemon.

use serde::Deserialize;
use std::path::PathBuf;

/// The logging keys as they stand in a file; for `#[serde(flatten)]`.
#[derive(Clone, Debug, Deserialize)]
pub struct File {
    /// Directory of the files.
    pub log_dir: PathBuf,
    /// The seed's number.
    pub log_level: u8,
    /// Text or JSON.
    pub log_format: Format,
    /// When to rotate.
    pub log_rotate: Rotate,
    /// Size limit for [`Rotate::Size`].
    pub log_rotate_bytes: u64,
    /// Rotated files kept.
    pub log_keep: usize,
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One line of text.
    Text,
    /// One JSON object.
    Json,
}

/// When the daemon itself starts a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotate {
    /// Never.
    None,
    /// At midnight UTC.
    Daily,
    /// At each full hour.
    Hourly,
    /// At a number of bytes.
    Size,
}

/// Where and what to log.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The keys, checked.
    pub file: File,
}

impl From<File> for Settings {
    fn from(file: File) -> Self {
        Self { file }
    }
}

/// The running log.
#[derive(Debug)]
pub struct Log {}

/// Logging cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot log")]
pub struct StartError {}

/// Starts logging.
///
/// # Errors
/// Never yet.
pub fn start(_daemon: &'static str, _settings: &Settings) -> Result<Log, StartError> {
    Ok(Log {})
}

impl Log {
    /// Writes what is queued.
    pub fn flush(&self) {}

    /// Reopens the files on SIGUSR1.
    ///
    /// # Errors
    /// The handler cannot be set.
    pub fn reopen_on_signal(&self) -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
        Ok(std::future::pending())
    }
}

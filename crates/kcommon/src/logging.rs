//! The logs of a daemon: `<daemon>.log` for info and below, `<daemon>.log.wf` for warnings and worse.
//!
//! An event is formatted where it happens and put into a bounded queue; one thread writes. When the queue or the disk is full
//! the line is dropped and counted: logging never blocks a task and never ends the daemon. The files are opened again within a
//! second when somebody moved them away (logrotate), and at once on SIGUSR1. Two processes may log into the same files: each
//! line is one append, and only one of them rotates. When stderr is a terminal, the lines go there too.

mod files;
mod queue;
mod stamp;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use files::Files;
use queue::Queue;

/// How long the end of the process waits for the queue to be written.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// Our own crates log at the configured level, all others at info at most: their debug lines are about themselves.
const OWN_CRATES: [&str; 4] = ["kcommon", "kproxy", "ktransfer", "kmonitor"];

/// The logging keys as they stand in a file, checked against [`crate::config::LOG_KEYS`]; for `#[serde(flatten)]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct File {
    /// Directory of the files; made when missing.
    pub log_dir: PathBuf,
    /// The number of the original: 0, 1, 2, 4, 8 or 16; a value between two acts as the lower.
    pub log_level: u8,
    /// Text or JSON.
    pub log_format: Format,
    /// When the daemon itself starts a new file.
    pub log_rotate: Rotate,
    /// Bytes after which [`Rotate::Size`] starts a new file.
    pub log_rotate_bytes: u64,
    /// Rotated files kept beside each current one.
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
    directory: PathBuf,
    level: LevelFilter,
    format: Format,
    rotation: Rotation,
}

/// When a file is rotated, and what is kept.
#[derive(Clone, Copy, Debug)]
struct Rotation {
    when: Rotate,
    bytes: u64,
    keep: usize,
}

impl From<File> for Settings {
    fn from(file: File) -> Self {
        Self {
            directory: file.log_dir,
            level: level(file.log_level),
            format: file.log_format,
            rotation: Rotation {
                when: file.log_rotate,
                bytes: file.log_rotate_bytes,
                keep: file.log_keep,
            },
        }
    }
}

/// Logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory or a file in it cannot be made or opened.
    #[error("cannot log to {path}; make the directory writable for this user, or change log_dir")]
    Open {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The system gives no thread.
    #[error("cannot start the thread that writes the log")]
    Thread(#[source] std::io::Error),
    /// The process logs already.
    #[error("the process logs already")]
    Twice,
}

/// The running log.
#[derive(Clone, Debug)]
pub struct Log {
    queue: Queue,
}

impl Log {
    /// Waits, at most two seconds, until what is queued is written.
    pub fn flush(&self) {
        self.queue.flush(FLUSH_WITHIN);
    }

    /// A future that opens the files again at each SIGUSR1, until it is dropped. Needs a Tokio runtime.
    ///
    /// # Errors
    /// The system refuses the handler.
    pub fn reopen_on_signal(&self) -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
        let mut usr1 = signal(SignalKind::user_defined1())?;
        let queue = self.queue.clone();
        Ok(async move {
            while usr1.recv().await.is_some() {
                queue.reopen();
            }
        })
    }
}

/// Opens the files and makes them the log of the whole process.
///
/// # Errors
/// The files cannot be opened, there is no thread, or the process logs already.
pub fn start(daemon: &str, settings: &Settings) -> Result<Log, StartError> {
    let files = Files::open(&settings.directory, daemon, settings.rotation)?;
    let terminal = std::io::stderr().is_terminal();
    let queue = Queue::start(files, terminal).map_err(StartError::Thread)?;
    tracing::subscriber::set_global_default(subscriber(settings, queue.clone()))
        .map_err(|_set_before| StartError::Twice)?;
    log_panics();
    Ok(Log { queue })
}

/// A panic of any thread stands in the log with its place. Its text goes to stderr alone, as before: it may quote what it stumbled
/// over.
fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string);
        let thread = std::thread::current().name().map(str::to_owned);
        tracing::error!(place, thread, "panic; stderr has its text");
        before(panic);
    }));
}

fn subscriber<W>(settings: &Settings, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let foreign = settings.level.min(LevelFilter::INFO);
    let own = OWN_CRATES.map(|name| (name, settings.level));
    let targets = Targets::new().with_default(foreign).with_targets(own);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(writer);
    let lines = match settings.format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(targets))
}

/// The original's number: 0 nothing, 1 fatal, 2 warning, 4 notice, 8 trace, 16 debug.
fn level(number: u8) -> LevelFilter {
    match number {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2..=3 => LevelFilter::WARN,
        4..=7 => LevelFilter::INFO,
        8..=15 => LevelFilter::DEBUG,
        16..=u8::MAX => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn settings(directory: &Path, number: u8, format: Format) -> Settings {
        Settings {
            directory: directory.to_owned(),
            level: level(number),
            format,
            rotation: Rotation {
                when: Rotate::None,
                bytes: u64::MAX,
                keep: 7,
            },
        }
    }

    fn logged(number: u8, format: Format, events: impl FnOnce()) -> (String, String) {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("made/when/missing");
        let settings = settings(&below, number, format);
        let files = Files::open(&settings.directory, "test", settings.rotation).unwrap();
        let queue = Queue::start(files, false).unwrap();
        tracing::subscriber::with_default(subscriber(&settings, queue.clone()), events);
        queue.flush(Duration::from_secs(20));
        let read = |name: &str| std::fs::read_to_string(below.join(name)).unwrap();
        (read("test.log"), read("test.log.wf"))
    }

    fn one_of_each() {
        tracing::error!("an error");
        tracing::warn!("a warning");
        tracing::info!(topic = "t", "an info");
        tracing::debug!("a debug");
        tracing::trace!("a trace");
        tracing::debug!(target: "hyper", "a foreign debug");
        tracing::info!(target: "hyper", "a foreign info");
    }

    #[test]
    fn a_number_between_two_levels_acts_as_the_lower() {
        for (number, expected) in [
            (0, LevelFilter::OFF),
            (1, LevelFilter::ERROR),
            (2, LevelFilter::WARN),
            (3, LevelFilter::WARN),
            (4, LevelFilter::INFO),
            (7, LevelFilter::INFO),
            (8, LevelFilter::DEBUG),
            (15, LevelFilter::DEBUG),
            (16, LevelFilter::TRACE),
            (255, LevelFilter::TRACE),
        ] {
            assert_eq!(level(number), expected, "{number}");
        }
    }

    #[test]
    fn info_and_below_go_to_one_file_and_warnings_and_worse_to_the_other() {
        let (log, wf) = logged(16, Format::Text, one_of_each);
        for line in ["an info", "topic=\"t\"", "a debug", "a trace", "a foreign info"] {
            assert!(log.contains(line), "{log}");
        }
        assert!(wf.contains("an error") && wf.contains("a warning"), "{wf}");
        assert_eq!((log.lines().count(), wf.lines().count()), (4, 2));
        assert!(!log.contains("a foreign debug"));
    }

    #[test]
    fn the_level_of_the_file_is_the_level_of_the_log() {
        let (log, wf) = logged(4, Format::Text, one_of_each);
        assert_eq!((log.lines().count(), wf.lines().count()), (2, 2));
        let (log, wf) = logged(1, Format::Text, one_of_each);
        assert_eq!((log.lines().count(), wf.lines().count()), (0, 1));
        let (log, wf) = logged(0, Format::Text, one_of_each);
        assert_eq!((log.lines().count(), wf.lines().count()), (0, 0));
    }

    #[test]
    fn json_lines_are_objects() {
        let (log, _) = logged(4, Format::Json, one_of_each);
        let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        assert_eq!((&first["level"], &first["topic"]), (&"INFO".into(), &"t".into()));
        assert_eq!(first["message"], "an info");
    }

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let (log, _) = logged(4, Format::Text, || {
            tracing::info!(value = %"a\nb\r\u{1b}[31m", "two\nlines");
        });
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(!log.contains('\u{1b}') && !log.contains('\r'), "{log}");
    }

    #[test]
    fn a_directory_that_cannot_be_made_says_what_to_do() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let rotation = settings(file.path(), 4, Format::Text).rotation;
        let error = Files::open(file.path(), "test", rotation).err().unwrap();
        assert!(error.to_string().contains("change log_dir"), "{error}");
    }
}

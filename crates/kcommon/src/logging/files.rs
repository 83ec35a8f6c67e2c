//! The two files of a daemon's log: opened again when moved, rotated, and never a reason to stop.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use super::stamp::{Period, period, suffix, surplus};
use super::{Rotate, Rotation, StartError};

/// Which of the two files a line belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Info and below: `<daemon>.log`.
    Notice,
    /// Warnings and worse: `<daemon>.log.wf`.
    Warning,
}

impl Class {
    pub(super) const ALL: [Self; 2] = [Self::Notice, Self::Warning];

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Notice => 0,
            Self::Warning => 1,
        }
    }
}

/// Both files.
#[derive(Debug)]
pub(super) struct Files {
    by_class: [LogFile; 2],
}

impl Files {
    /// Makes the directory when it is missing, and opens both files for appending.
    pub(super) fn open(directory: &Path, daemon: &str, rotation: Rotation) -> Result<Self, StartError> {
        fs::create_dir_all(directory).map_err(|source| StartError::Open {
            path: directory.to_owned(),
            source,
        })?;
        Ok(Self {
            by_class: [
                LogFile::new(directory.join(format!("{daemon}.log")), rotation)?,
                LogFile::new(directory.join(format!("{daemon}.log.wf")), rotation)?,
            ],
        })
    }

    /// Opens again what was moved away or deleted, or everything when `asked`; rotates what is due.
    pub(super) fn look(&mut self, now: SystemTime, asked: bool) {
        for file in &mut self.by_class {
            if asked || file.is_moved() {
                file.reopen();
            }
            file.rotate_if_due(now, 0);
        }
    }

    /// Appends whole lines; the number of those that could not be written.
    pub(super) fn write(&mut self, class: Class, lines: &[u8], now: SystemTime) -> u64 {
        let file = &mut self.by_class[class.index()];
        file.rotate_if_due(now, lines.len());
        file.append(lines, now)
    }
}

/// A file that is open, and what its path must show for it to be still the same.
#[derive(Debug)]
struct OpenFile {
    file: File,
    identity: (u64, u64),
    bytes: u64,
    period: Period,
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    /// `None` while it cannot be opened, tried again once a second.
    open: Option<OpenFile>,
    /// The last write ended inside a line.
    torn: bool,
}

impl LogFile {
    fn new(path: PathBuf, rotation: Rotation) -> Result<Self, StartError> {
        let open = match open(&path, rotation.when) {
            Ok(open) => open,
            Err(source) => return Err(StartError::Open { path, source }),
        };
        Ok(Self {
            path,
            rotation,
            open: Some(open),
            torn: false,
        })
    }

    fn is_moved(&self) -> bool {
        let shown = fs::metadata(&self.path)
            .ok()
            .map(|found| (found.dev(), found.ino()));
        shown.is_none() || shown != self.open.as_ref().map(|open| open.identity)
    }

    /// Keeps the old file when the path cannot be opened: lines in a moved file are better than none.
    fn reopen(&mut self) {
        if let Some(parent) = self.path.parent() {
            // When this fails, so does the next line, which decides.
            drop(fs::create_dir_all(parent));
        }
        if let Ok(opened) = open(&self.path, self.rotation.when) {
            self.open = Some(opened);
            self.torn = false;
        }
    }

    fn append(&mut self, lines: &[u8], now: SystemTime) -> u64 {
        let Some(open) = &mut self.open else {
            return count_lines(lines);
        };
        if open.bytes == 0 {
            open.period = period(self.rotation.when, now);
        }
        if self.torn && open.file.write_all(b"\n").is_ok() {
            self.torn = false;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match open.file.write(rest) {
                Ok(0) => break,
                Ok(written) => {
                    open.bytes += written as u64;
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_full_or_gone) => break,
            }
        }
        let written = &lines[..lines.len() - rest.len()];
        self.torn |= written.last().is_some_and(|last| *last != b'\n');
        count_lines(rest)
    }

    fn rotate_if_due(&mut self, now: SystemTime, incoming: usize) {
        let Some(open) = &self.open else { return };
        let due = match self.rotation.when {
            Rotate::None => false,
            Rotate::Daily | Rotate::Hourly => {
                open.bytes > 0 && open.period != period(self.rotation.when, now)
            }
            Rotate::Size => open.bytes > 0 && open.bytes + incoming as u64 > self.rotation.bytes,
        };
        if due {
            self.rotate(now);
        }
    }

    /// Another process may log into the same file and find the rotation due as well. The lock is on the file that both have open,
    /// so the second one sees, once it holds it, that the path shows another file already.
    fn rotate(&mut self, now: SystemTime) {
        let Some(open) = &mut self.open else { return };
        if flock(&open.file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return;
        }
        let current = period(self.rotation.when, now);
        let suffix = suffix(self.rotation.when, open.period, now);
        // Also when the rename fails: else every line would try again.
        open.period = current;
        open.bytes = 0;
        if !self.is_moved() {
            let renamed = free_name(&self.path, &suffix).map(|to| fs::rename(&self.path, to));
            if !matches!(renamed, Some(Ok(()))) {
                self.unlock();
                return;
            }
        }
        self.unlock();
        self.reopen();
        if let Some(open) = &mut self.open {
            open.period = current;
        }
        self.remove_surplus();
    }

    fn unlock(&self) {
        if let Some(open) = &self.open {
            // Closing the file unlocks it too.
            let _unlocked = flock(&open.file, FlockOperation::Unlock);
        }
    }

    fn remove_surplus(&self) {
        let (Some(directory), Some(current)) = (
            self.path.parent(),
            self.path.file_name().and_then(|name| name.to_str()),
        ) else {
            return;
        };
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        let names = entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().into_string().ok());
        for name in surplus(current, names.collect(), self.rotation.keep) {
            // Another process may have removed it; the next rotation tries again.
            drop(fs::remove_file(directory.join(name)));
        }
    }
}

fn open(path: &Path, rotate: Rotate) -> std::io::Result<OpenFile> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let found = file.metadata()?;
    // A file that holds lines of yesterday is rotated at the first line of today, whoever wrote it.
    let covers = if found.len() > 0 {
        found.modified()?
    } else {
        SystemTime::now()
    };
    Ok(OpenFile {
        file,
        identity: (found.dev(), found.ino()),
        bytes: found.len(),
        period: period(rotate, covers),
    })
}

/// A name for the rotated file that no file has.
fn free_name(path: &Path, suffix: &str) -> Option<PathBuf> {
    let name = |end: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    std::iter::once(name(format!(".{suffix}")))
        .chain((1..1000).map(|nth| name(format!(".{suffix}-{nth}"))))
        .find(|candidate| !candidate.exists())
}

fn count_lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const DAY: Duration = Duration::from_secs(86_400);

    fn rotation(when: Rotate, bytes: u64, keep: usize) -> Rotation {
        Rotation { when, bytes, keep }
    }

    fn files(directory: &Path, rotation: Rotation) -> Files {
        Files::open(directory, "d", rotation).unwrap()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn read(directory: &Path, name: &str) -> String {
        fs::read_to_string(directory.join(name)).unwrap()
    }

    #[test]
    fn a_file_that_was_moved_or_deleted_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = files(directory.path(), rotation(Rotate::None, 0, 7));
        let now = SystemTime::now();
        assert_eq!(files.write(Class::Notice, b"1\n", now), 0);
        fs::rename(directory.path().join("d.log"), directory.path().join("old")).unwrap();
        files.look(now, false);
        assert_eq!(files.write(Class::Notice, b"2\n", now), 0);
        fs::remove_file(directory.path().join("d.log")).unwrap();
        files.look(now, false);
        assert_eq!(files.write(Class::Notice, b"3\n", now), 0);
        assert_eq!(
            (
                read(directory.path(), "old").as_str(),
                read(directory.path(), "d.log").as_str()
            ),
            ("1\n", "3\n")
        );
        fs::remove_dir_all(directory.path()).unwrap();
        files.look(now, false);
        assert_eq!(files.write(Class::Warning, b"4\n", now), 0);
        assert_eq!(read(directory.path(), "d.log.wf"), "4\n");
    }

    #[test]
    fn a_day_that_ends_leaves_a_file_with_its_date_and_only_the_newest_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = files(directory.path(), rotation(Rotate::Daily, 0, 2));
        let mut now = SystemTime::now();
        for day in 0..5 {
            assert_eq!(files.write(Class::Notice, format!("{day}\n").as_bytes(), now), 0);
            now += DAY;
        }
        let names = names(directory.path());
        assert_eq!(
            names.iter().filter(|name| name.starts_with("d.log.2")).count(),
            2,
            "{names:?}"
        );
        assert_eq!(read(directory.path(), "d.log"), "4\n");
    }

    #[test]
    fn a_size_that_is_reached_starts_a_new_file_and_no_name_is_used_twice() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = files(directory.path(), rotation(Rotate::Size, 10, 100));
        let now = SystemTime::now();
        for _ in 0..4 {
            assert_eq!(files.write(Class::Notice, b"1234567\n", now), 0);
        }
        let names = names(directory.path());
        assert_eq!(
            names.iter().filter(|name| name.starts_with("d.log.2")).count(),
            3,
            "{names:?}"
        );
        for name in names
            .iter()
            .filter(|name| name.starts_with("d.log") && *name != "d.log.wf")
        {
            assert_eq!(read(directory.path(), name), "1234567\n");
        }
    }

    #[test]
    fn two_processes_with_one_file_rotate_it_once() {
        let directory = tempfile::tempdir().unwrap();
        let daily = rotation(Rotate::Daily, 0, 7);
        let (mut ours, mut theirs) = (files(directory.path(), daily), files(directory.path(), daily));
        let today = SystemTime::now();
        assert_eq!(ours.write(Class::Notice, b"ours 1\n", today), 0);
        assert_eq!(theirs.write(Class::Notice, b"theirs 1\n", today), 0);
        let tomorrow = today + DAY;
        assert_eq!(ours.write(Class::Notice, b"ours 2\n", tomorrow), 0);
        assert_eq!(theirs.write(Class::Notice, b"theirs 2\n", tomorrow), 0);
        assert_eq!(read(directory.path(), "d.log"), "ours 2\ntheirs 2\n");
        assert_eq!(
            names(directory.path()).len(),
            3,
            "d.log, d.log.<date> and d.log.wf"
        );
    }

    #[test]
    fn a_full_disk_drops_lines_and_counts_them() {
        let mut log = LogFile {
            path: PathBuf::from("/dev/full"),
            rotation: rotation(Rotate::None, 0, 7),
            open: None,
            torn: false,
        };
        assert_eq!(log.append(b"a\nb\n", SystemTime::now()), 2);
        log.open = Some(open(Path::new("/dev/full"), Rotate::None).unwrap());
        assert_eq!(log.append(b"a\nb\nc\n", SystemTime::now()), 3);
        assert!(!log.torn);
    }
}

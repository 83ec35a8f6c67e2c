//! Letters in a file, one line of JSON each. Whatever has come since the last time is written and synced together; after that
//! the records are done. The file is rotated by its size. What a crash has left of a line is cut off, because nobody was told
//! that it is stored.

use std::convert::Infallible;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};

use super::{Desk, RETRY};

/// Letters that are synced together, at most, and their bytes.
const MOST: usize = 1000;
const MOST_BYTES: usize = 4 << 20;
/// How much is looked at at a time for the end of the last whole line.
const CHUNK: u64 = 64 << 10;

/// Where and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The file, relative to the working directory. Rotated ones have a number behind it, counted up.
    pub path: PathBuf,
    /// Bytes after which a new file begins.
    pub rotate_bytes: u64,
    /// Rotated files that are kept; older ones are deleted.
    pub keep: usize,
}

/// See the module.
pub struct LogFile {
    desk: Rc<Desk>,
    settings: LogSettings,
}

impl LogFile {
    /// A task that has not begun.
    #[must_use]
    pub fn new(desk: Rc<Desk>, settings: LogSettings) -> Self {
        Self { desk, settings }
    }

    /// Stores letters until the task is dropped.
    pub async fn run(self) -> Infallible {
        let bell = self.desk.dispatcher.borrow().letters();
        let mut book = Book::new(self.settings.clone());
        loop {
            let (mut letters, mut lines) = (Vec::new(), Vec::new());
            while letters.len() < MOST && lines.len() < MOST_BYTES {
                let Some(letter) = self.desk.dispatcher.borrow_mut().next_letter() else {
                    break;
                };
                lines.extend(letter.line(&self.desk.sender));
                letters.push(letter);
            }
            let Some(first) = letters.first() else {
                bell.notified().await;
                continue;
            };
            let lines = Bytes::from(lines);
            loop {
                let outcome;
                (book, outcome) = append(book, lines.clone()).await;
                match outcome {
                    Ok(()) => break,
                    Err(error) => {
                        let place = self.settings.path.display().to_string();
                        self.desk.failed(first, &place, &error.to_string());
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
            for letter in &letters {
                self.desk.done(letter);
            }
        }
    }
}

/// On a thread that may block.
async fn append(mut book: Book, lines: Bytes) -> (Book, io::Result<()>) {
    let settings = book.settings.clone();
    let written = tokio::task::spawn_blocking(move || {
        let outcome = book.append(&lines);
        (book, outcome)
    });
    match written.await {
        Ok(written) => written,
        // The runtime ends, or it has panicked: nothing is known to be stored.
        Err(error) => (Book::new(settings), Err(io::Error::other(error))),
    }
}

/// The file as it is written.
#[derive(Debug)]
struct Book {
    settings: LogSettings,
    /// Held as long as this process writes: two that write and rotate one file would lose lines.
    lock: Option<File>,
    /// The file, and its length up to the last line that is stored.
    open: Option<(File, u64)>,
}

impl Book {
    const fn new(settings: LogSettings) -> Self {
        Self {
            settings,
            lock: None,
            open: None,
        }
    }

    /// Appends whole lines; they are on the disk when this returns.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let (mut file, mut length) = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        if length > 0 && length + lines.len() as u64 > self.settings.rotate_bytes {
            drop(file);
            self.rotate()?;
            (file, length) = self.begin()?;
        }
        let written = file.write_all(lines).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // If that fails too, the next opening cuts the rest off.
            file.set_len(length)?;
            return Err(error);
        }
        self.open = Some((file, length + lines.len() as u64));
        Ok(())
    }

    /// Opens the file for lines behind its last whole one.
    fn begin(&mut self) -> io::Result<(File, u64)> {
        let path = &self.settings.path;
        let directory = directory(path);
        fs::create_dir_all(directory)?;
        if self.lock.is_none() {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(beside(path, "lock"))?;
            flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_held| {
                io::Error::other("another process or module writes it; give each its own exhausted_log.path")
            })?;
            self.lock = Some(file);
        }
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)?;
        let length = whole_lines(&mut file)?;
        file.set_len(length)?;
        File::open(directory)?.sync_all()?;
        Ok((file, length))
    }

    fn rotate(&self) -> io::Result<()> {
        let path = &self.settings.path;
        let mut numbers = rotated(path)?;
        let next = numbers.last().map_or(1, |last| last + 1);
        fs::rename(path, beside(path, &next.to_string()))?;
        numbers.push(next);
        for number in numbers
            .iter()
            .take(numbers.len().saturating_sub(self.settings.keep))
        {
            let oldest = beside(path, &number.to_string());
            fs::remove_file(&oldest)?;
            tracing::warn!(
                file = %oldest.display(),
                "the oldest file of undelivered records is deleted: exhausted_log.keep"
            );
        }
        File::open(directory(path))?.sync_all()
    }
}

fn directory(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// The numbers of the rotated files, the oldest first.
fn rotated(path: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory(path))? {
        let name = entry?.file_name();
        let number = path.file_name().and_then(|file| {
            let rest = name.to_str()?.strip_prefix(file.to_str()?)?;
            rest.strip_prefix('.')?.parse::<u64>().ok()
        });
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The length of a file up to its last whole line.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut chunk = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(CHUNK);
        file.seek(SeekFrom::Start(begin))?;
        chunk.clear();
        (&*file).take(end - begin).read_to_end(&mut chunk)?;
        if let Some(last) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + last as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(directory: &Path, rotate_bytes: u64, keep: usize) -> LogSettings {
        LogSettings {
            path: directory.join("below").join("letters.jsonl"),
            rotate_bytes,
            keep,
        }
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn lines_are_appended_also_by_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path(), 1000, 3);
        for lines in ["a\n", "b\nc\n"] {
            let mut book = Book::new(settings.clone());
            book.append(lines.as_bytes()).unwrap();
            book.append(b"-\n").unwrap();
        }
        assert_eq!(text(&settings.path), "a\n-\nb\nc\n-\n");
    }

    #[test]
    fn what_a_crash_has_left_of_a_line_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path(), 1 << 30, 3);
        Book::new(settings.clone()).append(b"whole\n").unwrap();
        for torn in ["{", &"x".repeat(200_000)] {
            let mut file = OpenOptions::new().append(true).open(&settings.path).unwrap();
            file.write_all(torn.as_bytes()).unwrap();
            Book::new(settings.clone()).append(b"next\n").unwrap();
        }
        assert_eq!(text(&settings.path), "whole\nnext\nnext\n");
        fs::write(&settings.path, "no line at all").unwrap();
        Book::new(settings.clone()).append(b"first\n").unwrap();
        assert_eq!(text(&settings.path), "first\n");
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path(), 8, 2);
        let mut book = Book::new(settings.clone());
        for line in ["one\n", "two\n", "three\n", "four, which is long\n", "five\n"] {
            book.append(line.as_bytes()).unwrap();
        }
        assert_eq!(text(&settings.path), "five\n");
        assert_eq!(rotated(&settings.path).unwrap(), [2, 3]);
        assert_eq!(text(&beside(&settings.path, "3")), "four, which is long\n");
        assert_eq!(text(&beside(&settings.path, "2")), "three\n");
    }

    #[test]
    fn a_file_has_one_writer() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path(), 1000, 2);
        let mut first = Book::new(settings.clone());
        first.append(b"a\n").unwrap();
        let refused = Book::new(settings.clone()).append(b"b\n").unwrap_err();
        assert!(refused.to_string().contains("exhausted_log.path"), "{refused}");
        drop(first);
        Book::new(settings.clone()).append(b"b\n").unwrap();
        assert_eq!(text(&settings.path), "a\nb\n");
    }

    #[test]
    fn lines_that_could_not_be_written_are_written_later_and_once() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path(), 1000, 2);
        // Its place is taken by a file.
        fs::write(directory.path().join("below"), "").unwrap();
        let mut book = Book::new(settings.clone());
        assert!(book.append(b"a\n").is_err());
        fs::remove_file(directory.path().join("below")).unwrap();
        book.append(b"a\n").unwrap();
        assert_eq!(text(&settings.path), "a\n");
    }
}

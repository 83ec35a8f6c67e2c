//! The bounded queue between the tasks that log and the one thread that writes.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::files::{Class, Files};

/// Lines that wait at most.
const MAX_LINES: usize = 16_384;

/// Bytes that wait at most.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Bytes written at once at most.
const BATCH_BYTES: usize = 64 * 1024;

/// How often the files are looked at when nothing is logged: whether they were moved, whether a rotation is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Lines dropped since the start; labels: `reason` = `queue_full` or `write_failed`.
const DROPPED_LINES: &str = "log_dropped_lines_total";

/// The sending side. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting_bytes: AtomicUsize,
    dropped: AtomicU64,
    reopen: AtomicBool,
}

enum Message {
    Line(Class, Vec<u8>),
    /// Answer when everything before is written.
    Flush(SyncSender<()>),
}

impl Queue {
    /// Starts the thread that writes. It ends when the last clone is dropped.
    pub(super) fn start(files: Files, terminal: bool) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(MAX_LINES);
        let shared = Arc::new(Shared::default());
        let writer = Writer {
            receiver,
            shared: Arc::clone(&shared),
            files,
            terminal,
            looked: Instant::now(),
            dropped: Dropped::default(),
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self { sender, shared })
    }

    /// Opens the files again before the next line is written.
    pub(super) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
    }

    /// Waits until everything that is queued now is written, at most this long.
    pub(super) fn flush(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let (done, wait) = sync_channel(1);
        let mut message = Message::Flush(done);
        loop {
            match self.sender.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if Instant::now() < deadline => {
                    message = back;
                    thread::sleep(Duration::from_millis(1));
                }
                Err(_full_or_ended) => return,
            }
        }
        // Too late or the thread is gone: there is nothing better to do than to go on.
        let _written = wait.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }

    fn line(&self, class: Class, text: &[u8]) {
        let waiting = self.shared.waiting_bytes.fetch_add(text.len(), Ordering::Relaxed);
        let fits = waiting + text.len() <= MAX_BYTES;
        if !fits
            || self
                .sender
                .try_send(Message::Line(class, one_line(text)))
                .is_err()
        {
            self.shared.waiting_bytes.fetch_sub(text.len(), Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One event is one line: line breaks and other control characters that came in with values become spaces. Never changes the
/// length, which the byte count relies on.
fn one_line(text: &[u8]) -> Vec<u8> {
    let mut line = text.to_vec();
    let end = line.len().saturating_sub(1);
    for byte in &mut line[..end] {
        if byte.is_ascii_control() {
            *byte = b' ';
        }
    }
    line
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter {
            queue: self,
            class: Class::Notice,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        let worse = *metadata.level() <= Level::WARN;
        LineWriter {
            queue: self,
            class: if worse { Class::Warning } else { Class::Notice },
        }
    }
}

/// Puts one formatted event into the queue: the formatter writes each event at once.
pub(super) struct LineWriter<'a> {
    queue: &'a Queue,
    class: Class,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.queue.line(self.class, text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lines dropped, by why, and how many of them have been told.
#[derive(Default)]
struct Dropped {
    queue_full: u64,
    write_failed: u64,
    told: u64,
}

/// The receiving side, which owns the files.
struct Writer {
    receiver: Receiver<Message>,
    shared: Arc<Shared>,
    files: Files,
    terminal: bool,
    looked: Instant,
    dropped: Dropped,
}

impl Writer {
    fn run(mut self) {
        loop {
            let first = match self.receiver.recv_timeout(LOOK_EVERY) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.look();
            let failed_before = self.dropped.write_failed;
            self.write_batch(first);
            self.count(self.dropped.write_failed == failed_before);
        }
    }

    /// Opens files again that were moved, on request at once, else once a second.
    fn look(&mut self) {
        let asked = self.shared.reopen.swap(false, Ordering::Relaxed);
        if asked || self.looked.elapsed() >= LOOK_EVERY {
            self.files.look(SystemTime::now(), asked);
            self.looked = Instant::now();
        }
    }

    fn write_batch(&mut self, first: Option<Message>) {
        let mut batches = [Vec::new(), Vec::new()];
        let mut flushed = Vec::new();
        let mut next = first;
        while let Some(message) = next {
            match message {
                Message::Line(class, line) => {
                    self.shared.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    batches[class.index()].extend(line);
                }
                Message::Flush(done) => flushed.push(done),
            }
            let full = batches.iter().any(|batch| batch.len() >= BATCH_BYTES);
            next = if full { None } else { self.receiver.try_recv().ok() };
        }
        let now = SystemTime::now();
        for class in Class::ALL {
            let batch = &batches[class.index()];
            if !batch.is_empty() {
                self.dropped.write_failed += self.files.write(class, batch, now);
                if self.terminal {
                    // A terminal that is gone is no reason to stop logging.
                    drop(std::io::stderr().write_all(batch));
                }
            }
        }
        for done in flushed {
            // Whoever asked may have stopped waiting.
            let _told = done.try_send(());
        }
    }

    /// Counts what was dropped, and says so in the log itself once lines can be written again.
    fn count(&mut self, writing: bool) {
        let full = self.shared.dropped.swap(0, Ordering::Relaxed);
        self.dropped.queue_full += full;
        let all = self.dropped.queue_full + self.dropped.write_failed;
        if all == self.dropped.told {
            return;
        }
        metrics::counter!(DROPPED_LINES, "reason" => "queue_full").absolute(self.dropped.queue_full);
        metrics::counter!(DROPPED_LINES, "reason" => "write_failed").absolute(self.dropped.write_failed);
        if writing && full == 0 {
            tracing::warn!(
                lines = all - self.dropped.told,
                "log lines were dropped; the queue or the disk was full"
            );
            self.dropped.told = all;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::{Rotate, Rotation};

    fn files(directory: &std::path::Path) -> Files {
        let rotation = Rotation {
            when: Rotate::None,
            bytes: u64::MAX,
            keep: 7,
        };
        Files::open(directory, "test", rotation).unwrap()
    }

    #[test]
    fn a_full_queue_drops_lines_and_counts_them_instead_of_waiting() {
        let (sender, receiver) = sync_channel(2);
        let queue = Queue {
            sender,
            shared: Arc::new(Shared::default()),
        };
        for _ in 0..5 {
            queue.line(Class::Notice, b"line\n");
        }
        assert_eq!(queue.shared.dropped.load(Ordering::Relaxed), 3);
        assert_eq!(queue.shared.waiting_bytes.load(Ordering::Relaxed), 10);
        drop(receiver);
    }

    #[test]
    fn waiting_bytes_are_bounded_whatever_the_number_of_lines() {
        let (sender, _receiver) = sync_channel(MAX_LINES);
        let queue = Queue {
            sender,
            shared: Arc::new(Shared::default()),
        };
        let line = vec![b'x'; MAX_BYTES / 2];
        for _ in 0..3 {
            queue.line(Class::Notice, &line);
        }
        assert_eq!(queue.shared.dropped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_was_queued_before_a_flush_is_on_disk_after_it() {
        let directory = tempfile::tempdir().unwrap();
        let queue = Queue::start(files(directory.path()), false).unwrap();
        for nth in 0..10_000 {
            queue.line(Class::Warning, format!("{nth}\n").as_bytes());
        }
        queue.flush(Duration::from_secs(20));
        let text = std::fs::read_to_string(directory.path().join("test.log.wf")).unwrap();
        assert!(text.lines().eq((0..10_000).map(|nth| nth.to_string())));
        assert_eq!(queue.shared.waiting_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_moved_file_is_opened_again_on_request() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.log");
        let queue = Queue::start(files(directory.path()), false).unwrap();
        queue.line(Class::Notice, b"before\n");
        queue.flush(Duration::from_secs(20));
        std::fs::rename(&path, directory.path().join("moved")).unwrap();
        queue.reopen();
        queue.line(Class::Notice, b"after\n");
        queue.flush(Duration::from_secs(20));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
        assert_eq!(
            std::fs::read_to_string(directory.path().join("moved")).unwrap(),
            "before\n"
        );
    }
}

//! Notices that files have changed.
//!
//! They are looked at once a second, through links, so that it works on every file system and however a tool replaces them. A change is
//! told when the files have stayed the same from one look to the next: a file that is still being written is not read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::meters::{self, ReloadedFile};

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What tells one content of a file from another without reading it: device, inode, length, seconds and nanoseconds of the change.
type Mark = Option<(u64, u64, u64, i64, i64)>;

/// Files, and what they looked like.
#[derive(Debug)]
pub(crate) struct Watched {
    paths: Vec<PathBuf>,
    /// When a change was told last.
    told: Vec<Mark>,
    /// At the last look.
    seen: Vec<Mark>,
}

impl Watched {
    /// As they are now.
    #[must_use]
    pub(crate) fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().collect();
        let marks = look(&paths);
        Self {
            paths,
            told: marks.clone(),
            seen: marks,
        }
    }

    /// Calls `reload` on a blocking thread each time the files have changed, until the future is dropped, and tells in the metrics
    /// of `file` whether what it read holds: `reload` answers false when it does not, and what was before goes on.
    pub(crate) async fn follow<R>(mut self, file: ReloadedFile, reload: R)
    where
        R: Fn() -> bool + Clone + Send + 'static,
    {
        let wrong = meters::file_refused(file);
        loop {
            self.changed().await;
            let ended = tokio::task::spawn_blocking(reload.clone()).await;
            // A panic is told elsewhere; the file is as good as wrong.
            wrong.set(if ended.unwrap_or(false) { 0.0 } else { 1.0 });
        }
    }

    /// Waits until the files have changed.
    ///
    /// # Cancel safety
    /// Safe: a change that was not told is found again.
    pub(crate) async fn changed(&mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let paths = self.paths.clone();
            let Ok(marks) = tokio::task::spawn_blocking(move || look(&paths)).await else {
                continue;
            };
            let is_still = marks == self.seen;
            self.seen = marks;
            if is_still && self.seen != self.told {
                self.told.clone_from(&self.seen);
                return;
            }
        }
    }
}

fn look(paths: &[PathBuf]) -> Vec<Mark> {
    let mark = |path| {
        let found = fs::metadata(path).ok()?;
        Some((
            found.dev(),
            found.ino(),
            found.len(),
            found.ctime(),
            found.ctime_nsec(),
        ))
    };
    paths.iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten times what a change takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_change_is_told_once_however_the_file_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("target"), "one").unwrap();
        std::os::unix::fs::symlink(path("target"), path("link")).unwrap();
        let mut watched = Watched::new([path("link")]);
        let told =
            async |watched: &mut Watched| tokio::time::timeout(PATIENCE, watched.changed()).await.unwrap();
        fs::write(path("target"), "two").unwrap();
        told(&mut watched).await;
        fs::write(path("beside"), "two").unwrap();
        fs::rename(path("beside"), path("target")).unwrap();
        told(&mut watched).await;
        std::os::unix::fs::symlink(path("other"), path("link2")).unwrap();
        fs::rename(path("link2"), path("link")).unwrap();
        told(&mut watched).await;
        // The link leads nowhere: a change too. It is told once.
        let again = tokio::time::timeout(LOOK * 3, watched.changed()).await;
        assert!(again.is_err());
    }
}

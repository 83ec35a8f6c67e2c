//! Notices that files have changed.
//!
//! They are looked at once a second, through links, so that it works on every file system and however a tool replaces them. A change is
//! told when the files have stayed the same from one look to the next: a file that is still being written is not read.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What tells one content of a file from another without reading it: device, inode, length, seconds and nanoseconds of the change.
/// Of a directory: one list of entries from another.
type Mark = Option<(u64, u64, u64, i64, i64)>;

/// What files looked like.
type Marks = BTreeMap<PathBuf, Mark>;

/// Files, and what they looked like.
#[derive(Debug)]
pub struct Watched {
    paths: Vec<PathBuf>,
    /// When a change was told last.
    told: Marks,
    /// At the last look.
    seen: Marks,
}

impl Watched {
    /// As they are now.
    #[must_use]
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().collect();
        let marks = look(&paths);
        Self {
            paths,
            told: marks.clone(),
            seen: marks,
        }
    }

    /// These from now on. What is new among them counts as changed, because it may have been changed before this call.
    pub fn watch(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        self.paths = paths.into_iter().collect();
        self.told.retain(|path, _mark| self.paths.contains(path));
    }

    /// Waits until the files have changed.
    ///
    /// # Cancel safety
    /// Safe: a change that was not told is found again.
    pub async fn changed(&mut self) {
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

fn look(paths: &[PathBuf]) -> Marks {
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
    paths.iter().map(|path| (path.clone(), mark(path))).collect()
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

    #[tokio::test]
    async fn a_file_that_is_watched_later_and_an_entry_of_a_directory_are_changes() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("first"), directory.path().join("second"));
        fs::write(&first, "one").unwrap();
        let mut watched = Watched::new([first.clone()]);
        let told =
            async |watched: &mut Watched| tokio::time::timeout(PATIENCE, watched.changed()).await.unwrap();
        watched.watch([first.clone(), directory.path().to_owned()]);
        told(&mut watched).await;
        fs::write(second, "two").unwrap();
        told(&mut watched).await;
        // What is not watched any more is no change.
        watched.watch([first]);
        let again = tokio::time::timeout(LOOK * 3, watched.changed()).await;
        assert!(again.is_err());
    }
}

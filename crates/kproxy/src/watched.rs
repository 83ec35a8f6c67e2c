//! Files of kproxy's that are followed: read again when they change, and told in the metrics when what they say now is wrong.

use std::path::PathBuf;

use kcommon::watched::Watched;

use crate::meters::{self, ReloadedFile};

/// Calls `reload` on a blocking thread each time the files have changed, until the future is dropped, and tells in the metrics
/// of `file` whether what it read holds: `reload` answers false when it does not, and what was before goes on.
pub(crate) async fn follow<R>(file: ReloadedFile, paths: impl IntoIterator<Item = PathBuf>, reload: R)
where
    R: Fn() -> bool + Clone + Send + 'static,
{
    let mut watched = Watched::new(paths);
    let wrong = meters::file_refused(file);
    loop {
        watched.changed().await;
        let ended = tokio::task::spawn_blocking(reload.clone()).await;
        // A panic is told elsewhere; the file is as good as wrong.
        wrong.set(if ended.unwrap_or(false) { 0.0 } else { 1.0 });
    }
}

//! Where things are: the workspace and cargo's target directory, whatever `CARGO_TARGET_DIR` or a configuration says.

use std::path::{Path, PathBuf};

/// The top directory of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Cargo's target directory: the one the running program was built into.
#[must_use]
pub fn target() -> PathBuf {
    let found = std::env::current_exe().ok().and_then(|exe| {
        exe.ancestors()
            .find(|dir| dir.join("CACHEDIR.TAG").is_file())
            .map(Path::to_path_buf)
    });
    found.unwrap_or_else(|| workspace().join("target"))
}

/// Where cargo puts the binaries of the profile the running program was built with.
#[must_use]
pub fn binaries() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    let dir = exe.parent().unwrap_or(Path::new("")).to_path_buf();
    if dir.ends_with("deps") {
        dir.parent().unwrap_or(Path::new("")).to_path_buf()
    } else {
        dir
    }
}

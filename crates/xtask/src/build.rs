//! Builds the daemons and says where their binaries are.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use ktests::paths;

/// Which of cargo's profiles.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Profile {
    /// Fast to build, for tests.
    Dev,
    /// As shipped, for the demo and the benchmarks.
    Release,
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Builds the three daemons and gives the directory of their binaries.
pub(crate) fn daemons(profile: Profile) -> Result<PathBuf> {
    let mut command = Command::new(cargo());
    command.args([
        "build",
        "--bins",
        "-p",
        "kproxy",
        "-p",
        "ktransfer",
        "-p",
        "kmonitor",
    ]);
    let dir = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            command.arg("--release");
            "release"
        }
    };
    let status = command
        .current_dir(paths::workspace())
        .status()
        .context("start cargo build")?;
    if !status.success() {
        bail!("the daemons do not build");
    }
    Ok(paths::target().join(dir))
}

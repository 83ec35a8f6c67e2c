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
    command.arg("build");
    let dir = match profile {
        // Everything that `cargo test --workspace` needs, in one go: features of dependencies differ with what is built, and
        // nothing should be compiled twice.
        Profile::Dev => {
            command.args(["--workspace", "--all-targets"]);
            "debug"
        }
        Profile::Release => {
            command.args([
                "--release",
                "--bins",
                "-p",
                "kproxy",
                "-p",
                "ktransfer",
                "-p",
                "kmonitor",
            ]);
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

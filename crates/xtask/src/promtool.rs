//! promtool, Prometheus's own judge of rules and metrics, which scenarios need: there already, or taken out of Debian's package
//! below the build directory. Nothing is installed: the package also has a server, which would be started.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use ktests::paths;

/// The variable that tells scenarios where the program is.
const VARIABLE: &str = "KTESTS_PROMTOOL";
/// What the path of the scenarios that need it begins with.
const SCENARIOS: &str = "promtool::";
/// The package it is taken from.
const PACKAGE: &str = "prometheus";

/// The variable with the program, when a run of the tests whose path contains `name` needs it.
///
/// # Errors
/// It is neither in the PATH nor to be had from Debian's packages.
pub(crate) fn variable(name: Option<&str>) -> Result<Option<(&'static str, PathBuf)>> {
    if !name.is_none_or(|name| SCENARIOS.contains(name) || name.contains("promtool")) {
        return Ok(None);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|directory| directory.join("promtool"));
    let installed = installed.into_iter().find(|program| program.is_file());
    let program = match installed {
        Some(program) => program,
        None => extracted().context(
            "promtool is needed in the PATH: install Prometheus's (on Debian: `apt-get install prometheus`)",
        )?,
    };
    Ok(Some((VARIABLE, program)))
}

fn extracted() -> Result<PathBuf> {
    let home = paths::target().join("promtool");
    let program = home.join("usr/bin/promtool");
    if program.is_file() {
        return Ok(program);
    }
    println!("taking promtool out of Debian's package {PACKAGE}");
    let download = home.join("download");
    let get = || {
        // What a broken download left behind.
        if download.exists() {
            std::fs::remove_dir_all(&download)?;
        }
        std::fs::create_dir_all(&download)?;
        run(Command::new("apt-get")
            .args(["--quiet=2", "download", PACKAGE])
            .current_dir(&download))
    };
    if get().is_err() {
        run(Command::new("apt-get").args(["--quiet=2", "update"]))?;
        get()?;
    }
    let package = std::fs::read_dir(&download)?
        .next()
        .context("no package came")??;
    extract(&package.path(), &home)?;
    std::fs::remove_dir_all(&download)?;
    Ok(program)
}

fn extract(package: &Path, to: &Path) -> Result<()> {
    run(Command::new("dpkg").arg("--extract").arg(package).arg(to))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

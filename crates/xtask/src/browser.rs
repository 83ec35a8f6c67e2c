//! Chromium and its driver, which the scenarios of kmonitor's page need: there already, or installed by Debian's `apt-get` where
//! this program may do that.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use ktests::browser::PROGRAMS;

/// The scenarios that need it.
const SCENARIOS: &str = "kmonitor::page::";

/// Whether a run of the tests whose path contains `name` may need a browser.
pub(crate) fn is_needed(name: Option<&str>) -> bool {
    name.is_none_or(|name| SCENARIOS.contains(name) || name.contains("page"))
}

/// Sees to it that the programs are there.
///
/// # Errors
/// They are not, and cannot be installed; the message says how to do it by hand.
pub(crate) fn ensure_installed() -> Result<()> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !is_there(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !rustix::process::geteuid().is_root() || !is_there("apt-get") {
        bail!(
            "the tests of kmonitor's page need chromium and chromedriver in the PATH: install them (on Debian: \
             `apt-get install {packages}`)"
        );
    }
    println!("installing {packages}");
    apt(&["update"])?;
    let install = ["install", "--yes", "--no-install-recommends"];
    apt(&[&install[..], &missing].concat())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .arg("--quiet=2")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("start apt-get")?;
    ensure!(
        status.success(),
        "apt-get {} ended with {status}",
        arguments.join(" ")
    );
    Ok(())
}

/// Whether a program is in the PATH.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| Path::new(&directory).join(program).is_file())
}

//! aiosmtpd, a real SMTP server, in versions that never change, in a virtual environment of Python below the build directory.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use ktests::{mailserver, paths};

/// The variable that tells scenarios where its Python is, with its value. It is installed when it is not there in these
/// versions; where that fails, it is told here, and the scenarios that need it fail.
pub(crate) fn variable() -> Option<(&'static str, PathBuf)> {
    match python() {
        Ok(python) => Some((mailserver::PYTHON, python)),
        Err(error) => {
            eprintln!("no mail server for tests: {error:#}");
            None
        }
    }
}

/// # Errors
/// There is no Python 3.10 or newer with `venv`, or the packages cannot be fetched.
fn python() -> Result<PathBuf> {
    let wanted = paths::workspace().join("tests/mail/requirements.txt");
    let home = paths::target().join("mailserver");
    let (python, installed) = (home.join("bin/python"), home.join("requirements.txt"));
    let versions = std::fs::read_to_string(&wanted).context("read tests/mail/requirements.txt")?;
    if python.is_file() && std::fs::read_to_string(&installed).is_ok_and(|there| there == versions) {
        return Ok(python);
    }
    println!("installing aiosmtpd in {}", home.display());
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))
        .context("Python 3.10 or newer with its module venv is needed (on Debian: python3-venv)")?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
    ];
    run(Command::new(&python).args(pip).arg(&wanted))
        .context("the packages of tests/mail/requirements.txt cannot be installed")?;
    // Last: a broken installation is begun again.
    std::fs::write(&installed, versions)?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

//! schemathesis, in versions that never change, in a virtual environment of Python below the build directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use ktests::paths;

/// The variable that tells the scenario where the program is.
pub(crate) const VARIABLE: &str = "KTESTS_SCHEMATHESIS";

/// The scenario that needs it.
const SCENARIO: &str = "kproxy::api::every_answer_is_one_that_the_openapi_document_describes";

/// Whether a run of the tests whose path contains `name` needs it.
pub(crate) fn is_needed(name: Option<&str>) -> bool {
    name.is_none_or(|name| SCENARIO.contains(name))
}

/// The program, installed when it is not there in these versions.
///
/// # Errors
/// There is no Python 3.10 or newer with `venv`, or the packages cannot be fetched.
pub(crate) fn program() -> Result<PathBuf> {
    let wanted = paths::workspace().join("tests/api/requirements.txt");
    let home = paths::target().join("schemathesis");
    let (program, installed) = (home.join("bin/schemathesis"), home.join("requirements.txt"));
    let versions = std::fs::read_to_string(&wanted).context("read tests/api/requirements.txt")?;
    if program.is_file() && std::fs::read_to_string(&installed).is_ok_and(|there| there == versions) {
        return Ok(program);
    }
    println!("installing schemathesis in {}", home.display());
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))
        .context("Python 3.10 or newer with its module venv is needed (on Debian: python3-venv)")?;
    run(pip(&home).arg("-r").arg(&wanted))
        .context("the packages of tests/api/requirements.txt cannot be installed")?;
    // Last: a broken installation is begun again.
    std::fs::write(&installed, versions)?;
    Ok(program)
}

fn pip(home: &Path) -> Command {
    let mut command = Command::new(home.join("bin/python"));
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    command
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

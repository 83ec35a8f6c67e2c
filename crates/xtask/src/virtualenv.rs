//! Programs of Python that scenarios need, in versions that never change, each in a virtual environment of its own below the build
//! directory.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use ktests::{mailserver, paths};

/// One environment.
pub(crate) struct Virtualenv {
    /// What it is called, also its directory.
    name: &'static str,
    /// The file with its packages, from the top of the workspace.
    requirements: &'static str,
    /// The program that scenarios are told of, in the environment.
    program: &'static str,
    /// The variable that tells them.
    variable: &'static str,
    /// The path that the tests which need it begin with.
    tests: &'static str,
    /// A part of that path which also names them all.
    called: &'static str,
}

/// All of them.
const ALL: [Virtualenv; 2] = [
    Virtualenv {
        name: "mailserver",
        requirements: "tests/mail/requirements.txt",
        program: "bin/python",
        variable: mailserver::PYTHON,
        tests: "kmonitor::notify::",
        called: "notify",
    },
    Virtualenv {
        name: "schemathesis",
        requirements: "tests/api/requirements.txt",
        program: "bin/schemathesis",
        variable: "KTESTS_SCHEMATHESIS",
        tests: "kproxy::api::",
        called: "api",
    },
];

/// The variables with the programs that a run of the tests whose path contains `name` may need. What is not there in its
/// versions is installed.
///
/// # Errors
/// There is no Python 3.10 or newer with `venv`, or the packages cannot be fetched.
pub(crate) fn variables(name: Option<&str>) -> Result<Vec<(&'static str, PathBuf)>> {
    let needed = ALL.iter().filter(|one| one.is_needed(name));
    needed.map(|one| Ok((one.variable, one.installed()?))).collect()
}

impl Virtualenv {
    fn is_needed(&self, name: Option<&str>) -> bool {
        name.is_none_or(|name| self.tests.contains(name) || name.contains(self.called))
    }

    fn installed(&self) -> Result<PathBuf> {
        let wanted = paths::workspace().join(self.requirements);
        let home = paths::target().join(self.name);
        let (program, installed) = (home.join(self.program), home.join("requirements.txt"));
        let versions =
            std::fs::read_to_string(&wanted).with_context(|| format!("read {}", self.requirements))?;
        if program.is_file() && std::fs::read_to_string(&installed).is_ok_and(|there| there == versions) {
            return Ok(program);
        }
        println!("installing {} in {}", self.name, home.display());
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
        run(Command::new(home.join("bin/python")).args(pip).arg(&wanted))
            .with_context(|| format!("the packages of {} cannot be installed", self.requirements))?;
        // Last: a broken installation is begun again.
        std::fs::write(&installed, versions)?;
        Ok(program)
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_chosen_test_needs_is_not_installed() {
        let needed = |name| -> Vec<&str> {
            let chosen = ALL.iter().filter(|one| one.is_needed(name));
            chosen.map(|one| one.name).collect()
        };
        assert_eq!(needed(None), ["mailserver", "schemathesis"]);
        assert_eq!(needed(Some("kmonitor")), ["mailserver"]);
        assert_eq!(needed(Some("notify::two_kmonitors")), ["mailserver"]);
        assert_eq!(needed(Some("api")), ["schemathesis"]);
        assert_eq!(needed(Some("kproxy::")), ["schemathesis"]);
        assert_eq!(needed(Some("push")), [""; 0]);
    }
}

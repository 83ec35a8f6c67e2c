//! `cargo xtask test`: builds the daemons, starts a cluster on free ports, runs the tests of the workspace, stops it.
//! `cargo xtask test sim` runs the simulation of ktransfer alone, which needs neither.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use ktests::cluster::{Local, Options, sweep};
use ktests::{cluster, daemon, paths};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::{browser, build, promtool, virtualenv};

/// Scenarios mostly wait, so more of them run at once than there are cores.
const THREADS: &str = "4";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Runs only tests whose path contains this (`api`: kproxy against its OpenAPI document); `sim`: the simulation of ktransfer, without a cluster.
    name: Option<String>,
    /// How many schedules the simulation runs.
    #[arg(long, value_name = "N", conflicts_with = "seed")]
    schedules: Option<u64>,
    /// The one schedule that the simulation runs; its last events are printed when it fails.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Arguments for the test programs, such as `--nocapture`.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// What `cargo xtask test` calls the simulation.
const SIMULATION: &str = "sim";

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.name.as_deref() == Some(SIMULATION) {
        return simulation(arguments);
    }
    anyhow::ensure!(
        arguments.schedules.is_none() && arguments.seed.is_none(),
        "--schedules and --seed are for `cargo xtask test {SIMULATION}`"
    );
    in_a_cluster(arguments, None)
}

fn in_a_cluster(arguments: &Arguments, variable: Option<(&str, &str)>) -> Result<ExitCode> {
    if browser::is_needed(arguments.name.as_deref()) {
        browser::ensure_installed()?;
    }
    let binaries = build::daemons(build::Profile::Dev)?;
    let base = paths::target().join("test-clusters");
    sweep_abandoned(&base)?;
    let run = base.join(std::process::id().to_string());
    let outcome = tests(arguments, variable, &run, &binaries);
    // Also what interrupted tests left behind, whatever the outcome.
    sweep(&run).and_then(|()| std::fs::remove_dir_all(&run).context("remove the run's directory"))?;
    outcome
}

/// Runs the simulation: `crates/ktransfer/src/simulation.rs` says what it is.
fn simulation(arguments: &Arguments) -> Result<ExitCode> {
    let mut command = std::process::Command::new(build::cargo());
    // The defects that it must find are tried with the first schedules only.
    let chosen = arguments.seed.is_some() || arguments.schedules.is_some();
    let tests = if chosen {
        "simulation::whatever_happens"
    } else {
        "simulation::"
    };
    command.args(["test", "--package", "ktransfer", "--lib", tests]);
    command.arg("--").arg("--nocapture").args(&arguments.rest);
    for (name, number) in [
        ("KTRANSFER_SIM_SCHEDULES", arguments.schedules),
        ("KTRANSFER_SIM_SEED", arguments.seed),
    ] {
        if let Some(number) = number {
            command.env(name, number.to_string());
        }
    }
    let status = command.status().context("start cargo test")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs one scenario with its output, and with a variable that it reads.
///
/// # Errors
/// It cannot be built or started.
pub(crate) fn scenario(name: &str, variable: (&str, &str)) -> Result<ExitCode> {
    let arguments = Arguments {
        name: Some(name.to_owned()),
        schedules: None,
        seed: None,
        rest: vec!["--nocapture".to_owned()],
    };
    in_a_cluster(&arguments, Some(variable))
}

fn tests(
    arguments: &Arguments,
    variable: Option<(&str, &str)>,
    run: &Path,
    binaries: &Path,
) -> Result<ExitCode> {
    let mut programs = virtualenv::variables(arguments.name.as_deref())?;
    programs.extend(promtool::variable(arguments.name.as_deref())?);
    std::fs::create_dir_all(run)?;
    let shared = Local::up(&run.join("shared"), &Options::default())?.cluster();
    let mut command = Command::new(build::cargo());
    command.args(["test", "--workspace", "--no-fail-fast"]);
    command.args(&arguments.name).arg("--").args(&arguments.rest);
    command
        .envs(shared.environment())
        .env(daemon::BINARIES, binaries)
        .env(cluster::OWN_CLUSTERS, run)
        .envs(programs)
        .envs(variable);
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        command.env("RUST_TEST_THREADS", THREADS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(until_done_or_interrupted(command))
}

async fn until_done_or_interrupted(mut command: Command) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut child = command.kill_on_drop(true).spawn().context("start cargo test")?;
    let status = tokio::select! {
        status = child.wait() => status?,
        // A terminal sends the interrupt to the tests as well.
        _ = interrupt.recv() => tokio::time::timeout(Duration::from_secs(10), child.wait()).await??,
        _ = terminate.recv() => return Ok(ExitCode::FAILURE),
    };
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Clusters of runs whose `cargo xtask test` is gone.
fn sweep_abandoned(base: &PathBuf) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(base) else {
        return Ok(());
    };
    for entry in entries {
        let dir = entry?.path();
        let pid = dir.file_name().unwrap_or_default();
        if !Path::new("/proc").join(pid).exists() {
            sweep(&dir)?;
            std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        }
    }
    Ok(())
}

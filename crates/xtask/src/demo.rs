//! `cargo xtask demo`: the whole product at work on this machine, with a crash in the middle, and the proof that
//! nothing was lost.

mod load;
mod progress;
mod stage;
mod visit;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use ktests::{Report, check};

use crate::build;
use load::Load;
use progress::{Progress, State};
use stage::Stage;

/// How many records are sent.
const RECORDS: usize = 20_000;
/// Over how many keys.
const KEYS: usize = 1_000;
/// How long everything may take to arrive.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Args)]
pub(crate) struct Arguments {
    /// Leave everything running afterwards, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    println!("building the daemons as they ship");
    let binaries = build::daemons(build::Profile::Release)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut stage = Stage::set(&binaries).await?;
        let outcome = tokio::select! {
            outcome = show(&mut stage, arguments.keep) => outcome,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        };
        stage.strike().await?;
        outcome
    })
}

async fn show(stage: &mut Stage, keep: bool) -> Result<ExitCode> {
    stage.introduce();
    let load = Arc::new(Load::new(stage.topics(), RECORDS, KEYS));
    let sending = tokio::spawn(load::send(load.clone(), stage.proxy.clone()));
    let arrived = watch(stage, &load).await?;
    sending.await??;
    if !arrived {
        println!("not everything arrived within {} s", PATIENCE.as_secs());
    }
    let clean = verdict(stage, &load) && arrived;
    visit::visit(stage).await?;
    if keep {
        println!("\neverything keeps running until Ctrl-C");
        tokio::signal::ctrl_c().await?;
    }
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Shows the progress, kills one ktransfer midway, and says whether everything arrived in time.
async fn watch(stage: &mut Stage, load: &Load) -> Result<bool> {
    let expected = load.expected(stage);
    let mut progress = Progress::new(RECORDS, expected);
    progress.say(&format!("owners before: {}", stage.owners().await?));
    let mut killed: Option<(Instant, String)> = None;
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        tick.tick().await;
        let state = State {
            stored: load.stored(),
            pushed: stage.pushed(),
            lag: stage.lag().await,
        };
        progress.show(&state);
        if killed.is_none() && state.pushed >= expected / 2 {
            progress.say(&format!("SIGKILL to {}", stage.kill_one().await?));
            killed = Some((Instant::now(), stage.owners().await?));
        }
        report_takeover(stage, &mut progress, &mut killed).await?;
        if load.is_done() && killed.is_some() && state.is_caught_up() && stage.committed().await? == expected
        {
            progress.end();
            println!("owners after: {}", stage.owners().await?);
            return Ok(true);
        }
        if load.failed() {
            bail!(
                "kproxy refused a record; its log lies in {}",
                stage.kproxy.dir().display()
            );
        }
    }
    progress.end();
    Ok(false)
}

async fn report_takeover(
    stage: &Stage,
    progress: &mut Progress,
    killed: &mut Option<(Instant, String)>,
) -> Result<()> {
    let Some((at, before)) = killed else { return Ok(()) };
    let owners = stage.owners().await?;
    if !before.is_empty() && owners != *before && stage.is_fully_owned().await? {
        progress.say(&format!(
            "taken over {:.1} s after the kill: {owners}",
            at.elapsed().as_secs_f64()
        ));
        before.clear();
    }
    Ok(())
}

/// Prints what the checker says about each module, and whether nothing was lost or out of order.
fn verdict(stage: &Stage, load: &Load) -> bool {
    let produced = load.produced();
    let reports: BTreeMap<&str, Report> = stage
        .modules
        .iter()
        .map(|module| {
            let records = produced.get(&module.topic).map(Vec::as_slice).unwrap_or_default();
            (module.name.as_str(), check(records, &module.backend.requests()))
        })
        .collect();
    println!();
    for (module, report) in &reports {
        println!("{module}: {report}");
    }
    reports.values().all(Report::is_at_least_once)
}

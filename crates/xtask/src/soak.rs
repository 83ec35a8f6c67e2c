//! `cargo xtask soak`: ktransfer on a real cluster under load and random faults, for as long as you like, and the proof that
//! nothing was lost, out of order or repeated beyond what `docs/delivery-guarantees.md` allows.
//!
//! `soak pause` counts what an instance pushes that was stopped for longer than its session; `soak stuck` measures what a key
//! that fails costs the others.

mod faults;
mod kproxy;
mod memory;
mod plan;
mod scenario;
mod scene;
mod timeline;
mod verdict;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::{Args, Subcommand};
use futures_util::future::try_join_all;
use ktests::Load;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bench::{machine, process};
use crate::build;
use memory::Memory;
use plan::Planned;
use scene::Scene;
use timeline::Timeline;

/// How long the faults under way may still take when no more come.
const HEALING: Duration = Duration::from_secs(180);

/// Keys of each topic.
const KEYS: usize = 200;

/// How often a line tells where it stands.
const LINE: Duration = Duration::from_secs(10);

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    ktransfer: Ktransfer,
}

#[derive(Subcommand)]
enum What {
    /// Three ktransfer under load and random faults; what `soak` alone means.
    Ktransfer(Ktransfer),
    /// Harmful clients and an overload at a kproxy, one kind after the other, with guests beside them.
    Kproxy(kproxy::Arguments),
    /// Stops a ktransfer for longer than its session, again and again, and counts what it pushes after waking.
    Pause(scenario::Pause),
    /// Writes half of a load to a key that fails all the time, and tells what the other keys get meanwhile.
    Stuck(scenario::Stuck),
}

#[derive(Args)]
struct Ktransfer {
    /// How long faults are made.
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// Draws the faults [default: a new one each time; it is printed].
    #[arg(long)]
    seed: Option<u64>,
    /// Records per second, over all topics.
    #[arg(long, default_value_t = 1_500, value_parser = clap::value_parser!(u32).range(100..=20_000))]
    rate: u32,
    /// Use the daemons of this directory instead of building those that ship.
    #[arg(long)]
    binaries: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        None => until_interrupted(ktransfer(&arguments.ktransfer)),
        Some(What::Ktransfer(arguments)) => until_interrupted(ktransfer(arguments)),
        Some(What::Kproxy(arguments)) => until_interrupted(kproxy::run(arguments)),
        Some(What::Pause(pause)) => pause.run(),
        Some(What::Stuck(stuck)) => stuck.run(),
    }
}

/// Runs a soak on one thread, beside what it starts.
fn until_interrupted(soak: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            done = soak => done,
            // What was started ends with its handles.
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })
}

async fn ktransfer(arguments: &Ktransfer) -> Result<ExitCode> {
    let binaries = match &arguments.binaries {
        Some(dir) => dir.clone(),
        None => build::daemons(build::Profile::Release)?,
    };
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let length = Duration::from_secs(60 * u64::from(arguments.minutes));
    println!("{}", machine::describe(&machine::private_kafka(1))?);
    println!(
        "seed {seed}: repeat it with `cargo xtask soak --minutes {} --seed {seed}`",
        arguments.minutes
    );
    println!("starting Kafka, ZooKeeper and {} ktransfer", plan::INSTANCES);
    let scene = Scene::set(&binaries).await?;
    let plan = plan::draw(seed, length, scene.modules.len());
    let mut soak = Soak {
        timeline: Timeline::new(length),
        memory: Memory::default(),
        failures: Vec::new(),
        scene,
    };
    let stop = CancellationToken::new();
    let _stops_the_load = stop.clone().drop_guard();
    let mut load = soak.start_load(arguments.rate, &stop);
    tokio::select! {
        () = soak.watch(plan, length) => {}
        // It ends before it is told to only when it fails: there is nothing to judge then.
        ended = &mut load => return Err(ended?.err().context("the load ended by itself")?),
    }
    stop.cancel();
    let produced = load.await.context("the load panicked")??;
    soak.end(&produced).await
}

/// Records stored, by topic and key.
type ProducedBy = Vec<HashMap<Bytes, u64>>;

struct Soak {
    scene: Arc<Scene>,
    timeline: Timeline,
    memory: Memory,
    /// What went wrong besides what the judges find.
    failures: Vec<String>,
}

impl Soak {
    fn start_load(&self, rate: u32, stop: &CancellationToken) -> tokio::task::JoinHandle<Result<ProducedBy>> {
        let topics = u32::try_from(self.scene.topics.len()).unwrap_or(1);
        let senders = self.scene.topics.iter().map(|topic| {
            let (cluster, topic) = (self.scene.cluster.clone(), topic.clone());
            let load = Load {
                rate: rate / topics,
                keys: KEYS,
            };
            load.send(cluster, topic, stop.clone())
        });
        tokio::spawn(try_join_all(senders.collect::<Vec<_>>()))
    }

    /// Makes the faults, then waits for those under way.
    async fn watch(&mut self, plan: Vec<Planned>, length: Duration) {
        let mut plan = VecDeque::from(plan);
        let mut faults = JoinSet::new();
        let (said, mut sayings) = mpsc::channel::<String>(16);
        let mut lines = tokio::time::interval(LINE);
        let end = self.timeline.start() + length;
        loop {
            let next = plan
                .front()
                .map_or(end, |planned| self.timeline.start() + planned.at);
            let is_over = plan.is_empty() && Instant::now() >= end;
            if is_over && (faults.is_empty() || Instant::now() >= end + HEALING) {
                break;
            }
            tokio::select! {
                _ = lines.tick() => self.line().await,
                Some(text) = sayings.recv() => self.timeline.say(&text),
                Some(done) = faults.join_next() => self.fault_ended(done),
                () = tokio::time::sleep_until(next), if !is_over => {
                    if let Some(planned) = plan.pop_front() {
                        self.timeline.say(&planned.to_string());
                        faults.spawn(faults::commit(Arc::clone(&self.scene), planned, said.clone()));
                    }
                }
            }
        }
        if !faults.is_empty() {
            self.fail(format!(
                "{} faults were not undone within {HEALING:?}",
                faults.len()
            ));
        }
    }

    fn fault_ended(&mut self, done: Result<Result<()>, tokio::task::JoinError>) {
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.fail(format!("{error:#}")),
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn fail(&mut self, what: String) {
        self.timeline.say(&format!("FAILED: {what}"));
        self.failures.push(what);
    }

    /// Looks at every process and tells how far everything is.
    async fn line(&mut self) {
        let mut mib = Vec::new();
        for instance in &self.scene.instances {
            // One that is just stopped or started is not looked at.
            let pid = instance.try_lock().ok().map(|instance| instance.daemon.pid());
            mib.push(pid.and_then(|pid| process::rss_mib(pid).ok()));
        }
        let (mut pushes, mut repeated, mut delivered) = (0, 0, 0);
        for module in &self.scene.modules {
            let (more_pushes, more_repeated) = module.audit.so_far();
            pushes += more_pushes;
            repeated += more_repeated;
            delivered += module.audit.delivered();
        }
        let memory = memory::row(&mib);
        self.timeline.progress(&format!(
            "{pushes} pushes, {delivered} delivered, {repeated} repeated, MiB {memory}"
        ));
        self.memory.enter(self.timeline.start().elapsed(), mib);
    }
}

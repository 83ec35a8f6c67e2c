//! `soak kproxy`: harmful clients and an overload, one kind after the other, each at a fresh kproxy with guests beside it.
//!
//! With `--faults` every answer is held against the topic while brokers, connections and kproxy fail (`ktests::ordeal`).
//!
//! `ktests::siege` makes and measures them; here the promised times hold as they are, so nothing else should run meanwhile.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use ktests::cluster::{Options, own_cluster_with};
use ktests::ordeal::Ordeal;
use ktests::siege::{Attack, Besieged, Finding, Overload};
use ktests::{Cluster, Proxy};

use super::timeline::Timeline;
use crate::bench::machine;
use crate::build;

/// What the broker is asked to take of an overload, and what comes.
const OVERLOAD: Overload = Overload {
    offered: 12_000,
    taken: 3_000,
};

#[derive(Args)]
pub(super) struct Arguments {
    /// How long each kind lasts, in seconds.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(8..=86_400))]
    seconds: u32,
    /// Only these kinds.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Post to three brokers while brokers, connections and kproxy itself fail, and hold every answer against the topic.
    #[arg(long, conflicts_with_all = ["seconds", "only"])]
    faults: bool,
    /// With --faults: how many posts at least.
    #[arg(long, default_value_t = 1_000_000, requires = "faults")]
    posts: usize,
    /// Use the daemons of this directory instead of building those that ship.
    #[arg(long)]
    binaries: Option<PathBuf>,
}

/// What comes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Bodies that are announced and hardly sent.
    Announce,
    /// A byte a second.
    Trickle,
    /// Answers that are never read.
    Deaf,
    /// Connections opened and reset.
    Churn,
    /// 10,000 idle connections.
    Idle,
    /// 12,000 records a second for a broker that takes 3,000, slowed by a proxy before it.
    Overload,
    /// The same, slowed by a quota of Kafka's for this client. Only when asked for: it holds no bound, see docs/benchmarks.md.
    Quota,
}

impl Kind {
    const fn attack(self) -> Option<Attack> {
        match self {
            Self::Announce => Some(Attack::Announce),
            Self::Trickle => Some(Attack::Trickle),
            Self::Deaf => Some(Attack::Deaf),
            Self::Churn => Some(Attack::Churn),
            Self::Idle => Some(Attack::Idle),
            Self::Overload | Self::Quota => None,
        }
    }
}

pub(super) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let binaries = match &arguments.binaries {
        Some(dir) => dir.clone(),
        None => build::daemons(build::Profile::Release)?,
    };
    let brokers = if arguments.faults { 3 } else { 1 };
    println!("{}", machine::describe(&machine::private_kafka(brokers))?);
    if arguments.faults {
        return faults(&binaries, arguments.posts).await;
    }
    let options = Options {
        fronts: true,
        ..Options::default()
    };
    let own = own_cluster_with(options).await;
    let (cluster, proxies) = own.through_proxies().await;
    let soak = Soak {
        binaries: &binaries,
        cluster,
        proxy: &proxies[0],
        length: Duration::from_secs(arguments.seconds.into()),
    };
    let mut clean = true;
    let by_default = |kind: Kind| arguments.only.is_empty() && kind != Kind::Quota;
    let chosen = |kind: &&Kind| by_default(**kind) || arguments.only.contains(kind);
    for kind in Kind::value_variants().iter().filter(chosen) {
        let finding = soak.one(*kind).await?;
        println!("{finding}");
        for complaint in finding.complaints(1) {
            println!("  FAILED: {complaint}");
            clean = false;
        }
    }
    Ok(end(clean))
}

fn end(clean: bool) -> ExitCode {
    println!("{}", if clean { "clean" } else { "NOT CLEAN" });
    if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn faults(binaries: &Path, posts: usize) -> Result<ExitCode> {
    let ordeal = Ordeal::start(|setup| setup.binaries(binaries)).await?;
    let timeline = Timeline::new(Duration::ZERO);
    let verdict = ordeal.run(posts, |line| timeline.say(line)).await?;
    timeline.end();
    println!("{verdict}");
    Ok(end(verdict.is_true()))
}

struct Soak<'a> {
    binaries: &'a Path,
    /// Through the proxy.
    cluster: Cluster,
    proxy: &'a Proxy,
    length: Duration,
}

impl Soak<'_> {
    async fn one(&self, kind: Kind) -> Result<Finding> {
        let besieged = Besieged::start(&self.cluster, |setup| setup.binaries(self.binaries)).await?;
        let finding = match kind.attack() {
            Some(attack) => besieged.attack(attack, self.length).await,
            None => self.overload(kind, &besieged).await?,
        };
        besieged.stop().await;
        Ok(finding)
    }

    async fn overload(&self, kind: Kind, besieged: &Besieged) -> Result<Finding> {
        let bytes = OVERLOAD.taken * Overload::RECORD_BYTES;
        if kind == Kind::Quota {
            self.cluster.limit_client("kproxy", Some(bytes)).await?;
        } else {
            self.proxy.slow_to(bytes);
        }
        let heal = async || match kind {
            Kind::Quota => self.cluster.limit_client("kproxy", None).await,
            _ => {
                self.proxy.heal();
                Ok(())
            }
        };
        besieged.overload(OVERLOAD, self.length, heal).await
    }
}

//! The Java side of a cluster: `java`, and the jars from Maven or from an installed Kafka distribution.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::files;
use crate::paths;

/// Kafka with ZooKeeper inside; its jars also bring the ZooKeeper server.
pub const KAFKA_3: &str = "3.9.1";
/// Kafka without ZooKeeper.
const KAFKA_4: &str = "4.1.0";

const ALTERNATIVES: &str = "or set KAFKA_HOME to an unpacked Kafka distribution (needs java only), \
    or use a running cluster with `cargo xtask cluster up --brokers-at HOST:PORT --zookeeper-at HOST:PORT/CHROOT`";

/// Where the classes of the two servers are.
#[derive(Clone, Debug)]
pub(super) struct Jars {
    pub(super) zookeeper: String,
    pub(super) kafka: String,
}

impl Jars {
    /// The jars for a cluster, fetched by Maven at the first call.
    ///
    /// # Errors
    /// `java` or `mvn` is missing (the message says what to install), or Maven fails.
    pub(super) fn resolve(kraft: bool) -> Result<Self> {
        if !runs("java", "-version") {
            bail!(
                "`java` is missing: install Java 17 (Debian: `apt install openjdk-17-jre-headless`), {ALTERNATIVES}"
            );
        }
        let home = std::env::var_os("KAFKA_HOME").map(PathBuf::from);
        let installed = home.as_deref().map(installed).transpose()?;
        match (installed, kraft) {
            (Some(kafka), false) => Ok(Self {
                zookeeper: kafka.clone(),
                kafka,
            }),
            // Kafka 4 brings no ZooKeeper server.
            (Some(kafka), true) => Ok(Self {
                zookeeper: from_maven(KAFKA_3)?,
                kafka,
            }),
            (None, true) => Ok(Self {
                zookeeper: from_maven(KAFKA_3)?,
                kafka: from_maven(KAFKA_4)?,
            }),
            (None, false) => {
                let kafka = from_maven(KAFKA_3)?;
                Ok(Self {
                    zookeeper: kafka.clone(),
                    kafka,
                })
            }
        }
    }
}

fn installed(home: &Path) -> Result<String> {
    let libs = home.join("libs");
    if !libs.is_dir() {
        bail!(
            "KAFKA_HOME is {}, which has no directory `libs`: not a Kafka distribution",
            home.display()
        );
    }
    Ok(format!("{}/*", libs.display()))
}

fn from_maven(version: &str) -> Result<String> {
    let base = paths::target().join("jars");
    fs::create_dir_all(&base)?;
    // Two programs that start their first cluster at once share one download.
    let lock = File::create(base.join("lock"))?;
    lock.lock()?;
    let done = base.join(format!("kafka-{version}"));
    if !done.is_dir() {
        download(version, &base, &done)?;
    }
    Ok(format!("{}/*", done.display()))
}

fn download(version: &str, base: &Path, done: &Path) -> Result<()> {
    if !runs("mvn", "--version") {
        bail!("`mvn` is missing: install Maven (Debian: `apt install maven`), {ALTERNATIVES}");
    }
    let work = base.join(format!("part-{version}"));
    let jars = work.join("jars");
    fs::create_dir_all(&work)?;
    fs::write(work.join("pom.xml"), files::pom(version))?;
    let output = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies"])
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .current_dir(&work)
        .stdin(Stdio::null())
        .output()
        .context("start mvn")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        let last: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("ERROR"))
            .take(5)
            .collect();
        bail!(
            "Maven could not fetch Kafka {version}: check the network, {ALTERNATIVES}\n{}",
            last.join("\n")
        );
    }
    fs::rename(&jars, done).context("keep the jars")?;
    fs::remove_dir_all(&work).context("remove the work directory")
}

fn runs(program: &str, argument: &str) -> bool {
    let quiet = Command::new(program)
        .arg(argument)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}

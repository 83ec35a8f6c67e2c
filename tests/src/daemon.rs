//! A daemon as a real child process, with configuration, logs and working directory of its own.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{eventually, http, paths, ports};

/// The environment variable with the directory of the daemons' binaries.
pub const BINARIES: &str = "KTESTS_BINARIES";

/// How long a daemon may take to be ready or to end, ten times what it should.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What to start.
#[derive(Clone, Debug)]
pub struct Setup {
    name: &'static str,
    files: HashMap<PathBuf, String>,
    arguments: Option<Vec<String>>,
    admin: bool,
    admin_port: Option<u16>,
    binaries: Option<PathBuf>,
}

impl Setup {
    /// The daemon `name` with `main` as its `conf/<name>.yaml`.
    #[must_use]
    pub fn new(name: &'static str, main: impl Into<String>) -> Self {
        let setup = Self {
            name,
            files: HashMap::new(),
            arguments: None,
            admin: true,
            admin_port: None,
            binaries: None,
        };
        setup.file(format!("conf/{name}.yaml"), main)
    }

    /// One more file, relative to the working directory: `conf/modules/a.yaml`.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.files.insert(path.into(), text.into());
        self
    }

    /// The command line, instead of `-f conf/<name>.yaml`.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = Some(arguments.iter().map(ToString::to_string).collect());
        self
    }

    /// Leaves the main file as it is. Otherwise a free admin port is added when it has no `admin:` section.
    #[must_use]
    pub fn without_admin(self) -> Self {
        Self { admin: false, ..self }
    }

    /// Says which admin port the main file names.
    #[must_use]
    pub fn admin_at(self, port: u16) -> Self {
        Self {
            admin_port: Some(port),
            ..self
        }
    }

    /// Takes the binary from this directory.
    #[must_use]
    pub fn binaries(self, dir: &Path) -> Self {
        Self {
            binaries: Some(dir.to_path_buf()),
            ..self
        }
    }

    /// Starts it without waiting for anything.
    ///
    /// # Panics
    /// When the binary is not built or cannot be started.
    #[must_use]
    pub fn spawn(mut self) -> Daemon {
        let dir = tempfile::Builder::new()
            .prefix(self.name)
            .tempdir()
            .expect("a temporary directory");
        let admin = self.admin_port.unwrap_or_else(ports::free_port);
        let main = PathBuf::from(format!("conf/{}.yaml", self.name));
        if let Some(text) = self.files.get_mut(&main)
            && self.admin
            && !text.lines().any(|line| line.starts_with("admin:"))
        {
            text.push_str(&format!("\nadmin:\n  listen: 127.0.0.1:{admin}\n"));
        }
        for (path, text) in &self.files {
            write(&dir.path().join(path), text);
        }
        let arguments = self
            .arguments
            .unwrap_or_else(|| vec!["-f".to_owned(), main.display().to_string()]);
        let binary = self
            .binaries
            .map_or_else(|| binary(self.name), |dir| dir.join(self.name));
        let mut daemon = Daemon {
            name: self.name,
            binary,
            arguments,
            dir: Some(dir),
            admin,
            child: None,
            pid: 0,
        };
        daemon.launch();
        daemon
    }

    /// Starts it and waits until `/readyz` says ready.
    ///
    /// # Panics
    /// When it is not ready in [`PATIENCE`]; the message holds its last log lines.
    pub async fn start(self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.wait_ready().await;
        daemon
    }

    /// Runs it to its end, for `--check` and wrong configurations.
    ///
    /// # Panics
    /// When it does not end in [`PATIENCE`].
    pub async fn run(self) -> (ExitStatus, String) {
        let mut daemon = self.spawn();
        let status = daemon.wait().await;
        (status, daemon.output())
    }
}

/// A running daemon. It is killed with this handle; after a failed test its directory stays and is named.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    binary: PathBuf,
    arguments: Vec<String>,
    /// None only while it is dropped.
    dir: Option<TempDir>,
    admin: u16,
    child: Option<Child>,
    pid: u32,
}

impl Daemon {
    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The working directory, with `conf` and `log`.
    ///
    /// # Panics
    /// Never while it can be called.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("taken only by drop").path()
    }

    /// A URL of the admin server, such as `admin("/metrics")`.
    #[must_use]
    pub fn admin(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.admin)
    }

    /// Writes a file of its working directory anew, such as a module's.
    pub fn write(&self, path: &str, text: &str) {
        write(&self.dir().join(path), text);
    }

    /// Waits until `/readyz` says ready.
    ///
    /// # Panics
    /// When it ends before, or is not ready in [`PATIENCE`].
    pub async fn wait_ready(&mut self) {
        let (url, name) = (self.admin("/readyz"), self.name);
        eventually(&format!("{name} is ready"), PATIENCE, async || {
            let ended = self.ended();
            assert!(
                ended.is_none(),
                "{name} ended with {ended:?} instead of getting ready"
            );
            http::get(&url).await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
    }

    /// What `/readyz` says now; empty while nobody answers.
    pub async fn readiness(&self) -> String {
        http::get(&self.admin("/readyz"))
            .await
            .map(|answer| answer.text())
            .unwrap_or_default()
    }

    /// The sum of a metric over all its label sets that contain every one of `labels` (`partition="0"`); none when absent.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let page = http::get(&self.admin("/metrics")).await.ok()?.text();
        sum_of(&page, name, labels)
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.wait().await
    }

    /// SIGTERM, and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait().await
    }

    /// Stops it from running (SIGSTOP) until [`Daemon::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it run on (SIGCONT).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends any signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid)
            .ok()
            .and_then(Pid::from_raw)
            .expect("a real pid");
        assert!(self.child.is_some(), "{} has ended already", self.name);
        kill_process(pid, signal).expect("the child is not reaped yet");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in [`PATIENCE`].
    pub async fn wait(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("not waited for yet");
        let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
        assert!(ended.is_ok(), "{} does not end within {PATIENCE:?}", self.name);
        self.child = None;
        ended.expect("just asserted").expect("a child can be waited for")
    }

    /// Starts it again in the same directory with the same files, after it has ended, and waits until it is ready.
    ///
    /// # Panics
    /// When it still runs, or is not ready in time.
    pub async fn restart(&mut self) {
        self.start_again();
        self.wait_ready().await;
    }

    /// Starts it again in the same directory with the same files, after it has ended, without waiting for anything.
    ///
    /// # Panics
    /// When it still runs.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "{} still runs", self.name);
        self.launch();
    }

    /// Leaves its directory where it is when the handle goes, and says where that is.
    ///
    /// # Panics
    /// Never while it can be called.
    pub fn keep_files(&mut self) -> &Path {
        let dir = self.dir.as_mut().expect("taken only by drop");
        dir.disable_cleanup(true);
        dir.path()
    }

    /// Everything it wrote to standard output and error.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read_to_string(self.dir().join("output")).unwrap_or_default()
    }

    /// Its log files: the lines of `<name>.log`, then those of `<name>.log.wf`.
    #[must_use]
    pub fn log(&self) -> String {
        let read = |end| fs::read_to_string(self.dir().join(format!("log/{}.{end}", self.name)));
        read("log").unwrap_or_default() + &read("log.wf").unwrap_or_default()
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .as_mut()
            .and_then(|child| child.try_wait().ok().flatten())
    }

    fn launch(&mut self) {
        let out = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir().join("output"));
        let out = out.expect("the temporary directory is there");
        let child = Command::new(&self.binary)
            .args(&self.arguments)
            .current_dir(self.dir())
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a file can be cloned"))
            .stderr(out)
            .kill_on_drop(true)
            .spawn();
        let child = child.expect("the binary can be started");
        self.pid = child.id().expect("not waited for yet");
        self.child = Some(child);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let text = self.output() + &self.log();
        let lines: Vec<&str> = text.lines().collect();
        eprintln!("--- last lines of {} (pid {}):", self.name, self.pid);
        lines[lines.len().saturating_sub(20)..]
            .iter()
            .for_each(|line| eprintln!("{line}"));
        if let Some(dir) = self.dir.take() {
            eprintln!("--- its files stay in {}", dir.keep().display());
        }
    }
}

/// The binary of a daemon: from the directory that `cargo xtask test` names, else beside the running program.
///
/// # Panics
/// When it is not built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let named = std::env::var_os(BINARIES).map(PathBuf::from);
    let binary = named.unwrap_or_else(paths::binaries).join(name);
    assert!(
        binary.is_file(),
        "{} is not built: run `cargo xtask test`, or `cargo build` first",
        binary.display()
    );
    binary
}

fn write(path: &Path, text: &str) {
    let dir = path.parent().expect("a file lies in a directory");
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(path, text))
        .expect("the temporary directory is writable");
}

/// Adds up the samples of a page of Prometheus text.
fn sum_of(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let samples = page.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let rest = series.strip_prefix(name)?;
        let is_it = rest.is_empty() || rest.starts_with('{');
        (is_it && labels.iter().all(|label| rest.contains(label))).then(|| value.parse::<f64>().ok())?
    });
    samples.fold(None, |sum, sample| Some(sum.unwrap_or(0.0) + sample))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP pushed_total x\npushed_total{module=\"a\",partition=\"0\"} 3\n\
        pushed_total{module=\"a\",partition=\"1\"} 4\npushed_total_ever 100\nup 1\n";

    #[test]
    fn a_metric_is_added_up_over_its_labels() {
        assert_eq!(sum_of(PAGE, "pushed_total", &["module=\"a\""]), Some(7.0));
        assert_eq!(sum_of(PAGE, "pushed_total", &["partition=\"1\""]), Some(4.0));
        assert_eq!(sum_of(PAGE, "up", &[]), Some(1.0));
    }

    #[test]
    fn an_absent_metric_is_not_zero() {
        assert_eq!(sum_of(PAGE, "down", &[]), None);
    }
}

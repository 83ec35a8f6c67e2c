//! The common life of a daemon, from the command line to the exit status.
//!
//! Configuration is read before any port is bound or log opened, so that `--check` touches nothing. Exit statuses: 0 stopped
//! and drained, 1 failed, 2 wrong command line, 78 wrong configuration.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::{Asked, Binary};
use crate::shutdown::{Signals, Stop};
use crate::supervisor::Supervisor;
use crate::{admin, cli, config, logging, meters, readiness, tls};

/// Exit status of a wrong configuration (`EX_CONFIG` of sysexits).
const EXIT_CONFIG: u8 = 78;

/// How long blocking calls of libraries may hold up the end of the process after everything of ours has ended.
const RUNTIME_GRACE: Duration = Duration::from_secs(2);

/// What is fixed about a daemon.
#[derive(Clone, Copy, Debug)]
pub struct Daemon {
    /// Its binary; the name is also that of the log files.
    pub binary: Binary,
    /// The port of the admin server when the file does not say.
    pub admin_port: u16,
    /// Its metrics, and what each tells.
    pub metrics: &'static [(&'static str, &'static str)],
}

/// What every daemon's file has in common, already checked.
#[derive(Clone, Debug)]
pub struct Base {
    /// Where and what to log.
    pub log: logging::Settings,
    /// Where the admin server listens.
    pub admin: admin::Listen,
    /// Problems that do not keep the daemon from starting, such as one broken module among several: `--check` reports them and
    /// exits 78. The daemon itself logs them.
    pub tolerated: Vec<config::Problem>,
    /// What is allowed and probably not meant: `--check` tells it, and calls the file right all the same.
    pub warnings: Vec<config::Problem>,
}

impl Base {
    /// From the parts of a file that the table of keys has checked.
    #[must_use]
    pub fn new(log: logging::File, admin: Option<&admin::File>) -> Self {
        Self {
            log: log.into(),
            admin: admin::Listen::from_file(admin),
            tolerated: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// What a running daemon gets.
#[derive(Clone, Debug)]
pub struct Context {
    /// The request to stop: drain, then return from `serve`.
    pub stop: Stop,
    /// Where parts say whether they are ready.
    pub readiness: readiness::Readiness,
    /// Who is told that the daemon has started, once by each daemon.
    pub supervisor: Supervisor,
    /// What the daemon answers on its admin server beyond what all do.
    pub admin: admin::Routes,
}

/// A failure that ends the daemon.
#[derive(Debug)]
pub struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    /// Exit status 1. The message is one line that says what to do next.
    pub fn new(message: impl fmt::Display) -> Self {
        Self {
            status: 1,
            message: message.to_string(),
        }
    }

    /// Exit status 78: the configuration turned out to be wrong only when it was used.
    pub fn config(message: impl fmt::Display) -> Self {
        Self {
            status: EXIT_CONFIG,
            message: message.to_string(),
        }
    }

    /// Exit status 1 with an error and its causes on one line.
    pub fn from_error(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self { status: 1, message }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Lives the life of a daemon with the command line of this process: read the command line and the file, start logging,
/// metrics, the admin server and the signal handlers, run `serve` until it returns, flush the log.
///
/// `serve` returns when [`Context::stop`] is requested and everything is drained; a second signal ends the process with status 1
/// without waiting for it.
pub fn run<C, S, F>(daemon: &Daemon, load: fn(&Path) -> Result<C, config::Invalid>, serve: S) -> ExitCode
where
    C: AsRef<Base>,
    S: FnOnce(C, Context) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let args = match cli::parse(&daemon.binary, std::env::args_os()) {
        Ok(Asked::Daemon(args)) => args,
        Ok(Asked::Tool(tool)) => return worked(daemon, (tool.run)()),
        Ok(Asked::Program(program, rest)) => return worked(daemon, (program.run)(rest)),
        Err(usage) => {
            // A closed stdout or stderr leaves nobody to tell.
            drop(usage.print());
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    let loaded = load(&args.file);
    if args.check {
        return check(&args.file, loaded.as_ref().map(AsRef::as_ref));
    }
    let config = match loaded {
        Ok(config) => config,
        Err(invalid) => {
            eprintln!("{invalid}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match live(daemon, config, serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}: {failure}", daemon.binary.name);
            ExitCode::from(failure.status)
        }
    }
}

fn worked(daemon: &Daemon, outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{}: {message}", daemon.binary.name);
            ExitCode::FAILURE
        }
    }
}

fn check(file: &Path, loaded: Result<&Base, &config::Invalid>) -> ExitCode {
    let (problems, warnings) = match loaded {
        Ok(base) => (base.tolerated.as_slice(), base.warnings.as_slice()),
        Err(invalid) => (invalid.problems(), &[][..]),
    };
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    if problems.is_empty() {
        println!("{}: ok", file.display());
        return ExitCode::SUCCESS;
    }
    for problem in problems {
        eprintln!("{problem}");
    }
    ExitCode::from(EXIT_CONFIG)
}

fn live<C, S, F>(daemon: &Daemon, config: C, serve: S) -> Result<(), Failure>
where
    C: AsRef<Base>,
    S: FnOnce(C, Context) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let base = config.as_ref();
    let log = logging::start(daemon.binary.name, &base.log).map_err(|error| Failure::from_error(&error))?;
    tls::install_provider();
    let meters = meters::Meters::install(daemon.metrics).map_err(|error| Failure::from_error(&error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name(daemon.binary.name)
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    let outcome = runtime.block_on(Box::pin(with_services(daemon, config, serve, meters, &log)));
    runtime.shutdown_timeout(RUNTIME_GRACE);
    match &outcome {
        Ok(()) => tracing::info!(daemon = daemon.binary.name, "stopped"),
        Err(failure) => tracing::error!(daemon = daemon.binary.name, error = %failure, "failed"),
    }
    log.flush();
    outcome
}

/// `serve` with the signal handlers, the metrics upkeep and the admin server beside it.
async fn with_services<C, S, F>(
    daemon: &Daemon,
    config: C,
    serve: S,
    meters: meters::Meters,
    log: &logging::Log,
) -> Result<(), Failure>
where
    C: AsRef<Base>,
    S: FnOnce(C, Context) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let signals = Signals::take().map_err(|error| Failure::new(format!("no signal handlers: {error}")))?;
    let reopen = log
        .reopen_on_signal()
        .map_err(|error| Failure::new(format!("no signal handler: {error}")))?;
    // Who reads this line may send a signal.
    tracing::info!(
        daemon = daemon.binary.name,
        version = daemon.binary.version,
        pid = std::process::id(),
        "starting"
    );
    let listener = admin::bind(config.as_ref().admin, daemon.admin_port).await;
    let listener = listener.map_err(|error| Failure::from_error(&error))?;
    let context = Context {
        stop: Stop::new(),
        readiness: readiness::Readiness::new(),
        supervisor: Supervisor::from_env(),
        admin: admin::Routes::new(listener.as_ref().and_then(|listener| listener.local_addr().ok())),
    };
    // The admin server outlives the drain, so that it can be watched; all three end with the runtime.
    let admin_end = Stop::new();
    if let Some(listener) = listener {
        let readiness = context.readiness.clone();
        tokio::spawn(admin::serve(
            listener,
            readiness,
            meters.clone(),
            context.admin.clone(),
            admin_end.clone(),
        ));
    }
    let report = context.supervisor.clone();
    tokio::spawn(report.report(context.readiness.clone(), context.stop.clone()));
    tokio::spawn(meters.upkeep());
    tokio::spawn(reopen);
    let forced = tokio::spawn(signals.watch(context.stop.clone()));
    let outcome = tokio::select! {
        outcome = serve(config, context) => outcome,
        _ = forced => force_exit(log),
    };
    admin_end.request();
    outcome
}

/// Ends the process although tasks still run: the person who sent the second signal asked for exactly that.
#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "a second signal must not wait for destructors"
)]
fn force_exit(log: &logging::Log) -> ! {
    log.flush();
    std::process::exit(1)
}

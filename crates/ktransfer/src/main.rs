//! The binary `ktransfer`.

use std::process::ExitCode;

use kcommon::cli::Binary;
use kcommon::daemon::Daemon;

const DAEMON: Daemon = Daemon {
    binary: Binary {
        name: "ktransfer",
        version: env!("CARGO_PKG_VERSION"),
        about: "Pushes the records of Kafka topics to HTTP backends, in order per key, at least once",
        tools: &[],
        programs: &[ktransfer::ctl::PROGRAM],
    },
    admin_port: 5032,
    metrics: ktransfer::METRICS,
};

fn main() -> ExitCode {
    kcommon::daemon::run(&DAEMON, ktransfer::config::load, ktransfer::run)
}

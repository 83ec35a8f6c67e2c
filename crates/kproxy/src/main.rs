//! The binary `kproxy`.

use std::process::ExitCode;

use kcommon::cli::Binary;
use kcommon::daemon::Daemon;

const DAEMON: Daemon = Daemon {
    binary: Binary {
        name: "kproxy",
        version: env!("CARGO_PKG_VERSION"),
        about: "POST /commit puts the body into Kafka",
        tools: &kproxy::TOOLS,
        programs: &[],
    },
    admin_port: 5031,
    metrics: kproxy::METRICS,
};

fn main() -> ExitCode {
    kcommon::daemon::run(&DAEMON, kproxy::config::load, kproxy::run)
}

//! The kmonitor binary: hands the configuration to the library.

use std::process::ExitCode;

use kcommon::cli::Binary;
use kcommon::daemon::{self, Daemon};

fn main() -> ExitCode {
    let kmonitor = Daemon {
        binary: Binary {
            name: "kmonitor",
            version: env!("CARGO_PKG_VERSION"),
            about: "Tells how far each ktransfer module is behind in each partition.",
            tools: &[],
            programs: &[],
        },
        admin_port: 5033,
        metrics: kmonitor::METRICS,
    };
    daemon::run(&kmonitor, kmonitor::config::load, kmonitor::run)
}

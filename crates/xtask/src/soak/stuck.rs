//! `soak stuck`: the scenario in which a key with half of the traffic fails all the time, for as long as asked for.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::test;

/// The scenario, and the variable with its length; see `tests/it/push/stuck.rs`.
const SCENARIO: &str = "a_key_that_fails_for_long_takes_neither_rate_nor_memory_from_the_others";
const SECONDS: &str = "KTESTS_STUCK_SECONDS";

#[derive(Args)]
pub(super) struct Arguments {
    /// How long records are written: 1,000 a second of 4 KiB.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    minutes: u32,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let seconds = u64::from(arguments.minutes) * 60;
    test::scenario(SCENARIO, (SECONDS, &seconds.to_string()))
}

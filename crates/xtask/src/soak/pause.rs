//! `soak pause`: the scenario in which one of two instances is stopped (SIGSTOP) for longer than its session, with as many
//! rounds as asked for.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::test;

/// The scenario, and the variable with its rounds; see `tests/it/faults/pause.rs`.
const SCENARIO: &str = "a_stopped_instance_pushes_nothing_after_waking_until_it_has_claimed_again";
const ROUNDS: &str = "KTESTS_PAUSES";

#[derive(Args)]
pub(super) struct Arguments {
    /// How many rounds, about ten seconds each.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    test::scenario(SCENARIO, (ROUNDS, &arguments.runs.to_string()))
}

//! `soak pause` and `soak stuck`: scenarios of `tests/it` that also run in the normal test run, for as long as asked for.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::test;

/// See `tests/it/faults/pause.rs`.
const PAUSE: &str = "a_stopped_instance_pushes_nothing_after_waking_until_it_has_claimed_again";
const PAUSES: &str = "KTESTS_PAUSES";

/// See `tests/it/push/stuck.rs`.
const STUCK: &str = "a_key_that_fails_for_long_takes_neither_rate_nor_memory_from_the_others";
const STUCK_SECONDS: &str = "KTESTS_STUCK_SECONDS";

#[derive(Args)]
pub(super) struct Pause {
    /// How many rounds, about ten seconds each.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
}

#[derive(Args)]
pub(super) struct Stuck {
    /// How long records are written: 1,000 a second of 4 KiB.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    minutes: u32,
}

impl Pause {
    pub(super) fn run(&self) -> Result<ExitCode> {
        test::scenario(PAUSE, (PAUSES, &self.runs.to_string()))
    }
}

impl Stuck {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let seconds = u64::from(self.minutes) * 60;
        test::scenario(STUCK, (STUCK_SECONDS, &seconds.to_string()))
    }
}

//! The end of a soak: everything is pushed and stored, the instances stop, and the judges speak.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::{LINE, ProducedBy, Soak};

/// How long everything may take to be pushed and stored once nothing is broken any more.
const PATIENCE: Duration = Duration::from_secs(180);

impl Soak {
    /// Waits until everything is done, stops the instances, and prints the report.
    pub(super) async fn end(mut self, produced: &ProducedBy) -> Result<ExitCode> {
        self.timeline.say("no more faults and no more load");
        self.drain().await?;
        self.line().await;
        self.stop().await;
        self.timeline.end();
        println!("\n{}\n", self.memory);
        let mut clean = true;
        for module in &self.scene.modules {
            let report = module.audit.report(&produced[module.topic]);
            clean &= report.is_clean();
            println!("{}: {report}", module.name);
        }
        self.failures.extend(self.memory.complaint());
        for failure in &self.failures {
            println!("FAILED: {failure}");
        }
        clean &= self.failures.is_empty();
        println!("{}", if clean { "clean" } else { "NOT CLEAN" });
        if !clean {
            for instance in &self.scene.instances {
                let mut instance = instance.lock().await;
                let files = instance.daemon.keep_files().display().to_string();
                println!("the files of instance {} stay in {files}", instance.name);
            }
        }
        Ok(if clean {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    async fn drain(&mut self) -> Result<()> {
        let start = Instant::now();
        let mut told = start;
        while !self.scene.is_drained().await? {
            if start.elapsed() > PATIENCE {
                let left = self.scene.left().await?;
                self.fail(format!("not everything is stored after {PATIENCE:?}:\n{left}"));
                return Ok(());
            }
            if told.elapsed() > LINE {
                told = Instant::now();
                self.line().await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let seconds = start.elapsed().as_secs_f64();
        self.timeline
            .say(&format!("everything is pushed and stored after {seconds:.1} s"));
        Ok(())
    }

    async fn stop(&mut self) {
        let mut failures = Vec::new();
        for instance in &self.scene.instances {
            let mut instance = instance.lock().await;
            let status = instance.daemon.terminate().await;
            if !status.success() {
                failures.push(format!("instance {} ended with {status}", instance.name));
            }
            let output = instance.daemon.output();
            if let Some(line) = output.lines().find(|line| line.contains("panicked")) {
                failures.push(format!("instance {}: {line}", instance.name));
            }
        }
        failures.into_iter().for_each(|failure| self.fail(failure));
    }
}

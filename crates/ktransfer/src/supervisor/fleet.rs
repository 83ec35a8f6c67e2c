//! The modules of the process: started, told what their files say, and stopped, as the main file and the module files change.
//!
//! Everything is read again when one of the files has changed, and compared with what was read before: a file that says the same in
//! other words changes nothing. A wrong main file changes no list of modules; a wrong module file changes no module that runs.

use std::collections::BTreeMap;

use kcommon::config::Invalid;
use kcommon::daemon::Failure;
use kcommon::readiness::Latch;
use metrics::gauge;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::reload::{Refused, Reloaded};
use super::seat::Seat;
use super::source::Said;
use crate::config::{self, Enabled, Main};
use crate::meters::{INVALID, MAIN_REFUSED};

/// The modules, and the files that they are read from.
pub(super) struct Fleet {
    /// The main file as the process was started with it.
    started: Main,
    /// The main file as it was right last.
    main: Main,
    /// Says that the main file is wrong now.
    refused: Option<Latch>,
    shared: Shared,
    members: BTreeMap<String, Member>,
    /// Modules that were removed and may be ending still, with what says that they have ended.
    leaving: BTreeMap<String, CancellationToken>,
    /// The name of the module that has ended.
    tasks: JoinSet<String>,
    stop: CancellationToken,
    /// Entries of `module_enabled` that are wrong themselves.
    wrong: Vec<Latch>,
}

struct Member {
    said: watch::Sender<Said>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Fleet {
    pub(super) fn new(main: Main, shared: Shared) -> Self {
        let modules = main.modules.clone();
        let mut fleet = Self {
            started: main.clone(),
            main,
            refused: None,
            shared,
            members: BTreeMap::new(),
            leaving: BTreeMap::new(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            wrong: Vec::new(),
        };
        gauge!(MAIN_REFUSED).set(0.0);
        fleet.apply(modules, &mut Reloaded::default());
        fleet
    }

    /// The main file as it was right last.
    pub(super) fn main(&self) -> &Main {
        &self.main
    }

    /// Waits until the supervisor of a module has ended; a failure unless that was wanted.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn ended(&mut self) -> Result<(), Failure> {
        match self.tasks.join_next().await {
            Some(ended) => self.has_ended(ended),
            None => std::future::pending().await,
        }
    }

    fn has_ended(&mut self, ended: Result<String, JoinError>) -> Result<(), Failure> {
        let failure = || Failure::new("the supervisor of a module ended; see the log, and report this");
        let name = ended.map_err(|_panicked| failure())?;
        self.leaving.retain(|_name, ended| !ended.is_cancelled());
        match self.members.get(&name) {
            Some(member) if member.ended.is_cancelled() => Err(failure()),
            // Added again since.
            Some(_) => Ok(()),
            None => {
                self.shared.states.remove(&name);
                Ok(())
            }
        }
    }

    /// Takes in what the files say now.
    pub(super) fn take(&mut self, read: Read) -> Reloaded {
        let mut reloaded = Reloaded::default();
        match read.main {
            Ok(main) => {
                if self.refused.take().is_some() {
                    tracing::info!("the main file is right again");
                }
                reloaded.needs_restart = self.started.fixed_keys_changed(&main);
                self.main = main;
            }
            Err(invalid) => {
                reloaded.main_refused = texts(&invalid);
                tracing::error!(problems = %invalid, "changed main file refused; what it said before goes on");
                let latch = self.shared.readiness.latch("main file");
                latch.not_ready(format!("the changed file is refused: {invalid}"));
                self.refused = Some(latch);
            }
        }
        gauge!(MAIN_REFUSED).set(if self.refused.is_some() { 1.0 } else { 0.0 });
        if let Some(modules) = read.modules {
            self.main.modules.clone_from(&modules);
            self.apply(modules, &mut reloaded);
        }
        reloaded
    }

    fn apply(&mut self, modules: Vec<Enabled>, reloaded: &mut Reloaded) {
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let count = |latches: &[Latch]| latches.len() as f64;
        gauge!(INVALID).decrement(count(&self.wrong));
        self.wrong.clear();
        let (files, wrong): (Vec<_>, Vec<_>) = modules.into_iter().partition(|entry| entry.path.is_some());
        for entry in wrong {
            let Err(invalid) = entry.module else { continue };
            tracing::error!(module = entry.name, problems = %invalid, "wrong entry of module_enabled");
            reloaded.refused.push(refusal(&entry.name, &invalid));
            let latch = self.shared.readiness.latch(format!("module {}", entry.name));
            latch.not_ready(format!("wrong configuration: {invalid}"));
            self.wrong.push(latch);
        }
        gauge!(INVALID).increment(count(&self.wrong));
        // Before any is started: what a module may hold goes by their number.
        self.shared.budget.set_modules(files.len());
        let before: Vec<String> = self.members.keys().cloned().collect();
        for name in before {
            if !files.iter().any(|entry| entry.name == name) {
                self.remove(&name);
                reloaded.removed.push(name);
            }
        }
        for entry in files {
            if let Err(invalid) = &entry.module {
                reloaded.refused.push(refusal(&entry.name, invalid));
            }
            match self.members.get(&entry.name) {
                None => {
                    reloaded.added.push(entry.name.clone());
                    self.add(entry.name, entry.module);
                }
                Some(member) if *member.said.borrow() == entry.module => reloaded.unchanged += 1,
                Some(member) => {
                    if entry.module.is_ok() {
                        reloaded.changed.push(entry.name);
                    }
                    drop(member.said.send_replace(entry.module));
                }
            }
        }
    }

    fn add(&mut self, name: String, said: Said) {
        let (sender, receiver) = watch::channel(said);
        let (stop, ended) = (self.stop.child_token(), CancellationToken::new());
        let member = Member {
            said: sender,
            stop: stop.clone(),
            ended: ended.clone(),
        };
        self.members.insert(name.clone(), member);
        // Two lives of one module beside each other could push the same records.
        let former = self.leaving.remove(&name);
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            // Tells of a panic too.
            let _tells = ended.drop_guard();
            if let Some(former) = former {
                former.cancelled().await;
            }
            Seat::new(name.clone(), receiver, shared).run(stop).await;
            name
        });
    }

    fn remove(&mut self, name: &str) {
        if let Some(member) = self.members.remove(name) {
            member.stop.cancel();
            self.leaving.insert(name.to_owned(), member.ended);
        }
    }

    /// Stops all modules and waits until they have drained.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn texts(invalid: &Invalid) -> Vec<String> {
    invalid.problems().iter().map(ToString::to_string).collect()
}

fn refusal(module: &str, invalid: &Invalid) -> Refused {
    Refused {
        module: module.to_owned(),
        problems: texts(invalid),
    }
}

/// What the files say.
pub(super) struct Read {
    main: Result<Main, Invalid>,
    /// The modules; `None` when not even their list can be had.
    modules: Option<Vec<Enabled>>,
}

impl Read {
    /// Reads all files. With a wrong main file the modules are those that `last` lists. Blocks.
    pub(super) fn files(last: &Main) -> Self {
        let main = config::read(last.path());
        let modules = match &main {
            Ok(main) => Some(main.modules.clone()),
            Err(_wrong) => last.read_modules().ok(),
        };
        Self { main, modules }
    }
}

#[cfg(test)]
mod tests;

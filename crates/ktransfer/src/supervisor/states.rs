//! What the process knows of its modules as a whole, for the metrics. A module that is removed leaves nothing behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kcommon::kafka::TopicName;
use kcommon::meters::{self, Shown};
use tokio::sync::mpsc;

use crate::meters::help::HELP;
use crate::meters::{FILE_REFUSED, RUNNING};
use crate::module::Question;

/// The states of all modules. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct States(Arc<Mutex<BTreeMap<String, State>>>);

#[derive(Clone, Debug, Default)]
struct State {
    running: bool,
    refused: bool,
    runs: Option<Runs>,
}

/// A module whose thread runs.
#[derive(Clone, Debug)]
pub(super) struct Runs {
    /// Its topic.
    pub(super) topic: TopicName,
    /// Its cluster.
    pub(super) cluster: Option<String>,
    /// To its thread.
    pub(super) questions: mpsc::Sender<Question>,
}

/// What a family shows of a state.
type Value = fn(&State) -> bool;

impl States {
    /// Whether the module runs.
    pub(super) fn running(&self, module: &str, running: bool) {
        self.lock().entry(module.to_owned()).or_default().running = running;
    }

    /// What is known of its thread, if it has one.
    pub(super) fn runs(&self, module: &str, runs: Option<Runs>) {
        self.lock().entry(module.to_owned()).or_default().runs = runs;
    }

    /// All modules, by name, with their threads.
    pub(super) fn all(&self) -> BTreeMap<String, Option<Runs>> {
        let states = self.lock();
        states
            .iter()
            .map(|(name, state)| (name.clone(), state.runs.clone()))
            .collect()
    }

    /// Whether its file was changed to something wrong while it runs.
    pub(super) fn refused(&self, module: &str, refused: bool) {
        self.lock().entry(module.to_owned()).or_default().refused = refused;
    }

    /// There is no such module any more.
    pub(super) fn remove(&self, module: &str) {
        self.lock().remove(module);
    }

    /// Shows them among the metrics as long as the answer lives.
    pub(super) fn show(&self) -> Shown {
        let states = self.clone();
        meters::show(move || states.render())
    }

    fn render(&self) -> String {
        let states = self.lock();
        let mut page = String::new();
        let families: [(&str, Value); 2] = [
            (RUNNING, |state| state.running),
            (FILE_REFUSED, |state| state.refused),
        ];
        for (name, value) in families {
            let help = HELP.iter().find(|(known, _)| *known == name);
            let help = help.map_or("", |(_, told)| told);
            page += &format!("# HELP {name} {help}\n# TYPE {name} gauge\n");
            for (module, state) in states.iter() {
                let (module, value) = (label(module), u8::from(value(state)));
                page += &format!("{name}{{module=\"{module}\"}} {value}\n");
            }
        }
        page
    }

    /// A panic elsewhere leaves the map whole: every change is one assignment.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name as the value of a label.
fn label(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_is_removed_leaves_no_series() {
        let states = States::default();
        states.running("a", true);
        states.refused("a", true);
        states.running("b\"", false);
        let page = states.render();
        for line in [
            "# HELP ktransfer_module_running 1 while",
            "ktransfer_module_running{module=\"a\"} 1\n",
            "ktransfer_module_running{module=\"b\\\"\"} 0\n",
            "ktransfer_module_file_refused{module=\"a\"} 1\n",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
        states.remove("a");
        assert!(!states.render().contains("\"a\""));
    }
}

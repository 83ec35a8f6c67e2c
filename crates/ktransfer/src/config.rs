//! The configuration of ktransfer: one main file and one file per module.
//!
//! A broken module never keeps the others from running: its problems stand beside it in [`Main::modules`]. Only a broken main file,
//! or not a single valid module, keeps the daemon from starting.

mod main_file;
mod module;
mod module_file;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kcommon::config::{self, Document, HostPort, Invalid, Problem};
use kcommon::daemon::Base;
use kcommon::zookeeper;

pub use main_file::MAIN_SCHEMA;
pub use module::Module;
pub use module_file::{InitialOffset, MODULE_SCHEMA, OnUndecodable};

use main_file::MainFile;

/// The main file, checked, with its modules.
#[derive(Clone, Debug)]
pub struct Main {
    /// Logging and admin server; the problems of broken modules for `--check`.
    pub base: Base,
    /// Where ZooKeeper is.
    pub zookeeper: zookeeper::Settings,
    /// Kafka brokers to start from; empty = those registered in ZooKeeper.
    pub broker_hosts: Vec<HostPort>,
    /// Bytes of bodies that all modules together hold.
    pub body_budget_bytes: usize,
    /// The modules in the order of the file, at least one of them valid.
    pub modules: Vec<Enabled>,
}

/// One entry of `module_enabled`.
#[derive(Clone, Debug)]
pub struct Enabled {
    /// The name; two entries have the same one when the file lists it twice.
    pub name: String,
    /// The module, or why it cannot run.
    pub module: Result<Module, Invalid>,
    source: Source,
}

/// Where a module comes from.
#[derive(Clone, Debug)]
enum Source {
    /// This file.
    File(PathBuf),
    /// Nowhere: the entry itself is wrong, and only a restart with another main file changes that.
    Nowhere,
}

impl AsRef<Base> for Main {
    fn as_ref(&self) -> &Base {
        &self.base
    }
}

impl Enabled {
    /// The module's file, to watch for changes; none when the entry of `module_enabled` itself is wrong (listed twice, no file
    /// name), which no change of a file repairs.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::File(path) => Some(path),
            Source::Nowhere => None,
        }
    }

    /// The module as its file says now. Reads the file: call it where blocking is allowed.
    ///
    /// # Errors
    /// Every problem of the file or of the entry.
    pub fn reload(&self) -> Result<Module, Invalid> {
        match &self.source {
            Source::File(path) => load_module(path, &self.name),
            Source::Nowhere => self.module.clone(),
        }
    }
}

/// Reads the main file and every module file.
///
/// # Errors
/// Every problem of the main file; or, when not a single module is valid, every problem of all module files.
pub fn load(path: &Path) -> Result<Main, Invalid> {
    let document: Document<MainFile> = config::load(path, &MAIN_SCHEMA)?;
    let modules = enabled(&document);
    let broken = modules.iter().filter_map(|entry| entry.module.as_ref().err());
    let tolerated: Vec<Problem> = broken.cloned().flatten().collect();
    if modules.iter().all(|entry| entry.module.is_err()) {
        Invalid::check(tolerated.clone())?;
    }
    let file = document.file;
    let mut base = Base::new(file.log, file.admin.as_ref());
    base.tolerated = tolerated;
    Ok(Main {
        base,
        zookeeper: zookeeper::Settings {
            hosts: file.zk_hosts.iter().map(ToString::to_string).collect(),
            chroot: file.zk_chroot,
            session_timeout: Duration::from_millis(file.zk_timeout_ms),
        },
        broker_hosts: file.broker_hosts.unwrap_or_default(),
        body_budget_bytes: file.body_budget_bytes,
        modules,
    })
}

/// The module of a text that is already read; `path` is for the messages.
///
/// # Errors
/// Every problem of the text.
pub fn parse_module(path: &Path, name: &str, text: &str) -> Result<Module, Invalid> {
    Module::from_document(name, &config::parse(path, text, &MODULE_SCHEMA)?)
}

/// Every entry of `module_enabled` with its module.
fn enabled(document: &Document<MainFile>) -> Vec<Enabled> {
    let mut seen = BTreeSet::new();
    let names = document.file.module_enabled.iter().enumerate();
    let entries = names.map(|(nth, name)| {
        let key = format!("module_enabled.{nth}");
        let wrong = |message: &str| Enabled {
            name: name.clone(),
            module: Err(document.problem(&key, message).into()),
            source: Source::Nowhere,
        };
        if !is_module_name(name) {
            return wrong("is no module name: a name is a file name without a directory and without .yaml");
        }
        if !seen.insert(name) {
            return wrong("is listed twice; the module runs once, remove one entry");
        }
        let path = Path::new(&document.file.module_conf_dir).join(format!("{name}.yaml"));
        Enabled {
            name: name.clone(),
            module: load_module(&path, name),
            source: Source::File(path),
        }
    });
    entries.collect()
}

/// A module's name is a file name and a znode's name.
fn is_module_name(name: &str) -> bool {
    let illegal = |c: char| c == '/' || c.is_control();
    !matches!(name, "" | "." | "..") && !name.contains(illegal) && !name.ends_with(".yaml")
}

fn load_module(path: &Path, name: &str) -> Result<Module, Invalid> {
    Module::from_document(name, &config::load(path, &MODULE_SCHEMA)?)
}

#[cfg(test)]
mod tests;

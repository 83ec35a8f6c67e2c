//! The configuration of ktransfer: one main file and one file per module.
//!
//! A broken module never keeps the others from running: its problems stand beside it in [`Main::modules`]. Only a broken main file,
//! or not a single valid module, keeps the daemon from starting.

mod cluster;
mod main_file;
mod module;
mod module_file;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kcommon::config::{self, Document, Invalid, Problem};
use kcommon::daemon::Base;
use kcommon::secret::Secret;

pub use cluster::{Cluster, Clusters};
pub use main_file::MAIN_SCHEMA;
pub use module::Module;
pub use module_file::{InitialOffset, MODULE_SCHEMA, OnUndecodable};

use main_file::{MainFile, Wanted};

/// The shortest token of the admin server, in bytes.
const SHORTEST_TOKEN: usize = 16;

/// The main file, checked, with its modules.
#[derive(Clone, Debug)]
pub struct Main {
    /// Logging and admin server; the problems of broken modules for `--check`.
    pub base: Base,
    /// The clusters, at least one; all modules name one of them.
    pub clusters: Clusters,
    /// Bytes of bodies that all modules together hold.
    pub body_budget_bytes: usize,
    /// Who may change anything over the admin server; none = nobody.
    pub token: Option<Secret>,
    /// The modules in the order of the file.
    pub modules: Vec<Enabled>,
    document: Arc<Document<MainFile>>,
}

/// One entry of `module_enabled`.
#[derive(Clone, Debug)]
pub struct Enabled {
    /// The name; two entries have the same one when the file lists it twice.
    pub name: String,
    /// The module, or why it cannot run.
    pub module: Result<Module, Invalid>,
    /// The module's file; none when the entry of `module_enabled` itself is wrong (listed twice, no file name).
    pub path: Option<PathBuf>,
}

impl AsRef<Base> for Main {
    fn as_ref(&self) -> &Base {
        &self.base
    }
}

impl Main {
    /// Every module as the files say now, for the list that this main file has. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// The directory of the modules, all of which are to run, cannot be read.
    pub fn read_modules(&self) -> Result<Vec<Enabled>, Invalid> {
        enabled(&self.document, &self.clusters)
    }

    /// Where the main file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.document.path
    }

    /// The files that [`Main::modules`] came from, and the directory if all of its modules run: a change of one of them may
    /// change the modules.
    #[must_use]
    pub fn sources(&self) -> Vec<PathBuf> {
        let mut paths = vec![self.document.path.clone()];
        if matches!(self.document.file.module_enabled, Wanted::All(_)) {
            paths.push(PathBuf::from(&self.document.file.module_conf_dir));
        }
        paths.extend(self.modules.iter().filter_map(|entry| entry.path.clone()));
        paths
    }

    /// The keys that `changed` has otherwise and that are read at the start only.
    #[must_use]
    pub fn fixed_keys_changed(&self, changed: &Self) -> Vec<&'static str> {
        main_file::fixed_keys_changed(&self.document.file, &changed.document.file)
    }
}

impl Enabled {
    /// What is allowed in the module's file and probably not meant.
    fn warnings(&self) -> Vec<Problem> {
        let (Ok(module), Some(path)) = (&self.module, &self.path) else {
            return Vec::new();
        };
        let warnings = module.warnings().into_iter();
        warnings.map(|warning| Problem::of_file(path, warning)).collect()
    }
}

/// Reads the main file and every module file.
///
/// # Errors
/// Every problem of the main file; or, when there are modules and not a single one is valid, every problem of all module files.
pub fn load(path: &Path) -> Result<Main, Invalid> {
    let main = read(path)?;
    if !main.modules.is_empty() && main.modules.iter().all(|entry| entry.module.is_err()) {
        Invalid::check(main.base.tolerated.clone())?;
    }
    Ok(main)
}

/// As [`load`], for a process that runs: modules may be wrong one and all.
///
/// # Errors
/// Every problem of the main file.
pub fn read(path: &Path) -> Result<Main, Invalid> {
    let document: Document<MainFile> = config::load(path, &MAIN_SCHEMA)?;
    let mut problems = Vec::new();
    let clusters = cluster::clusters(&document, &mut problems);
    let token = token(&document).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    Invalid::check(problems)?;
    let modules = enabled(&document, &clusters)?;
    let file = &document.file;
    let mut base = Base::new(file.log.clone(), file.admin.as_ref().map(|admin| &admin.file));
    let broken = modules.iter().filter_map(|entry| entry.module.as_ref().err());
    base.tolerated = broken.cloned().flatten().collect();
    base.warnings = modules.iter().flat_map(Enabled::warnings).collect();
    Ok(Main {
        base,
        clusters,
        token,
        body_budget_bytes: file.body_budget_bytes,
        modules,
        document: Arc::new(document),
    })
}

/// The module of a text that is already read; `path` is for the messages.
///
/// # Errors
/// Every problem of the text.
pub fn parse_module(path: &Path, name: &str, text: &str) -> Result<Module, Invalid> {
    Module::from_document(name, &config::parse(path, text, &MODULE_SCHEMA)?)
}

/// The token of the admin server.
fn token(document: &Document<MainFile>) -> Result<Option<Secret>, Problem> {
    let file = document
        .file
        .admin
        .as_ref()
        .and_then(|admin| admin.token_file.as_deref());
    let Some(file) = file else { return Ok(None) };
    let problem = |message: String| document.problem("admin.token_file", message);
    let token = Secret::in_file(file).map_err(problem)?;
    if token.reveal().len() < SHORTEST_TOKEN {
        return Err(problem(format!(
            "names {file}, which has less than {SHORTEST_TOKEN} characters"
        )));
    }
    Ok(Some(token))
}

/// Every module that is to run.
fn enabled(document: &Document<MainFile>, clusters: &Clusters) -> Result<Vec<Enabled>, Invalid> {
    match &document.file.module_enabled {
        Wanted::Listed(names) => Ok(listed(document, names, clusters)),
        Wanted::All(_) => in_directory(document, clusters),
    }
}

/// Every entry of the list with its module.
fn listed(document: &Document<MainFile>, names: &[String], clusters: &Clusters) -> Vec<Enabled> {
    let mut seen = BTreeSet::new();
    let entries = names.iter().enumerate().map(|(nth, name)| {
        let key = format!("module_enabled.{nth}");
        let wrong = |message: &str| Enabled {
            name: name.clone(),
            module: Err(document.problem(&key, message).into()),
            path: None,
        };
        if !is_module_name(name) {
            return wrong("is no module name: a name is a file name without a directory and without .yaml");
        }
        if !seen.insert(name) {
            return wrong("is listed twice; the module runs once, remove one entry");
        }
        from_file(document, name, clusters)
    });
    entries.collect()
}

/// Every module of the directory, by name.
fn in_directory(document: &Document<MainFile>, clusters: &Clusters) -> Result<Vec<Enabled>, Invalid> {
    let directory = &document.file.module_conf_dir;
    let unreadable = |error: std::io::Error| {
        document.problem("module_conf_dir", format!("{directory} cannot be read: {error}"))
    };
    let mut names = BTreeSet::new();
    for entry in Path::new(directory).read_dir().map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(".yaml"));
        names.extend(
            name.filter(|name| !name.starts_with('.') && is_module_name(name))
                .map(str::to_owned),
        );
    }
    Ok(names
        .iter()
        .map(|name| from_file(document, name, clusters))
        .collect())
}

fn from_file(document: &Document<MainFile>, name: &str, clusters: &Clusters) -> Enabled {
    let path = Path::new(&document.file.module_conf_dir).join(format!("{name}.yaml"));
    Enabled {
        name: name.to_owned(),
        module: load_module(&path, name, clusters),
        path: Some(path),
    }
}

/// A module's name is a file name and a znode's name.
fn is_module_name(name: &str) -> bool {
    let illegal = |c: char| c == '/' || c.is_control();
    !matches!(name, "" | "." | "..") && !name.contains(illegal) && !name.ends_with(".yaml")
}

fn load_module(path: &Path, name: &str, clusters: &Clusters) -> Result<Module, Invalid> {
    let document = config::load(path, &MODULE_SCHEMA)?;
    let module = Module::from_document(name, &document)?;
    let Some(cluster) = clusters.get(&module.cluster) else {
        let names: Vec<&str> = clusters.keys().flatten().map(String::as_str).collect();
        let message = match &module.cluster {
            Some(name) => format!("is {name:?}; allowed: {}", names.join(", ")),
            None => format!(
                "is missing, and the main file has no zk_hosts; allowed: {}",
                names.join(", ")
            ),
        };
        return Err(document.problem("cluster", message).into());
    };
    if !module.options.is_empty()
        && let Err(message) = cluster::tried(&cluster.options.with(&module.options))
    {
        return Err(document.problem("librdkafka", message).into());
    }
    Ok(module)
}

#[cfg(test)]
mod tests;

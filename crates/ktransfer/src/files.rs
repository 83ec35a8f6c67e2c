//! The files that a module names beside its own: certificates and secrets. They are read at its start, and again when they change; what
//! cannot be used changes nothing and is told.

use std::convert::Infallible;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use kcommon::watched::Watched;
use rustls::ClientConfig;

use crate::auth::{self, BadSecret, Credentials};
use crate::config::Module;
use crate::meters;
use crate::target::Target;
use crate::tls::{self, BadTls};

/// What stands in the files.
#[derive(Debug)]
pub struct Files {
    /// How connections are secured; `None` = http.
    pub tls: Option<Arc<ClientConfig>>,
    /// Who we are; `None` = nobody.
    pub credentials: Option<Credentials>,
}

/// A file that cannot be used. It never says what stands in it.
#[derive(Debug, thiserror::Error)]
pub enum BadFile {
    /// One of `protocol.tls`.
    #[error(transparent)]
    Tls(#[from] BadTls),
    /// One of `protocol.auth`.
    #[error(transparent)]
    Secret(#[from] BadSecret),
}

impl Files {
    /// Reads the files of a module: call it where blocking is allowed.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn load(module: &Module) -> Result<Self, BadFile> {
        Ok(Self {
            tls: module.tls.as_ref().map(tls::Settings::load).transpose()?,
            credentials: module.auth.as_ref().map(auth::Settings::load).transpose()?,
        })
    }
}

/// Follows the files of a module until the task is dropped. Open connections keep what they have.
pub async fn follow(target: Rc<Target>) -> Infallible {
    let module = Arc::new(target.module().clone());
    let tls = module.tls.iter().flat_map(tls::Settings::files);
    let auth = module.auth.iter().flat_map(auth::Settings::files);
    let files: Vec<PathBuf> = tls.chain(auth).map(PathBuf::from).collect();
    let refused = meters::files_refused(&module.name);
    if files.is_empty() {
        return std::future::pending().await;
    }
    let mut watched = Watched::new(files);
    loop {
        watched.changed().await;
        let read = Arc::clone(&module);
        let Ok(read) = tokio::task::spawn_blocking(move || Files::load(&read)).await else {
            continue;
        };
        refused.set(if read.is_ok() { 0.0 } else { 1.0 });
        match read {
            Ok(files) => {
                tracing::info!(
                    module = module.name,
                    "certificates or secrets have changed and hold from now on"
                );
                target.replace_files(files);
            }
            Err(error) => tracing::error!(
                module = module.name,
                error = &error as &dyn std::error::Error,
                "certificates or secrets have changed and cannot be used; what was before goes on"
            ),
        }
    }
}

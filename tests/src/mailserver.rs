//! A real SMTP server (aiosmtpd, see `tests/mail/server.py`) that keeps every mail it takes.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::{paths, ports};

/// The environment variable with the Python that has aiosmtpd; `cargo xtask test` sets it.
pub const PYTHON: &str = "KTESTS_MAILSERVER_PYTHON";

/// How long its start may take, ten times what it should.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. It ends with this handle.
#[derive(Debug)]
pub struct MailServer {
    port: u16,
    mails: tempfile::TempDir,
    _child: Child,
}

impl MailServer {
    /// One with these further arguments of `tests/mail/server.py`.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub async fn start(arguments: &[&str]) -> Self {
        let python = std::env::var_os(PYTHON);
        let python = PathBuf::from(python.expect("run through `cargo xtask test`, which installs aiosmtpd"));
        let mails = tempfile::tempdir().expect("a temporary directory can be made");
        let port = ports::free_port();
        let mut child = Command::new(python)
            .arg(paths::workspace().join("tests/mail/server.py"))
            .arg(port.to_string())
            .arg(mails.path())
            .args(arguments)
            // It ends when this pipe does, also after a test that was killed.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python can be started");
        let output = child.stdout.take().expect("it is piped");
        let mut line = String::new();
        let ready = tokio::time::timeout(PATIENCE, BufReader::new(output).read_line(&mut line)).await;
        assert!(
            matches!(ready, Ok(Ok(_))) && line == "ready\n",
            "no mail server: {line}"
        );
        Self {
            port,
            mails,
            _child: child,
        }
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The certificate that it shows with `--tls`.
    #[must_use]
    pub fn certificate() -> PathBuf {
        Self::file("certificate.pem")
    }

    /// The key of [`MailServer::certificate`].
    #[must_use]
    pub fn key() -> PathBuf {
        Self::file("key.pem")
    }

    fn file(name: &str) -> PathBuf {
        paths::workspace().join("tests/mail").join(name)
    }

    /// The mails so far, each with three lines before it: from, to and the account.
    #[must_use]
    pub fn mails(&self) -> Vec<String> {
        let mail = |nth: usize| fs::read(self.mails.path().join(format!("mail-{nth}"))).ok();
        let bytes = (1..).map_while(mail);
        bytes
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }
}

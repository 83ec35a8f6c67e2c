//! What a supervisor is told that follows systemd's protocol: started, stopping, and why the daemon is not ready.
//!
//! The protocol is a datagram with lines of `NAME=value` to the socket that `NOTIFY_SOCKET` names (`sd_notify(3)`). Without the
//! variable nothing happens. Nobody waits for a supervisor, and one that does not listen changes nothing.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use crate::readiness::Readiness;
use crate::shutdown::Stop;

/// How often it is looked whether the daemon's readiness has changed.
const LOOK: Duration = Duration::from_secs(1);

/// The way to the supervisor. Clones share it; the default one leads nowhere.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    socket: Option<Arc<UnixDatagram>>,
}

impl Supervisor {
    /// The supervisor that the environment names, if there is one that can be reached.
    #[must_use]
    pub fn from_env() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        match connect(&name) {
            Ok(socket) => Self {
                socket: Some(Arc::new(socket)),
            },
            Err(error) => {
                tracing::warn!(%error, "the supervisor at NOTIFY_SOCKET cannot be told anything; going on without");
                Self::default()
            }
        }
    }

    /// The daemon does its work from now on, whether or not what it depends on is there: whoever ordered its start need not wait
    /// any longer.
    pub fn started(&self) {
        self.tell("READY=1");
    }

    /// Tells whether the daemon is ready, whenever that changes, and that it stops. Until the future is dropped.
    pub(crate) async fn report(self, readiness: Readiness, stop: Stop) {
        if self.socket.is_none() {
            return;
        }
        let mut told = String::new();
        let mut tick = tokio::time::interval(LOOK);
        loop {
            let now = status(&readiness);
            if told != now {
                self.tell(&format!("STATUS={now}"));
                told = now;
            }
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.requested() => break,
            }
        }
        self.tell("STOPPING=1\nSTATUS=draining");
    }

    fn tell(&self, lines: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(lines.as_bytes())
        {
            tracing::debug!(%error, "the supervisor does not listen");
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(name)?,
    }
    Ok(socket)
}

/// One line for people.
fn status(readiness: &Readiness) -> String {
    let reasons = readiness.reasons();
    if reasons.is_empty() {
        return "ready".to_owned();
    }
    let reasons: Vec<String> = reasons
        .iter()
        // A line break would begin a field of the protocol.
        .map(|(name, reason)| format!("{name}: {}", reason.replace(['\r', '\n'], " ")))
        .collect();
    format!("not ready: {}", reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_supervisor_hears_of_start_readiness_and_stop() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let listener = tokio::net::UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor {
            socket: Some(Arc::new(connect(path.as_os_str()).unwrap())),
        };
        let (readiness, stop) = (Readiness::new(), Stop::new());
        let latch = readiness.latch("kafka");
        latch.not_ready("no broker\nSTATUS=fine");
        let report = tokio::spawn(supervisor.clone().report(readiness, stop.clone()));
        let next = async || {
            let mut space = [0; 256];
            let length = listener.recv(&mut space).await.unwrap();
            String::from_utf8(space[..length].to_vec()).unwrap()
        };
        assert_eq!(next().await, "STATUS=not ready: kafka: no broker STATUS=fine");
        supervisor.started();
        assert_eq!(next().await, "READY=1");
        latch.ready();
        assert_eq!(next().await, "STATUS=ready");
        stop.request();
        assert_eq!(next().await, "STOPPING=1\nSTATUS=draining");
        report.await.unwrap();
    }

    #[tokio::test]
    async fn without_a_supervisor_nothing_is_told() {
        let supervisor = Supervisor::default();
        supervisor.started();
        supervisor.report(Readiness::new(), Stop::new()).await;
    }

    #[test]
    fn an_abstract_name_is_one_that_begins_with_an_at_sign() {
        let name = format!("kcommon-supervisor-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let _listener = UnixDatagram::bind_addr(&address).unwrap();
        connect(OsStr::new(&format!("@{name}"))).unwrap();
        assert!(connect(OsStr::new("@nobody-listens-here")).is_err());
    }
}

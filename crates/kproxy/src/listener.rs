//! Where clients come from: TCP, a Unix socket, or sockets that systemd has opened before the process began.
//!
//! Opens and accepts; what becomes of a connection is `server`'s. The file of a Unix socket is made under another name and moved to
//! its own when its rights are set, so that nobody comes in before; one that a dead process left is replaced.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::{Http, UnixSocket};

/// A socket that clients connect to.
#[derive(Debug)]
pub(crate) enum Listener {
    /// IPv4 or IPv6, or both.
    Tcp(TcpListener),
    /// On this machine.
    Unix(UnixListener),
}

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// With the client's address.
    Tcp(TcpStream, SocketAddr),
    /// Whose client has none.
    Unix(UnixStream),
}

/// Every listener of the process. The file of a Unix socket goes with it.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// At least one.
    pub(crate) all: Vec<Listener>,
    /// Kept until nobody shall connect any more.
    pub(crate) file: Option<SocketFile>,
}

/// A socket that cannot be listened on. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// The port is taken or not allowed.
    #[error("port {port} cannot be listened on ({error}); free it or change port")]
    Port { port: u16, error: io::Error },
    /// The path is taken, not allowed, or too long.
    #[error("the socket {} cannot be made ({error}); change unix_socket, or remove what is there", path.display())]
    Unix { path: PathBuf, error: io::Error },
    /// What systemd handed over is no socket that listens.
    #[error(
        "socket {number} of LISTEN_FDS cannot be used ({error}); hand over stream sockets only (ListenStream=)"
    )]
    Inherited { number: usize, error: io::Error },
}

impl Listener {
    /// The next client.
    ///
    /// # Errors
    /// As `accept(2)`.
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted::Tcp(stream, peer))
            }
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

impl Listeners {
    /// Takes the sockets that systemd handed over; without any, opens those of the configuration. Once in a process, and before
    /// foreign threads run: it changes the environment.
    ///
    /// # Errors
    /// One of them cannot be had.
    pub(crate) async fn open(http: &Http) -> Result<Self, ListenError> {
        let inherited = inherited()?;
        if !inherited.is_empty() {
            tracing::info!(
                sockets = inherited.len(),
                "listening on sockets of the supervisor"
            );
            return Ok(Self {
                all: inherited,
                file: None,
            });
        }
        let port = |error| ListenError::Port {
            port: http.port,
            error,
        };
        let mut all = vec![Listener::Tcp(tcp(http).await.map_err(port)?)];
        let Some(socket) = &http.unix_socket else {
            return Ok(Self { all, file: None });
        };
        let (listener, file) = unix(socket).map_err(|error| ListenError::Unix {
            path: socket.path.clone(),
            error,
        })?;
        all.push(Listener::Unix(listener));
        tracing::info!(path = %socket.path.display(), "listening on a Unix socket too");
        Ok(Self {
            all,
            file: Some(file),
        })
    }
}

async fn tcp(http: &Http) -> io::Result<TcpListener> {
    let at = |address: IpAddr| TcpListener::bind(SocketAddr::new(address, http.port));
    match http.address {
        Some(address) => at(address).await,
        // One socket for IPv6 and IPv4; a machine without IPv6 has IPv4 alone.
        None => match at(Ipv6Addr::UNSPECIFIED.into()).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => at(Ipv4Addr::UNSPECIFIED.into()).await,
            bound => bound,
        },
    }
}

/// The sockets of `LISTEN_FDS`, in their order.
fn inherited() -> Result<Vec<Listener>, ListenError> {
    let mut handed = ListenFd::from_env();
    let taken = (0..handed.len()).map(|number| {
        let listener = match handed.take_tcp_listener(number) {
            Ok(Some(tcp)) => from_std_tcp(tcp),
            _ => handed
                .take_unix_listener(number)
                .and_then(|unix| from_std_unix(unix.ok_or(io::ErrorKind::NotFound)?)),
        };
        listener.map_err(|error| ListenError::Inherited { number, error })
    });
    taken.collect()
}

fn from_std_tcp(listener: std::net::TcpListener) -> io::Result<Listener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Listener::Tcp)
}

fn from_std_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Listener> {
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener).map(Listener::Unix)
}

/// The file of a Unix socket, removed with this handle unless another process has put its own there.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    fn inode(path: &Path) -> io::Result<(u64, u64)> {
        let file = fs::symlink_metadata(path)?;
        Ok((file.dev(), file.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = Self::inode(&self.path).is_ok_and(|inode| inode == self.inode);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the file of the Unix socket stays");
        }
    }
}

fn unix(socket: &UnixSocket) -> io::Result<(UnixListener, SocketFile)> {
    let path = &socket.path;
    if let Ok(there) = fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return Err(io::Error::other("there is a file that is no socket"));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let listener = UnixListener::bind(&draft)?;
    let moved = fs::set_permissions(&draft, fs::Permissions::from_mode(socket.mode))
        .and_then(|()| SocketFile::inode(&draft))
        .and_then(|inode| fs::rename(&draft, path).map(|()| inode));
    match moved {
        Ok(inode) => {
            let path = path.clone();
            Ok((listener, SocketFile { path, inode }))
        }
        Err(error) => {
            // Nothing is left of the attempt, or what is left is said by the error.
            fs::remove_file(&draft).ok();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(path: PathBuf) -> UnixSocket {
        UnixSocket { path, mode: 0o640 }
    }

    #[tokio::test]
    async fn a_unix_socket_has_its_rights_and_goes_with_its_handle() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kproxy.sock");
        let (listener, file) = unix(&socket(path.clone())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        UnixStream::connect(&path).await.unwrap();
        let taken = unix(&socket(path.clone())).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop((listener, file));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_successors_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kproxy.sock");
        let (dead, stale) = unix(&socket(path.clone())).unwrap();
        drop(dead);
        let (_listener, _file) = unix(&socket(path.clone())).unwrap();
        drop(stale);
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_never_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        fs::write(&path, "text").unwrap();
        assert!(unix(&socket(path.clone())).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}

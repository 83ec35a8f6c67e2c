//! What can go wrong with ZooKeeper, by what the caller does next.

use std::time::Duration;

use zookeeper_client as zk;

/// Why an operation did not succeed. Only [`Error::Unknown`] leaves open whether it took effect.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The znode, or the parent of the one to create, does not exist.
    #[error("the znode does not exist")]
    NoNode,
    /// The znode to create exists.
    #[error("the znode exists already")]
    NodeExists,
    /// Somebody else wrote the znode since its version was read.
    #[error("the znode has another version")]
    BadVersion,
    /// The znode to delete has children.
    #[error("the znode has children")]
    NotEmpty,
    /// The session is over, and its ephemeral znodes with it, or at least this client of it: what it has sent may
    /// have been applied, and it sends nothing more.
    #[error("the ZooKeeper session has ended")]
    Expired,
    /// No answer: a write may or may not have been applied. Resolve it by `sync` and a read.
    #[error("ZooKeeper gave no answer")]
    Unknown(#[source] Unanswered),
    /// The server said no and changed nothing; it will say so again (permissions, quotas, arguments).
    #[error("ZooKeeper refused the operation")]
    Refused(#[source] zk::Error),
    /// No session could be made: wait and try again.
    #[error(
        "no ZooKeeper session with {hosts} within {within:?}: check that the servers run, that zk_hosts names them \
         and that this host may reach them"
    )]
    Unreachable {
        /// The hosts as configured, separated by commas.
        hosts: String,
        /// How long it was tried.
        within: Duration,
        /// What the client library said last.
        #[source]
        source: zk::Error,
    },
    /// A session was made, but the chroot is missing. It is the Kafka cluster's and is never created from here.
    #[error(
        "ZooKeeper at {hosts} has no znode {chroot}: zk_chroot must be the chroot of the Kafka cluster's own \
         zookeeper.connect, and the cluster must have been started once"
    )]
    NoChroot {
        /// The hosts as configured, separated by commas.
        hosts: String,
        /// The chroot as configured.
        chroot: String,
    },
}

/// Why there was no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unanswered {
    /// The operation's time ended first.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The connection ended first.
    #[error("the connection was lost")]
    Lost(#[source] zk::Error),
}

/// A `multi` that did not take effect as a whole, or whose outcome is unknown.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a multi-operation failed{}", match at { Some(at) => format!(" at step {at}"), None => String::new() })]
pub struct MultiError {
    /// The step that was refused, counted from 0; `None` if the request as a whole failed.
    pub at: Option<usize>,
    /// Why.
    #[source]
    pub source: Error,
}

impl From<zk::Error> for Error {
    fn from(error: zk::Error) -> Self {
        match error {
            zk::Error::NoNode => Self::NoNode,
            zk::Error::NodeExists => Self::NodeExists,
            zk::Error::BadVersion => Self::BadVersion,
            zk::Error::NotEmpty => Self::NotEmpty,
            // After each of these the client is dead for good.
            zk::Error::SessionExpired
            | zk::Error::SessionMoved
            | zk::Error::ClientClosed
            | zk::Error::AuthFailed => Self::Expired,
            zk::Error::NoAuth
            | zk::Error::NoChildrenForEphemerals
            | zk::Error::InvalidAcl
            | zk::Error::NotReadOnly
            | zk::Error::NoWatcher
            | zk::Error::QuotaExceeded
            | zk::Error::Throttled
            | zk::Error::MarshallingError
            | zk::Error::Unimplemented
            | zk::Error::ReconfigDisabled
            | zk::Error::BadArguments(_)
            | zk::Error::UnexpectedErrorCode(_) => Self::Refused(error),
            // Whatever the library adds later is no proof that nothing happened.
            _ => Self::Unknown(Unanswered::Lost(error)),
        }
    }
}

impl From<zk::MultiWriteError> for MultiError {
    fn from(error: zk::MultiWriteError) -> Self {
        match error {
            zk::MultiWriteError::RequestFailed { source } => Self {
                at: None,
                source: source.into(),
            },
            zk::MultiWriteError::OperationFailed { index, source } => Self {
                at: Some(index),
                source: source.into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_of_the_server_proves_that_nothing_happened() {
        assert!(matches!(
            Error::from(zk::Error::ConnectionLoss),
            Error::Unknown(_)
        ));
        assert!(matches!(Error::from(zk::Error::Timeout), Error::Unknown(_)));
        assert!(matches!(
            Error::from(zk::Error::UnexpectedError(String::new())),
            Error::Unknown(_)
        ));
        assert!(matches!(Error::from(zk::Error::BadVersion), Error::BadVersion));
        assert!(matches!(Error::from(zk::Error::NoAuth), Error::Refused(_)));
        assert!(matches!(Error::from(zk::Error::ClientClosed), Error::Expired));
    }

    #[test]
    fn a_multi_names_the_step_that_was_refused() {
        let error = MultiError::from(zk::MultiWriteError::OperationFailed {
            index: 1,
            source: zk::Error::BadVersion,
        });
        assert_eq!(error.at, Some(1));
        assert_eq!(error.to_string(), "a multi-operation failed at step 1");
    }
}

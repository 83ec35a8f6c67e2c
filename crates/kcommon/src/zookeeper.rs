//! ZooKeeper as the daemons see it: one session, the paths of the classic layout, brokers.
//!
//! Every operation is bounded in time. An operation that is given up is not taken back: the request was sent
//! when it was first polled, and the server may still apply it, so a write that was not answered has an
//! **unknown** outcome ([`Error::Unknown`]), which only `sync` and a read can resolve. What the outcome means
//! is decided by the callers; nothing here retries, and nothing here fences.

mod brokers;
mod error;
pub mod layout;
mod serving;
mod session;

pub use brokers::brokers;
pub use error::{Error, MultiError, Unanswered};
pub use session::{Auth, Lifetime, Node, Session, Settings, Watch, Write};
pub use zookeeper_client::{SessionId, Stat};

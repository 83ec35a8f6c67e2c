//! Stores letters ([`crate::letter`]) where their module says, and only then lets their records be done. While that fails, they
//! wait and their module says so; records of other keys go on.

mod file;
mod topic;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use kcommon::kafka::TopicName;
use metrics::Counter;

pub use file::{LogFile, LogSettings};
pub use topic::DeadLetters;

use crate::dispatcher::Dispatcher;
use crate::letter::{Exhausted, Letter, Sender};

/// The wait before what has failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What a module does with a record whose last attempt has failed, or that was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastResort {
    /// See [`Exhausted::Drop`].
    Drop,
    /// To this topic.
    DeadLetter(TopicName),
    /// To this file.
    Log(LogSettings),
    /// See [`Exhausted::Block`].
    Block,
    /// See [`Exhausted::Stop`].
    Stop,
}

impl LastResort {
    /// What it is without its settings.
    #[must_use]
    pub const fn policy(&self) -> Exhausted {
        match self {
            Self::Drop => Exhausted::Drop,
            Self::DeadLetter(_) => Exhausted::DeadLetter,
            Self::Log(_) => Exhausted::Log,
            Self::Block => Exhausted::Block,
            Self::Stop => Exhausted::Stop,
        }
    }
}

/// What storing needs of its module, wherever it stores.
pub struct Desk {
    dispatcher: Rc<RefCell<Dispatcher>>,
    sender: Sender,
    stored: Counter,
    /// Why letters wait.
    trouble: RefCell<Option<String>>,
}

impl Desk {
    /// A desk without letters; `stored` counts them.
    #[must_use]
    pub fn new(dispatcher: Rc<RefCell<Dispatcher>>, sender: Sender, stored: Counter) -> Self {
        Self {
            dispatcher,
            sender,
            stored,
            trouble: RefCell::default(),
        }
    }

    /// Why letters cannot be stored, if they cannot.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// A letter is stored.
    fn done(&self, letter: &Letter) {
        self.stored.increment(1);
        self.dispatcher.borrow_mut().stored(letter);
        if self.trouble.take().is_some() {
            tracing::info!(
                module = self.sender.module,
                "undelivered records are stored again"
            );
        }
    }

    /// A letter cannot be stored now.
    fn failed(&self, letter: &Letter, place: &str, why: &str) {
        let reason = format!(
            "partition {}: its undelivered record at offset {} waits because {place} does not take it: {why}",
            letter.partition, letter.record.offset
        );
        if self.trouble.replace(Some(reason)).is_none() {
            tracing::error!(
                module = self.sender.module,
                partition = letter.partition.0,
                offset = letter.record.offset.get(),
                place,
                why,
                "undelivered records cannot be stored; they wait"
            );
        }
    }
}

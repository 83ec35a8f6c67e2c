//! Whether a fetched record needs a push: the filters, and what follows when they cannot read it.

use kcommon::kafka::RecordOffset;
use tokio::time::Instant;

use super::{Broken, Fetch};
use crate::config::OnUndecodable;
use crate::content::{OnError, Subject};
use crate::ledger::Entry;
use crate::methods::MethodCheck;

impl Fetch {
    /// How a record is entered: to be pushed, or done without.
    pub(super) fn entry(&mut self, subject: &Subject<'_>) -> Result<Entry, Broken> {
        let module = &self.source.module;
        let (methods, content) = (module.methods.is_some(), module.content.is_some());
        if methods && self.by_method(subject.offset, subject.body)? == Entry::Done {
            return Ok(Entry::Done);
        }
        if content {
            return self.by_content(subject);
        }
        Ok(Entry::Pending)
    }

    fn by_method(&mut self, offset: RecordOffset, value: &[u8]) -> Result<Entry, Broken> {
        let module = &self.source.module;
        let Some(methods) = &module.methods else {
            return Ok(Entry::Pending);
        };
        match methods.check(value) {
            MethodCheck::Matched(_method) => Ok(Entry::Pending),
            MethodCheck::NotMatched => {
                self.source.meters.filtered.increment(1);
                Ok(Entry::Done)
            }
            MethodCheck::Undecodable => {
                self.source.meters.undecodable.increment(1);
                if let Some(held_back) = self.undecodable.pass(Instant::now()) {
                    tracing::warn!(
                        module = module.name,
                        partition = self.assignment.partition.0,
                        offset = offset.get(),
                        lines_held_back = held_back,
                        policy = ?module.on_undecodable,
                        "record without a readable method: not a MessagePack map with a text under \"method\""
                    );
                }
                match module.on_undecodable {
                    OnUndecodable::Skip => Ok(Entry::Done),
                    OnUndecodable::Push => Ok(Entry::Pending),
                    OnUndecodable::Stop => Err(Broken::Unreadable("on_undecodable")),
                }
            }
        }
    }

    fn by_content(&mut self, subject: &Subject<'_>) -> Result<Entry, Broken> {
        let module = &self.source.module;
        let Some(content) = &module.content else {
            return Ok(Entry::Pending);
        };
        let error = match content.admits(subject) {
            Ok(true) => return Ok(Entry::Pending),
            Ok(false) => {
                self.source.meters.filtered.increment(1);
                return Ok(Entry::Done);
            }
            Err(error) => error,
        };
        self.source.meters.filter_errors.increment(1);
        if let Some(held_back) = self.undecodable.pass(Instant::now()) {
            tracing::warn!(
                module = module.name,
                partition = self.assignment.partition.0,
                offset = subject.offset.get(),
                lines_held_back = held_back,
                policy = ?content.on_error,
                error = &error as &dyn std::error::Error,
                "record whose body cannot be read"
            );
        }
        match content.on_error {
            OnError::Skip => Ok(Entry::Done),
            OnError::Push => Ok(Entry::Pending),
            OnError::Stop => Err(Broken::Unreadable("on_error")),
        }
    }
}

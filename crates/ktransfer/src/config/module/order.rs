//! The checked form of `order`, `serialize_by_key` and `out_of_range`.

use std::time::Duration;

use kcommon::config::{Document, Problem};

use super::ModuleFile;
use crate::key::OrderBy;
use crate::range::OutOfRange;

/// What is pushed in order; a contradiction is put with the other problems.
pub(super) fn order(document: &Document<ModuleFile>, problems: &mut Vec<Problem>) -> OrderBy {
    let file = &document.file.order;
    let old = file
        .serialize_by_key
        .map(|by_key| if by_key { OrderBy::Key } else { OrderBy::Nothing });
    let Some(old) = old else { return file.order };
    if document.has("order") && file.order != old {
        let message = "says something else than order; remove it, order is its successor";
        problems.push(document.problem("serialize_by_key", message));
    }
    old
}

pub(super) fn out_of_range(document: &Document<ModuleFile>) -> OutOfRange {
    let file = &document.file.order.out_of_range;
    OutOfRange {
        below: file.below,
        above: file.above,
        after: Duration::from_millis(file.after_ms),
    }
}

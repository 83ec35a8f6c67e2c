//! The checked form of `filter` and `project`.

use kcommon::config::{Document, Problem};

use super::{ModuleFile, keep};
use crate::content::{Content, Filter, MAX_FIELDS, Path, Projection};

/// What the module does with bodies, or nothing when its file says nothing; problems are put with the others.
pub(super) fn content(document: &Document<ModuleFile>, problems: &mut Vec<Problem>) -> Option<Content> {
    let file = &document.file.content;
    let path = |key: &str, text: &str| {
        Path::parse(text).map_err(|error| document.problem(key, format!("{text:?} {error}")))
    };
    let filter = file.filter.as_ref().and_then(|filter| {
        let field = keep(problems, path("filter.field", &filter.field))?;
        Some(Filter::new(&field, filter.values.iter().cloned()))
    });
    let projection = file.project.as_ref().map(|project| {
        if !(1..=MAX_FIELDS).contains(&project.len()) {
            let message = format!("has {} fields; allowed: 1 to {MAX_FIELDS}", project.len());
            problems.push(document.problem("project", message));
        }
        let fields = project.iter().filter_map(|(name, place)| {
            let place = keep(problems, path(&format!("project.{name}"), place))?;
            Some((name.clone(), place))
        });
        let fields: Vec<_> = fields.collect();
        Projection::new(&fields)
    });
    (filter.is_some() || projection.is_some()).then_some(Content {
        filter,
        projection,
        on_error: file.on_error,
    })
}

//! The checked form of `filter`, `project` and the expressions.

use kcommon::config::{Document, Problem};

use super::{ModuleFile, keep};
use crate::content::{Content, Expression, Filter, MAX_FIELDS, Path, Projection, Transform};

/// What the module does with bodies, or nothing when its file says nothing; problems are put with the others.
pub(super) fn content(document: &Document<ModuleFile>, problems: &mut Vec<Problem>) -> Option<Content> {
    let file = &document.file.content;
    let path = |key: &str, text: &str| {
        Path::parse(text).map_err(|error| document.problem(key, format!("{text:?} {error}")))
    };
    let expression = |key: &str, text: &str| {
        Expression::compile(text).map_err(|error| document.problem(key, error.to_string()))
    };
    let filter = file.filter.as_ref().and_then(|filter| {
        let field = keep(problems, path("filter.field", &filter.field))?;
        Some(Filter::new(&field, filter.values.iter().cloned()))
    });
    let condition = file.filter_expr.as_ref();
    let condition = condition.and_then(|text| keep(problems, expression("filter_expr", text)));
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
        Transform::Projection(Projection::new(&fields))
    });
    let made = file.transform_expr.as_ref();
    let made = made.and_then(|text| keep(problems, expression("transform_expr", text)));
    if file.project.is_some() && file.transform_expr.is_some() {
        let message = "stands beside project; a body is made by one of them, remove the other";
        problems.push(document.problem("transform_expr", message));
    }
    let transform = projection.or(made.map(Transform::Expression));
    (filter.is_some() || condition.is_some() || transform.is_some()).then_some(Content {
        filter,
        condition,
        transform,
        on_error: file.on_error,
    })
}

//! What may stand in an expression: known names, no loops, and no more of anything than the limits say. Pure.

use cel::common::ast::{EntryExpr, Expr, IdedExpr};

use super::{ExpressionError, MAX_NESTING, MAX_REFERENCES, MAX_SUMS, VARIABLES};

/// What the message about an unknown function offers.
pub(super) const KNOWN: &str = "there are the operators, has(), in, size, contains, startsWith, endsWith, int, uint, double, string, \
                                bytes, bool, type, and orValue, or, hasValue, value for optional fields (body.?name)";

/// Functions whose time is bounded by the size of their arguments.
const FUNCTIONS: [&str; 37] = [
    "_?_:_",
    "_&&_",
    "_||_",
    "!_",
    "-_",
    "_+_",
    "_-_",
    "_*_",
    "_/_",
    "_%_",
    "_==_",
    "_!=_",
    "_>=_",
    "_<=_",
    "_>_",
    "_<_",
    "_[_]",
    "_[?_]",
    "_?._",
    "@in",
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "type",
    "dyn",
    "orValue",
    "or",
    "hasValue",
    "value",
    "@not_strictly_false",
];

/// Checks a whole expression.
pub(super) fn check(expression: &IdedExpr) -> Result<(), ExpressionError> {
    let (mut references, mut sums) = (0, 0);
    let mut waiting = vec![(expression, 1)];
    while let Some((expression, depth)) = waiting.pop() {
        if depth > MAX_NESTING {
            return Err(ExpressionError::TooDeep);
        }
        let mut inside = |expression| waiting.push((expression, depth + 1));
        match &expression.expr {
            Expr::Ident(name) => {
                if !VARIABLES.contains(&name.as_str()) {
                    return Err(ExpressionError::UnknownVariable(name.clone()));
                }
                references += 1;
            }
            Expr::Call(call) => {
                if !FUNCTIONS.contains(&call.func_name.as_str()) {
                    return Err(ExpressionError::UnknownFunction(call.func_name.clone()));
                }
                sums += usize::from(call.func_name == "_+_");
                call.target.as_deref().into_iter().for_each(&mut inside);
                call.args.iter().for_each(&mut inside);
            }
            Expr::Select(select) => inside(&select.operand),
            Expr::List(list) => list.elements.iter().for_each(&mut inside),
            Expr::Map(map) => {
                for entry in &map.entries {
                    match &entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            inside(&entry.key);
                            inside(&entry.value);
                        }
                        EntryExpr::StructField(_) => return Err(ExpressionError::Message),
                    }
                }
            }
            Expr::Struct(_) => return Err(ExpressionError::Message),
            Expr::Comprehension(_) => return Err(ExpressionError::UnknownFunction("a loop".to_owned())),
            Expr::Literal(_) | Expr::Unspecified => {}
        }
        if references > MAX_REFERENCES {
            return Err(ExpressionError::TooManyReferences);
        }
        if sums > MAX_SUMS {
            return Err(ExpressionError::TooManySums);
        }
    }
    Ok(())
}

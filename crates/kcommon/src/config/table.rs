//! A [`Schema`] as a table in Markdown, for `docs/configuration.md`. Pure.

use super::scalar::allowed;
use super::schema::{Need, Schema};

/// The table of all keys of a file: key, meaning, what is allowed, default, what changed from the original.
#[must_use]
pub fn markdown_table(schema: &Schema) -> String {
    let mut table = String::from(
        "| key | meaning | allowed | default | changed from the original |\n| --- | --- | --- | --- | --- |\n",
    );
    let keys = schema.flat();
    for flat in &keys {
        let inside_optional = keys
            .iter()
            .any(|other| other.path == flat.parent() && other.key.need == Need::Optional);
        let default = match flat.key.need {
            Need::Required if inside_optional => "required in its section".to_owned(),
            Need::Required => "required".to_owned(),
            Need::Optional | Need::Default("{}" | "[]") => "none".to_owned(),
            Need::Default("\"\"" | "''") => "empty".to_owned(),
            Need::Default(value) => format!("`{value}`"),
        };
        let cells = [
            format!("`{}`", flat.path),
            flat.key.meaning.to_owned(),
            allowed(flat.key.kind),
            default,
            flat.key.changed.to_owned(),
        ];
        table.push_str("| ");
        table.push_str(&cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
        table.push_str(" |\n");
    }
    table
}

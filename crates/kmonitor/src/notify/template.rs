//! Texts with `{{name}}` in them. No conditions and no loops: a list comes into a text as one value that was rendered before.
//! Pure.

use std::borrow::Cow;

/// How values are written into a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escape {
    /// As they are, but without control characters other than line ends.
    Plain,
    /// As inside a string of JSON; the quotes are in the template.
    Json,
}

/// A text with holes, checked against the names that may stand in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(&'static str),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// A `{{` that nothing closes.
    #[error("has a {{{{ without }}}}")]
    Unclosed,
    /// A name that nobody knows here.
    #[error("has the unknown name {{{{{name}}}}}; known: {known}")]
    Unknown {
        /// As written.
        name: String,
        /// What may be written.
        known: String,
    },
}

impl Template {
    /// Reads a text in which only `names` may stand between braces.
    ///
    /// # Errors
    /// A brace is not closed, or a name is not known.
    pub(crate) fn parse(text: &str, names: &[&'static str]) -> Result<Self, Malformed> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (written, after) = after.split_once("}}").ok_or(Malformed::Unclosed)?;
            let name = names.iter().find(|name| **name == written.trim());
            let name = name.ok_or_else(|| Malformed::Unknown {
                name: written.trim().to_owned(),
                known: names.join(", "),
            })?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Name(name));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self { parts })
    }

    /// The text with every hole filled.
    #[must_use]
    pub(crate) fn render<'a>(&self, value: impl Fn(&'static str) -> Cow<'a, str>) -> String {
        let filled = self.parts.iter().map(|part| match part {
            Part::Text(text) => Cow::Borrowed(text.as_str()),
            Part::Name(name) => value(name),
        });
        filled.collect()
    }
}

impl Escape {
    /// A text as a value.
    #[must_use]
    pub(crate) fn text(self, text: &str) -> String {
        match self {
            Self::Plain => {
                let shown = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
                text.chars().map(shown).collect()
            }
            Self::Json => {
                let quoted = serde_json::Value::from(text).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            }
        }
    }

    /// A number as a value; what is not known is `null` or the word.
    #[must_use]
    pub(crate) fn number(self, number: Option<impl ToString>) -> String {
        match (number, self) {
            (Some(number), _) => number.to_string(),
            (None, Self::Plain) => "unknown".to_owned(),
            (None, Self::Json) => "null".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["one", "two"];

    fn rendered(text: &str) -> String {
        let template = Template::parse(text, NAMES).unwrap();
        template.render(|name| Cow::Owned(name.to_uppercase()))
    }

    #[test]
    fn names_are_replaced_and_all_else_stays() {
        assert_eq!(
            rendered("{{one}}: {\"a\":{{ two }}} {one} }}"),
            "ONE: {\"a\":TWO} {one} }}"
        );
        assert_eq!(rendered(""), "");
    }

    #[test]
    fn a_value_is_never_read_as_a_template() {
        let template = Template::parse("{{one}}", NAMES).unwrap();
        assert_eq!(template.render(|_| Cow::Borrowed("{{two}}")), "{{two}}");
    }

    #[test]
    fn unknown_names_and_open_braces_are_refused_with_what_is_known() {
        let unknown = Template::parse("{{three}}", NAMES).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "has the unknown name {{three}}; known: one, two"
        );
        let unclosed = Template::parse("a {{one", NAMES).unwrap_err();
        assert_eq!(unclosed.to_string(), "has a {{ without }}");
    }

    #[test]
    fn values_cannot_leave_their_string() {
        assert_eq!(Escape::Json.text("a\"b\\\n\u{1}"), r#"a\"b\\\n\u0001"#);
        assert_eq!(Escape::Plain.text("a\r\tb\n"), "a  b\n");
        assert_eq!(Escape::Json.number(None::<u64>), "null");
        assert_eq!(Escape::Plain.number(None::<u64>), "unknown");
        assert_eq!(Escape::Json.number(Some(1.5)), "1.5");
    }
}

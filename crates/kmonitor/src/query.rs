//! What a caller of `/delay` may ask: the parameters `format` and `cluster`, read as the original read them.
//!
//! An empty parameter counts as absent, of a repeated one the first counts, and others are ignored.
//! Pure.

/// The two forms of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The JSON object; the default.
    Json,
    /// Lines for `zabbix_sender`.
    Zabbix,
}

/// A question about lag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// In which form.
    pub(crate) format: Format,
    /// About which cluster; `None` is all of them.
    pub(crate) cluster: Option<String>,
}

/// A form that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown format; use json or zabbix")]
pub(crate) struct UnknownFormat;

impl Query {
    /// Reads the decoded parameters of a request.
    ///
    /// # Errors
    /// A `format` that does not exist.
    pub(crate) fn from_parameters(parameters: &[(String, String)]) -> Result<Self, UnknownFormat> {
        let first = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key == name);
            found
                .map(|(_, value)| value.as_str())
                .filter(|value| !value.is_empty())
        };
        let format = match first("format") {
            None | Some("json") => Format::Json,
            Some("zabbix") => Format::Zabbix,
            Some(_) => return Err(UnknownFormat),
        };
        Ok(Self {
            format,
            cluster: first("cluster").map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(parameters: &[(&str, &str)]) -> Result<Query, UnknownFormat> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Query::from_parameters(&parameters.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_default_is_json_about_all_clusters() {
        let all = Query {
            format: Format::Json,
            cluster: None,
        };
        assert_eq!(query(&[]), Ok(all.clone()));
        assert_eq!(
            query(&[("format", ""), ("cluster", ""), ("other", "1")]),
            Ok(all.clone())
        );
        assert_eq!(query(&[("format", "json")]), Ok(all));
    }

    #[test]
    fn format_and_cluster_are_taken_the_first_of_each() {
        let asked = query(&[
            ("cluster", "a"),
            ("format", "zabbix"),
            ("cluster", "b"),
            ("format", "x"),
        ])
        .unwrap();
        assert_eq!(asked.format, Format::Zabbix);
        assert_eq!(asked.cluster.as_deref(), Some("a"));
    }

    #[test]
    fn an_unknown_format_is_refused() {
        assert_eq!(query(&[("format", "JSON")]), Err(UnknownFormat));
        assert_eq!(query(&[("format", "zabbix2")]), Err(UnknownFormat));
    }
}

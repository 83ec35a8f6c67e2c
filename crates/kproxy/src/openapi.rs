//! `GET /openapi.json`: what the public port takes and answers, for programs. Pure.
//!
//! The document is written by hand; `cargo xtask test api` holds it against a running kproxy.

use hyper::Method;

use crate::answer::{self, Answer};
use crate::failure::Failure;

/// The document. Limits that a file sets are not in it.
const DOCUMENT: &str = include_str!("openapi.json");

/// The document, whoever asks: there is nothing secret in it.
///
/// # Errors
/// Another method than GET.
pub(crate) fn answer(method: &Method) -> Result<Answer, Failure> {
    match *method {
        Method::GET => Ok(answer::json(DOCUMENT.to_owned())),
        _ => Err(Failure::Method("GET")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn every_code_of_a_failure_is_in_the_document() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let codes = &document["components"]["schemas"]["Failure"]["properties"]["code"]["enum"];
        let documented: BTreeSet<&str> = codes
            .as_array()
            .unwrap()
            .iter()
            .map(|code| code.as_str().unwrap())
            .collect();
        let source = include_str!("failure.rs");
        let (_, map) = source.split_once("pub fn told(").unwrap();
        let (map, _) = map.split_once("\n    }\n").unwrap();
        let mut told: BTreeSet<&str> = map.split('"').skip(1).step_by(2).collect();
        // Said by the listener, before there is a request.
        told.insert("too_many_connections");
        assert_eq!(told, documented);
    }

    #[test]
    fn only_get_is_taken() {
        assert_eq!(answer(&Method::POST).unwrap_err(), Failure::Method("GET"));
        assert_eq!(answer(&Method::GET).unwrap().status(), 200);
    }
}

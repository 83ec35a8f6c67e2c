//! What ktransfer's admin server answers beyond what that of every daemon does: modules and partitions as they stand, and what
//! operators do to them.
//!
//! Reading is open to whoever reaches the port, as `/metrics` is. What changes anything wants the token of `admin.token_file`, and is
//! refused when there is none.

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use kcommon::kafka::PartitionId;
use kcommon::secret::Secret;
use serde::Deserialize;
use serde_json::json;

use crate::supervisor::operate::{OperateError, Operator, To};
use crate::supervisor::reload::Reloader;

/// What describes all of this to programs.
const DOCUMENT: &str = include_str!("admin/openapi.json");

/// The routes. `token`: who may change anything; `None` = nobody.
pub(crate) fn routes(reloader: Reloader, operator: Operator, token: Option<Secret>) -> Router {
    let changes = Router::new()
        .route("/modules/{module}/seek", post(seek))
        .route_layer(middleware::from_fn_with_state(token, authorized))
        .with_state(operator.clone());
    Router::new()
        .route("/modules", get(list))
        .route("/modules/{module}", get(show))
        .with_state(operator)
        .route("/openapi.json", get(document))
        // It happens by itself within two seconds of a change: so no token is asked for.
        .route("/reload", post(reload).with_state(reloader))
        .merge(changes)
}

/// The body of a seek.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seek {
    /// Without it: every partition.
    partition: Option<i32>,
    to: To,
}

fn failed(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

impl IntoResponse for OperateError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::NotRunning(_) | Self::Refused(_) => StatusCode::CONFLICT,
            Self::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        failed(status, &self.to_string())
    }
}

async fn authorized(State(token): State<Option<Secret>>, request: Request, next: Next) -> Response {
    let Some(token) = token else {
        let error = "this changes something, and no token is configured: set admin.token_file and restart";
        return failed(StatusCode::FORBIDDEN, error);
    };
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let same = |given: &[u8]| {
        aws_lc_rs::constant_time::verify_slices_are_equal(given, token.reveal().as_bytes()).is_ok()
    };
    if given.is_some_and(same) {
        return next.run(request).await;
    }
    tracing::warn!(
        path = request.uri().path(),
        "operator command refused: no token, or a wrong one"
    );
    let error = "this changes something: send the token of admin.token_file as Authorization: Bearer ...";
    failed(StatusCode::UNAUTHORIZED, error)
}

async fn list(State(operator): State<Operator>) -> Response {
    Json(operator.list()).into_response()
}

async fn show(State(operator): State<Operator>, Path(module): Path<String>) -> Response {
    match operator.show(&module).await {
        Ok(detail) => Json(detail).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn seek(
    State(operator): State<Operator>,
    Path(module): Path<String>,
    body: axum::body::Bytes,
) -> Response {
    let seek: Seek = match serde_json::from_slice(&body) {
        Ok(seek) => seek,
        Err(error) => {
            let error = format!(
                "the body is no seek ({error}); allowed: {{\"partition\": 0, \"to\": X}}, without partition for all, where X is \
                 \"earliest\", \"latest\", {{\"offset\": N}} or {{\"time_ms\": N}}"
            );
            return failed(StatusCode::BAD_REQUEST, &error);
        }
    };
    match operator
        .seek(&module, seek.partition.map(PartitionId), seek.to)
        .await
    {
        Ok(moved) => Json(json!({ "moved": moved })).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

async fn reload(State(reloader): State<Reloader>) -> Response {
    match reloader.reload().await {
        Some(reloaded) => Json(reloaded).into_response(),
        None => failed(StatusCode::SERVICE_UNAVAILABLE, "the process is ending"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_document_has_every_route_with_its_method_and_no_other() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut documented = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            documented.extend(
                methods
                    .as_object()
                    .unwrap()
                    .keys()
                    .map(|method| format!("{method} {path}")),
            );
        }
        let source = include_str!("admin.rs").split("#[cfg(test)]").next().unwrap();
        let mut routes = BTreeSet::new();
        for route in source.split(".route(\"").skip(1) {
            let (path, rest) = route.split_once("\", ").unwrap();
            let (method, _) = rest.split_once('(').unwrap();
            routes.insert(format!("{method} {path}"));
        }
        assert_eq!(routes, documented);
    }

    #[test]
    fn a_seek_is_read_as_it_is_documented() {
        let read = |text: &str| serde_json::from_str::<Seek>(text).map(|seek| (seek.partition, seek.to));
        assert_eq!(read(r#"{"to":"earliest"}"#).unwrap(), (None, To::Earliest));
        assert_eq!(
            read(r#"{"partition":3,"to":{"offset":7}}"#).unwrap(),
            (Some(3), To::Offset(7))
        );
        assert_eq!(read(r#"{"to":{"time_ms":7}}"#).unwrap(), (None, To::TimeMs(7)));
        for wrong in [
            "",
            "{}",
            r#"{"to":"oldest"}"#,
            r#"{"to":"latest","partitions":[1]}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

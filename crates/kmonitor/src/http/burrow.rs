//! `/v3/kafka`: what tools made for Burrow ask.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Site;
use crate::burrow::Question;
use crate::view::ClusterView;

/// The routes of the interface.
pub(super) fn router() -> Router<Site> {
    Router::new()
        .route("/burrow/admin", get(async || "GOOD"))
        .route("/v3/kafka", get(root))
        .route("/v3/kafka/{*path}", get(below))
}

async fn root(State(site): State<Site>, uri: Uri) -> Response {
    answer(&site, &[], &uri)
}

async fn below(State(site): State<Site>, Path(path): Path<String>, uri: Uri) -> Response {
    let segments: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    answer(&site, &segments, &uri)
}

fn answer(site: &Site, segments: &[&str], uri: &Uri) -> Response {
    let views = site.board.views();
    let clusters: BTreeMap<String, &ClusterView> = views
        .clusters
        .iter()
        .map(|(name, published)| (name.clone(), &published.view))
        .collect();
    let nothing = || Err(json!({"error": true, "message": "invalid request type"}));
    let answer = Question::parse(segments).map_or_else(nothing, |question| question.answer(&clusters));
    let (status, mut body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err(body) => (StatusCode::NOT_FOUND, body),
    };
    if let Value::Object(body) = &mut body {
        body.insert("request".to_owned(), json!({"url": uri.path(), "host": ""}));
    }
    (status, Json(body)).into_response()
}

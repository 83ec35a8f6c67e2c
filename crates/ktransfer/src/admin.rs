//! What ktransfer's admin server answers beyond what that of every daemon does.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;

use crate::supervisor::reload::Reloader;

/// The routes.
pub(crate) fn routes(reloader: Reloader) -> Router {
    Router::new().route("/reload", post(reload).with_state(reloader))
}

/// Reads the configuration again at once, which happens by itself within two seconds of a change: so no token is asked for.
async fn reload(State(reloader): State<Reloader>) -> Response {
    match reloader.reload().await {
        Some(reloaded) => Json(reloaded).into_response(),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"error": "the process is ending"})),
        )
            .into_response(),
    }
}

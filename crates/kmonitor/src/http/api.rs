//! `/api/v1`: everything that is known, as JSON, for the page and for programs. The texts come from the board as they are.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde_json::json;

use super::{Site, events};
use crate::view::ClusterView;
use crate::zabbix::{self, Kind};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[derive(Deserialize)]
struct Which {
    #[serde(default)]
    cluster: String,
}

/// The routes of the interface.
pub(super) fn router() -> Router<Site> {
    Router::new()
        .route("/api/v1/clusters", get(clusters))
        .route("/api/v1/modules", get(modules))
        .route("/api/v1/modules/{cluster}/{module}", get(module))
        .route("/api/v1/events", get(events::stream))
        .route(
            "/api/v1/zabbix/clusters",
            get(async |State(site): State<Site>| zabbix(&site, Some(Kind::Clusters))),
        )
        .route(
            "/api/v1/zabbix/modules",
            get(async |State(site): State<Site>| zabbix(&site, Some(Kind::Modules))),
        )
        .route(
            "/api/v1/zabbix/partitions",
            get(async |State(site): State<Site>| zabbix(&site, Some(Kind::Partitions))),
        )
        .route(
            "/api/v1/zabbix/numbers",
            get(async |State(site): State<Site>| zabbix(&site, None)),
        )
}

async fn clusters(State(site): State<Site>) -> Response {
    answer(StatusCode::OK, site.board.views().clusters_json())
}

async fn modules(State(site): State<Site>, Query(which): Query<Which>) -> Response {
    let views = site.board.views();
    let json = match which.cluster.as_str() {
        "" => Some(views.modules_json()),
        cluster => views.modules_of(cluster),
    };
    json.map_or_else(unknown_cluster, |json| answer(StatusCode::OK, json))
}

async fn module(State(site): State<Site>, Path((cluster, module)): Path<(String, String)>) -> Response {
    let views = site.board.views();
    let Some(published) = views.clusters.get(&cluster) else {
        return unknown_cluster();
    };
    match published.module(&module) {
        Some(json) => answer(StatusCode::OK, json.clone()),
        None => refuse(
            StatusCode::NOT_FOUND,
            "unknown_module",
            "the cluster has no such module; /api/v1/modules has the names",
        ),
    }
}

/// What is to be discovered, or the numbers of all partitions.
fn zabbix(site: &Site, kind: Option<Kind>) -> Response {
    let views = site.board.views();
    let clusters: Vec<&ClusterView> = views.clusters.values().map(|one| &one.view).collect();
    let json = match kind {
        Some(kind) => zabbix::discovery(kind, &clusters),
        None => zabbix::numbers(&clusters),
    };
    answer(StatusCode::OK, json.into())
}

fn unknown_cluster() -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        "unknown_cluster",
        "no such cluster; base.clusters in kmonitor.yaml has the names",
    )
}

/// An answer that says why there is none.
pub(super) fn refuse(status: StatusCode, code: &'static str, message: &'static str) -> Response {
    let body = json!({"error": {"code": code, "message": message}});
    answer(status, body.to_string().into())
}

fn answer(status: StatusCode, json: Bytes) -> Response {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    // The next round is another answer.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

//! The admin server of every daemon: `/healthz`, `/readyz`, `/metrics`, on a port of its own.
//!
//! Its default port may be taken by another instance started from the same file: then a free one is used and logged. A port
//! that somebody configured is either listened on or the daemon ends. It never speaks to Kafka or ZooKeeper: it answers while
//! both are away.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tower_service::Service as _;

use crate::meters::Meters;
use crate::readiness::Readiness;
use crate::shutdown::Stop;

/// The section `admin` as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct File {
    /// `IP:port`, or `off`.
    pub listen: String,
}

/// Where the admin server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// Loopback and the daemon's own port, or a free one when that is taken.
    Default,
    /// This address and no other.
    At(SocketAddr),
}

impl Listen {
    /// What a file says, already checked by the table of keys; absent = [`Listen::Default`], and what is no address = off.
    #[must_use]
    pub fn from_file(file: Option<&File>) -> Self {
        match file {
            None => Self::Default,
            Some(file) => file.listen.parse().map_or(Self::Off, Self::At),
        }
    }
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "the admin server cannot listen on {address} ({source}); free the port, or change or remove admin.listen"
)]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Binds the address; `None` when the server is off.
///
/// # Errors
/// A configured address that is taken or not ours; no free port at all.
pub async fn bind(listen: Listen, default_port: u16) -> Result<Option<TcpListener>, ListenError> {
    let listener = match listen {
        Listen::Off => return Ok(None),
        Listen::At(address) => bind_to(address).await?,
        Listen::Default => {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, default_port));
            match bind_to(address).await {
                Ok(listener) => listener,
                Err(taken) => {
                    let free = bind_to(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
                    let used = free.local_addr().ok();
                    tracing::warn!(%address, ?used, error = %taken.source, "default admin port is taken; using a free one");
                    free
                }
            }
        }
    };
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "admin server listens");
    }
    Ok(Some(listener))
}

async fn bind_to(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError { address, source })
}

/// What a daemon answers on its admin server beyond what all do. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    added: Arc<OnceLock<Router>>,
    address: Option<SocketAddr>,
}

impl Routes {
    /// For the server at this address; `None` when it is off.
    #[must_use]
    pub fn new(address: Option<SocketAddr>) -> Self {
        Self {
            added: Arc::default(),
            address,
        }
    }

    /// Where the server listens; `None` when it is off.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Answers these routes from now on; only the first call counts. Before it their paths are unknown.
    pub fn add(&self, router: Router) {
        // Taken already: the daemon has said all it has to say.
        drop(self.added.set(router));
    }
}

/// Answers until `stop` is requested.
pub async fn serve(listener: TcpListener, readiness: Readiness, meters: Meters, routes: Routes, stop: Stop) {
    let router = router(readiness, meters).fallback(added).with_state(routes);
    let end = async move { stop.requested().await };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(end).await {
        tracing::error!(%error, "admin server ended");
    }
}

/// What the daemon has added.
async fn added(State(routes): State<Routes>, request: Request) -> Response {
    match routes.added.get() {
        Some(router) => match router.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn router(readiness: Readiness, meters: Meters) -> Router<Routes> {
    Router::new()
        .route("/healthz", get(|| async { Json(json!({"healthy": true})) }))
        .route("/readyz", get(ready).with_state(readiness))
        .route("/metrics", get(metrics).with_state(meters))
}

async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    let reasons = readiness.reasons();
    if reasons.is_empty() {
        return (StatusCode::OK, Json(json!({"ready": true})));
    }
    let reasons: Vec<_> = reasons
        .into_iter()
        .map(|(name, reason)| json!({"name": name, "reason": reason}))
        .collect();
    (
        StatusCode::SERVICE_UNAVAILABLE,
        Json(json!({"ready": false, "reasons": reasons})),
    )
}

async fn metrics(State(meters): State<Meters>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        meters.render(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_three_answers_tell_health_readiness_and_metrics() {
        let meters = Meters::install(&[]).unwrap();
        metrics::counter!("admin_test_total").increment(3);
        let readiness = Readiness::new();
        let latch = readiness.latch("kafka");
        let stop = Stop::new();
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = bind(Listen::At(free), 0).await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Routes::new(Some(address));
        let server = tokio::spawn(serve(listener, readiness, meters, routes.clone(), stop.clone()));

        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let waiting = get(address, "/readyz").await;
        assert!(waiting.starts_with("HTTP/1.1 503"), "{waiting}");
        assert!(
            waiting.contains(r#"{"ready":false,"reasons":[{"name":"kafka","reason":"starting"}]}"#),
            "{waiting}"
        );
        latch.ready();
        let ready = get(address, "/readyz").await;
        assert!(
            ready.starts_with("HTTP/1.1 200") && ready.contains(r#"{"ready":true}"#),
            "{ready}"
        );
        assert!(get(address, "/metrics").await.contains("admin_test_total 3"));
        assert!(get(address, "/other").await.starts_with("HTTP/1.1 404"));
        let other = Router::new().route("/other", axum::routing::get(|| async { "added" }));
        routes.add(other);
        assert!(get(address, "/other").await.ends_with("added"));
        assert!(get(address, "/nothing").await.starts_with("HTTP/1.1 404"));

        stop.request();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_default_port_that_is_taken_gives_way_and_a_configured_one_does_not() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = taken.local_addr().unwrap();
        let other = bind(Listen::Default, address.port()).await.unwrap().unwrap();
        assert_ne!(other.local_addr().unwrap(), address);
        let error = bind(Listen::At(address), 0).await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert!(bind(Listen::Off, address.port()).await.unwrap().is_none());
    }
}

//! The public server: `GET /delay`, and beside it what the original did not have: `/api/v1`,
//! and the page that shows it.
//!
//! Status, content type and empty bodies of `/delay` are those of the original; what it could not say (how many partitions are unknown,
//! which clusters cannot be read, why a question is refused) is in headers that old callers ignore.

mod api;
mod burrow;
mod events;
mod timed;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query as Parameters, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use kcommon::shutdown::Stop;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use self::timed::Timed;
use crate::board::{Answer, Board};
use crate::config::Http;
use crate::meters::HttpMeters;
use crate::page;
use crate::query::{Format, Query};

/// Open connections; more wait in the system's queue until one ends.
const MAX_CONNECTIONS: usize = 2048;

/// How long open connections may take to end after the stop is requested.
const DRAIN: Duration = Duration::from_secs(5);

/// Pause after a failed accept (no file descriptors left), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The content type that Go's server found by looking at either form.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// How many partitions exist and have no number in the answer.
const UNKNOWN: HeaderName = HeaderName::from_static("x-kmonitor-unknown");
/// The clusters that could not be read in their last round, separated by commas; absent when there are none.
const STALE: HeaderName = HeaderName::from_static("x-kmonitor-stale");
/// Why a question was refused.
const ERROR: HeaderName = HeaderName::from_static("x-kmonitor-error");

#[derive(Clone)]
struct Site {
    board: Board,
    meters: HttpMeters,
    /// Places for listeners of events.
    listeners: Arc<Semaphore>,
    stop: Stop,
}

/// Binds the port on all addresses.
///
/// # Errors
/// The port is taken or not allowed.
pub(crate) async fn bind(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await
}

/// Answers until `stop` is requested and open connections have ended, or [`DRAIN`] is over.
pub(crate) async fn serve(listener: TcpListener, http: Http, board: Board, stop: Stop) {
    let meters = HttpMeters::new();
    let service = router(Site {
        board,
        meters: meters.clone(),
        listeners: Arc::new(Semaphore::new(events::MAX_LISTENERS)),
        stop: stop.clone(),
    });
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.requested() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                meters.connections.increment(1.0);
                let connection = Connection {
                    _permit: permit,
                    meters: meters.clone(),
                    http,
                };
                tracker.spawn(connection.serve(stream, service.clone(), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    tracker.close();
    if tokio::time::timeout(DRAIN, tracker.wait()).await.is_err() {
        tracing::warn!(connections = tracker.len(), "connections were cut at the end");
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await;
    let permit = permit.expect("the semaphore is never closed");
    let (stream, _peer) = listener.accept().await?;
    Ok((stream, permit))
}

/// One open connection; counted while it exists.
struct Connection {
    _permit: OwnedSemaphorePermit,
    meters: HttpMeters,
    http: Http,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.meters.connections.decrement(1.0);
    }
}

impl Connection {
    async fn serve(self, stream: TcpStream, service: Router, stop: Stop) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
        let stream = Timed::new(stream, self.http.read_timeout, self.http.write_timeout);
        let mut builder = http1::Builder::new();
        // The times are kept below HTTP, by `Timed`; a request without a body needs no other.
        builder.timer(TokioTimer::new()).header_read_timeout(None);
        let connection =
            builder.serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(service));
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.requested() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended early");
        }
    }
}

fn router(site: Site) -> Router {
    Router::new()
        .route("/delay", get(delay))
        .merge(api::router())
        .merge(burrow::router())
        .merge(page::router())
        .fallback(async || {
            (
                StatusCode::NOT_FOUND,
                "404 page not found: lag is at GET /delay, everything else at GET /api/v1/modules\n",
            )
        })
        .with_state(site)
}

async fn delay(State(site): State<Site>, uri: Uri) -> Response {
    let answered = find(&site.board, &uri).map(|(format, answer)| success(format, &answer));
    match answered {
        Ok(response) => {
            site.meters.answered.increment(1);
            response
        }
        Err(why) => {
            site.meters.refused.increment(1);
            let headers = [
                (header::CONTENT_TYPE, CONTENT_TYPE),
                (ERROR, HeaderValue::from_static(why)),
            ];
            (StatusCode::BAD_REQUEST, headers).into_response()
        }
    }
}

fn find(board: &Board, uri: &Uri) -> Result<(Format, Arc<Answer>), &'static str> {
    let parameters = Parameters::<Vec<(String, String)>>::try_from_uri(uri);
    let parameters = parameters.map_err(|_malformed| "malformed parameters")?;
    let query =
        Query::from_parameters(&parameters.0).map_err(|_unknown| "unknown format; use json or zabbix")?;
    let answer = match &query.cluster {
        None => board.all(),
        Some(cluster) => board
            .cluster(cluster)
            .ok_or("unknown cluster; base.clusters in kmonitor.yaml has the names")?,
    };
    Ok((query.format, answer))
}

fn success(format: Format, answer: &Answer) -> Response {
    let body = match format {
        Format::Json => answer.json.clone(),
        Format::Zabbix => answer.zabbix.clone(),
    };
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    headers.insert(UNKNOWN, HeaderValue::from(answer.unknown));
    // Bytes that a header cannot hold become "?"; the names are the operator's own and so still recognisable.
    let printable = |character: char| {
        if character.is_ascii_graphic() {
            character
        } else {
            '?'
        }
    };
    let stale: String = answer.stale.join(",").chars().map(printable).collect();
    if let (false, Ok(stale)) = (stale.is_empty(), HeaderValue::try_from(stale)) {
        headers.insert(STALE, stale);
    }
    response
}

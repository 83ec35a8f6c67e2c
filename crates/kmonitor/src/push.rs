//! Pushes the numbers to an Open-Falcon agent, every step. What cannot be pushed is dropped: the next push holds newer numbers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::board::Board;
use crate::config::Falcon;
use crate::falcon::{self, Stamp};
use crate::meters::PushMeters;
use crate::published;

/// How long one request may take, from the connection to the end of the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most of an answer that is read.
const MOST_ANSWER: usize = 64 * 1024;

/// Pushes until the future is dropped.
pub(crate) async fn run(falcon: Falcon, board: Board) {
    let meters = PushMeters::new();
    let mut tick = tokio::time::interval(falcon.interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        tick.tick().await;
        let outcome = push_all(&falcon, &board).await;
        meters.pushed(outcome.is_ok());
        match outcome {
            Ok(()) if std::mem::take(&mut told) => {
                tracing::info!(url = falcon.url(), "falcon takes pushes again");
            }
            Err(error) if !std::mem::replace(&mut told, true) => {
                let url = falcon.url();
                tracing::warn!(url, %error, "falcon takes no push; check falcon.url and the agent");
            }
            _ => {}
        }
    }
}

/// Why a push failed.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("no connection: {0}")]
    Connect(#[source] std::io::Error),
    #[error("the request failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("the agent answered {0}: {1}")]
    Refused(hyper::StatusCode, String),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

async fn push_all(falcon: &Falcon, board: &Board) -> Result<(), Failed> {
    let timestamp = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let stamp = Stamp {
        endpoint: &falcon.endpoint,
        step: falcon.interval.as_secs(),
        timestamp: i64::try_from(timestamp).unwrap_or_default(),
    };
    let views = board.views();
    for published in views.clusters.values() {
        for items in falcon::items(&published.view, stamp).chunks(falcon::MOST_ITEMS) {
            let body = Bytes::from(published::text(&items));
            let pushed = tokio::time::timeout(PATIENCE, push(falcon, body));
            pushed.await.unwrap_or(Err(Failed::TimedOut(PATIENCE)))?;
        }
    }
    Ok(())
}

async fn push(falcon: &Falcon, body: Bytes) -> Result<(), Failed> {
    let stream = TcpStream::connect(&falcon.authority)
        .await
        .map_err(Failed::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _driven = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::post(&falcon.path)
        .header(header::HOST, &falcon.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .expect("the path and the host were checked with the file");
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let read = Limited::new(answer.into_body(), MOST_ANSWER).collect().await;
    let text = read.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    Err(Failed::Refused(status, text.unwrap_or_default()))
}

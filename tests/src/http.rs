//! A small HTTP client for tests: one request per connection, the whole answer in memory.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", self.text()))
    }
}

/// `GET url`.
///
/// # Errors
/// Nobody answers within a minute.
pub async fn get(url: &str) -> Result<Answer> {
    request(Method::GET, url, Bytes::new()).await
}

/// `POST url` with a body.
///
/// # Errors
/// Nobody answers within a minute.
pub async fn post(url: &str, body: impl Into<Bytes>) -> Result<Answer> {
    request(Method::POST, url, body.into()).await
}

/// Any method.
///
/// # Errors
/// Nobody answers within a minute.
pub async fn request(method: Method, url: &str, body: Bytes) -> Result<Answer> {
    let exchange = exchange(method, url, body);
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .with_context(|| format!("no answer from {url}"))?
}

async fn exchange(method: Method, url: &str, body: Bytes) -> Result<Answer> {
    let url: Uri = url.parse()?;
    let authority = url.authority().context("a whole URL")?.as_str();
    let stream = TcpStream::connect(authority)
        .await
        .with_context(|| format!("connect to {authority}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", authority);
    let response = sender.send_request(request.body(Full::new(body))?).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    drop(sender);
    driver.await?.unwrap_or_default();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}

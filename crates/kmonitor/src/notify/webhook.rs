//! A message as the body of an HTTP request. One connection for each attempt: messages are rare, and a connection that was
//! kept would be dead when it is needed.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::message::{Form, Message};
use super::receiver::{Failed, Proof, chain, shown};

/// Bytes of an answer that are read.
const MOST_READ: usize = 4096;

/// Names the message, so that a receiver can tell a repeated one.
const ID: HeaderName = HeaderName::from_static("x-kmonitor-message");

/// Where and how.
#[derive(Clone)]
pub(crate) struct Webhook {
    /// Never shown: it may hold a secret.
    uri: Uri,
    tls: Option<TlsConnector>,
    headers: Vec<(HeaderName, HeaderValue)>,
    form: Form,
}

impl Webhook {
    /// To `uri`, which [`address`] has found usable.
    #[must_use]
    pub(crate) fn new(
        uri: Uri,
        tls: Option<Arc<rustls::ClientConfig>>,
        headers: Vec<(HeaderName, HeaderValue)>,
        form: Form,
    ) -> Self {
        Self {
            uri,
            tls: tls.map(TlsConnector::from),
            headers,
            form,
        }
    }

    /// One request.
    ///
    /// # Errors
    /// There was no answer, or none with a status from 200 to 299.
    pub(crate) async fn tell(&self, message: &Message) -> Result<Proof, Failed> {
        let request = self.request(message)?;
        let host = self.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.uri.port_u16().unwrap_or(match self.tls {
            Some(_) => 443,
            None => 80,
        });
        let stream = TcpStream::connect((host, port)).await;
        let stream = stream.map_err(|error| Failed::passing(format!("no connection: {error}")))?;
        match &self.tls {
            None => exchange(stream, request).await,
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|error| Failed::lasting(format!("no host name for TLS: {error}")))?;
                let stream = tls.connect(name, stream).await;
                exchange(
                    stream.map_err(|error| Failed::passing(format!("no TLS connection: {error}")))?,
                    request,
                )
                .await
            }
        }
    }

    fn request(&self, message: &Message) -> Result<Request<Full<Bytes>>, Failed> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = self.uri.authority().map_or("", |authority| authority.as_str());
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let mut request = Request::post(path)
            .header(header::HOST, host)
            .header(
                header::USER_AGENT,
                concat!("kmonitor/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::CONNECTION, "close")
            .header(ID, &message.id);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = Full::from(self.form.body(message));
        request
            .body(body)
            .map_err(|error| Failed::lasting(format!("no request can be made: {error}")))
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Proof, Failed>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |error: hyper::Error| Failed::passing(format!("no answer: {}", chain(&error)));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(broken)?;
    judge(answer).await
}

async fn judge(answer: Response<Incoming>) -> Result<Proof, Failed> {
    let status = answer.status();
    // The status is the proof; what follows is only for the log.
    let body = Limited::new(answer.into_body(), MOST_READ).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let answer = shown(&String::from_utf8_lossy(&body));
    if status.is_success() {
        let code = status.as_u16();
        return Ok(Proof { code, answer });
    }
    let why = format!("the answer is {status}: {answer}");
    Err(match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Failed::passing(why),
        _ if status.is_server_error() => Failed::passing(why),
        _ => Failed::lasting(why),
    })
}

/// An address that can be used: `http` or `https`, with a host.
///
/// # Errors
/// What is wrong with it, without showing it.
pub(crate) fn address(text: &str) -> Result<(Uri, bool), String> {
    let uri: Uri = text.parse().map_err(|error| format!("is no URL: {error}"))?;
    let is_tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err("is no URL that starts with http:// or https://".to_owned()),
    };
    if uri.host().is_none_or(str::is_empty) {
        return Err("is a URL without a host".to_owned());
    }
    Ok((uri, is_tls))
}

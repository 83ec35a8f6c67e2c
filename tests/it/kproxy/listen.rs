//! How clients reach kproxy: IPv4, IPv6, a Unix socket; HTTP/1.1 and HTTP/2 on each.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ktests::{cluster, eventually};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::world::{Client, PATIENCE, Proxy, request, topic};

/// An HTTP/2 client without TLS, which says so from the start.
pub(super) async fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
) -> SendRequest<Full<Bytes>> {
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

async fn http2_to(proxy: &Proxy) -> SendRequest<Full<Bytes>> {
    http2(TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap()).await
}

/// The status and the body of an answer.
pub(super) async fn exchange(client: &SendRequest<Full<Bytes>>, path: &str, body: &str) -> (u16, String) {
    let request = Request::post(format!("http://kproxy{path}"))
        .body(Full::from(body.to_owned()))
        .unwrap();
    let answer = client.clone().send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn every_address_of_the_machine_is_listened_on() {
    let cluster = cluster();
    let topic = topic(&cluster, "addresses", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("listen_address", "")]).await;
    for address in ["127.0.0.1", "::1"] {
        let stream = TcpStream::connect((address, proxy.port)).await.unwrap();
        let (status, body) = exchange(&http2(stream).await, &format!("/commit?topic={topic}"), "x").await;
        assert_eq!(status, 200, "{address}: {body}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_unix_socket_is_listened_on_besides_and_removed_at_the_end() {
    let cluster = cluster();
    let topic = topic(&cluster, "unix", 1).await;
    let keys = [("unix_socket", "kproxy.sock"), ("unix_socket_mode", "600")];
    let proxy = Proxy::start_with(&cluster, &keys).await;
    let path = proxy.daemon.dir().join("kproxy.sock");
    let rights = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(rights & 0o777, 0o600);
    let mut plain = UnixStream::connect(&path).await.unwrap();
    let head_and_body = request(&topic, "one").replace("Host", "Connection: close\r\nHost");
    plain.write_all(head_and_body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let client = http2(UnixStream::connect(&path).await.unwrap()).await;
    assert_eq!(
        exchange(&client, &format!("/commit?topic={topic}"), "two")
            .await
            .0,
        200
    );
    proxy.post(&format!("topic={topic}"), "three").await.stored();
    assert_eq!(
        cluster.read_values(&topic).await.unwrap(),
        [&b"one"[..], b"two", b"three"]
    );
    let directory = path.parent().unwrap().to_owned();
    drop((plain, client));
    let mut daemon = proxy.daemon;
    assert!(daemon.terminate().await.success(), "{}", daemon.output());
    assert!(!directory.join("kproxy.sock").exists());
}

#[tokio::test]
async fn requests_of_one_connection_are_served_side_by_side() {
    let cluster = cluster();
    let topic = topic(&cluster, "streams", 2).await;
    // Each waits for company; one after the other they would take a minute.
    let proxy = Proxy::start_with(&cluster, &[("linger_ms", "100")]).await;
    let client = http2_to(&proxy).await;
    let path = format!("/commit?topic={topic}&acks=-1");
    let answers = (0..600).map(|_| exchange(&client, &path, "x"));
    for (status, body) in futures_util::future::join_all(answers).await {
        assert_eq!(status, 200, "{body}");
    }
    assert_eq!(cluster.read_values(&topic).await.unwrap().len(), 600);
    let (status, told) = exchange(&client, "/commit?topic=no-such-topic", "x").await;
    assert_eq!((status, told.contains("unknown_topic")), (404, true), "{told}");
    let large = "x".repeat(900_000);
    assert_eq!(
        exchange(&client, &path, &large).await.0,
        200,
        "larger than every window"
    );
    let (status, told) = exchange(&client, &path, &"x".repeat(1_000_001)).await;
    assert_eq!((status, told.contains("body_too_large")), (413, true), "{told}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_request_in_flight_over_http2_is_answered_at_a_stop() {
    let cluster = cluster();
    let topic = topic(&cluster, "leave", 1).await;
    let mut proxy = Proxy::start_with(&cluster, &[("linger_ms", "1000")]).await;
    let client = http2_to(&proxy).await;
    let path = format!("/commit?topic={topic}");
    let stopped = async {
        eventually("it is in flight", PATIENCE, async || {
            proxy.metric("kproxy_in_flight_requests", &[]).await > 0.0
        })
        .await;
        proxy.daemon.terminate().await
    };
    let ((status, body), stopped) = tokio::join!(exchange(&client, &path, "x"), stopped);
    assert_eq!(status, 200, "{body}");
    assert!(stopped.success());
    assert_eq!(cluster.read_values(&topic).await.unwrap(), [b"x"]);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// `GET / HTTP/2` or, with 0x83, `POST`, to the host `x`.
fn head(method: u8) -> [u8; 6] {
    [method, 0x86, 0x84, 0x41, 1, b'x']
}

/// A connection that has sent the preface and these settings.
async fn raw(proxy: &Proxy, settings: &[u8]) -> Client {
    let mut client = proxy.connect().await;
    client.send(PREFACE).await;
    client.send(frame(SETTINGS, 0, 0, settings)).await;
    client
}

async fn cuts(proxy: &Proxy, reason: &str) -> f64 {
    let label = format!("reason=\"{reason}\"");
    proxy.metric("kproxy_connections_cut_total", &[&label]).await
}

#[tokio::test]
async fn a_connection_without_requests_is_cut_whatever_else_it_sends() {
    let cluster = cluster();
    let proxy = Proxy::start_with(&cluster, &[("idle_timeout_ms", "1000")]).await;
    let mut silent = raw(&proxy, &[]).await;
    let mut half = proxy.connect().await;
    half.send(&PREFACE[..20]).await;
    let mut pinging = raw(&proxy, &[]).await;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let pings = async {
        loop {
            tick.tick().await;
            pinging.send(frame(PING, 0, 0, &[0; 8])).await;
            if pinging.is_closed() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, pings).await.unwrap();
    silent.drain().await;
    drop(half);
    assert_eq!(cuts(&proxy, "idle").await, 2.0);
    proxy.stop().await;
}

#[tokio::test]
async fn an_http2_client_that_makes_no_room_for_its_answers_is_cut() {
    let cluster = cluster();
    let topic = topic(&cluster, "deaf2", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("write_timeout_ms", "300")]).await;
    // SETTINGS_INITIAL_WINDOW_SIZE = 0: no byte of a body may be sent.
    let mut client = raw(&proxy, &[0, 4, 0, 0, 0, 0]).await;
    client
        .send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &head(0x82)))
        .await;
    client.drain().await;
    assert_eq!(cuts(&proxy, "write").await, 1.0);
    proxy.post(&format!("topic={topic}"), "x").await.stored();
    proxy.stop().await;
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_their_connection() {
    let cluster = cluster();
    let topic = topic(&cluster, "reset", 1).await;
    let proxy = Proxy::start(&cluster).await;
    let mut client = raw(&proxy, &[]).await;
    let resets = (0..2_000_u32).flat_map(|n| {
        let stream = 2 * n + 1;
        let taken_back = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        [frame(HEADERS, END_HEADERS, stream, &head(0x83)), taken_back].concat()
    });
    client.send(resets.collect::<Vec<u8>>()).await;
    client.drain().await;
    proxy.post(&format!("topic={topic}"), "x").await.stored();
    assert_eq!(proxy.metric("kproxy_in_flight_requests", &[]).await, 0.0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_head_without_end_over_http2_is_cut() {
    let cluster = cluster();
    let proxy = Proxy::start_with(&cluster, &[("idle_timeout_ms", "1000")]).await;
    let mut client = raw(&proxy, &[]).await;
    // Without END_HEADERS: the rest would come in CONTINUATION frames, and never does.
    client.send(frame(HEADERS, 0, 1, &head(0x83))).await;
    client.drain().await;
    assert_eq!(cuts(&proxy, "idle").await, 1.0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_body_that_falls_silent_over_http2_is_told_so() {
    let cluster = cluster();
    let topic = topic(&cluster, "silent2", 1).await;
    let proxy = Proxy::start_with(&cluster, &[("read_timeout_ms", "300")]).await;
    let stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
    let (mut client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let nothing = futures_util::stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
    let request = Request::post(format!("http://kproxy/commit?topic={topic}"))
        .body(StreamBody::new(nothing))
        .unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 408);
    proxy.stop().await;
}

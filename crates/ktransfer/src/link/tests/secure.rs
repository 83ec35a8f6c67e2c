//! The same through TLS: what is stale, what is shut, and who is believed.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;
use crate::tls::Settings;
use crate::tls::tests::Authority;

/// Accepts one connection, and does with it what `serve` says.
async fn secure<F, S>(config: Arc<ServerConfig>, serve: S) -> SocketAddr
where
    S: FnOnce(TlsStream<TcpStream>) -> F + Send + 'static,
    F: Future<Output: Send> + Send + 'static,
{
    secure_judged(config, serve).await.0
}

/// As [`secure`], with what `serve` returns.
async fn secure_judged<F, S>(
    config: Arc<ServerConfig>,
    serve: S,
) -> (SocketAddr, JoinHandle<Option<F::Output>>)
where
    S: FnOnce(TlsStream<TcpStream>) -> F + Send + 'static,
    F: Future<Output: Send> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = TlsAcceptor::from(config).accept(stream).await.ok()?;
        Some(serve(stream).await)
    });
    (address, served)
}

/// Connects as somebody with these settings to whom `localhost` should answer.
async fn connect(address: SocketAddr, settings: &Settings) -> Result<Link, ConnectError> {
    let name = ServerName::try_from("localhost").unwrap();
    let tls = TlsConnector::from(settings.load().unwrap());
    let address = address.to_string();
    dial(&Dial {
        address: &address,
        known: Vec::new(),
        tls: Some((tls, name)),
    })
    .await
}

/// An authority with certificates of localhost for a server and a client, and of another host.
fn authority() -> Authority {
    let authority = Authority::new();
    for (name, host) in [
        ("server", "localhost"),
        ("client", "localhost"),
        ("other", "example.com"),
    ] {
        authority.issue(name, host);
    }
    authority
}

#[tokio::test]
async fn a_secure_connection_serves_one_exchange_after_another() {
    let authority = authority();
    let address = secure(authority.server("server", false), |stream| {
        play(stream, [Act::Answer(OK), Act::Answer(OK), Act::Hang])
    });
    let mut link = connect(address.await, &authority.settings()).await.unwrap();
    for _ in 0..2 {
        let answer = push(&mut link).await.unwrap();
        assert!(answer.status == StatusCode::OK && answer.reusable);
    }
}

#[tokio::test]
async fn a_secure_connection_that_was_closed_while_idle_is_stale_with_or_without_a_word() {
    let authority = authority();
    for with_word in [true, false] {
        let config = authority.server("server", false);
        let address = secure(config, async move |mut stream| {
            let mut buffer = [0; 4096];
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
            stream.write_all(OK.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            if with_word {
                stream.shutdown().await.unwrap();
            }
        });
        let mut link = connect(address.await, &authority.settings()).await.unwrap();
        push(&mut link).await.unwrap();
        let outcome = push(&mut link).await;
        assert!(matches!(outcome, Err(ExchangeError::Stale)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_lease_that_has_ended_lets_no_byte_of_a_request_through_tls() {
    let authority = authority();
    let (address, heard) = secure_judged(authority.server("server", false), async |mut stream| {
        let mut heard = Vec::new();
        // Our end is closed without a word.
        stream.read_to_end(&mut heard).await.ok();
        heard
    })
    .await;
    let mut link = connect(address, &authority.settings()).await.unwrap();
    assert!(matches!(
        push_if(&mut link, false).await,
        Err(ExchangeError::Shut)
    ));
    let outcome = push_woken(&mut link).await;
    assert!(matches!(outcome, Err(ExchangeError::Shut)), "{outcome:?}");
    drop(link);
    assert_eq!(heard.await.unwrap().unwrap(), b"");
}

#[tokio::test]
async fn a_fresh_secure_connection_that_breaks_is_a_failure() {
    let authority = authority();
    let config = authority.server("server", false);
    let address = secure(config, |stream| play(stream, [Act::Close])).await;
    let mut link = connect(address, &authority.settings()).await.unwrap();
    assert!(matches!(
        push(&mut link).await,
        Err(ExchangeError::Broken(_) | ExchangeError::Closed)
    ));
}

#[tokio::test]
async fn a_server_is_believed_by_its_authority_and_its_name() {
    let (ours, foreign) = (authority(), authority());
    for (config, settings) in [
        (ours.server("server", false), foreign.settings()),
        (ours.server("other", false), ours.settings()),
    ] {
        let address = secure(config, |stream| play(stream, [Act::Answer(OK)])).await;
        let refused = connect(address, &settings).await.err().unwrap();
        assert!(matches!(refused, ConnectError::Tls(_)), "{refused}");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_takes_ours_and_fails_a_push_without() {
    let authority = authority();
    let known = Settings {
        identity: Some(authority.identity("client")),
        ..authority.settings()
    };
    let asks = || {
        secure(authority.server("server", true), |stream| {
            play(stream, [Act::Answer(OK)])
        })
    };
    let mut link = connect(asks().await, &known).await.unwrap();
    assert_eq!(push(&mut link).await.unwrap().status, StatusCode::OK);
    // TLS 1.3 tells a client only after its handshake.
    let mut link = connect(asks().await, &authority.settings()).await.unwrap();
    let outcome = push(&mut link).await;
    assert!(
        matches!(outcome, Err(ExchangeError::Broken(_) | ExchangeError::Closed)),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_handshake_without_end_is_a_connection_that_timed_out() {
    let authority = authority();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let limits = Limits {
        connect: Some(Duration::from_millis(50)),
        ..LIMITS
    };
    let tls = TlsConnector::from(authority.settings().load().unwrap());
    let dial = Dial {
        address: &address,
        known: Vec::new(),
        tls: Some((tls, ServerName::try_from("localhost").unwrap())),
    };
    let outcome = Link::connect(&dial, &limits, &mut Timer::new(), &Open(Cell::new(true))).await;
    assert!(matches!(outcome, Err(ConnectError::Timeout)));
}

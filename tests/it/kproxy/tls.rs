//! TLS: HTTP/1.1 and HTTP/2 inside, callers known by their certificates, and certificates that change.

use std::path::Path;
use std::sync::Arc;

use ktests::{Cluster, Setup, cluster, eventually, ports::free_port};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::listen::{exchange, http2};
use super::world::{PATIENCE, Proxy, config, request, topic, yaml};

/// An authority that kproxy and its clients believe.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    root: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap();
        Self {
            pem: root.pem(),
            root: root.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate of localhost with this common name, and its key.
    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Connects with a certificate of this name, speaking this protocol.
    async fn connect(
        &self,
        port: u16,
        name: Option<&str>,
        protocol: &[u8],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match name.map(|name| self.issue(name)) {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                let chain = vec![certificate.der().clone()];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let server = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(server, stream).await
    }

    /// Starts kproxy with a certificate of this authority; the files lie in `conf`.
    async fn start(&self, cluster: &Cluster, keys: &str, credentials: &str) -> Proxy {
        let port = free_port();
        let (certificate, key) = self.issue("first");
        let text = format!(
            "{}credentials_file: conf/credentials.yaml\ntls:\n  certificate: conf/cert.pem\n  key: conf/key.pem\n  client_ca: \
             conf/ca.pem\n{keys}",
            yaml(&config(&cluster.brokers, port))
        );
        let setup = Setup::new("kproxy", text)
            .file("conf/cert.pem", certificate.pem())
            .file("conf/key.pem", key.serialize_pem())
            .file("conf/ca.pem", &*self.pem)
            .file("conf/credentials.yaml", credentials);
        Proxy {
            daemon: setup.start().await,
            port,
        }
    }
}

/// One request of HTTP/1.1, closed after it; everything that comes back.
async fn post(mut stream: TlsStream<TcpStream>, topic: &str) -> String {
    let text = request(topic, "x").replace("Host", "Connection: close\r\nHost");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .ok();
    String::from_utf8(answer).unwrap()
}

const CREDENTIALS: &str = "principals:\n  shop: {certificates: ['cn:shop'], topics: ['*']}\n  bank: {certificates: ['cn:bank'], \
                           topics: [nothing]}\n";

#[tokio::test]
async fn callers_are_known_by_their_certificates_in_both_versions_of_http() {
    let cluster = cluster();
    let topic = topic(&cluster, "tls", 1).await;
    let ours = Authority::new();
    let proxy = ours
        .start(&cluster, "  client_certificates: optional\n", CREDENTIALS)
        .await;
    for (name, status) in [
        (Some("shop"), 200),
        (Some("bank"), 403),
        (Some("thief"), 401),
        (None, 401),
    ] {
        let stream = ours.connect(proxy.port, name, b"http/1.1").await.unwrap();
        let answer = post(stream, &topic).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{name:?}: {answer}"
        );
        let stream = ours.connect(proxy.port, name, b"h2").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let answer = exchange(&http2(stream).await, &format!("/commit?topic={topic}"), "x").await;
        assert_eq!(answer.0, status, "{name:?}: {answer:?}");
    }
    assert_eq!(cluster.read_topic(&topic).await.unwrap().len(), 2);
    // Signed by somebody else, whom our server is not known to either.
    let mut foreign = Authority::new();
    foreign.root = ours.root.clone();
    let refused = match foreign.connect(proxy.port, Some("shop"), b"http/1.1").await {
        Ok(stream) => post(stream, &topic).await,
        Err(_refused) => String::new(),
    };
    assert_eq!(refused, "");
    // No TLS at all.
    let mut plain = proxy.connect().await;
    plain.send(request(&topic, "x")).await;
    assert!(!plain.closed().await.contains("HTTP"));
    assert_eq!(cluster.read_topic(&topic).await.unwrap().len(), 2);
    assert_eq!(
        proxy
            .metric("kproxy_tls_handshakes_failed_total", &["reason=\"refused\""])
            .await,
        2.0
    );
    assert!(
        proxy
            .metric("kproxy_tls_certificate_expires_timestamp_seconds", &[])
            .await
            > 1_700_000_000.0
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_a_wrong_one_never() {
    let cluster = cluster();
    let topic = topic(&cluster, "certificates", 1).await;
    let ours = Authority::new();
    let proxy = ours.start(&cluster, "", CREDENTIALS).await;
    let shown = async || {
        let stream = ours.connect(proxy.port, Some("shop"), b"http/1.1").await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let before = shown().await;
    let mut kept = ours.connect(proxy.port, Some("shop"), b"http/1.1").await.unwrap();
    proxy.daemon.write("conf/key.pem", "nothing");
    eventually("the wrong key is told of", PATIENCE, async || {
        proxy.metric("kproxy_file_refused", &["file=\"tls\""]).await == 1.0
    })
    .await;
    assert!(shown().await == before && proxy.daemon.log().contains("tls.key"));
    let (certificate, key) = ours.issue("second");
    proxy.daemon.write("conf/key.pem", &key.serialize_pem());
    proxy.daemon.write("conf/cert.pem", &certificate.pem());
    eventually("the new certificate is shown", PATIENCE, async || {
        shown().await == certificate.der().to_vec()
    })
    .await;
    // A connection from before goes on.
    kept.write_all(request(&topic, "x").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    kept.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert!(
        !proxy
            .daemon
            .log()
            .contains(key.serialize_pem().lines().nth(1).unwrap())
    );
    drop(kept);
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_shake_hands_is_cut() {
    let cluster = cluster();
    let ours = Authority::new();
    let keys = "  handshake_timeout_ms: 300\n  max_handshakes: 2\n";
    let proxy = ours.start(&cluster, keys, CREDENTIALS).await;
    let silent: Vec<_> = futures_util::future::join_all((0..8).map(|_| proxy.connect())).await;
    for mut client in silent {
        assert_eq!(client.closed().await, "");
    }
    assert_eq!(
        proxy
            .metric("kproxy_tls_handshakes_failed_total", &["reason=\"slow\""])
            .await,
        8.0
    );
    assert!(ours.connect(proxy.port, Some("shop"), b"h2").await.is_ok());
    proxy.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_end_with_78() {
    let ours = Authority::new();
    let (certificate, key) = ours.issue("first");
    let (_, other) = ours.issue("second");
    let run = async |key_pem: String, name: &str| {
        let tls = format!("tls:\n  certificate: conf/{name}\n  key: conf/key.pem\n");
        let text = yaml(&config("127.0.0.1:1", free_port())) + &tls;
        let setup = Setup::new("kproxy", text)
            .file(Path::new("conf/cert.pem"), certificate.pem())
            .file(Path::new("conf/key.pem"), key_pem);
        let (status, output) = setup
            .arguments(&["-f", "conf/kproxy.yaml", "--check"])
            .run()
            .await;
        (status.code(), output)
    };
    assert_eq!(run(key.serialize_pem(), "cert.pem").await.0, Some(0));
    for (key_pem, name, word) in [
        (other.serialize_pem(), "cert.pem", "tls.key"),
        (key.serialize_pem(), "none.pem", "tls.certificate"),
    ] {
        let secret = key_pem.lines().nth(1).unwrap().to_owned();
        let (status, output) = run(key_pem, name).await;
        assert_eq!(status, Some(78), "{output}");
        assert!(output.contains(word) && !output.contains(&secret), "{output}");
    }
}

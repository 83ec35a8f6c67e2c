//! TLS towards clients: certificates that follow their files, and handshakes that are bounded in number and time.
//!
//! Decides whether a client's certificate is to be believed; what its names may do is decided in `access`.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::access::certificate;
use crate::meters::{self, ReloadedFile};
use crate::watched;

/// What may be spoken inside; a client that names nothing is told by its first bytes.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// TLS as it is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The certificate and what leads from it to its authority (PEM).
    pub certificate: PathBuf,
    /// The certificate's key (PEM).
    pub key: PathBuf,
    /// Authorities for the certificates of clients (PEM); `None` asks for none.
    pub client_ca: Option<PathBuf>,
    /// A client without a certificate is let in too.
    pub client_optional: bool,
    /// From the accepted connection to the end of its handshake.
    pub timeout: Duration,
    /// Handshakes at once.
    pub max_handshakes: usize,
}

/// Why TLS cannot be had; the key of the configuration, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("tls.{key} {message}")]
pub(crate) struct BadTls {
    /// `certificate`, `key` or `client_ca`.
    pub(crate) key: &'static str,
    /// For people.
    pub(crate) message: String,
}

/// TLS as it holds now.
pub(crate) struct Tls {
    settings: Settings,
    current: RwLock<TlsAcceptor>,
    places: Semaphore,
}

/// How a handshake failed; the label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    Slow,
    Refused,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub(crate) fn new(settings: Settings) -> Result<Self, BadTls> {
        let config = load(&settings)?;
        Ok(Self {
            places: Semaphore::new(settings.max_handshakes),
            current: RwLock::new(TlsAcceptor::from(config)),
            settings,
        })
    }

    /// Shakes hands with a client; `None` when it fails, which is counted and costs the client its connection. Gives the names in
    /// the client's certificate, if it showed one.
    pub(crate) async fn accept<S>(&self, stream: S) -> Option<(TlsStream<S>, Option<Arc<[String]>>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = self
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let handshake = async {
            // Closed by nobody.
            let _place = self.places.acquire().await.ok();
            acceptor.accept(stream).await
        };
        let failed = match tokio::time::timeout(self.settings.timeout, handshake).await {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates();
                let names = shown
                    .and_then(|chain| chain.first())
                    .map(|first| certificate::names(first));
                return Some((stream, names.map(Arc::from)));
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                Failed::Refused
            }
            Err(_elapsed) => {
                tracing::debug!("a TLS handshake took too long");
                Failed::Slow
            }
        };
        meters::handshake_failed(match failed {
            Failed::Slow => "slow",
            Failed::Refused => "refused",
        });
        None
    }

    /// Follows the files until the future is dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        let settings = &self.settings;
        let files = [
            Some(&settings.certificate),
            Some(&settings.key),
            settings.client_ca.as_ref(),
        ];
        let paths: Vec<_> = files.into_iter().flatten().cloned().collect();
        watched::follow(ReloadedFile::Tls, paths, move || self.reload()).await;
    }

    /// Reads the files; false when they are wrong and what was before goes on. Open connections keep what they have.
    fn reload(&self) -> bool {
        match load(&self.settings) {
            Ok(config) => {
                tracing::info!("the files of TLS have changed and hold for new connections");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = TlsAcceptor::from(config);
                true
            }
            Err(error) => {
                tracing::error!(%error, "the files of TLS have changed and are wrong; what was before goes on");
                false
            }
        }
    }
}

/// Reads the files.
///
/// # Errors
/// One of them cannot be used.
pub(crate) fn load(settings: &Settings) -> Result<Arc<ServerConfig>, BadTls> {
    let bad = |key, message| BadTls { key, message };
    let chain = certificates("certificate", &settings.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&settings.key)
        .map_err(|error| bad("key", format!("has no private key in PEM: {error}")))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad("certificate", error.to_string()))?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in certificates("client_ca", path)? {
                let added = roots.add(root);
                added.map_err(|error| bad("client_ca", format!("has a wrong authority: {error}")))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if settings.client_optional {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            let verifier = verifier.build();
            builder.with_client_cert_verifier(verifier.map_err(|error| bad("client_ca", error.to_string()))?)
        }
    };
    let expires = chain.first().and_then(|first| certificate::expires(first));
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        bad(
            "key",
            format!("does not go with tls.certificate, or cannot be used: {error}"),
        )
    })?;
    config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    if settings.client_ca.is_some() {
        // A resumed session would bring a certificate that was judged long ago.
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    meters::certificate_expires(expires);
    Ok(Arc::new(config))
}

fn certificates(key: &'static str, path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let bad = |message| BadTls { key, message };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| bad(format!("cannot be read as PEM: {error}")))?;
    if found.is_empty() {
        return Err(bad("has no certificate in PEM".to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use rustls::ClientConfig;
    use rustls::pki_types::ServerName;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio_rustls::TlsConnector;

    use super::*;

    /// An authority, whose certificates are written into a directory.
    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        root: CertificateDer<'static>,
        directory: tempfile::TempDir,
    }

    impl Authority {
        fn new() -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let root = params.self_signed(&key).unwrap();
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("ca.pem"), root.pem()).unwrap();
            Self {
                root: root.der().clone(),
                issuer: Issuer::new(params, key),
                directory,
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        /// Writes `<name>.pem` and `<name>.key`.
        fn issue(&self, name: &str) {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        }

        fn settings(&self) -> Settings {
            Settings {
                certificate: self.path("server.pem"),
                key: self.path("server.key"),
                client_ca: None,
                client_optional: false,
                timeout: Duration::from_secs(30),
                max_handshakes: 4,
            }
        }

        fn client(&self, name: Option<&str>) -> TlsConnector {
            let mut roots = RootCertStore::empty();
            roots.add(self.root.clone()).unwrap();
            let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots);
            let config = match name {
                None => builder.with_no_client_auth(),
                Some(name) => {
                    let chain = certificates("certificate", &self.path(&format!("{name}.pem"))).unwrap();
                    let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                    builder.with_client_auth_cert(chain, key).unwrap()
                }
            };
            TlsConnector::from(Arc::new(config))
        }
    }

    /// Shakes hands and sends a byte back; the common name that the server showed, and what it saw of the client.
    async fn meet(tls: &Tls, client: &TlsConnector) -> Result<(String, Option<Arc<[String]>>), String> {
        let (near, far) = tokio::io::duplex(16 * 1024);
        let serve = async {
            let (mut stream, names) = tls.accept(far).await?;
            stream.write_all(b"x").await.ok()?;
            stream.flush().await.ok()?;
            Some(names)
        };
        let ask = async {
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = client
                .connect(name, near)
                .await
                .map_err(|error| error.to_string())?;
            // A certificate that is not believed shows only when something is read.
            stream.read_u8().await.map_err(|error| error.to_string())?;
            let shown = &stream.get_ref().1.peer_certificates().unwrap()[0];
            Ok::<_, String>(certificate::names(shown).pop().unwrap())
        };
        let (names, shown) = tokio::join!(serve, ask);
        Ok((shown?, names.ok_or("refused")?))
    }

    #[tokio::test]
    async fn clients_are_known_by_their_certificates_where_these_are_asked_for() {
        let (ours, foreign) = (Authority::new(), Authority::new());
        for authority in [&ours, &foreign] {
            authority.issue("server");
            authority.issue("shop");
        }
        let plain = Tls::new(ours.settings()).unwrap();
        let met = meet(&plain, &ours.client(Some("shop"))).await.unwrap();
        assert_eq!(met, ("cn:server".to_owned(), None));
        let asked = Settings {
            client_ca: Some(ours.path("ca.pem")),
            ..ours.settings()
        };
        let required = Tls::new(asked.clone()).unwrap();
        let (_, names) = meet(&required, &ours.client(Some("shop"))).await.unwrap();
        assert_eq!(&*names.unwrap(), ["dns:localhost", "cn:shop"]);
        assert!(meet(&required, &ours.client(None)).await.is_err());
        let optional = Tls::new(Settings {
            client_optional: true,
            ..asked
        })
        .unwrap();
        assert_eq!(meet(&optional, &ours.client(None)).await.unwrap().1, None);
        // Signed by somebody else: the client believes our server, and we do not believe the client.
        let mut stranger = ours.client(None).config().as_ref().clone();
        let chain = certificates("certificate", &foreign.path("shop.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(foreign.path("shop.key")).unwrap();
        let provider = aws_lc_rs::default_provider();
        let signing = provider.key_provider.load_private_key(key).unwrap();
        let certified = rustls::sign::CertifiedKey::new(chain, signing);
        stranger.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
        let stranger = TlsConnector::from(Arc::new(stranger));
        for tls in [&required, &optional] {
            assert!(meet(tls, &stranger).await.is_err());
        }
    }

    #[tokio::test]
    async fn changed_files_hold_for_new_connections_and_wrong_ones_do_not() {
        let authority = Authority::new();
        for name in ["server", "second"] {
            authority.issue(name);
        }
        let tls = Tls::new(authority.settings()).unwrap();
        let client = authority.client(None);
        let shown = async || meet(&tls, &client).await.unwrap().0;
        assert_eq!(shown().await, "cn:server");
        std::fs::copy(authority.path("second.pem"), authority.path("server.pem")).unwrap();
        assert!(!tls.reload(), "the key is still that of the first");
        assert_eq!(shown().await, "cn:server");
        std::fs::copy(authority.path("second.key"), authority.path("server.key")).unwrap();
        assert!(tls.reload());
        assert_eq!(shown().await, "cn:second");
        std::fs::write(authority.path("server.pem"), "nothing").unwrap();
        assert!(!tls.reload());
        assert_eq!(shown().await, "cn:second");
    }

    #[tokio::test]
    async fn handshakes_are_bounded_in_time_and_number() {
        let authority = Authority::new();
        authority.issue("server");
        let settings = Settings {
            timeout: Duration::from_millis(300),
            max_handshakes: 2,
            ..authority.settings()
        };
        let tls = Tls::new(settings).unwrap();
        let (mut silent, far): (Vec<DuplexStream>, Vec<_>) = (0..4).map(|_| tokio::io::duplex(1024)).unzip();
        let waiting = futures_util::future::join_all(far.into_iter().map(|far| tls.accept(far)));
        let mut waiting = std::pin::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        assert_eq!(tls.places.available_permits(), 0);
        assert!(waiting.await.iter().all(Option::is_none));
        assert_eq!(tls.places.available_permits(), 2);
        for client in &mut silent {
            assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0, "each is cut");
        }
        assert!(meet(&tls, &authority.client(None)).await.is_ok());
        // Whoever speaks no TLS is refused at once.
        let (mut near, far) = tokio::io::duplex(1024);
        near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(tls.accept(far).await.is_none());
    }

    #[test]
    fn what_is_wrong_is_told_by_its_key() {
        let authority = Authority::new();
        for name in ["server", "other"] {
            authority.issue(name);
        }
        let wrong = |change: &dyn Fn(&mut Settings)| {
            let mut settings = authority.settings();
            change(&mut settings);
            load(&settings).unwrap_err().key
        };
        let nowhere = Path::new("/no/such/file");
        assert_eq!(
            wrong(&|settings| settings.certificate = nowhere.into()),
            "certificate"
        );
        assert_eq!(
            wrong(&|settings| settings.certificate = authority.path("server.key")),
            "certificate"
        );
        assert_eq!(wrong(&|settings| settings.key = nowhere.into()), "key");
        assert_eq!(
            wrong(&|settings| settings.key = authority.path("other.key")),
            "key"
        );
        assert_eq!(
            wrong(&|settings| settings.client_ca = Some(nowhere.into())),
            "client_ca"
        );
        assert!(load(&authority.settings()).is_ok());
    }
}

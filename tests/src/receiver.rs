//! Receivers of webhooks on loopback, by https, that answer what the path says:
//! `/<name>/500/200` is answered 500, then 200 for good; `hang` is never answered.

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;

/// Names below `test` are known to a [`ForwardProxy`](crate::ForwardProxy) only.
const NAMES: [&str; 4] = ["localhost", "127.0.0.1", "hooks.test", "store.test"];

pub const ELSEWHERE: &str = "/elsewhere/200";

/// A certificate authority with its certificate in a file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let this = Self {
            issuer: Issuer::new(params, key),
            directory: tempfile::tempdir()?,
        };
        std::fs::write(this.file(), certificate.pem())?;
        Ok(this)
    }

    /// File with the authority's certificate, as PEM.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    pub(crate) fn acceptor(&self) -> anyhow::Result<TlsAcceptor> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(NAMES.map(str::to_owned))?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub struct Receiver {
    pub port: u16,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    hanging: AtomicUsize,
    most_hanging: AtomicUsize,
}

/// A request that is not answered, until its sender gives up.
struct Hanging<'a>(&'a Shared);

impl<'a> Hanging<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let now = shared.hanging.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_hanging.fetch_max(now, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.hanging.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Receiver {
    pub async fn start(authority: &Authority) -> anyhow::Result<Self> {
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let port = tcp.local_addr()?.port();
        let shared: Arc<Shared> = Arc::default();
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&shared));
        let listener = TlsListener {
            tcp,
            acceptor: authority.acceptor().context("a certificate")?,
        };
        let serving = async move {
            axum::serve(listener, router).await.expect("it serves");
        };
        Ok(Self {
            port,
            shared,
            _serving: AbortOnDropHandle::new(tokio::spawn(serving)),
        })
    }

    /// What has come under `path`, in its order.
    ///
    /// # Panics
    /// Where the receiver has.
    pub fn received(&self, path: &str) -> Vec<Received> {
        let received = self.shared.received.lock().expect("not poisoned");
        let of_path = received.iter().filter(|each| each.path == path);
        of_path.cloned().collect()
    }

    /// Requests that hang now.
    pub fn hanging(&self) -> usize {
        self.shared.hanging.load(Ordering::SeqCst)
    }

    /// The most requests that have hung at a time.
    pub fn most_hanging(&self) -> usize {
        self.shared.most_hanging.load(Ordering::SeqCst)
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let received = Received {
        path: uri.path().to_owned(),
        headers,
        body,
    };
    let before = {
        let mut all = shared.received.lock().expect("not poisoned");
        all.push(received);
        let same = all.iter().filter(|each| each.path == uri.path());
        same.count() - 1
    };
    let answers: Vec<&str> = uri.path().split('/').skip(2).collect();
    let answer = answers.get(before).or(answers.last()).unwrap_or(&"404");
    if *answer == "hang" {
        let _hanging = Hanging::begin(&shared);
        std::future::pending::<()>().await;
    }
    let status: StatusCode = answer.parse().expect("/<name>/<status>...");
    if status.is_redirection() {
        return (status, [(header::LOCATION, ELSEWHERE)]).into_response();
    }
    (status, "the receiver's own words").into_response()
}

struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, from) = Listener::accept(&mut self.tcp).await;
            // A client that disconnects affects no other.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

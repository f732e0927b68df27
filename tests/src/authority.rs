//! A certificate authority that nobody else knows, and servers with its certificates.

use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Of a server on loopback. Names below `test` are known to a [`ForwardProxy`](crate::ForwardProxy) only.
const LOOPBACK_NAMES: [&str; 4] = ["localhost", "127.0.0.1", "hooks.test", "store.test"];

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

    /// Of a server on loopback.
    pub(crate) fn loopback_acceptor(&self) -> anyhow::Result<TlsAcceptor> {
        self.acceptor(&LOOPBACK_NAMES.map(str::to_owned))
    }

    /// Of a server with these names.
    pub(crate) fn acceptor(&self, names: &[String]) -> anyhow::Result<TlsAcceptor> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(names)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

pub(crate) struct TlsListener {
    pub(crate) tcp: TcpListener,
    pub(crate) acceptor: TlsAcceptor,
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

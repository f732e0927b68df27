//! HTTPS: the serving certificate, read again when its files change.

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// A file does not hold the expected PEM.
    #[error("{path} is not what --tls-cert and --tls-key take, PEM files: {source}")]
    Pem { path: PathBuf, source: pem::Error },
    /// rustls rejects the pair of certificate and key.
    #[error("the certificate in {cert} and the key in {key} cannot be served: {source}")]
    Unusable {
        cert: PathBuf,
        key: PathBuf,
        source: rustls::Error,
    },
}

#[derive(Debug)]
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    served: RwLock<Served>,
}

/// The TLS configuration, and the file contents that it was built from.
#[derive(Debug, Clone)]
struct Served {
    files: (Vec<u8>, Vec<u8>),
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads a certificate chain and its key, both PEM.
    pub fn open(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            served: RwLock::new(load(cert, key, read(cert, key)?)?),
        })
    }

    /// Reads the files again. New connections get the new certificate; on an error the old one
    /// stays.
    pub fn refresh(&self) -> Result<(), TlsError> {
        let files = read(&self.cert, &self.key)?;
        if files != self.served().files {
            let served = load(&self.cert, &self.key, files)?;
            *(self.served.write()).unwrap_or_else(PoisonError::into_inner) = served;
            tracing::info!(cert = %self.cert.display(), "serving a new certificate");
        }
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.served().config.into()
    }

    fn served(&self) -> Served {
        let served = self.served.read();
        served.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(cert: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| TlsError::Read {
            path: path.to_owned(),
            source,
        })
    };
    Ok((read(cert)?, read(key)?))
}

fn load(cert: &Path, key: &Path, files: (Vec<u8>, Vec<u8>)) -> Result<Served, TlsError> {
    let pem = |path: &Path| {
        let path = path.to_owned();
        |source| TlsError::Pem { path, source }
    };
    let chain = CertificateDer::pem_slice_iter(&files.0)
        .collect::<Result<Vec<_>, _>>()
        .map_err(pem(cert))?;
    let private_key = PrivateKeyDer::from_pem_slice(&files.1).map_err(pem(key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| (builder.with_no_client_auth()).with_single_cert(chain, private_key))
        .map_err(|source| TlsError::Unusable {
            cert: cert.to_owned(),
            key: key.to_owned(),
            source,
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Served {
        files,
        config: Arc::new(config),
    })
}

//! Clients of the object store, which trust its own certificate authorities.

use fovea_proxy::{ClientError, Proxies};
use fovea_trust::{Authorities, Bundle};
use reqwest::{Certificate, Client, ClientBuilder};
use std::sync::{Arc, Mutex, PoisonError};

/// What to do about a certificate that is not trusted.
pub(crate) const NAME_THE_STORES: &str =
    "name the store's authority by --s3-ca-file, in a cluster by objectStore.caSecret";

/// Trusts the authorities instead of the system's; without any, the system's.
pub(crate) fn only(
    builder: ClientBuilder,
    authorities: Option<&Bundle>,
) -> reqwest::Result<ClientBuilder> {
    Ok(match authorities {
        None => builder,
        Some(bundle) => builder.tls_certs_only(certificates(bundle)?),
    })
}

/// Trusts the authorities in addition to the system's.
pub(crate) fn also(
    builder: ClientBuilder,
    authorities: Option<&Bundle>,
) -> reqwest::Result<ClientBuilder> {
    Ok(match authorities {
        None => builder,
        Some(bundle) => builder.tls_certs_merge(certificates(bundle)?),
    })
}

fn certificates(bundle: &Bundle) -> reqwest::Result<Vec<Certificate>> {
    let each = bundle.certificates().iter();
    each.map(|certificate| Certificate::from_der(certificate))
        .collect()
}

/// A client that trusts the authorities only, and goes through the environment's proxies.
fn build(builder: ClientBuilder, authorities: Option<&Bundle>) -> Result<Client, ClientError> {
    Proxies::client(only(builder, authorities)?)
}

/// A client for presigned URLs, built anew, with its own connections, when the store's authorities change.
pub(crate) struct StoreClient {
    authorities: Option<Arc<Authorities>>,
    builder: Box<dyn Fn() -> ClientBuilder + Send + Sync>,
    built: Mutex<(Option<Bundle>, Client)>,
}

impl StoreClient {
    pub(crate) fn new(
        authorities: Option<Arc<Authorities>>,
        builder: impl Fn() -> ClientBuilder + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let bundle = authorities.as_ref().map(|each| each.bundle());
        let client = build(builder(), bundle.as_ref())?;
        Ok(Self {
            authorities,
            builder: Box::new(builder),
            built: Mutex::new((bundle, client)),
        })
    }

    pub(crate) fn get(&self) -> Client {
        let bundle = self.authorities.as_ref().map(|each| each.bundle());
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = match (&built.0, &bundle) {
            (Some(before), Some(now)) => before.is_same(now),
            _ => true,
        };
        if !is_same {
            let client = build((self.builder)(), bundle.as_ref());
            match client {
                Ok(client) => *built = (bundle, client),
                Err(error) => {
                    tracing::error!(%error, "the authorities of the object store cannot be changed");
                }
            }
        }
        built.1.clone()
    }
}

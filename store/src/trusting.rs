//! An HTTP client whose trusted authorities follow their file.

use crate::StoreError;
use aws_sdk_s3::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::tls::TrustStore;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector};
use fovea_trust::{Authorities, Bundle};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

type Build = dyn Fn(TrustStore) -> Result<SharedHttpClient, StoreError> + Send + Sync;

/// Builds another client, with its own connections, when the authorities have changed. Requests in progress keep theirs.
pub(crate) struct Trusting {
    authorities: Arc<Authorities>,
    /// What is trusted besides the authorities.
    besides: TrustStore,
    build: Box<Build>,
    built: Mutex<(Bundle, SharedHttpClient)>,
}

impl fmt::Debug for Trusting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trusting({:?})", self.authorities)
    }
}

impl Trusting {
    pub(crate) fn new(
        authorities: Arc<Authorities>,
        besides: TrustStore,
        build: impl Fn(TrustStore) -> Result<SharedHttpClient, StoreError> + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let bundle = authorities.bundle();
        let client = build(besides.clone().with_pem_certificate(bundle.pem()))?;
        Ok(Self {
            authorities,
            besides,
            build: Box::new(build),
            built: Mutex::new((bundle, client)),
        })
    }

    fn client(&self) -> SharedHttpClient {
        let bundle = self.authorities.bundle();
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if !built.0.is_same(&bundle) {
            let trusted = self.besides.clone().with_pem_certificate(bundle.pem());
            match (self.build)(trusted) {
                Ok(client) => *built = (bundle, client),
                Err(error) => {
                    tracing::error!(%error, "the authorities of the object store cannot be changed");
                }
            }
        }
        built.1.clone()
    }
}

/// The SDK asks for a connector at each attempt, so a change counts from the next attempt on.
impl HttpClient for Trusting {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.client().http_connector(settings, components)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.client().connector_metadata()
    }
}

//! A client of one bucket. Each call is bounded in time and in attempts.

use crate::observe::Observing;
use crate::sign::KnownCredentials;
use crate::trusting::Trusting;
use crate::{ObjectKey, StoreConfig, StoreError, StoreObserver};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, SharedHttpClient,
};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_async::time::TimeSource;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use bytes::{Bytes, BytesMut};
use fovea_trust::Authorities;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Timeout of a TCP and TLS handshake with the store.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A bucket, and the credentials to use it. Clones share one connection pool.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) client: Client,
    /// Signs URLs for --s3-public-endpoint; it sends no request.
    pub(crate) public: Option<Client>,
    pub(crate) bucket: String,
    /// Signs POST forms: the SDK's client does not expose its own credentials.
    pub(crate) credentials: Option<SharedCredentialsProvider>,
    /// Once it was asked for.
    pub(crate) bucket_url: Arc<tokio::sync::OnceCell<String>>,
    /// The latest credentials, for signers.
    pub(crate) known_credentials: Arc<tokio::sync::Mutex<Option<KnownCredentials>>>,
    /// The time that signatures have.
    pub(crate) now: fn() -> SystemTime,
    authorities: Option<Arc<Authorities>>,
}

impl Store {
    /// Creates the client. It sends no request; [`Store::check`] does.
    pub async fn connect(config: &StoreConfig) -> Result<Self, StoreError> {
        Self::connect_by(config, None, None, SystemTime::now).await
    }

    /// As [`Store::connect`]; `observer` is called after every attempt of every request.
    pub async fn connect_observed(
        config: &StoreConfig,
        observer: Arc<dyn StoreObserver>,
    ) -> Result<Self, StoreError> {
        Self::connect_timed(config, observer, SystemTime::now).await
    }

    /// As [`Store::connect_observed`]; `now` is the time that signatures have, in place of the machine's.
    pub async fn connect_timed(
        config: &StoreConfig,
        observer: Arc<dyn StoreObserver>,
        now: fn() -> SystemTime,
    ) -> Result<Self, StoreError> {
        Self::connect_by(config, None, Some(observer), now).await
    }

    /// As [`Store::connect`], with this access key instead of the SDK's credential chain.
    pub async fn connect_as(
        config: &StoreConfig,
        access_key: &str,
        secret_key: &str,
    ) -> Result<Self, StoreError> {
        let keys = Credentials::new(access_key, secret_key, None, None, "fovea");
        let keys = SharedCredentialsProvider::new(keys);
        Self::connect_by(config, Some(keys), None, SystemTime::now).await
    }

    async fn connect_by(
        config: &StoreConfig,
        credentials: Option<SharedCredentialsProvider>,
        observer: Option<Arc<dyn StoreObserver>>,
        now: fn() -> SystemTime,
    ) -> Result<Self, StoreError> {
        // Checked here because the client would panic at its first request.
        let authorities = config.ca_file.as_deref().map(Authorities::open);
        let authorities = authorities
            .transpose()
            .map_err(|error| StoreError::Config(format!("--s3-ca-file {error}")))?
            .map(Arc::new);
        // The bucket's authorities replace the system's. The services that issue credentials (web
        // identity, roles) may have a certificate of either.
        let issuers = trusting(authorities.as_ref(), TrustStore::default())?;
        let bucket = trusting(authorities.as_ref(), TrustStore::empty())?;
        let mut shared = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .http_client(issuers)
            .region(Region::new(config.region.clone()));
        if let Some(credentials) = credentials {
            shared = shared.credentials_provider(credentials);
        }
        let shared = shared.load().await;
        let mut s3 = aws_sdk_s3::config::Builder::from(&shared)
            .http_client(bucket)
            .force_path_style(config.path_style)
            .time_source(Clock(now))
            // Every body is signed with its SHA-256 already, and older S3-compatible stores reject
            // the newer checksum headers.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::standard().with_max_attempts(config.max_attempts))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .operation_attempt_timeout(config.attempt_timeout())
                    .operation_timeout(config.operation_timeout())
                    .build(),
            );
        if let Some(observer) = observer {
            s3 = s3.interceptor(Observing(observer));
        }
        let public = config.public_endpoint.as_ref().map(|endpoint| {
            let public = s3.clone().endpoint_url(endpoint.as_url().as_str());
            Client::from_conf(public.build())
        });
        if let Some(endpoint) = &config.endpoint {
            s3 = s3.endpoint_url(endpoint.as_url().as_str());
        }
        Ok(Self {
            public,
            client: Client::from_conf(s3.build()),
            bucket: config.bucket.clone(),
            credentials: shared.credentials_provider(),
            known_credentials: Arc::default(),
            bucket_url: Arc::default(),
            now,
            authorities,
        })
    }

    /// The authorities of `--s3-ca-file`.
    pub fn authorities(&self) -> Option<&Arc<Authorities>> {
        self.authorities.as_ref()
    }

    /// Checks that the bucket and the credentials work, by listing one object: the answer to a HEAD
    /// has no body, so it could not say what is wrong.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.client
            .list_objects_v2()
            .bucket(&self.bucket)
            .max_keys(1)
            .send()
            .await
            .map(|_| ())
            .map_err(|error| StoreError::from_sdk(&error, &self.bucket, ""))
    }

    /// Writes a whole object, replacing any that has this key.
    pub async fn put(
        &self,
        key: &ObjectKey,
        body: Bytes,
        content_type: &str,
    ) -> Result<(), StoreError> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .content_type(content_type)
            .body(ByteStream::from(body))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| StoreError::from_sdk(&error, &self.bucket, key.as_str()))
    }

    /// Reads an object of at most `limit` bytes into memory.
    pub async fn get(&self, key: &ObjectKey, limit: u64) -> Result<Bytes, StoreError> {
        let too_large = || StoreError::TooLarge {
            key: key.to_string(),
            limit,
        };
        let mut answer = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .send()
            .await
            .map_err(|error| StoreError::from_sdk(&error, &self.bucket, key.as_str()))?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = answer.body.next().await {
            let chunk = chunk.map_err(|error| StoreError::Unavailable(error.to_string()))?;
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    /// As [`Store::get`]; `None` if there is no such object.
    pub(crate) async fn get_opt(
        &self,
        key: &ObjectKey,
        limit: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        match self.get(key, limit).await {
            Ok(found) => Ok(Some(found)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A signed URL that allows a GET of this object for `lifetime`. Signing sends no request.
    pub async fn presign_get(
        &self,
        key: &ObjectKey,
        lifetime: Duration,
    ) -> Result<String, StoreError> {
        if !key.is_inside_its_prefix() {
            return Err(StoreError::Config(format!(
                "refusing to presign {key}: it left its prefix"
            )));
        }
        let presigning = self.presigning(lifetime)?;
        self.client
            .get_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .presigned(presigning)
            .await
            .map(|request| request.uri().to_owned())
            .map_err(|error| StoreError::from_sdk(&error, &self.bucket, key.as_str()))
    }

    /// A lifetime that begins now.
    pub(crate) fn presigning(&self, lifetime: Duration) -> Result<PresigningConfig, StoreError> {
        PresigningConfig::builder()
            .start_time((self.now)())
            .expires_in(lifetime)
            .build()
            .map_err(|error| StoreError::Config(format!("presigning for {lifetime:?}: {error}")))
    }
}

/// The SDK's form of a clock.
#[derive(Debug)]
struct Clock(fn() -> SystemTime);

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        (self.0)()
    }
}

/// An HTTP client that trusts what is in `besides` and, as their file changes, the authorities; without
/// authorities, the system's.
fn trusting(
    authorities: Option<&Arc<Authorities>>,
    besides: TrustStore,
) -> Result<SharedHttpClient, StoreError> {
    let Some(authorities) = authorities else {
        return http_client(None);
    };
    let build = |trusted| http_client(Some(trusted));
    let client = Trusting::new(Arc::clone(authorities), besides, build)?;
    Ok(SharedHttpClient::new(client))
}

/// An HTTP client that trusts `authorities`, or the system's where that is `None`.
fn http_client(authorities: Option<TrustStore>) -> Result<SharedHttpClient, StoreError> {
    let mut tls = TlsContext::builder();
    if let Some(authorities) = authorities {
        tls = tls.with_trust_store(authorities);
    }
    let tls = tls
        .build()
        .map_err(|error| StoreError::Config(format!("TLS: {error}")))?;
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls)
        .build_https())
}

//! A client of one bucket. Each call is bounded in time and in attempts.

use crate::clock::{ClockSkew, StoreClock, Timing};
use crate::credentials::{KnownCredentials, within_life};
use crate::not_s3::OnlyS3;
use crate::observe::Observing;
use crate::proxied;
use crate::trusting::Trusting;
use crate::{Endpoint, ObjectKey, StoreConfig, StoreError, StoreObserver};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, SharedHttpClient,
};
use aws_sdk_s3::operation::RequestId as _;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_async::time::TimeSource;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use bytes::Bytes;
use fovea_proxy::Proxies;
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
    /// What may be wrong with the endpoint, for a bucket that is not found there.
    doubt: Option<String>,
    /// The clients' own; they sign URLs and forms, too.
    pub(crate) credentials: KnownCredentials,
    /// Once it was asked for.
    pub(crate) bucket_url: Arc<tokio::sync::OnceCell<String>>,
    /// The time that signed URLs and forms have.
    pub(crate) clock: StoreClock,
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

    /// As [`Store::connect_observed`]; `now` is our clock, in place of the machine's. Where the store's differs,
    /// signatures have the store's time.
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
        Self::connect_as_timed(config, access_key, secret_key, SystemTime::now).await
    }

    /// As [`Store::connect_as`]; `now` is our clock, in place of the machine's.
    pub async fn connect_as_timed(
        config: &StoreConfig,
        access_key: &str,
        secret_key: &str,
        now: fn() -> SystemTime,
    ) -> Result<Self, StoreError> {
        let keys = Credentials::new(access_key, secret_key, None, None, "fovea");
        let keys = SharedCredentialsProvider::new(keys);
        Self::connect_by(config, Some(keys), None, now).await
    }

    async fn connect_by(
        config: &StoreConfig,
        credentials: Option<SharedCredentialsProvider>,
        observer: Option<Arc<dyn StoreObserver>>,
        now: fn() -> SystemTime,
    ) -> Result<Self, StoreError> {
        let url = |endpoint: Option<&Endpoint>, flag| {
            endpoint.map(|endpoint| endpoint.of_store(flag, &config.bucket))
        };
        let endpoint = url(config.endpoint.as_ref(), "--s3-endpoint").transpose()?;
        let public = url(config.public_endpoint.as_ref(), "--s3-public-endpoint").transpose()?;
        // Checked here because the client would panic at its first request.
        let authorities = config.ca_file.as_deref().map(Authorities::open);
        let authorities = authorities
            .transpose()
            .map_err(|error| StoreError::Config(format!("--s3-ca-file {error}")))?
            .map(Arc::new);
        let proxies = Proxies::from_env().map_err(|error| StoreError::Config(error.to_string()))?;
        // The bucket's authorities replace the system's. The services that issue credentials (web
        // identity, roles) may have a certificate of either.
        let issuers = trusting(authorities.as_ref(), TrustStore::default(), &proxies)?;
        let bucket = trusting(authorities.as_ref(), TrustStore::empty(), &proxies)?;
        let mut shared = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .http_client(issuers)
            .region(Region::new(config.region.clone()));
        if let Some(credentials) = credentials {
            shared = shared.credentials_provider(credentials);
        }
        let shared = shared.load().await;
        let clock = StoreClock::new(now);
        let credentials = KnownCredentials::new(shared.credentials_provider(), clock.clone());
        let mut s3 = aws_sdk_s3::config::Builder::from(&shared)
            .http_client(bucket)
            .credentials_provider(credentials.clone())
            .identity_cache(IdentityCache::no_cache())
            .force_path_style(config.path_style)
            .time_source(Clock(now))
            .interceptor(Timing {
                clock: clock.clone(),
                observer: observer.clone(),
            })
            .interceptor(OnlyS3)
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
        let public = public.map(|endpoint| {
            let path_style = config.public_path_style.unwrap_or(config.path_style);
            let public = s3.clone().endpoint_url(endpoint.as_str());
            Client::from_conf(public.force_path_style(path_style).build())
        });
        if let Some(endpoint) = endpoint {
            s3 = s3.endpoint_url(endpoint.as_str());
        }
        Ok(Self {
            public,
            client: Client::from_conf(s3.build()),
            bucket: config.bucket.clone(),
            doubt: (config.endpoint.as_ref()).and_then(|endpoint| endpoint.doubt(&config.bucket)),
            credentials,
            bucket_url: Arc::default(),
            clock,
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
            .map_err(|error| {
                let error = StoreError::from_sdk(&error, &self.bucket, "");
                let found = !matches!(
                    error,
                    StoreError::NoBucket { .. } | StoreError::NotFound { .. }
                );
                match self.doubt.as_ref().filter(|_| !found) {
                    None => error,
                    Some(doubt) => StoreError::Config(format!("{error}; {doubt}")),
                }
            })
    }

    /// Writes a whole object, replacing any that has this key.
    pub async fn put(
        &self,
        key: &ObjectKey,
        body: Bytes,
        content_type: &str,
    ) -> Result<(), StoreError> {
        let answer = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .content_type(content_type)
            .body(ByteStream::from(body))
            .send()
            .await
            .map_err(|error| StoreError::from_sdk(&error, &self.bucket, key.as_str()))?;
        // Any server may answer 200; an S3 names what it has stored.
        if answer.e_tag().is_none() && answer.request_id().is_none() {
            let found = "a PUT is answered with neither an ETag nor a request id".to_owned();
            return Err(StoreError::NotS3(found));
        }
        Ok(())
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
        let presigning = self.presigning(lifetime).await?;
        self.client
            .get_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .presigned(presigning)
            .await
            .map(|request| request.uri().to_owned())
            .map_err(|error| StoreError::from_sdk(&error, &self.bucket, key.as_str()))
    }

    /// A lifetime that begins now, by the store's clock, and ends with the credentials.
    pub(crate) async fn presigning(
        &self,
        lifetime: Duration,
    ) -> Result<PresigningConfig, StoreError> {
        let credentials = self.credentials.get().await?;
        let now = self.clock.now();
        PresigningConfig::builder()
            .start_time(now)
            .expires_in(within_life(&credentials, now, lifetime))
            .build()
            .map_err(|error| StoreError::Config(format!("presigning for {lifetime:?}: {error}")))
    }

    /// The store's time, as far as its answers have told it: the ages of objects count from it.
    pub fn time(&self) -> SystemTime {
        self.clock.measured()
    }

    /// The difference between our clock and the store's, if it matters: known once the store has answered.
    pub fn clock_skew(&self) -> Option<ClockSkew> {
        self.clock.skew()
    }
}

/// The SDK's form of a clock. The SDK corrects it for its own requests.
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
    proxies: &Proxies,
) -> Result<SharedHttpClient, StoreError> {
    let Some(authorities) = authorities else {
        return http_client(None, proxies);
    };
    let proxies = proxies.clone();
    let build = move |trusted| http_client(Some(trusted), &proxies);
    let client = Trusting::new(Arc::clone(authorities), besides, build)?;
    Ok(SharedHttpClient::new(client))
}

/// An HTTP client that trusts `authorities`, or the system's where that is `None`.
fn http_client(
    authorities: Option<TrustStore>,
    proxies: &Proxies,
) -> Result<SharedHttpClient, StoreError> {
    let mut tls = TlsContext::builder();
    if let Some(authorities) = authorities {
        tls = tls.with_trust_store(authorities);
    }
    let tls = tls
        .build()
        .map_err(|error| StoreError::Config(format!("TLS: {error}")))?;
    if !proxies.is_empty() {
        return proxied::http_client(&tls, proxies);
    }
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls)
        .build_https())
}
